//! What people read off a dial: entered in any order, corrected, taken back; the meter exchanged.
//!
//! Every change counts the meter's ledger anew ([`crate::meter::recount`]) and then looks at the plans on
//! it: a floating one counts from the total on the day its work was done, whatever that is now; an
//! occurrence that a wrong reading made keeps its number and its ticket, so that the right one doesn't
//! make a second, and says what has changed.

use serde_json::json;
use sqlx::PgConnection;

use super::{MeterReading, MeterRow, last_written, save_state, select, write_reading};
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::db::plan::PlanRow;
use crate::id::{MeterId, OccurrenceId, PlanId};
use crate::meter::{
    Counted, Dial, Entered, Entry, EntryError, LedgerError, Line, Source, State, enter, recount as count,
};
use crate::plan::{Basis, Day};
use crate::time::Timestamp;

/// One change of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Add(Line),
    /// What was entered for that moment was something else.
    Correct(Line),
    Void {
        at: Timestamp,
        reason: String,
    },
}

impl Change {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Add(line) | Self::Correct(line) => line.at,
            Self::Void { at, .. } => *at,
        }
    }
}

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrected {
    pub total: f64,
    /// Later readings whose totals moved.
    pub recounted: u64,
    /// Plans that count from another total now.
    pub plans: Vec<PlanId>,
    /// Open occurrences that the meter made and that it wouldn't make now.
    pub too_early: Vec<OccurrenceId>,
}

#[derive(Debug, sqlx::FromRow)]
struct Stored {
    at: Timestamp,
    total: f64,
    delta: f64,
    kind: String,
    raw: f64,
    raw_new: Option<f64>,
}

impl Stored {
    fn line(&self) -> Line {
        let entered = match (self.kind.as_str(), self.raw_new) {
            ("delta", _) => Entered::Delta(self.raw),
            ("exchange", Some(first)) => Entered::Exchange {
                last: self.raw,
                first,
            },
            _ => Entered::Absolute(self.raw),
        };
        Line { at: self.at, entered }
    }
}

/// Enters, corrects or takes back a reading of a meter that people read, and counts everything after it
/// anew. The same reading entered again changes nothing.
///
/// # Errors
/// See [`LedgerError`].
pub async fn change_reading(
    connection: &mut PgConnection,
    meter: MeterId,
    change: &Change,
    confirmed: bool,
    actor: &str,
    now: Timestamp,
) -> Result<Corrected, ChangeError<LedgerError>> {
    let row: MeterRow = sqlx::query_as(select!("WHERE m.id = $1 FOR UPDATE OF m"))
        .bind(meter)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ChangeError::NotFound)?;
    if row.source != Source::Manual {
        return Err(ChangeError::Refused(LedgerError::FedByChannel));
    }
    let stored: Vec<Stored> = sqlx::query_as(
        "SELECT at, total, delta, kind, coalesce(raw, total) AS raw, raw_new FROM meter_reading
         WHERE meter_id = $1 AND voided_at IS NULL ORDER BY at",
    )
    .bind(meter)
    .fetch_all(&mut *connection)
    .await?;
    let at = change.at();
    let mut lines: Vec<Line> = stored.iter().map(Stored::line).collect();
    let there = lines.iter().position(|line| line.at == at);
    match (change, there) {
        (Change::Add(new), Some(index)) if lines[index] == *new => {
            return Ok(Corrected {
                total: row.total,
                ..Corrected::default()
            });
        }
        (Change::Add(_), Some(_)) => return Err(ChangeError::Refused(LedgerError::Taken { at })),
        (Change::Add(new), None) => {
            let place = lines.partition_point(|line| line.at < at);
            lines.insert(place, *new);
        }
        (Change::Correct(_) | Change::Void { .. }, None) => {
            return Err(ChangeError::Refused(LedgerError::NoSuchReading { at }));
        }
        (Change::Correct(new), Some(index)) => lines[index] = *new,
        (Change::Void { .. }, Some(index)) => {
            lines.remove(index);
        }
    }
    let dial = Dial {
        rollover_at: row.rollover_at,
        max_rate_per_h: row.max_rate_per_h,
    };
    let counted =
        count(row.start_total, &lines, dial, (!confirmed).then_some(at)).map_err(ChangeError::Refused)?;
    if let Change::Void { reason, .. } = change {
        sqlx::query("UPDATE meter_reading SET voided_at = $3, note = $4 WHERE meter_id = $1 AND at = $2")
            .bind(meter)
            .bind(at)
            .bind(now)
            .bind(reason)
            .execute(&mut *connection)
            .await?;
    }
    let mut recounted = 0;
    for (line, now_is) in lines.iter().zip(&counted) {
        let was = stored.iter().find(|was| was.at == line.at);
        let same = was.is_some_and(|was| (was.total, was.delta) == (now_is.total, now_is.delta));
        if line.at != at && same {
            continue;
        }
        recounted += u64::from(line.at != at);
        write_line(connection, &row, line, now_is, actor, line.at == at).await?;
    }
    let last = counted.last();
    let state = State {
        total: last.map_or(row.start_total, |last| last.total),
        counted_to: last.map(|last| last.at),
        last_raw: last.map(|last| last.total),
    };
    save_state(connection, meter, &state).await?;
    let mut corrected = Corrected {
        total: state.total,
        recounted,
        ..Corrected::default()
    };
    let in_the_past = stored.iter().any(|was| was.at >= at);
    corrected.plans = reanchor(connection, meter, at, &counted, row.start_total).await?;
    if in_the_past {
        corrected.too_early = note_too_early(connection, meter, state.total).await?;
    }
    if in_the_past || !corrected.plans.is_empty() {
        let detail = json!({
            "at": at, "total": state.total, "before": row.total, "recounted": recounted,
            "plans": corrected.plans, "too_early": corrected.too_early,
        });
        let subject = meter.to_string();
        outbox::append(
            connection,
            row.tenant_id,
            "meter.corrected",
            &subject,
            Some(row.asset_id),
            &detail,
        )
        .await?;
    }
    Ok(corrected)
}

async fn write_line(
    connection: &mut PgConnection,
    row: &MeterRow,
    line: &Line,
    counted: &Counted,
    actor: &str,
    is_new: bool,
) -> Result<(), sqlx::Error> {
    let (raw, raw_new) = match line.entered {
        Entered::Absolute(raw) | Entered::Delta(raw) => (raw, None),
        Entered::Exchange { last, first } => (last, Some(first)),
    };
    sqlx::query(
        "INSERT INTO meter_reading (meter_id, tenant_id, at, total, delta, entered_by, kind, raw, raw_new)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (meter_id, at) DO UPDATE SET total = excluded.total, delta = excluded.delta, kind = excluded.kind,
             raw = excluded.raw, raw_new = excluded.raw_new, voided_at = NULL,
             note = CASE WHEN $10 THEN 'corrected, was ' || meter_reading.total ELSE meter_reading.note END,
             entered_by = CASE WHEN $10 THEN excluded.entered_by ELSE meter_reading.entered_by END",
    )
    .bind(row.id)
    .bind(row.tenant_id)
    .bind(line.at)
    .bind(counted.total)
    .bind(counted.delta)
    .bind(actor)
    .bind(line.entered.kind())
    .bind(raw)
    .bind(raw_new)
    .bind(is_new)
    .execute(connection)
    .await?;
    Ok(())
}

/// Floating plans whose last work was done after the change count from what the meter shows for that
/// day now.
async fn reanchor(
    connection: &mut PgConnection,
    meter: MeterId,
    changed: Timestamp,
    counted: &[Counted],
    start: f64,
) -> Result<Vec<PlanId>, sqlx::Error> {
    let done: Vec<(PlanId, Day, Option<f64>, Timestamp)> = sqlx::query_as(
        "SELECT DISTINCT ON (o.plan_id) o.plan_id, o.due_date, o.due_units, o.done_at
         FROM plan_occurrence o JOIN maintenance_plan p ON p.id = o.plan_id
         WHERE p.meter_id = $1 AND p.basis = 'floating' AND o.status = 'done' AND o.done_at >= $2
         ORDER BY o.plan_id, o.sequence DESC",
    )
    .bind(meter)
    .bind(changed)
    .fetch_all(&mut *connection)
    .await?;
    let mut moved = Vec::new();
    for (id, due, due_units, done_at) in done {
        let Some(row): Option<PlanRow> = crate::db::plan::get(connection, id).await? else {
            continue;
        };
        if row.basis != Basis::Floating {
            continue;
        }
        let total = counted
            .iter()
            .rev()
            .find(|line| line.at <= done_at)
            .map_or(start, |line| line.total);
        let day = Day::at(done_at, &row.time_zone).unwrap_or(due);
        let (_, units) = row.plan().anchor_after(due, due_units, day, Some(total));
        if (units - row.anchor_units).abs() > 1e-9 {
            sqlx::query(
                "UPDATE maintenance_plan SET anchor_units = $2, row_version = row_version + 1 WHERE id = $1",
            )
            .bind(id)
            .bind(units)
            .execute(&mut *connection)
            .await?;
            moved.push(id);
        }
    }
    Ok(moved)
}

async fn note_too_early(
    connection: &mut PgConnection,
    meter: MeterId,
    total: f64,
) -> Result<Vec<OccurrenceId>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE plan_occurrence o SET explanation = o.explanation
                || format('; a reading was corrected since: the meter stands at %s, so it came early', round($2::numeric, 1))
         FROM maintenance_plan p
         WHERE p.id = o.plan_id AND p.meter_id = $1 AND o.status IN ('due', 'ticketed') AND o.trigger IN ('meter', 'all')
           AND o.due_units > $2 + p.lead_units
         RETURNING o.id",
    )
    .bind(meter)
    .bind(total)
    .fetch_all(connection)
    .await
}

/// The total of a meter that a channel feeds, set right by a person. The same reading again changes
/// nothing.
///
/// # Errors
/// See [`enter`].
pub async fn enter_reading(
    connection: &mut PgConnection,
    meter: MeterId,
    at: Timestamp,
    entry: Entry,
    confirmed: bool,
    actor: &str,
) -> Result<MeterRow, ChangeError<EntryError>> {
    let mut row: MeterRow = sqlx::query_as(select!("WHERE m.id = $1 FOR UPDATE OF m"))
        .bind(meter)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ChangeError::NotFound)?;
    if row.counted_to == Some(at) && matches!(entry, Entry::Absolute(total) if total == row.total) {
        return Ok(row);
    }
    let before = row.state();
    let after = enter(&before, at, entry, row.max_rate_per_h, confirmed).map_err(ChangeError::Refused)?;
    // A channel's count goes on from its own last value; a person only corrects the total.
    let last_raw = if row.source == Source::Manual {
        after.last_raw
    } else {
        before.last_raw
    };
    let after = State { last_raw, ..after };
    save_state(connection, meter, &after).await?;
    // Counting again from before it would lose the correction.
    super::recount::save_recount(connection, meter, None, at).await?;
    let reading = MeterReading {
        at,
        total: after.total,
        delta: after.total - before.total,
        entered_by: actor.to_owned(),
        voided_at: None,
        note: None,
        kind: "absolute".to_owned(),
        raw: Some(after.total),
        raw_new: None,
    };
    write_reading(connection, row.tenant_id, meter, &reading).await?;
    (row.total, row.counted_to, row.last_raw) = (after.total, after.counted_to, after.last_raw);
    Ok(row)
}

/// Takes the newest reading back: the meter stands again where it stood before it. `false` = it is
/// not the newest, or doesn't exist.
///
/// # Errors
/// When the database does.
pub async fn void_last(
    connection: &mut PgConnection,
    meter: MeterId,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let newest = last_written(connection, meter).await?;
    if newest.is_none_or(|(newest, _)| newest != at) {
        return Ok(false);
    }
    sqlx::query("UPDATE meter_reading SET voided_at = now() WHERE meter_id = $1 AND at = $2")
        .bind(meter)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    let before = last_written(connection, meter).await?;
    sqlx::query("UPDATE meter SET total = coalesce($2, 0), row_version = row_version + 1 WHERE id = $1")
        .bind(meter)
        .bind(before.map(|(_, total)| total))
        .execute(connection)
        .await?;
    Ok(true)
}
