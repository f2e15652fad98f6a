//! Alerts of other systems, in the shape that Alertmanager sends to its webhook receivers (version 4).

use std::collections::BTreeMap;

use axum::response::Response;
use models::alarm::Severity;
use models::db::external_alert::{self, Alert, Taken};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{FieldError, Kind, Problem};
use crate::extract::may::AlarmsAct;
use crate::extract::{Answer, Command};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(take))
}

/// What Alertmanager posts. Fields that are not used here are taken and left aside.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "version": "4", "status": "firing", "alerts": [{ "status": "firing",
    "labels": { "alertname": "PumpTrips", "asset": "P-101", "severity": "critical" },
    "annotations": { "summary": "P-101 has tripped twice" }, "startsAt": "2026-01-31T12:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "7e5a2b" }] }))]
pub struct AlertmanagerGroup {
    version: String,
    alerts: Vec<AlertmanagerAlert>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerAlert {
    /// `firing` or `resolved`.
    status: String,
    /// `alertname`; `severity`; and the asset: `asset_id` (ours), `asset_ref` (its external_ref), or `asset`
    /// (its name) with `site` where names repeat.
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    ends_at: Option<Timestamp>,
    fingerprint: String,
}

#[derive(Serialize, ToSchema)]
pub struct AlertsTaken {
    /// In the order of the alerts; `null` where one was rejected.
    taken: Vec<Option<Taken>>,
    /// Which were rejected, by JSON pointer, and why.
    rejected: Vec<FieldError>,
}

fn severity(labels: &BTreeMap<String, String>) -> Severity {
    match labels
        .get("severity")
        .map(|text| text.to_ascii_lowercase())
        .as_deref()
    {
        Some("critical" | "page" | "emergency" | "fatal") => Severity::Critical,
        Some("serious" | "error" | "major" | "high") => Severity::Serious,
        Some("warning" | "warn" | "minor" | "medium") => Severity::Warning,
        _ => Severity::Info,
    }
}

async fn read(db: &mut PgConnection, one: &AlertmanagerAlert) -> Result<Alert, (&'static str, String)> {
    let label = |name: &str| {
        one.labels
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let name = label("alertname").ok_or(("/labels/alertname", "the label is missing".to_owned()))?;
    if one.fingerprint.is_empty() || one.fingerprint.len() > 200 {
        return Err(("/fingerprint", "1 to 200 characters".to_owned()));
    }
    let id = match label("asset_id") {
        Some(text) => Some(
            text.parse()
                .map_err(|error| ("/labels/asset_id", format!("{error}")))?,
        ),
        None => None,
    };
    let (by_ref, by_name) = (label("asset_ref"), label("asset"));
    if id.is_none() && by_ref.is_none() && by_name.is_none() {
        return Err((
            "/labels",
            "no label names the asset: set asset_id, asset_ref or asset".to_owned(),
        ));
    }
    let found = external_alert::find_asset(db, id, by_ref, by_name, label("site"))
        .await
        .map_err(|error| {
            tracing::warn!(%error, "an alert's asset can't be looked up");
            ("/labels", "the database doesn't answer: send it again".to_owned())
        })?;
    let [asset] = found[..] else {
        let detail = if found.is_empty() {
            "there is no such asset"
        } else {
            "several assets fit: set the label site, or asset_id"
        };
        return Err(("/labels/asset", detail.to_owned()));
    };
    let resolved = one.status == "resolved";
    Ok(Alert {
        source: "alertmanager".to_owned(),
        fingerprint: one.fingerprint.clone(),
        asset,
        name: name.chars().take(200).collect(),
        severity: severity(&one.labels),
        summary: ["summary", "description"]
            .iter()
            .find_map(|name| one.annotations.get(*name))
            .map(|text| text.chars().take(2000).collect())
            .unwrap_or_default(),
        labels: json!(one.labels),
        starts_at: one.starts_at,
        // Alertmanager writes year 1 for "not yet".
        ends_at: resolved.then(|| {
            one.ends_at
                .filter(|at| *at >= one.starts_at)
                .unwrap_or(one.starts_at)
        }),
    })
}

/// Take alerts of another system. Each opens or joins a case on its asset; a serious or critical one a
/// ticket, unless the case has one. Sending the same alert again changes nothing.
#[utoipa::path(post, path = "/v1/alerts/alertmanager", operation_id = "take_alertmanager_alerts", tag = "alarms",
    request_body = AlertmanagerGroup, responses((status = 200, body = AlertsTaken)), security(("bearer" = ["alarms:act"])))]
async fn take(mut command: Command<AlarmsAct, AlertmanagerGroup>) -> Result<Response, Problem> {
    if command.body.version != "4" {
        let detail = format!(
            "`{}` is not version 4 of Alertmanager's webhook",
            command.body.version
        );
        return Err(Problem::field("/version", detail));
    }
    let alerts = std::mem::take(&mut command.body.alerts);
    if alerts.len() > 500 {
        return Err(Problem::field(
            "/alerts",
            "500 alerts at most: lower the group's size",
        ));
    }
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let (mut taken, mut rejected) = (Vec::new(), Vec::new());
    for (index, one) in alerts.iter().enumerate() {
        match read(command.db(), one).await {
            Ok(alert) => {
                let result =
                    external_alert::take(command.db(), tenant, &alert, &actor, Timestamp::now()).await?;
                taken.push(Some(result));
            }
            Err((place, detail)) => {
                taken.push(None);
                rejected.push(FieldError {
                    pointer: format!("/alerts/{index}{place}"),
                    detail,
                });
            }
        }
    }
    if !rejected.is_empty() && taken.iter().all(Option::is_none) {
        return Err(Problem {
            errors: rejected,
            ..Problem::new(Kind::InvalidBody, "no alert could be taken")
        });
    }
    command
        .finish(Answer::ok(&AlertsTaken { taken, rejected })?)
        .await
}
