//! Orders: somebody who may, a body, a transaction that is committed by the answer.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use models::db::idempotency::{self, KeyOf, Seen};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::answer::Answer;
use super::body::{bytes_of, parse};
use super::{Needs, Tenant, bearer, if_match};
use crate::auth::principal::Principal;
use crate::error::{Kind, Problem};
use crate::state::App;

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
                        "the first request with this key had another body: a new order needs a new key",
                    )
                    .into());
                }
                Seen::Answered { status, body } => {
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                    let mut response = Answer::repeated(status, body).into_response();
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
    /// An order whose body is not JSON.
    pub(super) fn of(tenant: Tenant<P>, body: T) -> Self {
        Self {
            tenant,
            body,
            if_match: None,
            claim: None,
        }
    }

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
