//! What a planner regroups: two cases that are one, and one that is two.
//!
//! A ticket goes with what it is about. Merging moves all of them; of two open ones the one that
//! nobody has begun is cancelled as a duplicate, because a case has one open ticket. Splitting takes
//! along the tickets that were made from what is split off; what has no ticket then is decided anew by
//! the dispatcher, with its reason.

use serde_json::json;
use sqlx::PgConnection;

use super::{add_event, get};
use crate::alarm::Severity;
use crate::case::RegroupError;
use crate::db::change::ChangeError;
use crate::db::{outbox, ticket};
use crate::id::{AlarmId, AssetId, CaseId, FailureModeId, PredictionId, TenantId, TicketId};
use crate::ticket::Status;
use crate::time::Timestamp;

/// What a merge moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    pub alarms: u64,
    pub predictions: u64,
    pub tickets: u64,
    /// Cancelled as a duplicate.
    pub cancelled: Option<TicketId>,
}

#[derive(Debug, sqlx::FromRow)]
struct Locked {
    id: CaseId,
    tenant_id: TenantId,
    asset_id: AssetId,
    severity: Severity,
    closed_at: Option<Timestamp>,
    row_version: i32,
}

type Result<T> = std::result::Result<T, ChangeError<RegroupError>>;

const LOCK: &str = "SELECT id, tenant_id, asset_id, severity, closed_at, row_version FROM case_file WHERE id = $1 FOR UPDATE";

async fn lock(connection: &mut PgConnection, id: CaseId) -> Result<Option<Locked>> {
    Ok(sqlx::query_as(LOCK).bind(id).fetch_optional(connection).await?)
}

/// Makes `id` part of `into`: its alarms, predictions, tickets and decisions go there, and it is
/// closed. Later signs of its cause join `into` as long as that is open.
///
/// # Errors
/// See [`RegroupError`]; [`ChangeError::Stale`].
pub async fn merge(
    connection: &mut PgConnection,
    id: CaseId,
    into: CaseId,
    expected: Option<i32>,
    actor: &str,
    now: Timestamp,
) -> Result<Merged> {
    // One order of locking for all.
    let (first, second) = (id.min(into), id.max(into));
    let first = lock(connection, first).await?;
    let second = lock(connection, second).await?;
    let (this, other) = if id < into {
        (first, second)
    } else {
        (second, first)
    };
    let this = this.ok_or(ChangeError::NotFound)?;
    if id == into {
        return Err(ChangeError::Refused(RegroupError::Itself));
    }
    let other = other.ok_or(ChangeError::Refused(RegroupError::NoSuchCase))?;
    ChangeError::check_version(expected, this.row_version)?;
    for case in [&this, &other] {
        if case.closed_at.is_some() {
            return Err(ChangeError::Refused(RegroupError::Closed(case.id)));
        }
    }
    let cancelled = make_room(connection, &this, &other, actor, now).await?;
    let mut merged = Merged {
        cancelled,
        ..Merged::default()
    };
    for (table, count) in [
        ("alarm", &mut merged.alarms),
        ("prediction", &mut merged.predictions),
        ("ticket", &mut merged.tickets),
        ("dispatch_decision", &mut 0),
    ] {
        let sql = format!("UPDATE {table} SET case_id = $2 WHERE case_id = $1");
        *count = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(into)
            .execute(&mut *connection)
            .await?
            .rows_affected();
    }
    // What was merged into this one before goes along, so that later signs find their way.
    sqlx::query("UPDATE case_file SET merged_into = $2 WHERE merged_into = $1")
        .bind(id)
        .bind(into)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE case_file SET closed_at = $3, close_reason = 'merged into another case', merged_into = $2,
             updated_at = $3, row_version = row_version + 1
         WHERE id = $1",
    )
    .bind(id)
    .bind(into)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE case_file SET severity = greatest(severity, $2), updated_at = $3, news_at = $3,
             row_version = row_version + 1
         WHERE id = $1",
    )
    .bind(into)
    .bind(this.severity)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let detail = json!({
        "into": into, "from": id, "alarms": merged.alarms, "predictions": merged.predictions,
        "tickets": merged.tickets, "cancelled_ticket": merged.cancelled,
    });
    add_event(connection, this.tenant_id, id, "merged", actor, &detail).await?;
    add_event(connection, this.tenant_id, into, "merged", actor, &detail).await?;
    for (case, asset) in [(id, this.asset_id), (into, other.asset_id)] {
        let subject = case.to_string();
        outbox::append(
            connection,
            this.tenant_id,
            "case.merged",
            &subject,
            Some(asset),
            &detail,
        )
        .await?;
    }
    Ok(merged)
}

/// Of two open tickets the one that nobody has begun gives way, this case's first.
async fn make_room(
    connection: &mut PgConnection,
    this: &Locked,
    other: &Locked,
    actor: &str,
    now: Timestamp,
) -> Result<Option<TicketId>> {
    let mut open = Vec::new();
    for case in [this, other] {
        let found: Option<(TicketId, i32)> = sqlx::query_as(
            "SELECT id, number FROM ticket WHERE case_id = $1 AND status NOT IN ('completed', 'closed', 'cancelled')",
        )
        .bind(case.id)
        .fetch_optional(&mut *connection)
        .await?;
        open.extend(found);
    }
    let [(of_this, number_of_this), (of_other, number_of_other)] = open[..] else {
        return Ok(None);
    };
    for (id, stays) in [(of_this, number_of_other), (of_other, number_of_this)] {
        let coding = ticket::Coding {
            reason: Some(format!("duplicate of #{stays}: their cases were merged")),
            ..ticket::Coding::default()
        };
        match ticket::transition(connection, id, None, Status::Cancelled, &coding, actor, now).await {
            Ok(_) => return Ok(Some(id)),
            Err(ChangeError::Database(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Err(ChangeError::Refused(RegroupError::TwoTickets {
        of_this: number_of_this,
        of_other: number_of_other,
    }))
}

/// What is split off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitOff {
    pub alarms: Vec<AlarmId>,
    pub predictions: Vec<PredictionId>,
    pub failure_mode: Option<FailureModeId>,
    /// Of the new case; its own words when left out.
    pub title: Option<String>,
}

/// What a split made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    pub case: CaseId,
    /// Tickets that went along.
    pub tickets: u64,
}

/// Opens a case of its own for some of a case's signs. The tickets made from them go along; signs that
/// have no ticket then are handed to the dispatcher again.
///
/// # Errors
/// See [`RegroupError`]; [`ChangeError::Stale`].
pub async fn split(
    connection: &mut PgConnection,
    id: CaseId,
    off: &SplitOff,
    expected: Option<i32>,
    actor: &str,
    now: Timestamp,
) -> Result<Split> {
    let this = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, this.row_version)?;
    if this.closed_at.is_some() {
        return Err(ChangeError::Refused(RegroupError::Closed(id)));
    }
    if off.alarms.is_empty() && off.predictions.is_empty() {
        return Err(ChangeError::Refused(RegroupError::Nothing));
    }
    let alarms: Vec<(AlarmId, AssetId, Severity)> =
        sqlx::query_as("SELECT id, asset_id, severity FROM alarm WHERE case_id = $1 ORDER BY id FOR UPDATE")
            .bind(id)
            .fetch_all(&mut *connection)
            .await?;
    let predictions: Vec<(PredictionId, AssetId)> =
        sqlx::query_as("SELECT id, asset_id FROM prediction WHERE case_id = $1 ORDER BY id FOR UPDATE")
            .bind(id)
            .fetch_all(&mut *connection)
            .await?;
    let mut assets = Vec::new();
    let mut severity = Severity::Warning;
    for wanted in &off.alarms {
        let (_, asset, found) = alarms
            .iter()
            .find(|(id, ..)| id == wanted)
            .ok_or_else(|| ChangeError::Refused(RegroupError::NotOfThisCase(wanted.to_string())))?;
        assets.push(*asset);
        severity = severity.max(*found);
    }
    for wanted in &off.predictions {
        let (_, asset) = predictions
            .iter()
            .find(|(id, _)| id == wanted)
            .ok_or_else(|| ChangeError::Refused(RegroupError::NotOfThisCase(wanted.to_string())))?;
        assets.push(*asset);
    }
    let asset = assets[0];
    if assets.iter().any(|other| *other != asset) {
        return Err(ChangeError::Refused(RegroupError::SeveralAssets));
    }
    let kept = |ours: usize, theirs: usize| ours > theirs;
    if !kept(alarms.len(), off.alarms.len()) && !kept(predictions.len(), off.predictions.len()) {
        return Err(ChangeError::Refused(RegroupError::Everything));
    }
    let exists: Option<CaseId> = sqlx::query_scalar(
        "SELECT id FROM case_file WHERE asset_id = $1 AND failure_mode_id IS NOT DISTINCT FROM $2 AND closed_at IS NULL",
    )
    .bind(asset)
    .bind(off.failure_mode)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(other) = exists {
        return Err(ChangeError::Refused(RegroupError::Exists(other)));
    }
    let new = CaseId::new();
    sqlx::query(
        "INSERT INTO case_file (id, tenant_id, asset_id, failure_mode_id, title, severity, opened_at, updated_at, news_at)
         SELECT $1, s.tenant_id, s.id, $3,
                coalesce($4, (SELECT f.name FROM failure_mode f WHERE f.id = $3) || ': ' || s.name, 'Split off: ' || s.name),
                $5, $6, $6, $6
         FROM asset s WHERE s.id = $2",
    )
    .bind(new)
    .bind(asset)
    .bind(off.failure_mode)
    .bind(&off.title)
    .bind(severity)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let subjects: Vec<String> = (off.alarms.iter().map(ToString::to_string))
        .chain(off.predictions.iter().map(ToString::to_string))
        .collect();
    let tickets = sqlx::query("UPDATE ticket SET case_id = $3 WHERE case_id = $1 AND origin_key = ANY ($2)")
        .bind(id)
        .bind(&subjects)
        .bind(new)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    // Without a ticket of their own they are decided on again.
    let again = tickets == 0;
    sqlx::query(
        "UPDATE alarm SET case_id = $2, failure_mode_id = coalesce($3, failure_mode_id),
             dispatched_at = CASE WHEN $4 AND condition <> 'inactive' THEN NULL ELSE dispatched_at END,
             row_version = row_version + 1
         WHERE id = ANY ($1)",
    )
    .bind(&off.alarms)
    .bind(new)
    .bind(off.failure_mode)
    .bind(again)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE prediction SET case_id = $2, dispatched_at = CASE WHEN $3 THEN NULL ELSE dispatched_at END,
             row_version = row_version + 1
         WHERE id = ANY ($1)",
    )
    .bind(&off.predictions)
    .bind(new)
    .bind(again)
    .execute(&mut *connection)
    .await?;
    if !again {
        sqlx::query("UPDATE dispatch_decision SET case_id = $3 WHERE case_id = $1 AND subject = ANY ($2)")
            .bind(id)
            .bind(&subjects)
            .bind(new)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("UPDATE case_file SET updated_at = $2, row_version = row_version + 1 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    let detail = json!({ "from": id, "into": new, "signs": subjects, "tickets": tickets });
    add_event(connection, this.tenant_id, id, "split", actor, &detail).await?;
    add_event(connection, this.tenant_id, new, "split", actor, &detail).await?;
    let title = get(connection, new).await?.map(|case| case.title);
    let opened = json!({ "title": title, "severity": severity, "split_from": id });
    let subject = new.to_string();
    outbox::append(
        connection,
        this.tenant_id,
        "case.opened",
        &subject,
        Some(asset),
        &opened,
    )
    .await?;
    Ok(Split { case: new, tickets })
}
