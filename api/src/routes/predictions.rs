//! Predictions and what a planner does with them.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::assessment::RemainingLife;
use models::asset::Criticality;
use models::db::prediction::{self, Decision, Filter, PredictionView};
use models::db::{overview, ticket};
use models::id::{AssetId, CaseId, ModelVersionId, PredictionId, TicketId, UserId};
use models::prediction::{Action, DismissReason, Label, Status};
use models::ticket::{Origin, Priority};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use super::why::{self, TicketAnswer};
use super::{FailureModeRef, HistoryEvent, Named, words};
use crate::error::Problem;
use crate::extract::may::{CasesRead, PredictionsAct};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(claim))
        .routes(routes!(accept))
        .routes(routes!(attach))
        .routes(routes!(dismiss))
        .routes(routes!(snooze))
        .routes(routes!(label))
}

/// Asset, failure mode, horizon and the probability with its interval.
#[derive(Serialize, ToSchema)]
pub struct Prediction {
    id: PredictionId,
    asset: Named<AssetId>,
    failure_mode: Option<FailureModeRef>,
    horizon_h: i32,
    status: Status,
    #[schema(example = 0.31)]
    probability: f64,
    /// When it was published; calibration is judged by it.
    published_probability: Option<f64>,
    p_low: f64,
    p_high: f64,
    rul: Option<RemainingLife>,
    factors: Value,
    model_version_id: ModelVersionId,
    /// Counts up with each new score.
    revision: i32,
    window_end: Timestamp,
    claimed_by: Option<UserId>,
    snoozed_until: Option<Timestamp>,
    snooze_above: Option<f64>,
    /// Until the asset stands still.
    snooze_shutdown: bool,
    dismiss_reason: Option<String>,
    case_id: Option<CaseId>,
    ticket_id: Option<TicketId>,
    /// What came of it.
    label: Option<String>,
    /// `ticket`, `person` or `auto`.
    label_source: Option<String>,
    label_note: Option<String>,
    /// When the asset failed, if it did.
    failed_at: Option<Timestamp>,
    opened_at: Timestamp,
    updated_at: Timestamp,
    closed_at: Option<Timestamp>,
    row_version: i32,
}

impl From<PredictionView> for Prediction {
    fn from(row: PredictionView) -> Self {
        let rul = row.rul_p10_h.zip(row.rul_p50_h);
        Self {
            id: row.id,
            asset: Named::new(row.asset_id, row.asset_name),
            failure_mode: FailureModeRef::maybe(
                row.failure_mode_id,
                row.failure_mode_code,
                row.failure_mode_name,
            ),
            horizon_h: row.horizon_h,
            status: row.status,
            probability: row.probability,
            published_probability: row.published_probability,
            p_low: row.p_low,
            p_high: row.p_high,
            rul: rul.map(|(p10_h, p50_h)| RemainingLife {
                p10_h,
                p50_h,
                p90_h: row.rul_p90_h,
            }),
            factors: row.factors,
            model_version_id: row.model_version_id,
            revision: row.revision,
            window_end: row.window_end,
            claimed_by: row.claimed_by,
            snoozed_until: row.snoozed_until,
            snooze_above: row.snooze_above,
            snooze_shutdown: row.snooze_shutdown,
            dismiss_reason: row.dismiss_reason,
            case_id: row.case_id,
            ticket_id: row.ticket_id,
            label: row.label,
            label_source: row.label_source,
            label_note: row.label_note,
            failed_at: row.failed_at,
            opened_at: row.opened_at,
            updated_at: row.updated_at,
            closed_at: row.closed_at,
            row_version: row.row_version,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct PredictionDetail {
    #[serde(flatten)]
    prediction: Prediction,
    /// Whether there is a ticket for it, and why not.
    dispatch: TicketAnswer,
    /// Oldest first.
    events: Vec<HistoryEvent>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PredictionQuery {
    /// By comma: `new,in_review`. All when left out.
    status: Option<String>,
    asset_id: Option<AssetId>,
    case_id: Option<CaseId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Predictions, the newest first.
#[utoipa::path(get, path = "/v1/predictions", operation_id = "list_predictions", tag = "cases",
    params(PredictionQuery), responses((status = 200, body = Page<Prediction>)),
    security(("bearer" = ["cases:read"])))]
async fn list(
    mut tenant: Tenant<CasesRead>,
    Query(query): Query<PredictionQuery>,
) -> Result<Json<Page<Prediction>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("predictions", query.cursor.as_deref())?;
    let statuses = words("status", query.status.as_deref())?;
    let filter = Filter {
        statuses,
        asset: query.asset_id,
        case: query.case_id,
    };
    let rows = prediction::list(tenant.db(), &filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "predictions",
        limit,
        rows,
        |row| (row.opened_at, row.id),
        Into::into,
    )))
}

async fn detail(db: &mut PgConnection, id: PredictionId) -> Result<PredictionDetail, Problem> {
    let row = prediction::get(db, id).await?.ok_or_else(Problem::not_found)?;
    let dispatch = why::of_prediction(db, &row).await?;
    let events = prediction::events(db, id).await?;
    let events = events
        .into_iter()
        .map(|event| HistoryEvent {
            at: event.at,
            kind: event.kind,
            actor: event.actor,
            detail: event.detail,
        })
        .collect();
    Ok(PredictionDetail {
        prediction: row.into(),
        dispatch,
        events,
    })
}

/// One prediction with its history.
#[utoipa::path(get, path = "/v1/predictions/{id}", operation_id = "get_prediction", tag = "cases",
    params(("id" = PredictionId, Path)), responses((status = 200, body = PredictionDetail)),
    security(("bearer" = ["cases:read"])))]
async fn get(mut tenant: Tenant<CasesRead>, Path(id): Path<PredictionId>) -> Result<Response, Problem> {
    let shown = detail(tenant.db(), id).await?;
    Ok(([(ETAG, etag(shown.prediction.row_version))], Json(shown)).into_response())
}

async fn decide<T>(
    mut command: Command<PredictionsAct, T>,
    id: PredictionId,
    action: &Action,
    ticket: Option<TicketId>,
) -> Result<Response, Problem> {
    let (actor, user, expected) = (
        command.principal().name(),
        command.principal().user(),
        command.expected()?,
    );
    let decision = Decision {
        action,
        ticket,
        user,
        actor: &actor,
        now: Timestamp::now(),
    };
    prediction::decide(command.db(), id, Some(expected), decision).await?;
    let name = format!("prediction.{}", action.name());
    command
        .audit(&name, &id.to_string(), &json!({ "ticket_id": ticket }))
        .await?;
    let shown = detail(command.db(), id).await?;
    let version = shown.prediction.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

/// Say that you are looking into it.
#[utoipa::path(post, path = "/v1/predictions/{id}/claim", operation_id = "claim_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)),
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn claim(
    Path(id): Path<PredictionId>,
    command: Command<PredictionsAct, Empty>,
) -> Result<Response, Problem> {
    decide(command, id, &Action::Claim, None).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "priority": "high" }))]
pub struct AcceptPrediction {
    /// Of the ticket, if one is made; says what is predicted when left out.
    title: Option<String>,
    /// Of the ticket, if one is made; from probability and criticality when left out.
    priority: Option<Priority>,
    due_at: Option<Timestamp>,
}

/// Agree. The case's open ticket takes it on; where there is none, a ticket is made.
#[utoipa::path(post, path = "/v1/predictions/{id}/accept", operation_id = "accept_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)), request_body = AcceptPrediction,
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn accept(
    Path(id): Path<PredictionId>,
    mut command: Command<PredictionsAct, AcceptPrediction>,
) -> Result<Response, Problem> {
    let row = prediction::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    // Before a ticket is made for nothing.
    let expected = command.expected()?;
    if expected != row.row_version {
        return Err(
            models::db::change::ChangeError::<models::prediction::Refusal>::Stale {
                expected,
                current: row.row_version,
            }
            .into(),
        );
    }
    let open = match row.case_id {
        Some(case) => overview::open_ticket_of_case(command.db(), case).await?,
        None => None,
    };
    let ticket = match open {
        Some(ticket) => ticket,
        None => make_ticket(&mut command, &row).await?,
    };
    decide(command, id, &Action::Accept, Some(ticket)).await
}

async fn make_ticket(
    command: &mut Command<PredictionsAct, AcceptPrediction>,
    row: &PredictionView,
) -> Result<TicketId, Problem> {
    let asset = overview::asset(command.db(), row.asset_id).await?;
    let criticality = asset.map_or(Criticality::default(), |asset| asset.criticality);
    let what = row.failure_mode_name.as_deref().unwrap_or("failure");
    let days = f64::from(row.horizon_h) / 24.0;
    let title = command.body.title.take();
    let new = ticket::NewTicket {
        tenant: row.tenant_id,
        asset: row.asset_id,
        case: row.case_id,
        occurrence: None,
        failure_mode: row.failure_mode_id,
        origin: Origin::Prediction,
        // The same key as dispatch uses: whoever comes second finds the first one's ticket.
        origin_key: row.id.to_string(),
        title: title.unwrap_or_else(|| format!("{}: {what} predicted", row.asset_name)),
        description: format!(
            "{what} within {days:.0} days: probability {:.0} % ({:.0} to {:.0} %).",
            row.probability * 100.0,
            row.p_low * 100.0,
            row.p_high * 100.0
        ),
        priority: command.body.priority.unwrap_or_else(|| {
            Priority::of(
                models::alarm::Severity::Serious,
                criticality,
                Some(row.probability),
            )
        }),
        due_at: command.body.due_at,
        repeat_of: None,
        tasks: Vec::new(),
    };
    let actor = command.principal().name();
    Ok(ticket::create(command.db(), &new, &actor).await?.id())
}

/// A sensor that lies is work of its own, and not the case's.
async fn make_sensor_ticket<T>(
    command: &mut Command<PredictionsAct, T>,
    row: &PredictionView,
) -> Result<TicketId, Problem> {
    let new = ticket::NewTicket {
        tenant: row.tenant_id,
        asset: row.asset_id,
        case: None,
        occurrence: None,
        failure_mode: None,
        origin: Origin::Prediction,
        origin_key: format!("{}/sensor", row.id),
        title: format!("{}: check the sensors", row.asset_name),
        description: format!(
            "The prediction {} was dismissed because a sensor is faulty. Until it is mended the asset's health can't be told.",
            row.id
        ),
        priority: Priority::Medium,
        due_at: None,
        repeat_of: None,
        tasks: vec![models::ticket::NewTask::check(
            "Find the faulty sensor, mend or replace it".to_owned(),
        )],
    };
    let actor = command.principal().name();
    Ok(ticket::create(command.db(), &new, &actor).await?.id())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachPrediction {
    ticket_id: TicketId,
}

/// An open ticket covers it already.
#[utoipa::path(post, path = "/v1/predictions/{id}/attach", operation_id = "attach_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)), request_body = AttachPrediction,
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn attach(
    Path(id): Path<PredictionId>,
    command: Command<PredictionsAct, AttachPrediction>,
) -> Result<Response, Problem> {
    let ticket = command.body.ticket_id;
    decide(command, id, &Action::Attach, Some(ticket)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "sensor_fault" }))]
pub struct DismissPrediction {
    reason: DismissReason,
    /// Needed for the reason `other`.
    text: Option<String>,
}

/// Disagree, and say why; the reason teaches the next model. `sensor_fault` makes a ticket for the sensor.
#[utoipa::path(post, path = "/v1/predictions/{id}/dismiss", operation_id = "dismiss_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)), request_body = DismissPrediction,
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn dismiss(
    Path(id): Path<PredictionId>,
    mut command: Command<PredictionsAct, DismissPrediction>,
) -> Result<Response, Problem> {
    let action = Action::Dismiss {
        reason: command.body.reason,
        text: command.body.text.take(),
    };
    if command.body.reason == DismissReason::SensorFault {
        let row = prediction::get(command.db(), id)
            .await?
            .ok_or_else(Problem::not_found)?;
        // Only with the dismissal: a refused one rolls it back.
        make_sensor_ticket(&mut command, &row).await?;
    }
    decide(command, id, &action, None).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "until": "2026-02-07T06:00:00Z", "above": 0.5 }))]
pub struct SnoozePrediction {
    until: Option<Timestamp>,
    /// Wake when the probability is above this.
    above: Option<f64>,
    /// Wake when the asset is down or in maintenance: then it costs no stop of its own.
    #[serde(default)]
    shutdown: bool,
}

/// Not now: until a moment, until it is likelier, until the next shutdown; whichever comes first.
#[utoipa::path(post, path = "/v1/predictions/{id}/snooze", operation_id = "snooze_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)), request_body = SnoozePrediction,
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn snooze(
    Path(id): Path<PredictionId>,
    command: Command<PredictionsAct, SnoozePrediction>,
) -> Result<Response, Problem> {
    if command
        .body
        .above
        .is_some_and(|above| !(0.0..=1.0).contains(&above))
    {
        return Err(Problem::field("/above", "a probability, 0 to 1"));
    }
    let action = Action::Snooze {
        until: command.body.until,
        above: command.body.above,
        shutdown: command.body.shutdown,
    };
    decide(command, id, &action, None).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "label": "no_fault_found", "note": "opened, measured, all as new" }))]
pub struct LabelPrediction {
    label: Label,
    note: Option<String>,
}

/// Say what came of it, also against an earlier label. Closing its ticket labels it by itself.
#[utoipa::path(post, path = "/v1/predictions/{id}/label", operation_id = "label_prediction", tag = "cases",
    params(("id" = PredictionId, Path), ("if-match" = String, Header)), request_body = LabelPrediction,
    responses((status = 200, body = PredictionDetail)), security(("bearer" = ["predictions:act"])))]
async fn label(
    Path(id): Path<PredictionId>,
    mut command: Command<PredictionsAct, LabelPrediction>,
) -> Result<Response, Problem> {
    let (actor, expected) = (command.principal().name(), command.expected()?);
    let (label, note) = (command.body.label, command.body.note.take());
    prediction::label_by_person(command.db(), id, Some(expected), label, note.as_deref(), &actor).await?;
    command
        .audit("prediction.label", &id.to_string(), &json!({ "label": label }))
        .await?;
    let shown = detail(command.db(), id).await?;
    let version = shown.prediction.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}
