//! HTTP push: whoever can post JSON.
//!
//! ```toml
//! [[collect]]
//! kind = "http"
//! listen = "127.0.0.1:8088"
//! token_file = "push.token"        # required on any other address than loopback
//! time = "ts"                      # and `values`, `rename`, `units`: see the `mqtt` collector
//! ```
//!
//!     curl -H "Authorization: Bearer $TOKEN" -d '{"temp": 21.5}' http://gateway:8088/readings/pump-7
//!     curl … -d 21.5 http://gateway:8088/readings/pump-7/temp
//!
//! `200 {"kept": 1}` means on this gateway's disk, synced; from there on it can't be lost. `400` and
//! `422` say what is wrong and that nothing was kept; `503`: try again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as Place, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::FutureExt;
use futures::future::BoxFuture;
use models::time::Timestamp;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::payload::{Names, Shape};
use super::report::Report;
use super::source::{Feed, Source};

const MAX_BODY: usize = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub listen: SocketAddr,
    pub token: Option<SecretString>,
    pub token_file: Option<PathBuf>,
    pub values: Option<String>,
    pub time: Option<String>,
    #[serde(default)]
    pub rename: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub units: std::collections::BTreeMap<String, String>,
}

/// See the module.
pub struct Push {
    listen: SocketAddr,
    token: Option<SecretString>,
    shape: Arc<Shape>,
}

#[derive(Clone)]
struct App {
    feed: Feed,
    token: Option<SecretString>,
    shape: Arc<Shape>,
    names: Arc<Mutex<Names>>,
}

impl Push {
    /// # Errors
    /// When the token's file can't be read, or there is none though others can reach the address.
    pub fn open(config: &Config, base: &Path) -> anyhow::Result<Self> {
        let token = match (&config.token, &config.token_file) {
            (Some(_), Some(_)) => anyhow::bail!("give either `token` or `token_file`"),
            (Some(token), None) => Some(token.clone()),
            (None, Some(file)) => Some(models::service::config::read_secret_file(&base.join(file))?),
            (None, None) => None,
        };
        ensure!(
            token.is_some() || config.listen.ip().is_loopback(),
            "`listen` is {}, which others can reach: give a `token_file`",
            config.listen
        );
        Ok(Self {
            listen: config.listen,
            token,
            shape: Arc::new(Shape {
                values: config.values.clone(),
                time: config.time.clone(),
                rename: config.rename.clone(),
                units: config.units.clone(),
            }),
        })
    }

    async fn serve(&self, feed: &Feed) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("`listen` {}", self.listen))?;
        feed.connected(&format!("listens on http://{}", listener.local_addr()?));
        let app = Router::new()
            .route("/readings/{device}", post(object))
            .route("/readings/{device}/{*channel}", post(single))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(App {
                feed: feed.clone(),
                token: self.token.clone(),
                shape: Arc::clone(&self.shape),
                names: Arc::default(),
            });
        axum::serve(listener, app).await.context("http collector")
    }
}

impl Source for Push {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.serve(feed).boxed()
    }
}

async fn object(
    State(app): State<App>,
    Place(device): Place<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    app.take(&headers, &device, None, &body).await
}

async fn single(
    State(app): State<App>,
    Place((device, channel)): Place<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    app.take(&headers, &device, Some(&channel), &body).await
}

impl App {
    async fn take(&self, headers: &HeaderMap, device: &str, channel: Option<&str>, body: &[u8]) -> Response {
        if let Some(token) = &self.token {
            let given = headers
                .get(header::AUTHORIZATION)
                .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
                .unwrap_or_default();
            if !same(given, token.expose_secret().as_bytes()) {
                let head = [(header::WWW_AUTHENTICATE, "Bearer")];
                return (StatusCode::UNAUTHORIZED, head, "wrong or no bearer token\n").into_response();
            }
        }
        let read = self
            .shape
            .read(body, device, channel, &mut self.names.lock(), Timestamp::now());
        let read = match read {
            Ok(read) => read,
            Err(why) => return self.refuse(StatusCode::BAD_REQUEST, device, &why),
        };
        if read.readings.is_empty() {
            let why = read.left_out.first().map_or("holds no values", String::as_str);
            return self.refuse(StatusCode::UNPROCESSABLE_ENTITY, device, why);
        }
        for why in &read.left_out {
            self.feed.rejected(&format!("{device}: {why}"));
        }
        let kept = read.readings.len();
        match self.feed.keep(read.readings).await {
            Ok(()) => Json(json!({ "kept": kept, "left_out": read.left_out })).into_response(),
            Err(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}: try again\n")).into_response()
            }
        }
    }

    fn refuse(&self, status: StatusCode, device: &str, why: &str) -> Response {
        self.feed.rejected(&format!("{device}: {why}"));
        (status, Json(json!({ "kept": 0, "error": why }))).into_response()
    }
}

/// Compares without telling by its time how much was right.
pub(super) fn same(given: &[u8], expected: &[u8]) -> bool {
    let differ = given
        .iter()
        .zip(expected)
        .fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0 && given.len() == expected.len()
}
