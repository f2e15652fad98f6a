//! Meters: cumulative usage, such as hours, cycles, kilometres, kilowatt hours.
//!
//! A meter's total only grows. It is fed by hand, by a counter channel, by the time a channel is at or
//! above a threshold, or by a channel's integral over time. Rules, each a test:
//!
//! * a reading counts once: only those newer than the last one counted do. Those that arrive out of
//!   order are found by [`Recount`] and counted from where they belong; what people enter is a
//!   [`Line`] of a ledger that is counted anew;
//! * nothing is counted across a gap longer than `max_gap_s`, except by a counter, which knows;
//! * a counter that falls has rolled over, if it has a rollover value and the way over it is short;
//!   else it was exchanged or reset, and its new value is the new base;
//! * a step faster than the meter can run is not counted, and doesn't become the base.

mod ledger;
mod usage;

use serde::{Deserialize, Serialize};

pub use ledger::{Counted, Dial, Entered, LedgerError, Line, recount};
pub use usage::{Usage, usage};

use crate::reading::Quality;
use crate::time::Timestamp;
use crate::unit::Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "meter_source", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = MeterSource))]
pub enum Source {
    Manual,
    /// The channel counts by itself.
    Counter,
    /// Time during which the channel is at or above a threshold.
    RunningState,
    /// The channel's integral over time: kW to kWh.
    Integral,
    /// Each reading is a number of events since the one before: cycles, pieces, pulses of a flow meter.
    Pulse,
    /// Each rise of the channel to the threshold is one event: starts, cycles.
    Edges,
}

/// How a meter moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    pub source: Source,
    /// In the channel's unit.
    pub running_above: Option<f64>,
    /// The count after which a counter begins at 0 again, in the channel's unit.
    pub rollover_at: Option<f64>,
    /// In the meter's unit.
    pub max_rate_per_h: Option<f64>,
    pub max_gap_s: f64,
    /// From what a step computes (the counter's unit, hours, or the channel's unit times hours) to the
    /// meter's unit.
    pub factor: f64,
}

/// Where the calculation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// In the meter's unit.
    pub total: f64,
    /// Event time of the last reading counted.
    pub counted_to: Option<Timestamp>,
    /// That reading's value, in the channel's unit.
    pub last_raw: Option<f64>,
}

/// What one reading did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The first reading: where counting starts.
    Base,
    /// In the meter's unit.
    Counted(f64),
    RolledOver(f64),
    /// The counter fell: another counter, or set to zero.
    Exchanged,
    /// Seconds that nobody knows anything of.
    Gap(f64),
    /// Faster than the meter can run, in its unit per hour; not counted.
    Implausible(f64),
    /// Not newer, not good, or not a number.
    Ignored,
}

/// A state of some hours ago, and how many readings were taken from the channel since.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub state: State,
    pub readings: i64,
}

/// Two checkpoints, so that there is always one that is old enough: when the channel holds more readings
/// since the older one than were taken, some came late, and counting begins there again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recount {
    pub older: Checkpoint,
    pub newer: Checkpoint,
}

impl Recount {
    /// Seconds of event time between the two: how late a reading may come and still count is one to two
    /// of it.
    pub const EVERY_S: f64 = 12.0 * 3600.0;

    /// `None` until the meter has counted something.
    pub fn start(state: State) -> Option<Self> {
        state.counted_to?;
        let here = Checkpoint { state, readings: 0 };
        Some(Self {
            older: here,
            newer: here,
        })
    }

    /// After `moments` of readings were taken and the meter stands at `state`.
    #[must_use]
    pub fn took(self, moments: &[Timestamp], state: State) -> Self {
        let since = |checkpoint: Checkpoint| {
            let (from, to) = (checkpoint.state.counted_to, state.counted_to);
            let new = moments.iter().filter(|at| from < Some(**at) && Some(**at) <= to);
            Checkpoint {
                readings: checkpoint.readings + new.count() as i64,
                ..checkpoint
            }
        };
        let (older, newer) = (since(self.older), since(self.newer));
        let age = state
            .counted_to
            .zip(newer.state.counted_to)
            .map_or(0.0, |(now, then)| now.seconds_since(then));
        if age >= Self::EVERY_S {
            Self {
                older: newer,
                newer: Checkpoint { state, readings: 0 },
            }
        } else {
            Self { older, newer }
        }
    }
}

/// A counter that falls by less than this share is noise or a correction, not an exchange.
const NOISE: f64 = 0.001;

impl Config {
    /// The factor between the units of channel and meter. `None` when they don't fit; then one to one
    /// is the only honest choice, and the caller says so.
    pub fn factor_of(source: Source, channel_unit: &str, meter_unit: &str) -> Option<f64> {
        let convert = |from: &str, to: &str| {
            Unit::new(from)
                .conversion_to(&Unit::new(to))
                .ok()
                .map(|to| to.apply(1.0))
        };
        match source {
            Source::Manual => Some(1.0),
            Source::Counter | Source::Pulse => convert(channel_unit, meter_unit),
            Source::Edges => Some(1.0),
            Source::RunningState => convert("h", meter_unit),
            Source::Integral => {
                // A unit per hour times hours: power to energy, flow to volume.
                let per_hour = [("kW.h", "kW"), ("m3", "m3/h"), ("km", "km/h")];
                per_hour.iter().find_map(|(amount, rate)| {
                    let to_rate = if channel_unit == *rate {
                        Some(1.0)
                    } else {
                        convert(channel_unit, rate)
                    };
                    Some(to_rate? * convert(amount, meter_unit)?)
                })
            }
        }
    }
}

impl State {
    /// Counts one reading.
    #[must_use]
    pub fn step(&self, config: &Config, at: Timestamp, value: f64, quality: Quality) -> (Self, Step) {
        if quality != Quality::Good || !value.is_finite() || config.source == Source::Manual {
            return (*self, Step::Ignored);
        }
        let moved = |total: f64| Self {
            total,
            counted_to: Some(at),
            last_raw: Some(value),
        };
        let (Some(before), Some(raw)) = (self.counted_to, self.last_raw) else {
            if self.counted_to.is_some_and(|before| at <= before) {
                return (*self, Step::Ignored);
            }
            return (moved(self.total), Step::Base);
        };
        if at <= before {
            return (*self, Step::Ignored);
        }
        let seconds = at.seconds_since(before);
        let hours = seconds / 3600.0;
        let plausible = |delta: f64| config.max_rate_per_h.is_none_or(|most| delta <= most * hours);
        match config.source {
            Source::Manual => (*self, Step::Ignored),
            Source::Counter => {
                let fell = value < raw;
                if fell && raw - value <= NOISE * raw.abs() {
                    return (*self, Step::Ignored);
                }
                if !fell {
                    let delta = (value - raw) * config.factor;
                    if !plausible(delta) {
                        return (*self, Step::Implausible(delta / hours));
                    }
                    return (moved(self.total + delta), Step::Counted(delta));
                }
                let over = config
                    .rollover_at
                    .filter(|top| *top >= raw && value >= 0.0)
                    .map(|top| (top - raw + value) * config.factor);
                match (over, config.rollover_at, config.max_rate_per_h) {
                    // With a rate the way over the top must be possible; without one it must be short.
                    (Some(delta), _, Some(_)) if plausible(delta) => {
                        (moved(self.total + delta), Step::RolledOver(delta))
                    }
                    (Some(delta), Some(top), None) if raw >= 0.9 * top && value <= 0.1 * top => {
                        (moved(self.total + delta), Step::RolledOver(delta))
                    }
                    _ => (moved(self.total), Step::Exchanged),
                }
            }
            // What a pulse says happened, however long nobody was heard.
            Source::Pulse => {
                let delta = value * config.factor;
                if delta < 0.0 || !plausible(delta) {
                    return (*self, Step::Implausible(delta / hours));
                }
                (moved(self.total + delta), Step::Counted(delta))
            }
            _ if seconds > config.max_gap_s => (moved(self.total), Step::Gap(seconds)),
            Source::Edges => {
                let threshold = config.running_above.unwrap_or(f64::INFINITY);
                let delta = if raw < threshold && value >= threshold {
                    config.factor
                } else {
                    0.0
                };
                (moved(self.total + delta), Step::Counted(delta))
            }
            Source::RunningState => {
                // What the last reading said holds until this one.
                let running = config.running_above.is_some_and(|threshold| raw >= threshold);
                let delta = if running { hours * config.factor } else { 0.0 };
                (moved(self.total + delta), Step::Counted(delta))
            }
            Source::Integral => {
                let delta = (raw + value).max(0.0) / 2.0 * hours * config.factor;
                if !plausible(delta) {
                    return (*self, Step::Implausible(delta / hours));
                }
                (moved(self.total + delta), Step::Counted(delta))
            }
        }
    }
}

/// Why a person's reading was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EntryError {
    #[error("a meter reading is a number from 0")]
    NotANumber,
    #[error("it is not newer than the last one, of {last}; void that one first")]
    NotNewer { last: Timestamp },
    #[error(
        "the meter stood at {total} already: enter the exchange of a meter as such, or void the wrong reading"
    )]
    Backwards { total: f64 },
    #[error(
        "that is {per_h} an hour since the last reading, and it can do {most}: enter it again with `confirmed` if it is right"
    )]
    Implausible { per_h: f64, most: f64 },
}

/// What a person read off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// The meter's total.
    Absolute(f64),
    /// More by this.
    Delta(f64),
}

/// The state after a reading by hand. `confirmed` = the person has been told that it is implausible.
///
/// # Errors
/// When it is no number, not newer, lower, or too fast.
pub fn enter(
    state: &State,
    at: Timestamp,
    entry: Entry,
    max_rate_per_h: Option<f64>,
    confirmed: bool,
) -> Result<State, EntryError> {
    let total = match entry {
        Entry::Absolute(total) => total,
        Entry::Delta(delta) => state.total + delta,
    };
    if !total.is_finite() || total < 0.0 {
        return Err(EntryError::NotANumber);
    }
    if let Some(last) = state.counted_to {
        if at <= last {
            return Err(EntryError::NotNewer { last });
        }
        if total < state.total {
            return Err(EntryError::Backwards { total: state.total });
        }
        let per_h = (total - state.total) / (at.seconds_since(last) / 3600.0);
        if let Some(most) = max_rate_per_h.filter(|most| per_h > *most && !confirmed) {
            return Err(EntryError::Implausible { per_h, most });
        }
    }
    Ok(State {
        total,
        counted_to: Some(at),
        last_raw: Some(total),
    })
}

#[cfg(test)]
mod tests;
