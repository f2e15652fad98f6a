//! What all plans expect in the months to come.

use std::collections::HashMap;

use axum::Json;
use models::db::overview;
use models::db::plan::{self, PlanRow};
use models::id::{AssetId, PlanId};
use models::plan::{Day, Expected, Facts, Forecast, absorb, expected};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Named;
use crate::error::Problem;
use crate::extract::may::PlansRead;
use crate::extract::{Query, Tenant};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(forecast))
}

/// An occurrence that is open or to come.
#[derive(Serialize, ToSchema)]
pub struct Planned {
    plan: Named<PlanId>,
    asset: Named<AssetId>,
    /// It has been made already.
    open: bool,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Serialize, ToSchema)]
pub struct PlanForecastList {
    /// By day.
    data: Vec<Planned>,
    /// Plans for which no day can be told, and why.
    unknown: Vec<Unknown>,
}

#[derive(Serialize, ToSchema)]
pub struct Unknown {
    plan: Named<PlanId>,
    asset: Named<AssetId>,
    explanation: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ForecastQuery {
    /// 1 to 60; 12 when left out.
    #[param(minimum = 1, maximum = 60)]
    months: Option<i64>,
    asset_id: Option<AssetId>,
}

/// Plans of one answer; more are asked for asset by asset.
const MOST: i64 = 2000;

/// Every occurrence of the coming months, by plan calendars and the usage of meters, each with its
/// interval and its reason. Nested plans say whose work includes them.
#[utoipa::path(get, path = "/v1/plans/forecast", operation_id = "forecast_plans", tag = "plans",
    params(ForecastQuery), responses((status = 200, body = PlanForecastList)),
    security(("bearer" = ["plans:read"])))]
async fn forecast(
    mut tenant: Tenant<PlansRead>,
    Query(query): Query<ForecastQuery>,
) -> Result<Json<PlanForecastList>, Problem> {
    let months = query.months.unwrap_or(12);
    if !(1..=60).contains(&months) {
        return Err(Problem::query("months", "from 1 to 60"));
    }
    let mut rows = plan::list(tenant.db(), query.asset_id, None, MOST + 1).await?;
    if rows.len() as i64 > MOST {
        return Err(Problem::query(
            "asset_id",
            format!("there are more than {MOST} plans: ask for one asset at a time"),
        ));
    }
    rows.retain(|row| row.enabled);
    let ids: Vec<PlanId> = rows.iter().map(|row| row.id).collect();
    let open = overview::open_occurrences(tenant.db(), &ids).await?;
    let open: HashMap<PlanId, overview::OpenOccurrence> =
        open.into_iter().map(|one| (one.plan_id, one)).collect();
    let now = Timestamp::now();
    let mut lists: HashMap<PlanId, Vec<Expected>> = HashMap::new();
    let (mut data, mut unknown) = (Vec::new(), Vec::new());
    for row in &rows {
        let today = match Day::at(now, &row.time_zone) {
            Ok(today) => today,
            Err(error) => {
                unknown.push(Unknown::of(row, error.to_string()));
                continue;
            }
        };
        let facts = Facts {
            today,
            total: row.meter_total,
            usage: row.forecast.as_ref().and_then(|forecast| forecast.usage),
            meter: row.meter_name.as_deref().zip(row.meter_unit.as_deref()),
            has_open_occurrence: open.contains_key(&row.id),
            pull: None,
            parent: None,
        };
        // Thirty and a half days a month.
        let until = today.plus(months * 61 / 2);
        let due = open.get(&row.id);
        let list = match &row.out_of_service {
            Some(why) => {
                unknown.push(Unknown::of(row, Forecast::out_of_service(why).explanation));
                Vec::new()
            }
            None => expected(&row.plan(), &facts, due.map(|one| one.due_date), until),
        };
        if let Some(due) = due {
            data.push(Planned {
                plan: Named::new(row.id, row.name.clone()),
                asset: Named::new(row.asset_id, row.asset_name.clone()),
                open: true,
                expected: Expected {
                    sequence: due.sequence,
                    date: due.due_date,
                    low: Some(due.due_date),
                    high: Some(due.due_date),
                    trigger: models::plan::Trigger::Calendar,
                    skipped: false,
                    absorbed_by: None,
                    explanation: "made already, and not done yet".to_owned(),
                },
            });
        }
        if list.is_empty()
            && row.out_of_service.is_none()
            && row.every_units.is_some()
            && facts.usage.is_none()
        {
            let why = "how fast its meter runs isn't known yet".to_owned();
            unknown.push(Unknown::of(row, why));
        }
        lists.insert(row.id, list);
    }
    for row in &rows {
        let Some(mut list) = lists.get(&row.id).cloned() else {
            continue;
        };
        if let Some(parent) = row.parent_id
            && let (Some(parents), Some(name)) = (lists.get(&parent), &row.parent_name)
        {
            absorb(&mut list, parents, name, i64::from(row.absorb_days));
        }
        data.extend(list.into_iter().map(|expected| Planned {
            plan: Named::new(row.id, row.name.clone()),
            asset: Named::new(row.asset_id, row.asset_name.clone()),
            open: false,
            expected,
        }));
    }
    data.sort_by_key(|one| (one.expected.date, one.plan.id));
    Ok(Json(PlanForecastList { data, unknown }))
}

impl Unknown {
    fn of(row: &PlanRow, explanation: String) -> Self {
        Self {
            plan: Named::new(row.id, row.name.clone()),
            asset: Named::new(row.asset_id, row.asset_name.clone()),
            explanation,
        }
    }
}
