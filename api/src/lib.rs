//! HTTP: people and systems read what Forewarn knows and act on it.
//!
//! Layers, outermost first: panics become problems → security headers → compression → trace id, time
//! limit and metrics → routes. A handler takes [`extract::Tenant`] or [`extract::Command`], whose type
//! names the permission; each opens a transaction that acts for one tenant, so that row-level security
//! decides what it sees. Everything that goes wrong becomes a [`error::Problem`] by one table.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use models::service::supervisor::Supervisor;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::auth::token::Tokens;
use crate::config::Config;
use crate::error::{Kind, Problem};
use crate::state::App;

mod align;
pub mod auth;
pub mod config;
mod docs;
pub mod error;
pub mod export;
pub mod extract;
mod lttb;
mod openapi;
pub mod outbound;
mod page;
mod pages;
mod promql;
mod routes;
mod series;
pub mod state;
pub mod store;
mod stream;
mod tls;
mod trace;

/// How long requests may go on after the shutdown began.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown` is cancelled; then takes no new connection, ends the live streams, finishes
/// the requests that are running.
///
/// # Errors
/// When the configuration is wrong or the listener fails.
pub async fn run(
    config: Config,
    pool: PgPool,
    listener: TcpListener,
    metrics: Option<PrometheusHandle>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    describe_metrics();
    let secret = match config.secret()? {
        Some(secret) => secret.expose_secret().as_bytes().to_vec(),
        None => {
            tracing::warn!(
                "api.jwt_secret is empty: a random one is used, and a restart signs everybody out"
            );
            models::db::auth::random_hex::<32>().into_bytes()
        }
    };
    let tokens = Tokens::new(&secret, config.token_lifetime_s, config.session_lifetime_s);
    let (wake, outbox) = watch::channel(0);
    let app = App::new(config, pool.clone(), tokens, outbox, metrics, shutdown.clone())?;
    let address = listener.local_addr().context("listener")?;
    tracing::info!(%address, "http is up");
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();

    let mut supervisor = Supervisor::new(shutdown.clone());
    supervisor.spawn("outbox listener", stream::listen(pool, wake, shutdown.clone()));
    supervisor.spawn("http", async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .context("http")
    });
    supervisor.run(DRAIN).await
}

fn describe_metrics() {
    metrics::describe_counter!(
        "forewarn_api_requests_total",
        "Requests by method, route and status"
    );
    metrics::describe_histogram!(
        "forewarn_api_request_duration_seconds",
        metrics::Unit::Seconds,
        "Time to the answer's head"
    );
    metrics::describe_counter!("forewarn_api_problems_total", "Refusals by problem type");
    metrics::describe_counter!(
        "forewarn_api_signins_failed_total",
        "Sign-ins with a wrong password"
    );
    metrics::describe_gauge!("forewarn_api_streams_open", "Live streams that are open");
}

/// The OpenAPI document, as it is served and committed.
pub fn openapi_document() -> serde_json::Value {
    openapi::finish(parts().1)
}

fn parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    use utoipa::OpenApi;
    utoipa_axum::router::OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(routes::all())
        .split_for_parts()
}

fn router(app: App) -> Router {
    let (routes, api) = parts();
    let document = openapi::finish(api);
    let docs = docs::render(&document);
    let document = format!("{document:#}\n");
    let json = [(CONTENT_TYPE, "application/json")];
    let css = [(CONTENT_TYPE, "text/css; charset=utf-8")];
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes
        .merge(routes::prometheus::routes())
        .route("/openapi.json", get(move || async move { (json, document.clone()) }))
        .route("/docs", get(move || async move { Html(docs.clone()) }))
        .route("/docs/style.css", get(move || async move { (css, docs::STYLE) }))
        .fallback(pages::fallback)
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(app.clone(), trace::layer))
        .layer(CompressionLayer::new())
        .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(REFERRER_POLICY, "no-referrer"))
        .layer(header(
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ))
        // Answers speak of one person's tenant; files say for themselves how long they keep.
        .layer(header(CACHE_CONTROL, "no-store"))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = text, "a handler panicked");
            Problem::new(Kind::Internal, "the error is in the server's log").into_response()
        }))
        .with_state(app)
}
