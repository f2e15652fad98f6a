//! Files: a body that is not JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{Command, Needs, Tenant, bearer};
use crate::error::{Kind, Problem};
use crate::state::App;

/// A file as it came.
#[derive(Debug)]
pub struct Raw {
    pub bytes: Bytes,
    /// Without its parameters, in lower case.
    pub media_type: String,
}

/// Somebody who may `P` sends a file. The same file under the same name is the same attachment, so it
/// needs no idempotency key.
pub struct Upload<P>(pub Command<P, Raw>);

impl<P: Needs> FromRequest<App> for Upload<P> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        receive(request, app).await.map_err(IntoResponse::into_response)
    }
}

async fn receive<P: Needs>(request: Request, app: &App) -> Result<Upload<P>, Problem> {
    let tenant = Tenant::<P>::open(app, bearer(request.headers())?).await?;
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let most = app.config().attachments.max_bytes;
    let bytes = axum::body::to_bytes(request.into_body(), most)
        .await
        .map_err(|error| {
            tracing::debug!(%error, "file not read");
            Problem::new(
                Kind::BodyTooLarge,
                format!("a file has {most} bytes at most: make it smaller"),
            )
        })?;
    Ok(Upload(Command::of(tenant, Raw { bytes, media_type })))
}
