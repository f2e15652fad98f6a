//! The pages, embedded. Whatever is no file is the application itself, which knows its own routes.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::{Kind, Problem};
use crate::state::App;

/// Built by Vite. Cargo must build without Node, so the folder may be missing.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Dist;

const NOT_BUILT: &str = "Forewarn is running; its pages are not built into this executable.\n\n\
    Build them and compile again:\n\n    cd api/web && npm ci && npm run build\n    cargo build\n\n\
    The API is described at /docs.\n";

/// Whatever no route took.
pub async fn fallback(State(_): State<App>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "v1" || path.starts_with("v1/") {
        return Problem::new(Kind::NotFound, format!("there is no {method} {}", uri.path())).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return method_not_allowed().await;
    }
    let file = Dist::get(if path.is_empty() { "index.html" } else { path });
    match file {
        Some(file) => serve(path, &file, &headers),
        // A file that is missing is missing; answering it with the page would hide the fault.
        None if path.starts_with("assets/")
            || path.rsplit('/').next().is_some_and(|name| name.contains('.')) =>
        {
            Problem::new(Kind::NotFound, format!("there is no file {}", uri.path())).into_response()
        }
        None => match Dist::get("index.html") {
            Some(index) => serve("index.html", &index, &headers),
            None => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], NOT_BUILT).into_response(),
        },
    }
}

pub async fn method_not_allowed() -> Response {
    Problem::new(
        Kind::MethodNotAllowed,
        "the resource is here, but not for this method",
    )
    .into_response()
}

fn serve(path: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    // Vite puts a hash of the content into the names of what it bundles.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| {
        known
            .split(',')
            .any(|one| one.trim().trim_start_matches("W/") == tag)
    }) {
        return (
            StatusCode::NOT_MODIFIED,
            [(ETAG, tag), (CACHE_CONTROL, cache.to_owned())],
        )
            .into_response();
    }
    let kind = file.metadata.mimetype();
    let kind = if kind.starts_with("text/") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (ETAG, tag),
        (CACHE_CONTROL, cache.to_owned()),
    ];
    (headers, file.data.to_vec()).into_response()
}
