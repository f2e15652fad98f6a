//! Files: a body that is not JSON, taken in part by part.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use sqlx::PgConnection;

use super::{Command, Needs, Tenant, bearer};
use crate::error::{Kind, Problem};
use crate::state::App;
use crate::store::NotTaken;

/// Somebody who may `P` sends a file, of which nothing was read yet. The same file under the same name is
/// the same attachment, so it needs no idempotency key.
pub struct Upload<P> {
    tenant: Tenant<P>,
    token: String,
    /// As announced; a body that comes in chunks announces none.
    length: Option<u64>,
    body: Rest,
    /// Without its parameters, in lower case.
    pub media_type: String,
}

/// What is still to come of a file. One that is refused is heard out for a little while: a connection that
/// is closed on somebody who speaks takes the answer with it.
struct Rest(Option<BodyDataStream>);

/// So long, and so much, bytes.
const LINGER: (Duration, usize) = (Duration::from_secs(10), 64 << 20);

impl Drop for Rest {
    fn drop(&mut self) {
        let Some(mut parts) = self.0.take() else { return };
        tokio::spawn(tokio::time::timeout(LINGER.0, async move {
            let mut heard = 0;
            while let Some(Ok(part)) = parts.next().await {
                heard += part.len();
                if heard > LINGER.1 {
                    break;
                }
            }
        }));
    }
}

impl<P: Needs> FromRequest<App> for Upload<P> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        open(request, app).await.map_err(IntoResponse::into_response)
    }
}

async fn open<P: Needs>(request: Request, app: &App) -> Result<Upload<P>, Problem> {
    let token = bearer(request.headers())?.to_owned();
    let tenant = Tenant::<P>::open(app, &token).await?;
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let media_type = text(CONTENT_TYPE)
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let length = text(CONTENT_LENGTH).and_then(|value| value.parse().ok());
    Ok(Upload {
        tenant,
        token,
        length,
        body: Rest(Some(request.into_body().into_data_stream())),
        media_type,
    })
}

impl<P: Needs> Upload<P> {
    /// For what has to be asked before a byte is read.
    pub fn db(&mut self) -> &mut PgConnection {
        self.tenant.db()
    }

    /// Takes the file in, `most` bytes at most, and keeps it. No transaction is open while it comes and is
    /// kept, however slowly; the one that follows asks again who it is. What is rolled back then leaves a
    /// content that the next upload of the same finds.
    ///
    /// # Errors
    /// When it is too large, empty, or not of its type.
    pub async fn keep(self, app: &App, most: u64) -> Result<(Command<P, ()>, Kept), Problem> {
        let Self {
            tenant,
            token,
            length,
            mut body,
            media_type,
        } = self;
        drop(tenant);
        let refused = |error| refused(error, app);
        if length.is_some_and(|length| length > most) {
            return Err(refused(NotTaken::TooLarge { most }));
        }
        let parts = futures::stream::iter(body.0.as_mut()).flatten();
        let received = app
            .store()
            .receive(parts, Some(&media_type), most)
            .await
            .map_err(refused)?;
        let length = received.length;
        let kept = app.store().keep(received).await;
        let sha256 = kept.map_err(|error| refused(NotTaken::Place(error)))?;
        let tenant = Tenant::<P>::open(app, &token).await?;
        Ok((Command::of(tenant, ()), Kept { length, sha256 }))
    }
}

/// A file in its place.
#[derive(Debug)]
pub struct Kept {
    pub length: u64,
    pub sha256: [u8; 32],
}

fn refused(error: NotTaken, app: &App) -> Problem {
    let kind = match &error {
        NotTaken::TooLarge { most } if *most < app.config().attachments.max_bytes as u64 => {
            let detail = format!("the files of this tenant may take {most} bytes more: ask for more room");
            return Problem::new(Kind::BodyTooLarge, detail);
        }
        NotTaken::TooLarge { .. } => Kind::BodyTooLarge,
        NotTaken::OtherType { .. } => Kind::UnsupportedMediaType,
        NotTaken::Empty | NotTaken::BrokeOff(_) => return Problem::field("", error.to_string()),
        NotTaken::Place(reason) => {
            tracing::error!(error = format!("{reason:#}"), "a file was not kept");
            let detail = "the file could not be kept; the reason is in the server's log";
            return Problem::new(Kind::Internal, detail);
        }
    };
    Problem::new(kind, error.to_string())
}
