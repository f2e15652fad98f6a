//! Service levels: how long a ticket may take to be answered and to be done, in the site's working time.
//!
//! A [`Clock`] runs from the ticket's creation until what it waits for has happened. It stands still
//! outside the [`Calendar`]'s working hours and in pauses (a hold whose reason pauses). Nothing is
//! counted up anywhere: [`read`] computes elapsed time, due moment and thresholds from the history, so
//! that a changed calendar, zone or target gives the figures that would have been there all along, and
//! a clock can't drift. The elapsed time is real time between moments: an hour that the change of the
//! clocks leaves out is not worked, and one that it repeats is worked twice.

mod calendar;

use serde::{Deserialize, Serialize};

pub use calendar::{Calendar, CalendarError, Hours, Week, closed_days};

use crate::interval::{Span, subtract, union};
use crate::time::Timestamp;

/// Percent of the target at which somebody is told.
pub const THRESHOLDS: [u8; 3] = [50, 80, 100];

/// Which promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "sla_clock", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SlaClock))]
pub enum Promise {
    /// From creation until somebody is assigned.
    Respond,
    /// From creation until the work is completed.
    Restore,
}

/// What a clock's reading depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    pub started: Timestamp,
    pub stopped: Option<Timestamp>,
    /// In any order, may overlap; an open one goes on.
    pub pauses: Vec<(Timestamp, Option<Timestamp>)>,
    pub target_s: f64,
}

/// Where a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SlaState))]
pub enum State {
    Running,
    Paused,
    /// Stopped in time.
    Met,
    /// The target is used up, whether it still runs or not.
    Breached,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub state: State,
    /// Working seconds used.
    pub elapsed_s: f64,
    /// When the target is or was used up. `None` = never as things stand: paused, stopped, or no working
    /// hours in sight.
    pub due_at: Option<Timestamp>,
    /// The highest of [`THRESHOLDS`] that is reached, 0 = none.
    pub reached: u8,
    /// When the next threshold is reached if nothing changes.
    pub next_at: Option<Timestamp>,
}

/// Reads a clock at `now`.
pub fn read(calendar: &Calendar, clock: &Clock, now: Timestamp) -> Reading {
    let end = clock.stopped.unwrap_or(now).max(clock.started);
    let pauses = union(
        clock
            .pauses
            .iter()
            .map(|(from, to)| Span::new(*from, to.unwrap_or(Timestamp::MAX)))
            .collect(),
    );
    // The past up to `end`, and what would follow if nothing changed.
    let running = subtract(&[Span::new(clock.started, end)], &pauses);
    let elapsed_s = running
        .iter()
        .map(|span| calendar.working_seconds(*span))
        .sum::<f64>();
    let paused = clock.stopped.is_none()
        && clock
            .pauses
            .iter()
            .any(|(from, to)| *from <= now && to.is_none_or(|to| now < to));
    let moment = |share: f64| reach(calendar, &running, clock, &pauses, now, share * clock.target_s);
    let due_at = moment(1.0);
    let breached = due_at.is_some_and(|due| due <= end && elapsed_s >= clock.target_s - 1e-6);
    let reached = THRESHOLDS
        .into_iter()
        .filter(|percent| elapsed_s >= clock.target_s * f64::from(*percent) / 100.0 - 1e-6)
        .max()
        .unwrap_or(0);
    let next_at = THRESHOLDS
        .into_iter()
        .find(|percent| *percent > reached)
        .filter(|_| clock.stopped.is_none())
        .and_then(|percent| moment(f64::from(percent) / 100.0));
    let state = match clock.stopped {
        _ if breached => State::Breached,
        Some(_) => State::Met,
        None if paused => State::Paused,
        None => State::Running,
    };
    Reading {
        state,
        elapsed_s,
        due_at,
        reached,
        next_at,
    }
}

/// The moment at which `wanted_s` working seconds have been used.
fn reach(
    calendar: &Calendar,
    past: &[Span],
    clock: &Clock,
    pauses: &[Span],
    now: Timestamp,
    wanted_s: f64,
) -> Option<Timestamp> {
    let mut left = wanted_s;
    for span in past {
        let worked = calendar.working_seconds(*span);
        if worked >= left - 1e-6 {
            return calendar.after(span.start, left.min(worked));
        }
        left -= worked;
    }
    if clock.stopped.is_some() {
        return None;
    }
    // Pauses that are known to end lie ahead at most in tests; an open one hides all that follows.
    let ahead = subtract(&[Span::new(now.max(clock.started), Timestamp::MAX)], pauses);
    for span in ahead {
        let at = calendar.after(span.start, left)?;
        if at <= span.end {
            return Some(at);
        }
        left -= calendar.working_seconds(span);
    }
    None
}

#[cfg(test)]
mod tests;
