//! The status as a page, `status.listen`: `/` for people, `/status.json` for programs, `/healthz` for a
//! watchdog (503 while a collector fails or the uplink is down). It shows names and numbers, no
//! secrets, and changes nothing; it has no login, so it belongs on the gateway's own or the plant's
//! network.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Reporter, Status};

/// # Errors
/// When the address is taken, or not this machine's.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("`status.listen` {address}"))
}

/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, reporter: Reporter, stop: CancellationToken) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/", get(page))
        .route("/status.json", get(json))
        .route("/healthz", get(health))
        .with_state(reporter);
    // Open pages are not waited for.
    let serving = axum::serve(listener, app).into_future();
    match stop.run_until_cancelled(serving).await {
        None => Ok(()),
        Some(result) => result.context("status page"),
    }
}

async fn status(reporter: &Reporter) -> Result<Status, Response> {
    reporter.status(true).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "status page");
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the spool can't be read, see the log\n",
        )
            .into_response()
    })
}

async fn json(State(reporter): State<Reporter>) -> Result<Json<Status>, Response> {
    Ok(Json(status(&reporter).await?))
}

async fn health(State(reporter): State<Reporter>) -> Result<Response, Response> {
    let status = status(&reporter).await?;
    let mut wrong: Vec<String> = status
        .collectors
        .iter()
        .filter(|collector| collector.error.is_some())
        .map(|collector| format!("collector {} fails", collector.name))
        .collect();
    if !status.uplink.connected {
        wrong.push("no connection to the receiver".to_owned());
    }
    Ok(if wrong.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n").into_response()
    })
}

async fn page(State(reporter): State<Reporter>) -> Result<Response, Response> {
    let status = status(&reporter).await?;
    let head = [(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'",
    )];
    Ok((head, Html(render(&status))).into_response())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The same text as `forewarn-edge status`, and the collectors as a table.
fn render(status: &Status) -> String {
    let mut rows = String::new();
    for collector in &status.collectors {
        let (class, state) = match (&collector.error, collector.faults.len(), collector.ended) {
            (Some(error), ..) => ("bad", error.clone()),
            (None, 0, true) => ("", "ended".to_owned()),
            (None, 0, false) => ("good", collector.state.clone().unwrap_or_else(|| "ok".to_owned())),
            (None, n, _) => ("bad", format!("{n} points can't be read")),
        };
        let newest = collector.newest.map_or(String::new(), |at| at.to_string());
        // Writing into a String can't fail.
        let _ = write!(
            rows,
            "<tr class=\"{class}\"><td>{}<td>{}<td>{}<td>{newest}<td>{}",
            escape(&collector.name),
            escape(&collector.kind),
            collector.produced,
            escape(&state)
        );
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:16px system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}}\
         table{{border-collapse:collapse}}td,th{{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ddd}}\
         .bad{{color:#a40e26;font-weight:600}}pre{{background:#f6f8fa;padding:1rem;overflow-x:auto}}\
         @media(prefers-color-scheme:dark){{body{{background:#0d1117;color:#e6edf3}}pre{{background:#161b22}}.bad{{color:#ff7b72}}}}</style>\
         <h1>{title}</h1><table><tr><th>Collector<th>Kind<th>Readings<th>Newest<th>State{rows}</table><pre>{text}</pre>",
        title = escape(&format!("{}/{}", status.tenant, status.gateway)),
        text = escape(&status.to_string()),
    )
}
