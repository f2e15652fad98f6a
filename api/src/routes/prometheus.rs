//! The read-only part of Prometheus' HTTP API that Grafana's built-in data source asks
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/>). The tenant's key is the bearer
//! token, or the password of basic authentication; it needs `assets:read`. Answers and refusals have
//! Prometheus' shape, so these routes are not part of the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use models::time::Timestamp;
use serde_json::{Value as Json, json};

use crate::error::Problem;
use crate::extract::{Tenant, may::AssetsRead};
use crate::promql::ast::Matcher;
use crate::promql::eval::{EvalError, Steps, Value, eval};
use crate::promql::series::{Labels, Series, find};
use crate::promql::{BadQuery, duration_us, parse, selector};
use crate::state::App;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/rules", get(no_rules))
        .route("/api/v1/query_exemplars", get(no_exemplars).post(no_exemplars))
}

/// A refusal in Prometheus' shape; what concerns the caller's rights or the database stays a problem.
enum Refusal {
    Bad(String),
    Problem(Problem),
}

impl From<BadQuery> for Refusal {
    fn from(error: BadQuery) -> Self {
        Self::Bad(error.0)
    }
}

impl From<EvalError> for Refusal {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Query(error) => error.into(),
            EvalError::Database(error) => Self::Problem(error.into()),
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(error) => {
                let body = json!({ "status": "error", "errorType": "bad_data", "error": error });
                (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
            }
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

type Answer = Result<axum::Json<Json>, Refusal>;

fn success(data: Json) -> Answer {
    Ok(axum::Json(json!({ "status": "success", "data": data })))
}

/// Name and value pairs of the query string and of a form body.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn new(query: Option<&str>, body: &[u8]) -> Self {
        let body = std::str::from_utf8(body).unwrap_or_default();
        let pairs = query.unwrap_or_default().split('&').chain(body.split('&'));
        Self(
            pairs
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name)
            .ok_or_else(|| Refusal::Bad(format!("{name}: missing")))
    }

    fn moment_us(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Some(at.micros()));
        }
        match text.parse::<f64>() {
            // Within what a time stamp can be.
            Ok(seconds) if seconds.abs() < 2.5e11 => Ok(Some((seconds * 1e6).round() as i64)),
            _ => Err(Refusal::Bad(format!(
                "{name}: `{text}` is neither RFC 3339 nor seconds since 1970"
            ))),
        }
    }

    /// The selectors of `match[]`; each is a list of matchers.
    fn matches(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        let given = self.0.iter().filter(|(name, _)| name == "match[]");
        Ok(given.map(|(_, text)| selector(text)).collect::<Result<_, _>>()?)
    }
}

/// `application/x-www-form-urlencoded`; bytes that are no UTF-8 are replaced.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Opens the tenant by bearer token or by the password of basic authentication.
async fn enter(app: &App, headers: &HeaderMap) -> Result<Tenant<AssetsRead>, Refusal> {
    let basic = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|text| String::from_utf8(BASE64_STANDARD.decode(text.trim()).ok()?).ok());
    let token = match &basic {
        Some(pair) => pair.split_once(':').map_or("", |(_, password)| password),
        None => crate::extract::bearer(headers)?,
    };
    Ok(Tenant::open(app, token).await?)
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn pair(us: i64, value: f64) -> Json {
    json!([us as f64 / 1e6, number(value)])
}

async fn query(State(app): State<App>, headers: HeaderMap, RawQuery(raw): RawQuery, body: Bytes) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let parameters = Parameters::new(raw.as_deref(), &body);
    let text = parameters.need("query")?;
    let at = parameters
        .moment_us("time")?
        .unwrap_or_else(|| Timestamp::now().micros());
    let expr = parse(text)?;
    let value = eval(tenant.db(), &expr, &Steps::instant(at)).await?;
    success(match value {
        Value::Scalar(values) => {
            json!({ "resultType": "scalar", "result": pair(at, values.first().copied().unwrap_or(f64::NAN)) })
        }
        Value::Vector(rows) => {
            let result: Vec<Json> = rows
                .into_iter()
                .filter_map(|(metric, values)| {
                    let value = (*values.first()?)?;
                    Some(json!({ "metric": metric, "value": pair(at, value) }))
                })
                .collect();
            json!({ "resultType": "vector", "result": result })
        }
    })
}

async fn query_range(
    State(app): State<App>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    body: Bytes,
) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let parameters = Parameters::new(raw.as_deref(), &body);
    let expr = parse(parameters.need("query")?)?;
    let missing = |name: &str| Refusal::Bad(format!("{name}: missing"));
    let start = parameters.moment_us("start")?.ok_or_else(|| missing("start"))?;
    let end = parameters.moment_us("end")?.ok_or_else(|| missing("end"))?;
    let step = parameters.need("step")?;
    let step_us = match step.parse::<f64>() {
        Ok(seconds) if (0.001..1e9).contains(&seconds) => (seconds * 1e6).round() as i64,
        _ => duration_us(step).ok_or_else(|| {
            Refusal::Bad(format!(
                "step: `{step}` is neither seconds nor a duration such as 5m"
            ))
        })?,
    };
    let steps = Steps::range(start, end, step_us)?;
    let rows = match eval(tenant.db(), &expr, &steps).await? {
        Value::Vector(rows) => rows,
        Value::Scalar(values) => vec![(Labels::new(), values.into_iter().map(Some).collect())],
    };
    let result: Vec<Json> = rows
        .into_iter()
        .map(|(metric, values)| {
            let values: Vec<Json> = values
                .into_iter()
                .zip(steps.us())
                .filter_map(|(value, us)| Some(pair(*us, value?)))
                .collect();
            json!({ "metric": metric, "values": values })
        })
        .collect();
    success(json!({ "resultType": "matrix", "result": result }))
}

/// The series of all `match[]`; of the whole tenant when there is none and `all` allows it.
async fn matched(
    tenant: &mut Tenant<AssetsRead>,
    parameters: &Parameters,
    all: bool,
) -> Result<Vec<Series>, Refusal> {
    let mut wanted = parameters.matches()?;
    if wanted.is_empty() {
        if !all {
            return Err(Refusal::Bad("match[]: missing".to_owned()));
        }
        wanted.push(Vec::new());
    }
    let mut found = BTreeMap::new();
    for matchers in wanted {
        for series in find(tenant.db(), &matchers).await? {
            found.insert(series.key, series);
        }
    }
    Ok(found.into_values().collect())
}

async fn series(State(app): State<App>, headers: HeaderMap, RawQuery(raw): RawQuery, body: Bytes) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let found = matched(&mut tenant, &Parameters::new(raw.as_deref(), &body), false).await?;
    success(json!(
        found.into_iter().map(|series| series.labels).collect::<Vec<_>>()
    ))
}

async fn labels(State(app): State<App>, headers: HeaderMap, RawQuery(raw): RawQuery, body: Bytes) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let found = matched(&mut tenant, &Parameters::new(raw.as_deref(), &body), true).await?;
    let names: BTreeSet<&String> = found.iter().flat_map(|series| series.labels.keys()).collect();
    success(json!(names))
}

async fn label_values(
    State(app): State<App>,
    headers: HeaderMap,
    Path(name): Path<String>,
    RawQuery(raw): RawQuery,
) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let found = matched(&mut tenant, &Parameters::new(raw.as_deref(), &[]), true).await?;
    let values: BTreeSet<&String> = found
        .iter()
        .filter_map(|series| series.labels.get(&name))
        .collect();
    success(json!(values))
}

async fn metadata(State(app): State<App>, headers: HeaderMap, RawQuery(raw): RawQuery) -> Answer {
    let mut tenant = enter(&app, &headers).await?;
    let parameters = Parameters::new(raw.as_deref(), &[]);
    let mut all: BTreeMap<String, Json> = BTreeMap::new();
    for series in find(tenant.db(), &[]).await? {
        let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
        let kind = if label("kind") == "counter" {
            "counter"
        } else {
            "gauge"
        };
        let name = label("__name__");
        if parameters.get("metric").is_none_or(|wanted| wanted == name) {
            all.entry(name).or_insert_with(
                || json!([{ "type": kind, "help": label("channel"), "unit": label("unit") }]),
            );
        }
    }
    success(json!(all))
}

/// The version whose query language this is a part of; Grafana looks for it.
async fn build_info(State(app): State<App>, headers: HeaderMap) -> Answer {
    enter(&app, &headers).await?;
    success(json!({
        "version": "2.53.0", "revision": "forewarn", "branch": env!("CARGO_PKG_VERSION"), "buildUser": "",
        "buildDate": "", "goVersion": "",
    }))
}

async fn no_rules(State(app): State<App>, headers: HeaderMap) -> Answer {
    enter(&app, &headers).await?;
    success(json!({ "groups": [] }))
}

async fn no_exemplars(State(app): State<App>, headers: HeaderMap) -> Answer {
    enter(&app, &headers).await?;
    success(json!([]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let parameters = Parameters::new(
            Some("match[]=a%7Bb%3D%22x%22%7D&x=1+2%"),
            b"match%5B%5D=c&y=%c3%a9&z",
        );
        assert_eq!(parameters.matches().unwrap_or_default().len(), 2);
        assert_eq!(parameters.get("x"), Some("1 2%"));
        assert_eq!((parameters.get("y"), parameters.get("z")), (Some("é"), None));
    }
}
