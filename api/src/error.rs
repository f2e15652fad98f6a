//! Refusals: one table from what went wrong to `application/problem+json` (RFC 9457).
//!
//! The domain knows nothing of HTTP. Its errors, the database's and the framework's all become a
//! [`Problem`] here, so that a client meets one shape whatever failed. `type` is a stable reference
//! into the reference page; programs branch on it, never on the texts.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use models::db::change::ChangeError;
use models::db::{broken_constraint, is_retryable};
use models::ticket::Missing;
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    MalformedBody,
    InvalidQuery,
    InvalidPath,
    InvalidHeader,
    Unauthenticated,
    SignInFailed,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Duplicate,
    Conflict,
    InFlight,
    StaleVersion,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidBody,
    Refused,
    KeyReused,
    VersionRequired,
    TooManyRequests,
    Internal,
    Unavailable,
    Timeout,
}

impl Kind {
    pub const ALL: [Self; 23] = [
        Self::MalformedBody,
        Self::InvalidQuery,
        Self::InvalidPath,
        Self::InvalidHeader,
        Self::Unauthenticated,
        Self::SignInFailed,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Duplicate,
        Self::Conflict,
        Self::InFlight,
        Self::StaleVersion,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidBody,
        Self::Refused,
        Self::KeyReused,
        Self::VersionRequired,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
        Self::Timeout,
    ];

    /// The table: status, name in the `type` reference, title.
    pub const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedBody => (400, "malformed-body", "The body is not JSON"),
            Self::InvalidQuery => (400, "invalid-query", "A query parameter can't be used"),
            Self::InvalidPath => (400, "invalid-path", "The path holds something that is not an id"),
            Self::InvalidHeader => (400, "invalid-header", "A header can't be used"),
            Self::Unauthenticated => (401, "unauthenticated", "Sign in, or send a valid key"),
            Self::SignInFailed => (401, "sign-in-failed", "Mail address or password is wrong"),
            Self::Forbidden => (403, "forbidden", "Not allowed"),
            Self::NotFound => (404, "not-found", "Not found"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "This resource doesn't know the method"),
            Self::Duplicate => (409, "duplicate", "There is one of that name already"),
            Self::Conflict => (409, "conflict", "The state doesn't allow it"),
            Self::InFlight => (
                409,
                "in-flight",
                "The first request with this key is still running",
            ),
            Self::StaleVersion => (412, "stale-version", "Somebody else changed it first"),
            Self::BodyTooLarge => (413, "body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (415, "unsupported-media-type", "The body must be application/json")
            }
            Self::InvalidBody => (422, "invalid-body", "The body can't be used"),
            Self::Refused => (422, "refused", "The rules don't allow it"),
            Self::KeyReused => (
                422,
                "key-reused",
                "The idempotency key was used for something else",
            ),
            Self::VersionRequired => (428, "version-required", "If-Match is required"),
            Self::TooManyRequests => (429, "too-many-requests", "Too many attempts"),
            Self::Internal => (500, "internal", "Something failed on the server"),
            Self::Unavailable => (503, "unavailable", "The database doesn't answer"),
            Self::Timeout => (503, "timeout", "The request took too long"),
        }
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn type_uri(self) -> String {
        format!("/docs#problem-{}", self.row().1)
    }
}

/// One place of the body that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901).
    #[schema(example = "/limit_value")]
    pub pointer: String,
    pub detail: String,
}

/// A refusal on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub missing: Vec<Missing>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

/// The body of a refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Stable reference; branch on this.
    #[serde(rename = "type")]
    #[schema(example = "/docs#problem-not-found")]
    pub type_uri: String,
    #[schema(example = "Not found")]
    pub title: &'static str,
    #[schema(example = 404)]
    pub status: u16,
    pub detail: String,
    /// Places of the body that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// What a transition still needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub missing: Vec<Missing>,
    /// Stands in the server's log as well.
    pub trace_id: String,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            missing: Vec::new(),
            retry_after: None,
        }
    }

    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "there is no such thing here")
    }

    /// A body that was understood and can't be used.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            errors: vec![FieldError {
                pointer: pointer.into(),
                detail: detail.clone(),
            }],
            ..Self::new(Kind::InvalidBody, detail)
        }
    }

    pub fn query(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(Kind::InvalidQuery, format!("{name}: {detail}"))
    }

    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.row();
        let trace_id = crate::trace::current();
        if status >= 500 {
            tracing::error!(problem = name, detail = self.detail, "request failed");
        } else {
            tracing::debug!(problem = name, detail = self.detail, "request refused");
        }
        metrics::counter!("forewarn_api_problems_total", "problem" => name).increment(1);
        let body = ProblemBody {
            type_uri: self.kind.type_uri(),
            title,
            status,
            detail: self.detail,
            errors: self.errors,
            missing: self.missing,
            trace_id,
        };
        let mut response = (self.kind.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// SQLSTATE and constraint decide, never the message.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if is_retryable(&error) {
            tracing::warn!(error = %error, "the database doesn't answer");
            return Self::new(Kind::Unavailable, "the database doesn't answer, try again").after(2);
        }
        let code = error
            .as_database_error()
            .and_then(|database| database.code())
            .unwrap_or_default();
        let constraint = broken_constraint(&error).unwrap_or_default();
        match &*code {
            "23505" => Self::new(
                Kind::Duplicate,
                format!("there is one already ({constraint}): change that one, or choose another name"),
            ),
            "23503" => Self::new(
                Kind::InvalidBody,
                format!(
                    "it refers to something that doesn't exist, or that others still refer to ({constraint})"
                ),
            ),
            "23514" | "23502" => Self::new(
                Kind::InvalidBody,
                format!("a value is not allowed ({constraint})"),
            ),
            "22P02" | "22007" | "22008" | "22003" => {
                Self::new(Kind::InvalidBody, "a value can't be read as what it should be")
            }
            // Row-level security refused what was to be written.
            "42501" => Self::new(Kind::Forbidden, "it belongs to a place you have no part in"),
            _ => {
                tracing::error!(error = %error, sqlstate = %code, "database error");
                Self::new(
                    Kind::Internal,
                    "the error is in the server's log under this trace id",
                )
            }
        }
    }
}

impl<E: std::error::Error + 'static> From<ChangeError<E>> for Problem {
    fn from(error: ChangeError<E>) -> Self {
        match error {
            ChangeError::NotFound => Self::not_found(),
            ChangeError::Stale { .. } => Self::new(Kind::StaleVersion, error.to_string()),
            ChangeError::Refused(refusal) => Self::new(Kind::Refused, refusal.to_string()),
            ChangeError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_different_type_and_a_refusal() {
        let names: HashSet<&str> = Kind::ALL.iter().map(|kind| kind.row().1).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(
                kind.status().is_client_error() || kind.status().is_server_error(),
                "{kind:?}"
            );
            assert_eq!(kind.status().as_u16(), kind.row().0);
        }
    }

    #[test]
    fn domain_errors_map_by_the_table() {
        #[derive(Debug, thiserror::Error)]
        #[error("no")]
        struct No;
        let kind = |error: ChangeError<No>| Problem::from(error).kind;
        assert_eq!(kind(ChangeError::NotFound), Kind::NotFound);
        assert_eq!(
            kind(ChangeError::Stale {
                expected: 1,
                current: 2
            }),
            Kind::StaleVersion
        );
        assert_eq!(kind(ChangeError::Refused(No)), Kind::Refused);
        assert_eq!(
            kind(ChangeError::Database(sqlx::Error::PoolTimedOut)),
            Kind::Unavailable
        );
        assert_eq!(
            kind(ChangeError::Database(sqlx::Error::RowNotFound)),
            Kind::Internal
        );
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_how_to_sign_in() {
        let response = Problem::new(Kind::TooManyRequests, "slow down")
            .after(7)
            .into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let response = Problem::new(Kind::Unauthenticated, "no").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
