//! One id for each request: in the log's span, in every refusal, in the header `x-trace-id`.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::error::{Kind, Problem};
use crate::state::App;

tokio::task_local! {
    static TRACE: String;
}

const HEADER: HeaderName = HeaderName::from_static("x-trace-id");

/// The id of the request that is being answered.
pub fn current() -> String {
    TRACE.try_with(Clone::clone).unwrap_or_default()
}

/// Outermost layer: span, time limit, metrics.
pub async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let trace_id = uuid::Uuid::now_v7().simple().to_string();
    let method = request.method().clone();
    // The pattern, never the path: a metric must not have a label for each asset.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(pages)", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", %method, path = request.uri().path(), trace_id);
    let started = Instant::now();
    let limit = app.config().request_timeout(&route);
    let answer = async {
        match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                Problem::new(Kind::Timeout, format!("not done within {} s", limit.as_secs())).into_response()
            }
        }
    };
    let mut response = TRACE
        .scope(trace_id.clone(), answer)
        .instrument(span.clone())
        .await;
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    span.in_scope(|| tracing::debug!(status, seconds, "answered"));
    let method = method.as_str().to_owned();
    metrics::counter!("forewarn_api_requests_total", "method" => method.clone(), "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("forewarn_api_request_duration_seconds", "method" => method, "route" => route)
        .record(seconds);
    if let Ok(value) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
