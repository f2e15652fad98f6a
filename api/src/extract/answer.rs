//! What an order is answered with.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Kind, Problem};

/// The answer to an order.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) kept: Option<Value>,
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

    /// The answer that was given to the same request before.
    pub(super) fn repeated(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            kept: None,
            version: None,
            location: None,
        }
    }

    pub(super) fn into_response(self) -> Response {
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
