//! How a handler gets what it needs, in an order that leaks nothing: who asks, may he, and only then
//! what is asked.
//!
//! [`Tenant`] and [`Command`] name the permission in their type. There is no other way to a
//! connection, so a handler can't forget to ask.

use std::marker::PhantomData;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION,
};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use models::db::idempotency::{self, KeyOf, Seen};
use models::tenant::Permission;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::auth::principal::{Principal, enter};
use crate::error::{FieldError, Kind, Problem};
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
    PlansRead PlansWrite MetersWrite IngestRead IngestWrite KeysRead KeysWrite
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

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
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

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

struct Claim {
    key: String,
    route: String,
    fingerprint: [u8; 32],
}

/// Somebody who may `P` orders something with the body `T`. The transaction is committed by
/// [`Command::finish`]; dropped, it never happened.
///
/// With an `Idempotency-Key` on a POST, a repeated order is answered from the record before the
/// handler is called.
pub struct Command<P, T> {
    tenant: Tenant<P>,
    pub body: T,
    if_match: Option<i32>,
    claim: Option<Claim>,
}

/// The answer to an order.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Value,
    kept: Option<Value>,
    version: Option<i32>,
    location: Option<String>,
}

fn to_value(body: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(body).map_err(|error| {
        tracing::error!(%error, "an answer can't be written");
        Problem::new(Kind::Internal, "the answer can't be written")
    })
}

impl Answer {
    /// # Errors
    /// When the body can't be written as JSON.
    pub fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self {
            status: StatusCode::OK,
            body: to_value(body)?,
            kept: None,
            version: None,
            location: None,
        })
    }

    /// # Errors
    /// When the body can't be written as JSON.
    pub fn created(location: String, body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self {
            status: StatusCode::CREATED,
            location: Some(location),
            ..Self::ok(body)?
        })
    }

    pub fn empty() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Value::Null,
            kept: None,
            version: None,
            location: None,
        }
    }

    #[must_use]
    pub fn version(self, version: i32) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// What a repeated request gets instead: the same without the secret, which is shown once.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn keep_instead(self, kept: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self {
            kept: Some(to_value(kept)?),
            ..self
        })
    }

    fn into_response(self) -> Response {
        let mut response = if self.status == StatusCode::NO_CONTENT {
            self.status.into_response()
        } else {
            (self.status, Json(self.body)).into_response()
        };
        let headers = response.headers_mut();
        if let Some(version) = self.version {
            headers.insert(ETAG, etag(version));
        }
        if let Some(location) = self
            .location
            .and_then(|location| HeaderValue::from_str(&location).ok())
        {
            headers.insert(LOCATION, location);
        }
        response
    }
}

pub fn etag(version: i32) -> HeaderValue {
    HeaderValue::from_str(&format!("\"v{version}\"")).unwrap_or(HeaderValue::from_static("\"v0\""))
}

/// Reads a body; an empty one is `{}`.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            let detail = error.to_string();
            Problem {
                errors: vec![FieldError {
                    pointer,
                    detail: detail.clone(),
                }],
                ..Problem::new(Kind::InvalidBody, detail)
            }
        } else {
            Problem::new(Kind::MalformedBody, error.to_string())
        }
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(Kind::MalformedBody, error.to_string()))?;
    Ok(body)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// A body without a principal, for sign-in only.
#[derive(Debug)]
pub struct Body<T>(pub T);

async fn bytes_of(request: Request, app: &App) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::BodyTooLarge,
            format!("at most {} bytes are taken", app.config().max_body_bytes),
        )
    };
    let json = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
    let bytes = axum::body::to_bytes(request.into_body(), app.config().max_body_bytes)
        .await
        .map_err(|error| {
            // The limit's error is the body's source; a client that went away gets no answer anyway.
            tracing::debug!(%error, "body not read");
            too_large()
        })?;
    if !json && !bytes.is_empty() {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send Content-Type: application/json",
        ));
    }
    Ok(bytes)
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        Ok(Self(parse(&bytes_of(request, app).await?)?))
    }
}

impl<P: Needs, T: DeserializeOwned> FromRequest<App> for Command<P, T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        Self::receive(request, app)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Problem(problem) => problem.into_response(),
                Refusal::Replay(response) => response,
            })
    }
}

/// Waits a little for a first request with the same key: one that failed or was answered a moment ago
/// gives its claim up only when its transaction has ended.
async fn claim_soon(
    db: &mut PgConnection,
    of: KeyOf<'_>,
    fingerprint: &[u8; 32],
) -> Result<Seen, sqlx::Error> {
    for _ in 0..10 {
        match idempotency::claim(db, of, fingerprint).await? {
            Seen::InFlight => tokio::time::sleep(Duration::from_millis(25)).await,
            seen => return Ok(seen),
        }
    }
    Ok(Seen::InFlight)
}

enum Refusal {
    Problem(Problem),
    Replay(Response),
}

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl<P: Needs, T: DeserializeOwned> Command<P, T> {
    async fn receive(request: Request, app: &App) -> Result<Self, Refusal> {
        let mut tenant = Tenant::<P>::open(app, bearer(request.headers())?).await?;
        let if_match = if_match(request.headers())?;
        let key = match request.headers().get(IDEMPOTENCY_KEY) {
            Some(value) if request.method() == Method::POST => {
                let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
                Some(
                    key.ok_or_else(|| {
                        Problem::new(
                            Kind::InvalidHeader,
                            "Idempotency-Key must be 1 to 255 printable characters",
                        )
                    })?
                    .to_owned(),
                )
            }
            _ => None,
        };
        let route = format!("{} {}", request.method(), request.uri().path());
        let bytes = bytes_of(request, app).await?;
        let mut claim = None;
        if let Some(key) = key {
            let fingerprint = Sha256::digest(&bytes).into();
            let credential = tenant.principal.name();
            let of = KeyOf {
                tenant: tenant.principal.tenant,
                credential: &credential,
                route: &route,
                key: &key,
            };
            match claim_soon(tenant.db(), of, &fingerprint).await? {
                Seen::New => {
                    claim = Some(Claim {
                        key,
                        route,
                        fingerprint,
                    })
                }
                Seen::InFlight => {
                    return Err(
                        Problem::new(Kind::InFlight, "try again when the first request is done")
                            .after(1)
                            .into(),
                    );
                }
                Seen::OtherBody => {
                    return Err(Problem::new(
                        Kind::KeyReused,
                        "the first request with this key had another body",
                    )
                    .into());
                }
                Seen::Answered { status, body } => {
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                    let answer = Answer {
                        status,
                        body,
                        kept: None,
                        version: None,
                        location: None,
                    };
                    let mut response = answer.into_response();
                    response
                        .headers_mut()
                        .insert(REPLAYED, HeaderValue::from_static("true"));
                    return Err(Refusal::Replay(response));
                }
            }
        }
        let body = parse(&bytes)?;
        Ok(Self {
            tenant,
            body,
            if_match,
            claim,
        })
    }
}

impl<P: Needs, T> Command<P, T> {
    pub fn principal(&self) -> &Principal {
        &self.tenant.principal
    }

    pub fn db(&mut self) -> &mut PgConnection {
        self.tenant.db()
    }

    /// The version that the change is meant for.
    ///
    /// # Errors
    /// 428 without an `If-Match`.
    pub fn expected(&self) -> Result<i32, Problem> {
        self.if_match.ok_or_else(|| {
            Problem::new(
                Kind::VersionRequired,
                "send If-Match with the ETag of what you read, such as \"v7\"",
            )
        })
    }

    /// The version that the change is meant for, where any will do.
    pub fn expected_if_given(&self) -> Option<i32> {
        self.if_match
    }

    /// Notes what was done.
    ///
    /// # Errors
    /// When the database does.
    pub async fn audit(&mut self, action: &str, subject: &str, detail: &Value) -> Result<(), Problem> {
        let (tenant, actor) = (self.tenant.principal.tenant, self.tenant.principal.name());
        models::db::audit::record(self.db(), tenant, &actor, action, subject, detail).await?;
        Ok(())
    }

    /// Keeps the answer under the idempotency key, commits, answers.
    ///
    /// # Errors
    /// When the database does.
    pub async fn finish(mut self, answer: Answer) -> Result<Response, Problem> {
        if let Some(claim) = self.claim.take() {
            let credential = self.tenant.principal.name();
            let of = KeyOf {
                tenant: self.tenant.principal.tenant,
                credential: &credential,
                route: &claim.route,
                key: &claim.key,
            };
            let kept = answer.kept.as_ref().unwrap_or(&answer.body);
            idempotency::store(
                &mut self.tenant.tx,
                of,
                &claim.fingerprint,
                answer.status.as_u16(),
                kept,
            )
            .await?;
        }
        self.tenant.tx.commit().await?;
        Ok(answer.into_response())
    }
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[serde(default)]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    struct Line {
        #[expect(dead_code, reason = "only read")]
        n: u8,
    }

    #[test]
    fn a_bad_body_names_the_place() {
        assert!(parse::<Order>(b"").unwrap().lines.is_empty());
        let problem = parse::<Order>(br#"{"lines":[{"n":1},{"n":"x"}]}"#).unwrap_err();
        assert_eq!(
            (problem.kind, problem.errors[0].pointer.as_str()),
            (Kind::InvalidBody, "/lines/1/n")
        );
        assert_eq!(parse::<Order>(b"{").unwrap_err().kind, Kind::MalformedBody);
        assert_eq!(parse::<Order>(b"{} {}").unwrap_err().kind, Kind::MalformedBody);
        assert_eq!(
            parse::<Order>(br#"{"line":[]}"#).unwrap_err().kind,
            Kind::InvalidBody
        );
    }

    #[test]
    fn versions_are_read_as_they_are_written() {
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers).unwrap(), None);
        headers.insert(IF_MATCH, etag(17));
        assert_eq!(if_match(&headers).unwrap(), Some(17));
        headers.insert(IF_MATCH, HeaderValue::from_static("*"));
        assert_eq!(if_match(&headers).unwrap_err().kind, Kind::InvalidHeader);
    }

    #[test]
    fn only_bearer_is_taken() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_err());
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        assert!(bearer(&headers).is_err());
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert_eq!(bearer(&headers).unwrap(), "abc");
    }
}
