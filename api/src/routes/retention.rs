//! How long readings and their rollups are kept, by class of channel.

use axum::Json;
use axum::response::Response;
use models::asset::ChannelKind;
use models::db::history::retention::{Keep, Policy, policies, set_policy};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::extract::may::{AssetsRead, IngestWrite};
use crate::extract::{Answer, Command, Tenant};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, set))
}

/// Days; `null` = for ever. Rollups are never kept shorter than readings.
#[derive(Serialize, ToSchema)]
pub struct RetentionPolicy {
    /// `null` = channels of every class without a policy of its own.
    kind: Option<ChannelKind>,
    #[schema(example = 400)]
    raw_days: Option<i32>,
    minute_days: Option<i32>,
    hour_days: Option<i32>,
    updated_at: Timestamp,
}

impl From<Policy> for RetentionPolicy {
    fn from(policy: Policy) -> Self {
        Self {
            kind: policy.kind,
            raw_days: policy.keep.raw_days,
            minute_days: policy.keep.minute_days,
            hour_days: policy.keep.hour_days,
            updated_at: policy.updated_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct RetentionPolicies {
    /// Without any the installation's own hold (`analytics.retention`).
    policies: Vec<RetentionPolicy>,
}

/// The tenant's policies.
#[utoipa::path(get, path = "/v1/retention-policies", operation_id = "list_retention_policies", tag = "channels",
    responses((status = 200, body = RetentionPolicies)), security(("bearer" = ["assets:read"])))]
async fn list(mut tenant: Tenant<AssetsRead>) -> Result<Json<RetentionPolicies>, Problem> {
    let policies = policies(tenant.db()).await?.into_iter().map(Into::into).collect();
    Ok(Json(RetentionPolicies { policies }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "kind": "measurement", "raw_days": 400, "minute_days": 800, "hour_days": null }))]
pub struct SetRetention {
    /// `null` = channels of every class without a policy of its own.
    kind: Option<ChannelKind>,
    /// Days, at least 1; `null` = for ever.
    raw_days: Option<i32>,
    minute_days: Option<i32>,
    hour_days: Option<i32>,
}

/// Set or replace the policy of a class. Shortening it removes readings within the hour, for good.
#[utoipa::path(post, path = "/v1/retention-policies", operation_id = "set_retention_policy", tag = "channels",
    request_body = SetRetention, responses((status = 200, body = RetentionPolicies)),
    security(("bearer" = ["ingest:write"])))]
async fn set(mut command: Command<IngestWrite, SetRetention>) -> Result<Response, Problem> {
    let SetRetention {
        kind,
        raw_days,
        minute_days,
        hour_days,
    } = command.body;
    for (pointer, days) in [
        ("/raw_days", raw_days),
        ("/minute_days", minute_days),
        ("/hour_days", hour_days),
    ] {
        if days.is_some_and(|days| days < 1) {
            return Err(Problem::field(pointer, "at least 1 day, or null = for ever"));
        }
        if let Some(days) = days
            && raw_days.is_none_or(|raw| days < raw)
        {
            return Err(Problem::field(
                pointer,
                "rollups are not kept shorter than readings (raw_days)",
            ));
        }
    }
    let keep = Keep {
        raw_days,
        minute_days,
        hour_days,
    };
    let tenant = command.principal().tenant;
    set_policy(command.db(), tenant, kind, keep).await?;
    let detail =
        json!({ "kind": kind, "raw_days": raw_days, "minute_days": minute_days, "hour_days": hour_days });
    command.audit("retention.set", "retention", &detail).await?;
    let all = policies(command.db())
        .await?
        .into_iter()
        .map(Into::into)
        .collect();
    command
        .finish(Answer::ok(&RetentionPolicies { policies: all })?)
        .await
}
