//! One sign, one transaction: lock it, find its case, decide, act, write down why.

use std::time::Duration;

use models::alarm::{self, Kind, Severity};
use models::asset::Criticality;
use models::case;
use models::db::case_file::{Sign, join_or_open};
use models::db::dispatch::{self as sql, AlarmSign, NewDecision, Outcome, PredictionSign, Related};
use models::db::ticket::{self, NewTicket};
use models::id::{AlarmId, CaseId, FailureModeId, PredictionId, TicketId};
use models::ticket::{NewTask, Origin, Priority};
use models::time::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::policy::{AlarmFacts, is_too_early, judge, judge_alone};
use super::{ACTOR, Config};

/// What came of a look at an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It has to last so much longer to be judged.
    Early(Duration),
    /// `None` when somebody else has it, or the decision was written before.
    Done(Option<Outcome>),
}

/// Decides on one alarm.
pub(super) async fn alarm(
    pool: &PgPool,
    config: &Config,
    id: AlarmId,
    now: Timestamp,
) -> Result<Judged, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some(sign) = sql::take_alarm(&mut tx, id).await? else {
        return Ok(Judged::Done(None));
    };
    let alone = facts(&sign, &[], now);
    if is_too_early(&alone, config) {
        let left_s = config.group_wait_s - now.seconds_since(sign.active_at);
        let left = Duration::try_from_secs_f64(left_s.max(0.0)).unwrap_or_default();
        return Ok(Judged::Early(left));
    }
    if let Some(verdict) = judge_alone(&alone, config) {
        sql::settle_alarm(&mut tx, id, None, verdict.last_word, now).await?;
        let decision = decision(&sign, None, verdict.outcome, None, verdict.reason);
        let new = sql::record(&mut tx, &decision, now).await?;
        tx.commit().await?;
        return Ok(Judged::Done(new.then_some(verdict.outcome)));
    }
    let case = match sign.case_id {
        Some(case) => case,
        None => {
            let mode = sign.failure_mode_name.as_deref();
            let title = case::title(mode, &sign.rule_name, &sign.asset_name);
            let (tenant, asset) = (sign.tenant_id, sign.asset_id);
            let joining = Sign {
                tenant,
                asset,
                failure_mode: sign.failure_mode_id,
                severity: sign.severity,
                title,
            };
            join_or_open(&mut tx, &joining, now).await?.0
        }
    };
    let (mode, severity) = sql::lock_case(&mut tx, case).await?;
    let related = sql::related_tickets(&mut tx, case, sign.asset_id, mode).await?;
    let verdict = judge(&facts(&sign, &related, now), config);
    let priority = Priority::of(severity, sign.criticality, None);
    let ticket = match verdict.outcome {
        Outcome::Created => {
            let new = alarm_ticket(&sign, case, mode, priority, verdict.ticket, now);
            Some(ticket::create(&mut tx, &new, ACTOR).await?.id())
        }
        Outcome::Attached => match verdict.ticket {
            Some(open) => {
                let detail = json!({ "alarm_id": sign.id, "rule": sign.rule_name, "text": describe(&sign) });
                let (tenant, asset) = (sign.tenant_id, sign.asset_id);
                ticket::add_evidence(&mut tx, tenant, open.id, asset, ACTOR, &detail).await?;
                ticket::raise_priority(&mut tx, tenant, open.id, priority, ACTOR).await?;
                Some(open.id)
            }
            None => None,
        },
        _ => verdict.ticket.map(|ticket| ticket.id),
    };
    sql::settle_alarm(&mut tx, id, Some(case), verdict.last_word, now).await?;
    let decision = decision(&sign, Some(case), verdict.outcome, ticket, verdict.reason);
    let new = sql::record(&mut tx, &decision, now).await?;
    tx.commit().await?;
    Ok(Judged::Done(new.then_some(verdict.outcome)))
}

fn facts<'a>(sign: &'a AlarmSign, related: &'a [Related], now: Timestamp) -> AlarmFacts<'a> {
    let suppressed = alarm::is_suppressed(sign.suppression, sign.suppressed_until, now).then(|| {
        let reason = sign
            .suppression_reason
            .as_deref()
            .unwrap_or("no reason was given");
        match sign.suppressed_until {
            Some(until) => format!("shelved until {until} ({reason})"),
            None => reason.to_owned(),
        }
    });
    AlarmFacts {
        rule: &sign.rule_name,
        asset: &sign.asset_name,
        asset_status: sign.asset_status,
        parent: sign.parent_name.as_deref().zip(sign.parent_status),
        makes_ticket: sign.makes_ticket,
        never_suppressed: sign.never_suppressed,
        suppressed,
        raised: sign.condition.is_raised(),
        active_at: sign.active_at,
        cleared_at: sign.cleared_at,
        related,
        now,
    }
}

fn decision(
    sign: &AlarmSign,
    case: Option<CaseId>,
    outcome: Outcome,
    ticket: Option<TicketId>,
    reason: String,
) -> NewDecision {
    NewDecision {
        tenant: sign.tenant_id,
        case,
        asset: sign.asset_id,
        subject: sign.id.to_string(),
        outcome,
        ticket,
        reason,
        facts: json!({
            "rule": sign.rule_name,
            "kind": sign.rule_kind,
            "severity": sign.severity,
            "criticality": sign.criticality,
            "asset_status": sign.asset_status,
            "condition": sign.condition,
            "active_at": sign.active_at,
            "cleared_at": sign.cleared_at,
            "peak_value": sign.peak_value,
            "limit_value": sign.limit_value,
            "unit": sign.unit,
        }),
    }
}

/// What was seen, in a sentence.
fn describe(sign: &AlarmSign) -> String {
    let unit = sign
        .unit
        .as_deref()
        .filter(|unit| *unit != "1")
        .map(|unit| format!(" {unit}"))
        .unwrap_or_default();
    let (peak, limit) = (sign.peak_value, sign.limit_value);
    let what = match sign.rule_kind {
        Kind::High => format!("reached {peak:.4}{unit}; the limit is {limit:.4}{unit}"),
        Kind::Low => format!("fell to {peak:.4}{unit}; the limit is {limit:.4}{unit}"),
        Kind::Rate => format!("changed by {peak:.4}{unit} a second; the limit is {limit:.4}"),
        Kind::Stuck => format!("did not change for {peak:.0} s; {limit:.0} s are allowed"),
        Kind::NoData => format!("sent nothing for {peak:.0} s; {limit:.0} s are allowed"),
        Kind::Deviation => format!("is {peak:.2} away from its baseline; the limit is {limit:.2}"),
        Kind::HealthBelow => format!("has a health of {peak:.0}; the limit is {limit:.0}"),
        Kind::ProbabilityAbove => {
            format!(
                "fails with a probability of {:.0} %; the limit is {:.0} %",
                peak * 100.0,
                limit * 100.0
            )
        }
    };
    format!(
        "{} “{}”: {what}, since {}.",
        sign.asset_name, sign.rule_name, sign.active_at
    )
}

fn alarm_ticket(
    sign: &AlarmSign,
    case: CaseId,
    mode: Option<FailureModeId>,
    priority: Priority,
    repeats: Option<&Related>,
    now: Timestamp,
) -> NewTicket {
    NewTicket {
        tenant: sign.tenant_id,
        asset: sign.asset_id,
        case: Some(case),
        occurrence: None,
        failure_mode: mode,
        origin: Origin::Alarm,
        origin_key: sign.id.to_string(),
        title: case::title(
            sign.failure_mode_name.as_deref(),
            &sign.rule_name,
            &sign.asset_name,
        ),
        description: describe(sign),
        priority,
        due_at: Some(due(priority, now)),
        repeat_of: repeats.map(|earlier| earlier.id),
        tasks: vec![NewTask::check(format!(
            "Inspect {} and say what was found",
            sign.asset_name
        ))],
    }
}

/// How soon somebody should have seen to it.
fn due(priority: Priority, now: Timestamp) -> Timestamp {
    let days = match priority {
        Priority::Critical => 1,
        Priority::High => 3,
        Priority::Medium => 14,
        Priority::Low => 30,
    };
    now + Duration::from_secs(days * 86_400)
}

/// Puts a prediction into its case, and makes a ticket when the policy says so.
pub(super) async fn prediction(
    pool: &PgPool,
    config: &Config,
    id: PredictionId,
    now: Timestamp,
) -> Result<Option<Outcome>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some(sign) = sql::take_prediction(&mut tx, id).await? else {
        return Ok(None);
    };
    let severity = severity_of(sign.probability, sign.criticality);
    let title = case::title(
        sign.failure_mode_name.as_deref(),
        "Failure predicted",
        &sign.asset_name,
    );
    let case = match sign.case_id {
        Some(case) => case,
        None => {
            let (tenant, asset) = (sign.tenant_id, sign.asset_id);
            let joining = Sign {
                tenant,
                asset,
                failure_mode: sign.failure_mode_id,
                severity,
                title: title.clone(),
            };
            join_or_open(&mut tx, &joining, now).await?.0
        }
    };
    let (mode, case_severity) = sql::lock_case(&mut tx, case).await?;
    let related = sql::related_tickets(&mut tx, case, sign.asset_id, mode).await?;
    let open = related.first().filter(|ticket| ticket.status.is_open());
    let odds = format!(
        "{:.0} % ({:.0} to {:.0} %) within {:.0} days",
        sign.probability * 100.0,
        sign.p_low * 100.0,
        sign.p_high * 100.0,
        f64::from(sign.horizon_h) / 24.0
    );
    let by_itself = config
        .prediction_ticket_at
        .is_some_and(|threshold| sign.probability >= threshold);
    let (outcome, ticket, reason) = if !sign.asset_status.in_service() {
        (
            Outcome::AssetNotInService,
            None,
            format!("{} is not in service.", sign.asset_name),
        )
    } else if let Some(open) = open {
        let detail =
            json!({ "prediction_id": sign.id, "probability": sign.probability, "horizon_h": sign.horizon_h });
        ticket::add_evidence(&mut tx, sign.tenant_id, open.id, sign.asset_id, ACTOR, &detail).await?;
        let reason = format!(
            "Ticket #{} for the same cause is open: the prediction of {odds} was noted there.",
            open.number
        );
        (Outcome::Attached, Some(open.id), reason)
    } else if by_itself {
        let priority = Priority::of(case_severity, sign.criticality, Some(sign.probability));
        let new = prediction_ticket(&sign, case, mode, priority, title, &odds, now);
        let id = create(&mut tx, &new).await?;
        (
            Outcome::Created,
            Some(id),
            format!("A failure is predicted: {odds}."),
        )
    } else {
        let reason = format!("A failure is predicted: {odds}. A planner decides whether it needs a ticket.");
        (Outcome::BelowPolicy, None, reason)
    };
    // With a threshold a prediction that grows likelier may still make its ticket.
    let last_word = outcome != Outcome::BelowPolicy || config.prediction_ticket_at.is_none();
    let accepted_by = ticket.filter(|_| outcome == Outcome::Created);
    sql::settle_prediction(&mut tx, id, Some(case), accepted_by, last_word, now).await?;
    let decision = NewDecision {
        tenant: sign.tenant_id,
        case: Some(case),
        asset: sign.asset_id,
        subject: sign.id.to_string(),
        outcome,
        ticket,
        reason,
        facts: json!({
            "probability": sign.probability,
            "p_low": sign.p_low,
            "p_high": sign.p_high,
            "horizon_h": sign.horizon_h,
            "criticality": sign.criticality,
        }),
    };
    let new = sql::record(&mut tx, &decision, now).await?;
    tx.commit().await?;
    Ok(new.then_some(outcome))
}

async fn create(connection: &mut PgConnection, new: &NewTicket) -> Result<TicketId, sqlx::Error> {
    Ok(ticket::create(connection, new, ACTOR).await?.id())
}

fn prediction_ticket(
    sign: &PredictionSign,
    case: CaseId,
    mode: Option<FailureModeId>,
    priority: Priority,
    title: String,
    odds: &str,
    now: Timestamp,
) -> NewTicket {
    NewTicket {
        tenant: sign.tenant_id,
        asset: sign.asset_id,
        case: Some(case),
        occurrence: None,
        failure_mode: mode,
        origin: Origin::Prediction,
        origin_key: sign.id.to_string(),
        title,
        description: format!("{} is predicted to fail: {odds}.", sign.asset_name),
        priority,
        due_at: Some(due(priority, now)),
        repeat_of: None,
        tasks: vec![NewTask::check(format!(
            "Inspect {} and say what was found",
            sign.asset_name
        ))],
    }
}

/// How bad a prediction is as a sign: by how likely the failure is and what hangs on the asset.
fn severity_of(probability: f64, criticality: Criticality) -> Severity {
    match (probability, criticality) {
        (p, Criticality::High | Criticality::Critical) if p >= 0.5 => Severity::Critical,
        (p, _) if p >= 0.5 => Severity::Serious,
        _ => Severity::Warning,
    }
}
