//! What a gateway's topics and JSON mean: read it, try it on a dead letter, save it.

use axum::Json;
use axum::response::Response;
use models::db::registry::{self, RegisterRow};
use models::db::{mapping, overview};
use models::id::{ChannelId, DeadLetterId, GatewayId};
use models::mapping::{self as words, Codec, Mapping};
use models::time::Timestamp;
use models::unit::Unit;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::extract::may::{IngestRead, IngestWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::state::App;

/// Rows that an attempt shows of each kind.
const MAX_SHOWN: usize = 200;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        .routes(routes!(try_mapping))
}

/// How a gateway's messages are read.
#[derive(Serialize, ToSchema)]
pub struct MappingView {
    /// Protocols and routes, as `docs/mqtt.md` describes them. `{}` = every protocol on its standard
    /// topics.
    #[schema(value_type = Object)]
    mapping: Mapping,
    /// `null` = nobody has saved one.
    updated_at: Option<Timestamp>,
    updated_by: Option<String>,
}

async fn view(db: &mut PgConnection, id: GatewayId) -> Result<MappingView, Problem> {
    let saved = mapping::get(db, id).await?;
    Ok(match saved {
        Some(saved) => MappingView {
            mapping: saved.mapping.0,
            updated_at: Some(saved.updated_at),
            updated_by: Some(saved.updated_by),
        },
        None => MappingView {
            mapping: Mapping::default(),
            updated_at: None,
            updated_by: None,
        },
    })
}

async fn must_exist(db: &mut PgConnection, id: GatewayId) -> Result<(), Problem> {
    let found = overview::gateways(db, Some(id), None, 1).await?;
    found.first().map(|_| ()).ok_or_else(Problem::not_found)
}

/// The mapping of a gateway.
#[utoipa::path(get, path = "/v1/gateways/{id}/mapping", operation_id = "get_gateway_mapping", tag = "ingest",
    params(("id" = GatewayId, Path)), responses((status = 200, body = MappingView)),
    security(("bearer" = ["ingest:read"])))]
async fn get(
    mut tenant: Tenant<IngestRead>,
    Path(id): Path<GatewayId>,
) -> Result<Json<MappingView>, Problem> {
    must_exist(tenant.db(), id).await?;
    Ok(Json(view(tenant.db(), id).await?))
}

/// A mapping to be saved.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object, example = json!({ "routes": [{
    "topic": "plant/+/status", "codec": "json", "device": "{1}",
    "time": { "pointer": "/t", "format": "unix_ms" },
    "values": [{ "pointer": "/temp/value", "channel": "temperature", "unit": "Cel" }] }] }))]
pub struct NewMapping(Mapping);

fn check(mapping: &Mapping, at: &str) -> Result<(), Problem> {
    mapping
        .check()
        .map_err(|invalid| Problem::field(format!("{at}{}", invalid.pointer), invalid.why))
}

/// Save the mapping of a gateway; it holds for messages from a few seconds later on, without a
/// reconnect.
#[utoipa::path(put, path = "/v1/gateways/{id}/mapping", operation_id = "set_gateway_mapping", tag = "ingest",
    params(("id" = GatewayId, Path)), request_body = NewMapping, responses((status = 200, body = MappingView)),
    security(("bearer" = ["ingest:write"])))]
async fn put(
    Path(id): Path<GatewayId>,
    mut command: Command<IngestWrite, NewMapping>,
) -> Result<Response, Problem> {
    must_exist(command.db(), id).await?;
    check(&command.body.0, "")?;
    let new = command.body.0.clone();
    let by = command.principal().name();
    if !mapping::put(command.db(), id, &new, &by).await? {
        return Err(Problem::not_found());
    }
    let detail = json!({ "routes": new.routes.len(), "protocols": new.protocols });
    command.audit("gateway.mapping", &id.to_string(), &detail).await?;
    let shown = view(command.db(), id).await?;
    command.finish(Answer::ok(&shown)?).await
}

/// A mapping and what to try it on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "topic": "plant/7/status", "payload": "{\"t\":1767225600000,\"temp\":{\"value\":21.5}}" }))]
pub struct Attempt {
    /// Absent: the one that is saved.
    #[schema(value_type = Option<Object>)]
    mapping: Option<Mapping>,
    /// A dead letter of this gateway, which gives topic and payload.
    dead_letter_id: Option<DeadLetterId>,
    topic: Option<String>,
    payload: Option<String>,
}

/// A reading that would be stored.
#[derive(Serialize, ToSchema)]
pub struct TriedReading {
    device: String,
    channel: String,
    ts: Timestamp,
    value: f64,
    /// As the mapping says.
    unit: Option<String>,
    /// `null` = it would be registered, unassigned.
    channel_id: Option<ChannelId>,
    /// In the unit of the registered channel.
    stored_value: Option<f64>,
    stored_unit: Option<String>,
    /// Why it would be refused all the same.
    problem: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct TriedMisfit {
    device: String,
    channel: String,
    /// Names the field.
    detail: String,
}

/// What a mapping would make of a message. Nothing is stored.
#[derive(Serialize, ToSchema)]
pub struct Tried {
    topic: String,
    /// Number of the route that matched the topic, from 0.
    route: Option<usize>,
    /// Why nothing could be read.
    problem: Option<String>,
    /// All of them; `readings` shows the first 200.
    total: usize,
    readings: Vec<TriedReading>,
    misfits: Vec<TriedMisfit>,
}

/// Try a mapping before it is saved, on a dead letter or on a topic and a payload.
#[utoipa::path(post, path = "/v1/gateways/{id}/mapping/try", operation_id = "try_gateway_mapping", tag = "ingest",
    params(("id" = GatewayId, Path)), request_body = Attempt, responses((status = 200, body = Tried)),
    security(("bearer" = ["ingest:write"])))]
async fn try_mapping(
    Path(id): Path<GatewayId>,
    mut command: Command<IngestWrite, Attempt>,
) -> Result<Response, Problem> {
    must_exist(command.db(), id).await?;
    let saved = view(command.db(), id).await?.mapping;
    let mapping = command.body.mapping.take().unwrap_or(saved);
    check(&mapping, "/mapping")?;
    let (topic, payload, received_at) = match (
        command.body.dead_letter_id,
        command.body.topic.take(),
        command.body.payload.take(),
    ) {
        (Some(letter), None, None) => {
            let (row, payload) = overview::dead_letter(command.db(), letter)
                .await?
                .filter(|(row, _)| row.gateway_id == id)
                .ok_or_else(|| Problem::field("/dead_letter_id", "a dead letter of this gateway"))?;
            if row.format == "readings" {
                return Err(Problem::field(
                    "/dead_letter_id",
                    "holds single readings, which were read already; a whole message is needed",
                ));
            }
            (row.topic, payload, row.received_at)
        }
        (None, Some(topic), Some(payload)) => (topic, payload.into_bytes(), Timestamp::now()),
        _ => {
            return Err(Problem::field(
                "/dead_letter_id",
                "give either a dead letter, or a topic and a payload",
            ));
        }
    };
    let register = registry::gateway_register(command.db(), id).await?;
    let tried = attempt(&mapping, topic, &payload, received_at, &register);
    command.finish(Answer::ok(&tried)?).await
}

fn attempt(
    mapping: &Mapping,
    topic: String,
    payload: &[u8],
    received_at: Timestamp,
    register: &[RegisterRow],
) -> Tried {
    let mut tried = Tried {
        route: None,
        problem: None,
        total: 0,
        readings: Vec::new(),
        misfits: Vec::new(),
        topic,
    };
    let Some((number, captures)) = mapping.route(&tried.topic) else {
        tried.problem = Some(format!("no route's filter matches `{}`", tried.topic));
        return tried;
    };
    tried.route = Some(number);
    let route = &mapping.routes[number];
    if route.codec != Codec::Json {
        tried.problem = Some(format!(
            "the route reads {}, which needs no mapping of values: replay the letter once it is saved",
            route.codec.name()
        ));
        return tried;
    }
    match words::apply(route, &captures, &tried.topic, payload, received_at.micros()) {
        Err(failure) => tried.problem = Some(format!("{}: {}", failure.reason, failure.detail)),
        Ok(mapped) => {
            tried.total = mapped.readings.len();
            let shown = mapped.readings.into_iter().take(MAX_SHOWN);
            tried.readings = shown.map(|row| reading(row, register)).collect();
            let misfits = mapped.misfits.into_iter().take(MAX_SHOWN);
            tried.misfits = misfits
                .map(|misfit| TriedMisfit {
                    device: misfit.device,
                    channel: misfit.channel,
                    detail: misfit.detail,
                })
                .collect();
        }
    }
    tried
}

fn reading(row: words::Reading, register: &[RegisterRow]) -> TriedReading {
    let found = register
        .iter()
        .find(|known| known.device == row.device && known.channel.as_deref() == Some(row.channel.as_str()));
    let mut tried = TriedReading {
        ts: Timestamp::from_micros(row.ts),
        value: row.value,
        channel_id: found.and_then(|known| known.channel_id),
        stored_value: None,
        stored_unit: found.and_then(|known| known.unit.clone()),
        problem: None,
        device: row.device,
        channel: row.channel,
        unit: row.unit,
    };
    if let Some(into) = &tried.stored_unit {
        let into = Unit::new(into.as_str());
        let from = tried.unit.as_deref().map_or_else(|| into.clone(), Unit::new);
        match from.conversion_to(&into) {
            Ok(conversion) => tried.stored_value = Some(conversion.apply(tried.value)),
            Err(error) => tried.problem = Some(format!("unit_mismatch: {error}")),
        }
    }
    tried
}
