//! How a handler gets what it needs, in an order that leaks nothing: who asks, may he, and only then
//! what is asked.
//!
//! [`Tenant`] and [`Command`] name the permission in their type. There is no other way to a
//! connection, so a handler can't forget to ask.

mod answer;
mod body;
mod command;
#[cfg(test)]
mod tests;
mod upload;

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::header::{AUTHORIZATION, HeaderMap, IF_MATCH};
use axum::http::request::Parts;
use models::tenant::Permission;
use sqlx::{PgConnection, Postgres, Transaction};

pub use answer::{Answer, etag};
pub use body::Body;
pub use command::Command;
pub use upload::Upload;

use crate::auth::principal::{Principal, enter};
use crate::error::{Kind, Problem};
use crate::state::App;

/// A permission as a type.
pub trait Needs: Send + Sync + 'static {
    /// `None` = whoever is signed in.
    const PERMISSION: Option<Permission>;
}

macro_rules! needs {
    ($($name:ident)*) => {
        /// One type for each permission.
        pub mod may {
            use super::{Needs, Permission};
            /// Whoever is signed in.
            #[derive(Debug)]
            pub struct SignedIn;
            impl Needs for SignedIn {
                const PERMISSION: Option<Permission> = None;
            }
            $(
                #[derive(Debug)]
                pub struct $name;
                impl Needs for $name {
                    const PERMISSION: Option<Permission> = Some(Permission::$name);
                }
            )*
        }
    };
}

needs! {
    AssetsRead AssetsWrite AlarmsRead AlarmsAct RulesWrite CasesRead PredictionsAct TicketsRead TicketsWrite
    PlansRead PlansWrite MetersWrite IngestRead IngestWrite PeopleRead PeopleWrite SafetyWrite PartsWrite
    IntegrationsRead IntegrationsWrite KeysRead KeysWrite
}

/// A transaction that sees one tenant, for somebody who may `P`.
pub struct Tenant<P> {
    pub principal: Principal,
    tx: Transaction<'static, Postgres>,
    permission: PhantomData<P>,
}

impl<P: Needs> Tenant<P> {
    pub(crate) async fn open(app: &App, token: &str) -> Result<Self, Problem> {
        let (principal, tx) = enter(app, token).await?;
        if let Some(permission) = P::PERMISSION {
            principal.require(permission)?;
        }
        Ok(Self {
            principal,
            tx,
            permission: PhantomData,
        })
    }

    pub fn db(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    headers
        .get(AUTHORIZATION)
        .ok_or_else(|| Problem::new(Kind::Unauthenticated, "the header Authorization is missing"))?
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Problem::new(
                Kind::Unauthenticated,
                "the header Authorization is not `Bearer …`",
            )
        })
}

impl<P: Needs> FromRequestParts<App> for Tenant<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::open(app, bearer(&parts.headers)?).await
    }
}

/// The version that an `If-Match: "v7"` names.
fn if_match(headers: &HeaderMap) -> Result<Option<i32>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::new(
                Kind::InvalidHeader,
                "If-Match must look like \"v7\", as the ETag does",
            )
        })
}

/// Path parameters.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Kind::InvalidPath, rejection.body_text())
    }
}

/// Query parameters; unknown ones are refused by the structures' own `deny_unknown_fields`.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub struct Query<T>(pub T);

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Kind::InvalidQuery, rejection.body_text())
    }
}
