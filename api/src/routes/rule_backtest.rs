//! What a rule would have done, before it is saved.

use std::sync::LazyLock;

use axum::response::Response;
use models::alarm::backtest::{Backtest, Policy, Report};
use models::alarm::{Kind as RuleKind, Rule};
use models::db::alarm::{NewRule, rule_to_try};
use models::db::history;
use models::reading::Quality;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::check_asset;
use super::rules::check;
use crate::error::{Kind, Problem};
use crate::extract::may::RulesWrite;
use crate::extract::{Answer, Command};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(backtest))
}

/// Readings of one page of history.
const PAGE: i32 = 50_000;
/// Readings that one request judges; beyond it the older part is left out, and the answer's `from` says so.
const MOST: usize = 4_000_000;
const DAY_S: f64 = 86_400.0;
const MOST_ASSESSMENTS: i32 = 200_000;
/// Horizon of `probability_above`, as analytics judges it.
const HORIZON_H: i32 = 720;
/// It reads months of history: two at a time are enough for one process.
static AT_ONCE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

fn days() -> f64 {
    90.0
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TryRule {
    /// As it would be saved.
    rule: NewRule,
    /// Of history, up to now. 0.1 to 730.
    #[serde(default = "days")]
    days: f64,
    /// Hours that a ticket is assumed to stay open; a day when left out.
    work_h: Option<f64>,
    /// Hours after a ticket without a new one for the same cause; a day when left out.
    cool_down_h: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub struct RuleBacktest {
    #[serde(flatten)]
    report: Report,
    /// The history asked for was longer than one request judges: only its newest part was.
    shortened: bool,
}

/// How often this rule would have fired and how many tickets it would have made, with the moments, and
/// better dead band and delays from the same history. Nothing is saved.
#[utoipa::path(post, path = "/v1/alarm-rules/backtest", operation_id = "backtest_alarm_rule", tag = "alarms",
    request_body(content = TryRule, example = json!({ "days": 90, "rule": {
        "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f", "channel_id": "chn_42", "name": "vibration high",
        "kind": "high", "limit_value": 7.1, "severity": "serious" } })),
    responses((status = 200, body = RuleBacktest)), security(("bearer" = ["rules:write"])))]
async fn backtest(mut command: Command<RulesWrite, TryRule>) -> Result<Response, Problem> {
    check(&command.body.rule)?;
    let days = command.body.days;
    if !(0.1..=730.0).contains(&days) {
        return Err(Problem::field("/days", "from 0.1 to 730"));
    }
    let usual = Policy::default();
    let policy = Policy {
        work_h: command.body.work_h.unwrap_or(usual.work_h),
        cool_down_h: command.body.cool_down_h.unwrap_or(usual.cool_down_h),
        ..usual
    };
    for (pointer, value) in [("/work_h", policy.work_h), ("/cool_down_h", policy.cool_down_h)] {
        if !(0.0..=8760.0).contains(&value) {
            return Err(Problem::field(pointer, "hours, from 0 to a year"));
        }
    }
    if command.body.rule.kind == RuleKind::Deviation {
        return Err(Problem::field(
            "/rule/kind",
            "a deviation is measured against a model of its time, which is not kept for every channel: try the limit on \
             the channel itself (high, low, rate), or `forewarn backtest` for the detector as a whole",
        ));
    }
    let _place = AT_ONCE.try_acquire().map_err(|_| {
        Problem::new(
            Kind::TooManyRequests,
            "other backtests are running, try again when they are done",
        )
        .after(10)
    })?;
    let (tenant, new) = (command.principal().tenant, command.body.rule.clone());
    check_asset(command.db(), "/rule/asset_id", new.asset_id).await?;
    let rule = rule_to_try(command.db(), tenant, &new).await?;
    let to = Timestamp::now();
    let (report, shortened) = run(&mut command, &rule, policy, to.plus_seconds(-days * 86_400.0), to).await?;
    let shown = RuleBacktest { report, shortened };
    command.finish(Answer::ok(&shown)?).await
}

async fn run(
    command: &mut Command<RulesWrite, TryRule>,
    rule: &Rule,
    policy: Policy,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Report, bool), Problem> {
    let mut test = Backtest::new(rule, policy);
    let Some(channel) = rule.channel else {
        let mut rows = history::assessments(command.db(), rule.asset, from, to, MOST_ASSESSMENTS).await?;
        rows.reverse();
        let shortened = rows.len() >= MOST_ASSESSMENTS as usize;
        for row in rows {
            let value = match rule.kind {
                RuleKind::HealthBelow => Some(row.health),
                _ => (row.p_fail.0.iter())
                    .find(|entry| entry.horizon_h == HORIZON_H)
                    .map(|entry| entry.p),
            };
            if let Some(value) = value {
                test.push(row.window_end, value, Quality::Good);
            }
        }
        return Ok((test.finish(), shortened));
    };
    // Where there is too much, the newest part is judged; how far back that is, the last day tells.
    let day = history::raw(command.db(), channel, to.plus_seconds(-DAY_S), to, PAGE).await?;
    let span_s = match (day.first(), day.last()) {
        (Some(first), Some(last)) if day.len() >= PAGE as usize => last.ts.seconds_since(first.ts).max(1e-3),
        _ => DAY_S,
    };
    let most_s = MOST as f64 / (day.len().max(1) as f64 / span_s);
    let shortened = to.seconds_since(from) > most_s;
    let mut begin = if shortened { to.plus_seconds(-most_s) } else { from };
    let mut before: Option<Timestamp> = None;
    loop {
        let page = history::raw(command.db(), channel, begin, to, PAGE).await?;
        let full = page.len() >= PAGE as usize;
        for point in &page {
            if rule.kind == RuleKind::NoData {
                match before {
                    Some(before) => test.heard(before, point.ts),
                    None => test.push(point.ts, 0.0, Quality::Good),
                }
                before = Some(point.ts);
            } else {
                test.push(point.ts, point.value, Quality::from_code(point.quality));
            }
        }
        match page.last() {
            Some(last) if full => begin = Timestamp::from_micros(last.ts.micros() + 1),
            _ => break,
        }
        // A page is a hundredth of a second of judging: let others have their turn.
        tokio::task::yield_now().await;
    }
    if let Some(before) = before.filter(|before| to.seconds_since(*before) > rule.limit) {
        test.heard(before, to);
    }
    Ok((test.finish(), shortened))
}
