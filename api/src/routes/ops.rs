//! For whoever runs the server: alive, ready, metrics.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use models::db::{MIGRATOR, overview};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Kind, Problem};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// The process runs.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The database answers and has the schema that this program was built for.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn readyz(State(app): State<App>) -> Result<Response, Problem> {
    if app.shutdown().is_cancelled() {
        return Err(Problem::new(Kind::Unavailable, "stopping"));
    }
    let wanted = MIGRATOR.iter().map(|step| step.version).max().unwrap_or_default();
    let mut connection = app.pool().acquire().await?;
    let there = overview::schema_version(&mut connection).await?;
    if there == wanted {
        return Ok((StatusCode::OK, "ready\n").into_response());
    }
    let detail =
        format!("the schema is at version {there}, and this program needs {wanted}: run `forewarn migrate`");
    Err(Problem::new(Kind::Unavailable, detail))
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>) -> Response {
    match app.metrics() {
        Some(handle) => (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            handle.render(),
        )
            .into_response(),
        None => Problem::new(Kind::NotFound, "this process keeps no metrics").into_response(),
    }
}
