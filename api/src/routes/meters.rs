//! Meters and their readings.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::db::meter::{self, Change, MeterRow, NewMeter};
use models::id::{AssetId, ChannelId, MeterId, OccurrenceId, PlanId};
use models::meter::{Entered, Entry, Line, Source, Usage};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Named, check_asset};
use crate::error::Problem;
use crate::extract::may::{MetersWrite, PlansRead, PlansWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(readings, enter))
        .routes(routes!(correct))
        .routes(routes!(void))
        .routes(routes!(exchange))
        .routes(routes!(forecast))
}

/// Cumulative usage.
#[derive(Serialize, ToSchema)]
pub struct Meter {
    id: MeterId,
    asset: Named<AssetId>,
    #[schema(example = "running hours")]
    name: String,
    /// UCUM.
    #[schema(example = "h")]
    unit: String,
    source: Source,
    channel_id: Option<ChannelId>,
    total: f64,
    counted_to: Option<Timestamp>,
    max_rate_per_h: Option<f64>,
    row_version: i32,
}

impl From<MeterRow> for Meter {
    fn from(row: MeterRow) -> Self {
        Self {
            id: row.id,
            asset: Named::new(row.asset_id, row.asset_name),
            name: row.name,
            unit: row.unit,
            source: row.source,
            channel_id: row.channel_id,
            total: row.total,
            counted_to: row.counted_to,
            max_rate_per_h: row.max_rate_per_h,
            row_version: row.row_version,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MeterQuery {
    asset_id: Option<AssetId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Meters, the oldest first.
#[utoipa::path(get, path = "/v1/meters", operation_id = "list_meters", tag = "plans", params(MeterQuery),
    responses((status = 200, body = Page<Meter>)), security(("bearer" = ["plans:read"])))]
async fn list(
    mut tenant: Tenant<PlansRead>,
    Query(query): Query<MeterQuery>,
) -> Result<Json<Page<Meter>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("meters", query.cursor.as_deref())?;
    let rows = meter::list(tenant.db(), query.asset_id, after, limit + 1).await?;
    Ok(Json(Page::of("meters", limit, rows, |row| row.id, Into::into)))
}

/// One meter.
#[utoipa::path(get, path = "/v1/meters/{id}", operation_id = "get_meter", tag = "plans",
    params(("id" = MeterId, Path)), responses((status = 200, body = Meter)), security(("bearer" = ["plans:read"])))]
async fn get(mut tenant: Tenant<PlansRead>, Path(id): Path<MeterId>) -> Result<Response, Problem> {
    let row = meter::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(([(ETAG, etag(row.row_version))], Json(Meter::from(row))).into_response())
}

/// Add a meter to an asset.
#[utoipa::path(post, path = "/v1/meters", operation_id = "create_meter", tag = "plans",
    request_body(content = NewMeter, example = json!({ "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
        "name": "running hours", "unit": "h", "source": "running_state", "channel_id": "chn_42", "running_above": 1.5 })),
    responses((status = 201, body = Meter)), security(("bearer" = ["plans:write"])))]
async fn create(mut command: Command<PlansWrite, NewMeter>) -> Result<Response, Problem> {
    let new = &command.body;
    if new.name.trim().is_empty() {
        return Err(Problem::field("/name", "a meter needs a name"));
    }
    if (new.source == Source::Manual) == new.channel_id.is_some() {
        return Err(Problem::field(
            "/channel_id",
            "a meter that a channel moves names it, one read by hand doesn't",
        ));
    }
    if matches!(new.source, Source::RunningState | Source::Edges) != new.running_above.is_some() {
        return Err(Problem::field(
            "/running_above",
            "belongs to the sources running_state and edges, which need it",
        ));
    }
    let (tenant, new) = (command.principal().tenant, command.body.clone());
    check_asset(command.db(), "/asset_id", new.asset_id).await?;
    let id = meter::create(command.db(), tenant, &new).await?;
    command
        .audit("meter.create", &id.to_string(), &json!({ "name": new.name }))
        .await?;
    let row = meter::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = row.row_version;
    let answer = Answer::created(format!("/v1/meters/{id}"), &Meter::from(row))?;
    command.finish(answer.version(version)).await
}

#[derive(Serialize, ToSchema)]
pub struct MeterReading {
    at: Timestamp,
    total: f64,
    delta: f64,
    /// `analytics` or `usr_…`.
    entered_by: String,
    voided_at: Option<Timestamp>,
    note: Option<String>,
    /// `counted` by analytics; or what a person entered: `absolute`, `delta`, `exchange`.
    kind: String,
    /// What was entered; the totals follow from it.
    raw: Option<f64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MeterReadingQuery {
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A meter's history, the newest first.
#[utoipa::path(get, path = "/v1/meters/{id}/readings", operation_id = "list_meter_readings", tag = "plans",
    params(("id" = MeterId, Path), MeterReadingQuery), responses((status = 200, body = Page<MeterReading>)),
    security(("bearer" = ["plans:read"])))]
async fn readings(
    mut tenant: Tenant<PlansRead>,
    Path(id): Path<MeterId>,
    Query(query): Query<MeterReadingQuery>,
) -> Result<Json<Page<MeterReading>>, Problem> {
    let limit = page::limit(query.limit)?;
    let before = page::read_cursor("meter_readings", query.cursor.as_deref())?;
    meter::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let rows = meter::readings(tenant.db(), id, before, limit + 1).await?;
    Ok(Json(Page::of(
        "meter_readings",
        limit,
        rows,
        |row| row.at,
        |row| MeterReading {
            at: row.at,
            total: row.total,
            delta: row.delta,
            entered_by: row.entered_by,
            voided_at: row.voided_at,
            note: row.note,
            kind: row.kind,
            raw: row.raw,
        },
    )))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "total": 1250.5 }))]
pub struct EnterReading {
    /// What the meter shows; or give `delta`.
    total: Option<f64>,
    /// How much more than before.
    delta: Option<f64>,
    /// Now when left out.
    at: Option<Timestamp>,
    /// It is right, although it is implausible.
    #[serde(default)]
    confirmed: bool,
}

/// Enter what a meter shows. A reading of an earlier moment is put in its place, and what comes after it
/// is counted anew; work that was made already is not made twice.
#[utoipa::path(post, path = "/v1/meters/{id}/readings", operation_id = "enter_meter_reading", tag = "plans",
    params(("id" = MeterId, Path)), request_body = EnterReading, responses((status = 200, body = Meter)),
    security(("bearer" = ["meters:write"])))]
async fn enter(
    Path(id): Path<MeterId>,
    mut command: Command<MetersWrite, EnterReading>,
) -> Result<Response, Problem> {
    let entry = match (command.body.total, command.body.delta) {
        (Some(total), None) => Entry::Absolute(total),
        (None, Some(delta)) => Entry::Delta(delta),
        _ => return Err(Problem::field("/total", "give either total or delta")),
    };
    let now = Timestamp::now();
    let at = command.body.at.unwrap_or(now);
    if at.seconds_since(now) > 60.0 {
        return Err(Problem::field("/at", "not in the future"));
    }
    let (actor, confirmed) = (command.principal().name(), command.body.confirmed);
    let source = meter::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?
        .source;
    if source == Source::Manual {
        let entered = match entry {
            Entry::Absolute(total) => Entered::Absolute(total),
            Entry::Delta(delta) => Entered::Delta(delta),
        };
        let change = Change::Add(Line { at, entered });
        meter::change_reading(command.db(), id, &change, confirmed, &actor, now).await?;
    } else {
        meter::enter_reading(command.db(), id, at, entry, confirmed, &actor).await?;
    }
    command
        .audit("meter.reading", &id.to_string(), &json!({ "at": at }))
        .await?;
    let row = meter::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    command.finish(Answer::ok(&Meter::from(row))?).await
}

/// What a change of the past came to.
#[derive(Serialize, ToSchema)]
pub struct MeterChange {
    meter: Meter,
    /// Later readings whose totals moved.
    recounted: u64,
    /// Plans that count from another total now.
    plans: Vec<PlanId>,
    /// Open occurrences that came too early, as it turns out; they stay, so that nothing is made twice.
    too_early: Vec<OccurrenceId>,
}

async fn apply<T>(
    mut command: Command<MetersWrite, T>,
    id: MeterId,
    change: &Change,
    confirmed: bool,
    action: &str,
) -> Result<Response, Problem> {
    let (actor, now) = (command.principal().name(), Timestamp::now());
    let done = meter::change_reading(command.db(), id, change, confirmed, &actor, now).await?;
    let note = json!({ "change": format!("{change:?}"), "recounted": done.recounted });
    command.audit(action, &id.to_string(), &note).await?;
    let row = meter::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let shown = MeterChange {
        meter: row.into(),
        recounted: done.recounted,
        plans: done.plans,
        too_early: done.too_early,
    };
    command.finish(Answer::ok(&shown)?).await
}

fn not_in_future(at: Timestamp) -> Result<Timestamp, Problem> {
    if at.seconds_since(Timestamp::now()) > 60.0 {
        return Err(Problem::field("/at", "not in the future"));
    }
    Ok(at)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "at": "2026-01-31T12:00:00Z", "total": 1205.5 }))]
pub struct CorrectReading {
    /// The moment of the reading that was wrong.
    at: Timestamp,
    /// What the meter showed; or give `delta`.
    total: Option<f64>,
    delta: Option<f64>,
    #[serde(default)]
    confirmed: bool,
}

/// Say what a reading should have been. Everything after it is counted anew.
#[utoipa::path(post, path = "/v1/meters/{id}/readings/correct", operation_id = "correct_meter_reading", tag = "plans",
    params(("id" = MeterId, Path)), request_body = CorrectReading, responses((status = 200, body = MeterChange)),
    security(("bearer" = ["meters:write"])))]
async fn correct(
    Path(id): Path<MeterId>,
    command: Command<MetersWrite, CorrectReading>,
) -> Result<Response, Problem> {
    let entered = match (command.body.total, command.body.delta) {
        (Some(total), None) => Entered::Absolute(total),
        (None, Some(delta)) => Entered::Delta(delta),
        _ => return Err(Problem::field("/total", "give either total or delta")),
    };
    let (at, confirmed) = (not_in_future(command.body.at)?, command.body.confirmed);
    apply(
        command,
        id,
        &Change::Correct(Line { at, entered }),
        confirmed,
        "meter.correct",
    )
    .await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "at": "2026-01-31T12:00:00Z", "reason": "read off the neighbour's meter" }))]
pub struct VoidReading {
    at: Timestamp,
    reason: String,
}

/// Take a reading back. It stays visible; everything after it is counted anew.
#[utoipa::path(post, path = "/v1/meters/{id}/readings/void", operation_id = "void_meter_reading", tag = "plans",
    params(("id" = MeterId, Path)), request_body = VoidReading, responses((status = 200, body = MeterChange)),
    security(("bearer" = ["meters:write"])))]
async fn void(
    Path(id): Path<MeterId>,
    mut command: Command<MetersWrite, VoidReading>,
) -> Result<Response, Problem> {
    let (at, reason) = (command.body.at, std::mem::take(&mut command.body.reason));
    if reason.trim().is_empty() {
        return Err(Problem::field("/reason", "say why it is taken back"));
    }
    apply(command, id, &Change::Void { at, reason }, true, "meter.void").await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "last": 9120.5, "first": 0 }))]
pub struct ExchangeMeter {
    /// Now when left out.
    at: Option<Timestamp>,
    /// What the old meter showed last.
    last: f64,
    /// What the new one shows first.
    first: f64,
}

/// Another meter was put in: the total goes on, counted from the new one's dial.
#[utoipa::path(post, path = "/v1/meters/{id}/exchange", operation_id = "exchange_meter", tag = "plans",
    params(("id" = MeterId, Path)), request_body = ExchangeMeter, responses((status = 200, body = MeterChange)),
    security(("bearer" = ["meters:write"])))]
async fn exchange(
    Path(id): Path<MeterId>,
    command: Command<MetersWrite, ExchangeMeter>,
) -> Result<Response, Problem> {
    let at = not_in_future(command.body.at.unwrap_or_else(Timestamp::now))?;
    let entered = Entered::Exchange {
        last: command.body.last,
        first: command.body.first,
    };
    apply(
        command,
        id,
        &Change::Add(Line { at, entered }),
        false,
        "meter.exchange",
    )
    .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// Ahead, 1 to 3650; 30 when left out.
    #[param(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

/// Where a meter will stand.
#[derive(Serialize, ToSchema)]
pub struct MeterForecast {
    at: Timestamp,
    total: f64,
    /// Units a day, with the tenth and ninetieth percentile of days; `null` = not known yet.
    usage: Option<Usage>,
    expected: Option<f64>,
    /// If used as on its quietest and busiest days.
    low: Option<f64>,
    high: Option<f64>,
    basis: String,
}

/// Where a meter will stand in some days, with an interval, from how it ran on past days.
#[utoipa::path(get, path = "/v1/meters/{id}/forecast", operation_id = "forecast_meter", tag = "plans",
    params(("id" = MeterId, Path), UsageQuery), responses((status = 200, body = MeterForecast)),
    security(("bearer" = ["plans:read"])))]
async fn forecast(
    mut tenant: Tenant<PlansRead>,
    Path(id): Path<MeterId>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<MeterForecast>, Problem> {
    let days = query.days.unwrap_or(30);
    if !(1..=3650).contains(&days) {
        return Err(Problem::query("days", "from 1 to 3650"));
    }
    let row = meter::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let now = Timestamp::now();
    let usage = meter::usage_of(tenant.db(), id, now).await?;
    let after = |per_day: fn(&Usage) -> f64| {
        usage
            .as_ref()
            .map(|usage| row.total + per_day(usage) * f64::from(days))
    };
    Ok(Json(MeterForecast {
        at: now.plus_seconds(f64::from(days) * 86_400.0),
        total: row.total,
        usage,
        expected: after(|usage| usage.median),
        low: after(|usage| usage.low),
        high: after(|usage| usage.high),
        basis: usage.map_or_else(
            || "fewer readings than it takes to know how fast it runs".to_owned(),
            |usage| usage.basis(),
        ),
    }))
}
