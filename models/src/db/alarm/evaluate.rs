//! Judging samples inside the transaction that stores them.
//!
//! Whoever judges keeps the machines of its rules in memory and calls [`evaluate`] with the new
//! samples. Only what changed touches the database, so that a quiet plant costs nothing. The rows
//! are the truth when memory and database differ (another process judged, a person reset the alarm):
//! the open row is locked, its machine taken, and the samples are judged again.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::alarm::{Change, Condition, Machine, Occurrence, Rule, Run, Severity, Suppression, Transition};
use crate::db::outbox;
use crate::id::{AlarmId, AlarmRuleId, AssetId, CaseId, ChannelId, FailureModeId, TenantId};
use crate::reading::Quality;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmRow {
    pub id: AlarmId,
    pub tenant_id: TenantId,
    pub rule_id: AlarmRuleId,
    pub asset_id: AssetId,
    pub channel_id: Option<ChannelId>,
    pub failure_mode_id: Option<FailureModeId>,
    pub severity: Severity,
    pub condition: Condition,
    pub acked_at: Option<Timestamp>,
    pub acked_by: Option<String>,
    pub suppression: Suppression,
    pub suppressed_until: Option<Timestamp>,
    pub suppression_reason: Option<String>,
    pub pending_since: Timestamp,
    pub active_at: Option<Timestamp>,
    pub cleared_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub samples: i32,
    pub first_value: f64,
    pub last_value: f64,
    pub peak_value: f64,
    pub limit_value: f64,
    #[sqlx(json)]
    pub machine: Machine,
    pub flap_count: i32,
    pub case_id: Option<CaseId>,
    pub dispatched_at: Option<Timestamp>,
    pub escalation_level: i32,
    pub told_at: Option<Timestamp>,
    pub row_version: i32,
    pub updated_at: Timestamp,
}

/// A rule, what is known of it, and what is new.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    pub rule: &'a Rule,
    /// Before: the machine in memory. After: the one to keep if the transaction commits.
    pub machine: Machine,
    /// In order of time.
    pub samples: Vec<(Timestamp, f64, Quality)>,
}

/// What one evaluation did to the alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    pub raised: u32,
    pub cleared: u32,
    /// Pending ones that came to nothing.
    pub reverted: u32,
}

/// The open alarms of `rules`, locked until the end of the transaction.
///
/// # Errors
/// When the database does.
pub async fn open_alarms_for_rules(
    connection: &mut PgConnection,
    rules: &[AlarmRuleId],
) -> Result<Vec<AlarmRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT * FROM alarm WHERE rule_id = ANY ($1) AND condition <> 'inactive' ORDER BY rule_id FOR UPDATE",
    )
    .bind(rules)
    .fetch_all(connection)
    .await
}

/// The machine of each rule's latest alarm, open or over: what to start from after a restart. A rule
/// without alarms is not in it.
///
/// # Errors
/// When the database does.
pub async fn latest_machines(
    connection: &mut PgConnection,
    rules: &[AlarmRuleId],
) -> Result<HashMap<AlarmRuleId, Machine>, sqlx::Error> {
    let rows: Vec<(AlarmRuleId, Json<Machine>)> = sqlx::query_as(
        "SELECT r.id, a.machine FROM unnest($1) AS r (id)
         CROSS JOIN LATERAL (SELECT machine FROM alarm WHERE rule_id = r.id
                             ORDER BY (condition <> 'inactive') DESC, pending_since DESC LIMIT 1) a",
    )
    .bind(rules)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(rule, machine)| (rule, machine.0))
        .collect())
}

/// Judges every watch's samples and stores what changed: alarm rows, their events, the outbox.
/// Samples before `judge_from` are remembered only. When the transaction rolls back, the caller must
/// keep the machines it had before.
///
/// # Errors
/// When the database does.
pub async fn evaluate(
    connection: &mut PgConnection,
    watches: &mut [Watch<'_>],
    judge_from: Timestamp,
    actor: &str,
) -> Result<Evaluated, sqlx::Error> {
    let mut evaluated = Evaluated::default();
    let mut changed: Vec<(&mut Watch<'_>, Run)> = Vec::new();
    for watch in watches {
        let from = judged_from(watch.rule, judge_from);
        let run = watch.machine.run(watch.rule, watch.samples.iter().copied(), from);
        if run.dirty {
            changed.push((watch, run));
        } else {
            watch.machine = run.machine;
        }
    }
    if changed.is_empty() {
        return Ok(evaluated);
    }
    // One order of locking for all writers.
    changed.sort_by_key(|(watch, _)| watch.rule.id);
    let ids: Vec<AlarmRuleId> = changed.iter().map(|(watch, _)| watch.rule.id).collect();
    let mut rows: HashMap<AlarmRuleId, AlarmRow> = open_alarms_for_rules(connection, &ids)
        .await?
        .into_iter()
        .map(|row| (row.rule_id, row))
        .collect();
    for (watch, mut run) in changed {
        let mut row = rows.remove(&watch.rule.id);
        loop {
            if let Some(stored) = stored_machine(&watch.machine, row.as_ref()) {
                let from = judged_from(watch.rule, judge_from);
                run = stored.run(watch.rule, watch.samples.iter().copied(), from);
            }
            if !run.dirty {
                break;
            }
            if let Some(done) = save(connection, watch.rule, row.as_ref(), &run, actor).await? {
                evaluated.raised += done.raised;
                evaluated.cleared += done.cleared;
                evaluated.reverted += done.reverted;
                break;
            }
            // Somebody else opened it since we looked; now it is there, and the lock makes us wait.
            row = open_alarms_for_rules(connection, &[watch.rule.id]).await?.pop();
        }
        watch.machine = run.machine;
    }
    Ok(evaluated)
}

/// Replayed history is judged by the rules that ask for it.
fn judged_from(rule: &Rule, judge_from: Timestamp) -> Timestamp {
    if rule.params.judge_replayed {
        Timestamp::MIN
    } else {
        judge_from
    }
}

/// The machine to judge with instead of the one in memory, if the two are not of one mind.
fn stored_machine(memory: &Machine, row: Option<&AlarmRow>) -> Option<Machine> {
    match (memory.open(), row) {
        (Some(open), Some(row)) if open.pending_since == row.pending_since => None,
        (None, None) => None,
        (_, Some(row)) => Some(row.machine.clone()),
        (Some(_), None) => Some(memory.closed_elsewhere()),
    }
}

/// The changes of one occurrence within a run.
struct Segment<'a> {
    row: Option<&'a AlarmRow>,
    transitions: Vec<&'a Transition>,
    end: Occurrence,
    condition: Condition,
}

/// Stores a run; `None` when another writer has opened the rule's alarm meanwhile (nothing was written).
async fn save(
    connection: &mut PgConnection,
    rule: &Rule,
    row: Option<&AlarmRow>,
    run: &Run,
    actor: &str,
) -> Result<Option<Evaluated>, sqlx::Error> {
    let mut evaluated = Evaluated::default();
    let mut segments = segments(row, run);
    // Without a row to hold the lock of, the open occurrence goes first: it is the only one that can
    // collide with another writer, and then nothing may have been written.
    if row.is_none() {
        segments.reverse();
    }
    for segment in &segments {
        let over = segment.condition == Condition::Inactive;
        let id = match segment.row {
            Some(row) => {
                update(connection, rule, row.id, segment, &run.machine).await?;
                row.id
            }
            // Pending and back within one batch: not worth a row.
            None if over && segment.end.active_at.is_none() => {
                evaluated.reverted += 1;
                continue;
            }
            None => match insert(connection, rule, segment, &run.machine).await? {
                Some(id) => id,
                None => return Ok(None),
            },
        };
        let mut flapping = segment
            .row
            .is_some_and(|row| row.machine.open().is_some_and(|open| open.flapping));
        for transition in &segment.transitions {
            match transition.change {
                Change::Activated => evaluated.raised += 1,
                Change::Cleared => evaluated.cleared += 1,
                Change::Reverted => evaluated.reverted += 1,
                Change::Pended | Change::Returned | Change::Reactivated => {}
            }
            report(connection, rule, id, transition, flapping, actor).await?;
            flapping = transition.occurrence.flapping;
        }
    }
    Ok(Some(evaluated))
}

fn segments<'a>(row: Option<&'a AlarmRow>, run: &'a Run) -> Vec<Segment<'a>> {
    let mut segments: Vec<Segment<'a>> = Vec::new();
    let mut ended = row.is_none();
    for transition in &run.transitions {
        if ended || segments.is_empty() {
            let row = if ended { None } else { row };
            let (end, condition) = (transition.occurrence, Condition::Inactive);
            segments.push(Segment {
                row,
                transitions: Vec::new(),
                end,
                condition,
            });
        }
        ended = matches!(transition.change, Change::Reverted | Change::Cleared);
        if let Some(segment) = segments.last_mut() {
            segment.transitions.push(transition);
            segment.end = transition.occurrence;
        }
    }
    if let Some(open) = run.machine.open() {
        match segments.last_mut() {
            Some(segment) => {
                segment.end = *open;
                segment.condition = run.machine.condition();
            }
            None => segments.push(Segment {
                row,
                transitions: Vec::new(),
                end: *open,
                condition: run.machine.condition(),
            }),
        }
    }
    segments
}

fn cleared_at(segment: &Segment<'_>) -> Option<Timestamp> {
    segment
        .end
        .clearing_since
        .filter(|_| segment.condition == Condition::Inactive)
}

async fn insert(
    connection: &mut PgConnection,
    rule: &Rule,
    segment: &Segment<'_>,
    machine: &Machine,
) -> Result<Option<AlarmId>, sqlx::Error> {
    // A shelf outlives the occurrence it was made for: the same noise ten minutes later is the same noise.
    sqlx::query_scalar(
        "INSERT INTO alarm (id, tenant_id, rule_id, asset_id, channel_id, failure_mode_id, severity, condition,
             pending_since, active_at, cleared_at, samples, first_value, last_value, peak_value, limit_value,
             machine, flap_count, suppression, suppressed_until, suppression_reason)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             coalesce(s.suppression, 'none'), s.suppressed_until, s.suppression_reason
         FROM (SELECT) AS one LEFT JOIN LATERAL (
             SELECT CASE WHEN suppressed_until > now() THEN suppression END AS suppression,
                    CASE WHEN suppressed_until > now() THEN suppressed_until END AS suppressed_until,
                    CASE WHEN suppressed_until > now() THEN suppression_reason END AS suppression_reason
             FROM alarm WHERE rule_id = $3 ORDER BY pending_since DESC LIMIT 1) s ON true
         ON CONFLICT (rule_id) WHERE condition <> 'inactive' DO NOTHING
         RETURNING id",
    )
    .bind(AlarmId::new())
    .bind(rule.tenant)
    .bind(rule.id)
    .bind(rule.asset)
    .bind(rule.channel)
    .bind(rule.failure_mode)
    .bind(rule.severity)
    .bind(segment.condition)
    .bind(segment.end.pending_since)
    .bind(segment.end.active_at)
    .bind(cleared_at(segment))
    .bind(count(segment.end.samples))
    .bind(segment.end.first_value)
    .bind(segment.end.last_value)
    .bind(segment.end.peak_value)
    .bind(rule.limit)
    .bind(Json(machine))
    .bind(count(segment.end.flap_count))
    .fetch_optional(connection)
    .await
}

/// Severity rises at once and never falls while the alarm is open; the start is not touched.
async fn update(
    connection: &mut PgConnection,
    rule: &Rule,
    id: AlarmId,
    segment: &Segment<'_>,
    machine: &Machine,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE alarm SET condition = $2, severity = greatest(severity, $3), active_at = coalesce(active_at, $4),
             cleared_at = $5, samples = $6, last_value = $7, peak_value = $8, limit_value = $9, machine = $10,
             flap_count = $11, row_version = row_version + 1, updated_at = now(),
             closed_at = CASE WHEN $2 = 'inactive'::alarm_condition
                                   AND (acked_at IS NOT NULL OR coalesce(active_at, $4) IS NULL) THEN now() END
         WHERE id = $1",
    )
    .bind(id)
    .bind(segment.condition)
    .bind(rule.severity)
    .bind(segment.end.active_at)
    .bind(cleared_at(segment))
    .bind(count(segment.end.samples))
    .bind(segment.end.last_value)
    .bind(segment.end.peak_value)
    .bind(rule.limit)
    .bind(Json(machine))
    .bind(count(segment.end.flap_count))
    .execute(connection)
    .await?;
    Ok(())
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Writes the alarm's history and tells the others. The back and forth of a flapping alarm is
/// counted, not told.
pub(super) async fn report(
    connection: &mut PgConnection,
    rule: &Rule,
    id: AlarmId,
    transition: &Transition,
    was_flapping: bool,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let occurrence = &transition.occurrence;
    let began_to_flap = occurrence.flapping && !was_flapping;
    let (kind, told) = match transition.change {
        Change::Activated => ("activated", Some("alarm.raised")),
        Change::Cleared => ("cleared", Some("alarm.cleared")),
        Change::Returned if !was_flapping => ("returned", None),
        Change::Reactivated if !was_flapping => ("reactivated", None),
        _ => ("", None),
    };
    let detail = json!({
        "at": transition.at,
        "value": occurrence.last_value,
        "limit": rule.limit,
        "severity": rule.severity,
        "rule": rule.name,
        "kind": rule.kind,
    });
    if !kind.is_empty() {
        add_event(connection, rule.tenant, id, kind, actor, &detail).await?;
    }
    if let Some(told) = told {
        outbox::append(
            connection,
            rule.tenant,
            told,
            &id.to_string(),
            Some(rule.asset),
            &detail,
        )
        .await?;
    }
    if began_to_flap {
        add_event(connection, rule.tenant, id, "flapping", actor, &detail).await?;
        outbox::append(
            connection,
            rule.tenant,
            "alarm.flapping",
            &id.to_string(),
            Some(rule.asset),
            &detail,
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn add_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    alarm: AlarmId,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO alarm_event (tenant_id, alarm_id, kind, actor, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(alarm)
    .bind(kind)
    .bind(actor)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}
