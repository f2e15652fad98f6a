//! One file for each resource: its JSON, its handlers, its part of the OpenAPI document.

use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::state::App;

mod alarms;
mod assessments;
mod assets;
mod authorities;
mod cases;
mod channels;
mod configurations;
mod dead_letters;
mod events;
mod export;
mod external_alerts;
mod failures;
mod gateways;
mod history;
mod history_aligned;
mod history_state;
mod keys;
mod ledger;
mod mappings;
mod meters;
mod model_versions;
mod ops;
mod overview;
mod parts;
mod people;
mod plan_forecast;
mod plans;
mod predictions;
pub(crate) mod prometheus;
mod provision;
mod retention;
mod rolled_up;
mod rule_backtest;
mod rules;
mod safety;
mod scorecard;
mod service_levels;
mod session;
mod sites;
mod tickets;
mod webhooks;
mod why;

/// Everything under `/v1` and the operator's addresses.
pub fn all() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(session::routes())
        .merge(keys::routes())
        .merge(overview::routes())
        .merge(sites::routes())
        .merge(assets::routes())
        .merge(assessments::routes())
        .merge(channels::routes())
        .merge(history::routes())
        .merge(history_aligned::routes())
        .merge(history_state::routes())
        .merge(export::routes())
        .merge(retention::routes())
        .merge(events::routes())
        .merge(alarms::routes())
        .merge(rules::routes())
        .merge(rule_backtest::routes())
        .merge(cases::routes())
        .merge(predictions::routes())
        .merge(scorecard::routes())
        .merge(tickets::routes())
        .merge(service_levels::routes())
        .merge(people::routes())
        .merge(safety::routes())
        .merge(parts::routes())
        .merge(failures::routes())
        .merge(webhooks::routes())
        .merge(external_alerts::routes())
        .merge(meters::routes())
        .merge(plans::routes())
        .merge(plan_forecast::routes())
        .merge(gateways::routes())
        .merge(provision::routes())
        .merge(mappings::routes())
        .merge(configurations::routes())
        .merge(authorities::routes())
        .merge(ledger::routes())
        .merge(dead_letters::routes())
        .merge(model_versions::routes())
        .merge(crate::stream::routes())
        .merge(ops::routes())
}

/// Something by id and name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Named<I> {
    pub id: I,
    pub name: String,
}

impl<I> Named<I> {
    pub fn new(id: I, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
        }
    }

    /// `None` unless both are there.
    pub fn maybe(id: Option<I>, name: Option<String>) -> Option<Self> {
        Some(Self { id: id?, name: name? })
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayRef {
    pub id: models::id::GatewayId,
    pub slug: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureModeRef {
    pub id: models::id::FailureModeId,
    pub code: String,
    pub name: String,
}

impl FailureModeRef {
    pub fn maybe(
        id: Option<models::id::FailureModeId>,
        code: Option<String>,
        name: Option<String>,
    ) -> Option<Self> {
        Some(Self {
            id: id?,
            code: code?,
            name: name?,
        })
    }
}

/// What happened to an alarm, a prediction or a ticket.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HistoryEvent {
    pub at: Timestamp,
    pub kind: String,
    /// `usr_…`, `key_…` or the name of a service.
    pub actor: String,
    pub detail: serde_json::Value,
}

/// A page of a list without filters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Rows on a page, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A moment in a query: RFC 3339, or seconds since 1970 with or without a fraction.
pub fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(at));
    }
    match text.parse::<f64>() {
        // Up to the year 9999; beyond it is surely milliseconds.
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 2.5e11 => {
            Ok(Some(Timestamp::from_micros((seconds * 1e6).round() as i64)))
        }
        _ => Err(Problem::query(
            name,
            format!("`{text}` is neither RFC 3339, such as 2026-01-31T12:00:00Z, nor seconds since 1970"),
        )),
    }
}

/// That the asset which a body names is one that its sender can see: asked before anything is written,
/// because a unique constraint would answer before the foreign key and tell what others have.
///
/// # Errors
/// 422 that names the place.
pub async fn check_asset(
    db: &mut sqlx::PgConnection,
    pointer: &str,
    asset: models::id::AssetId,
) -> Result<(), Problem> {
    if models::db::overview::has_asset(db, asset).await? {
        Ok(())
    } else {
        Err(Problem::field(pointer, "there is no such asset"))
    }
}

/// Words by comma, as `status=open,assigned`.
///
/// # Errors
/// 400 that names the word nobody knows.
pub fn words<T: serde::de::DeserializeOwned>(name: &str, text: Option<&str>) -> Result<Vec<T>, Problem> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| {
            serde_json::from_value(serde_json::Value::String(word.to_owned()))
                .map_err(|_| Problem::query(name, format!("`{word}` is none of its words")))
        })
        .collect()
}

/// `[from, to)` of a query: `to` is now when left out, `from` is `usual_s` seconds before it.
pub fn range(from: Option<&str>, to: Option<&str>, usual_s: f64) -> Result<(Timestamp, Timestamp), Problem> {
    // One microsecond later than now: `to` is exclusive, and a reading of this moment belongs to it.
    let to = moment("to", to)?.unwrap_or_else(|| Timestamp::now() + std::time::Duration::from_micros(1));
    let from = moment("from", from)?.unwrap_or_else(|| to.plus_seconds(-usual_s));
    if from < to {
        Ok((from, to))
    } else {
        Err(Problem::query("from", format!("{from} is not before {to}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_in_two_ways() {
        let at = |text| moment("from", Some(text)).unwrap().unwrap().to_string();
        assert_eq!(at("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00Z");
        assert_eq!(at("1769860800"), "2026-01-31T12:00:00Z");
        assert_eq!(at("1769860800.25"), "2026-01-31T12:00:00.25Z");
        for bad in ["yesterday", "1769860800000", "NaN", ""] {
            assert!(moment("from", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_runs_forward() {
        assert!(range(Some("20"), Some("10"), 60.0).is_err());
        assert!(range(Some("10"), Some("10"), 60.0).is_err());
        let (from, to) = range(None, Some("100"), 60.0).unwrap();
        assert_eq!((from, to), (Timestamp::from_secs(40), Timestamp::from_secs(100)));
    }
}
