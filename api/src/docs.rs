//! The reference page at `/docs`: one table for each tag, written by the server from the OpenAPI
//! document. No script, no style sheet from elsewhere.

use std::fmt::Write;

use serde_json::Value;

use crate::error::Kind;

pub const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto;padding:.75rem;\
background:#f3f4f6;border-radius:6px}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem;\
border-bottom:1px solid #d8dde3;vertical-align:top}details{border:1px solid #d8dde3;border-radius:6px;margin:.4rem 0;\
padding:.4rem .75rem}summary{cursor:pointer}.verb{display:inline-block;min-width:4.5rem;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#e4e7eb;background:#14171a}pre{background:#20252a}\
td,th,details{border-color:#39414a}a{color:#8ab4f8}}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// The page.
pub fn render(document: &Value) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Forewarn API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/docs/style.css\">\
         </head><body><h1>Forewarn API</h1>",
    );
    let intro = text(&document["info"]["description"]);
    let _ = write!(
        page,
        "<p>{intro}</p><p>Machines read <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI 3.1).</p>"
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(
            page,
            "<h2>{}</h2><p>{}</p>",
            text(&tag["name"]),
            text(&tag["description"])
        );
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag["name"] {
                    operation_of(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2>Problems</h2><table><tr><th>type</th><th>status</th><th>meaning</th></tr>");
    for kind in Kind::ALL {
        let (status, name, title) = kind.row();
        let _ = write!(
            page,
            "<tr id=\"problem-{name}\"><td><code>{}</code></td><td>{status}</td><td>{}</td></tr>",
            kind.type_uri(),
            escape(title)
        );
    }
    page.push_str("</table></body></html>\n");
    page
}

fn operation_of(page: &mut String, path: &str, method: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    let summary = text(&operation["summary"]);
    let verb = method.to_uppercase();
    let _ = write!(
        page,
        "<details id=\"{id}\"><summary><span class=\"verb\">{verb}</span> <code>{}</code> {summary}</summary>",
        escape(path)
    );
    let scope = operation["security"][0]["bearer"][0].as_str();
    let needs = match (operation.get("security"), scope) {
        (None, _) => "nothing: it is open".to_owned(),
        (Some(_), Some(scope)) => format!("<code>{}</code>", escape(scope)),
        (Some(_), None) => "a sign-in".to_owned(),
    };
    let _ = write!(
        page,
        "<p>{}</p><p>Needs {needs}.</p>",
        text(&operation["description"])
    );
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>");
        for one in parameters {
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&one["name"]),
                text(&one["in"]),
                text(&one["description"])
            );
        }
        page.push_str("</table>");
    }
    if let Some(body) = operation.pointer("/requestBody/content/application~1json/example") {
        let _ = write!(page, "<p>Body</p><pre>{}</pre>", escape(&format!("{body:#}")));
    }
    for (code, response) in operation["responses"].as_object().into_iter().flatten() {
        let Some(example) = response.pointer("/content/application~1json/example") else {
            continue;
        };
        let _ = write!(
            page,
            "<p>{code}</p><pre>{}</pre>",
            escape(&format!("{example:#}"))
        );
    }
    page.push_str("</details>");
}
