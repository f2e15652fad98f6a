//! Bodies: read within a bound, refused with the place that is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::error::{FieldError, Kind, Problem};
use crate::state::App;

/// Reads a body; an empty one is `{}`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
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

pub(super) async fn bytes_of(request: Request, app: &App) -> Result<Bytes, Problem> {
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
