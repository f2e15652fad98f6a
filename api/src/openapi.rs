//! The OpenAPI 3.1 document: from the handlers' own types, plus what all operations share (refusals,
//! headers, an example for each).

use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::error::{Kind, ProblemBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forewarn",
        description = "Readings in, health and tickets out. Lists go by `limit` and `cursor`; changes of existing things \
            need `If-Match` with the ETag that was read; POST takes `Idempotency-Key`; refusals are \
            application/problem+json (RFC 9457). The security of an operation names the permission it needs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "session", description = "Signing in."),
        (name = "overview", description = "The plant in numbers."),
        (name = "assets", description = "The register and what analytics concluded."),
        (name = "channels", description = "What was measured."),
        (name = "alarms", description = "What is wrong now, and what is watched."),
        (name = "cases", description = "Asset and failure mode: what a planner sees."),
        (name = "tickets", description = "Work on assets."),
        (name = "people", description = "Who works here, when, and what they may do."),
        (name = "safety", description = "What has to be true before work begins: permits, locks, requirements."),
        (name = "parts", description = "Stock, reservations and what was used."),
        (name = "failures", description = "What failed and why, how long it stood still, and the figures made of it."),
        (name = "integrations", description = "What leaves: webhooks and messages to people."),
        (name = "plans", description = "Recurring work and the meters that drive it."),
        (name = "ingest", description = "Gateways and the account of what they sent."),
        (name = "stream", description = "Changes as they happen."),
        (name = "keys", description = "Keys for programs."),
        (name = "operation", description = "For whoever runs the server."),
    )
)]
pub struct Document;

/// Fills in what every operation shares and returns the document as JSON.
pub fn finish(mut api: utoipa::openapi::OpenApi) -> Value {
    let components = api.components.get_or_insert_default();
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("A token from /v1/sign-in, or an API key (`fwk_…`).".to_owned());
    components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    let schemas = document["components"]["schemas"].clone();
    document["components"]["responses"] = Kind::ALL
        .into_iter()
        .map(|kind| (kind.row().1, refusal(kind)))
        .collect();
    let Some(paths) = document["paths"].as_object_mut() else {
        return document;
    };
    for (path, item) in paths {
        let Some(item) = item.as_object_mut() else {
            continue;
        };
        for (method, operation) in item {
            share(path, method, operation, &schemas);
        }
    }
    document
}

/// The refusals that an operation can answer with.
fn refusals(path: &str, method: &str, operation: &Value) -> Vec<Kind> {
    let writes = matches!(method, "post" | "put" | "patch" | "delete");
    let mut kinds = vec![Kind::Internal, Kind::Unavailable];
    if !path.starts_with("/v1") {
        return kinds;
    }
    if operation.get("security").is_some() {
        kinds.extend([Kind::Unauthenticated, Kind::Forbidden]);
    } else {
        kinds.extend([Kind::SignInFailed, Kind::Forbidden, Kind::TooManyRequests]);
    }
    let parameters = operation["parameters"].as_array();
    let has = |place: &str| parameters.is_some_and(|all| all.iter().any(|one| one["in"] == place));
    if has("path") || has("query") || writes {
        kinds.push(Kind::InvalidPath);
    }
    if path.contains('{') || path == "/v1/events" {
        kinds.push(Kind::NotFound);
    }
    if path == "/v1/stream" {
        kinds.push(Kind::TooManyRequests);
    }
    if writes {
        kinds.extend([Kind::BodyTooLarge, Kind::UnsupportedMediaType, Kind::InvalidBody]);
        if operation.get("security").is_some() {
            kinds.push(Kind::Conflict);
        }
    }
    if parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "if-match")) {
        kinds.push(Kind::StaleVersion);
        let required = |one: &Value| one["name"] == "if-match" && one["required"] == true;
        if parameters.is_some_and(|all| all.iter().any(required)) {
            kinds.push(Kind::VersionRequired);
        }
    }
    kinds
}

fn refusal(kind: Kind) -> Value {
    let (status, name, title) = kind.row();
    json!({
        "description": title,
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "example": { "type": kind.type_uri(), "title": title, "status": status,
                         "detail": format!("what exactly: {name}"), "trace_id": "0198c4f2a1b27c3d8e4f5a6b7c8d9e0f" },
        } },
    })
}

fn share(path: &str, method: &str, operation: &mut Value, schemas: &Value) {
    for kind in refusals(path, method, operation) {
        let Some(responses) = operation["responses"].as_object_mut() else {
            return;
        };
        let reference = format!("#/components/responses/{}", kind.row().1);
        responses
            .entry(kind.row().0.to_string())
            .or_insert_with(|| json!({ "$ref": reference }));
    }
    if method == "post" && operation.get("security").is_some() && operation["tags"][0] != "session" {
        let header = json!({ "name": "idempotency-key", "in": "header", "required": false,
            "description": "The same key with the same body gets the first answer again, with Idempotency-Replayed: true.",
            "schema": { "type": "string", "maxLength": 255 } });
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(header),
            None => operation["parameters"] = json!([header]),
        }
    }
    let bodies = ["requestBody", "responses"];
    for part in bodies {
        let targets: Vec<&mut Value> = match part {
            "requestBody" => operation.get_mut("requestBody").into_iter().collect(),
            _ => operation["responses"]
                .as_object_mut()
                .map(|all| {
                    all.iter_mut()
                        .filter(|(code, _)| code.starts_with('2'))
                        .map(|(_, one)| one)
                        .collect()
                })
                .unwrap_or_default(),
        };
        for target in targets {
            let Some(content) = target.pointer_mut("/content/application~1json") else {
                continue;
            };
            if content.get("example").is_none() {
                let example = example(&content["schema"], schemas, 0);
                content["example"] = example;
            }
        }
    }
}

/// A value that fits a schema, from the examples of its parts.
fn example(schema: &Value, schemas: &Value, depth: usize) -> Value {
    if depth > 8 {
        return Value::Null;
    }
    if let Some(given) = schema
        .get("example")
        .or_else(|| schema.get("examples").and_then(|all| all.get(0)))
    {
        return given.clone();
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return example(&schemas[name], schemas, depth + 1);
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = serde_json::Map::new();
        for part in parts {
            if let Value::Object(fields) = example(part, schemas, depth + 1) {
                whole.extend(fields);
            }
        }
        return Value::Object(whole);
    }
    if let Some(parts) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let real = parts.iter().find(|part| part["type"] != "null");
        return real.map_or(Value::Null, |part| example(part, schemas, depth + 1));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object();
            let fields = fields.into_iter().flatten();
            Value::Object(
                fields
                    .map(|(name, part)| (name.clone(), example(part, schemas, depth + 1)))
                    .collect(),
            )
        }
        Some("array") => json!([example(&schema["items"], schemas, depth + 1)]),
        Some("string") => "text".into(),
        Some("integer") => 1.into(),
        Some("number") => 0.5.into(),
        Some("boolean") => false.into(),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_follow_the_schema() {
        let schemas = json!({ "A": { "type": "object", "properties": {
            "id": { "type": "string", "examples": ["ast_1"] }, "n": { "type": ["integer", "null"] },
            "kind": { "oneOf": [{ "type": "null" }, { "enum": ["high"] }] } } } });
        let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/A" } });
        assert_eq!(
            example(&list, &schemas, 0),
            json!([{ "id": "ast_1", "n": 1, "kind": "high" }])
        );
    }
}
