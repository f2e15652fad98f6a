//! Simulated machines that wear out.
//!
//! ```toml
//! [[collect]]
//! kind = "simulate"
//! device = "pump-101"
//! machine = "pump"             # pump, compressor, hvac
//! seed = 1                     # with the device's name decides everything random
//! history_days = 30            # the past, one row per `history_step_s`, as fast as it is taken …
//! history_step_s = 600
//! live_every_s = 1.0           # … then one row each
//! size = 1.0                   # scales power and flow
//! continuous = false           # true: never switched off
//! hours_at_start = 12000       # of the run-hour counter, and
//! kwh_at_start = 250000        # of the energy counter
//!
//! [[collect.wear]]
//! mode = "bearing_wear"        # bearing_wear, seal_leak, fouling, filter_clogging
//! onset_days = -12             # from the first start; negative = in the past
//! full_days = 16               # from onset to functional failure
//! ```
//!
//! Every value is a function of seed, device and time: whoever knows the configuration can compute
//! what was sent. What is remembered is only the first start, the last row and how many readings were
//! made. After a pause longer than ten minutes the missing rows come at `history_step_s`, so that a
//! machine switched off for a week doesn't owe a week of seconds.
//!
//! Sensors round: a value is a decimal fraction with the digits its sensor has.

mod machine;
mod wear;

use std::sync::Arc;

use anyhow::ensure;
use models::reading::Quality;
use models::time::Timestamp;
use prost::Message;
use serde::Deserialize;

use super::report::Report;
use super::{CHUNK_READINGS, Generator, Next};
use crate::batch::{Channel, Reading};

pub use machine::{Kind, Machine};
pub use wear::{Mode, Wear};

/// A pause longer than this is filled at the pace of the past.
const PAUSE_S: f64 = 600.0;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub device: String,
    pub machine: Kind,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub history_days: f64,
    #[serde(default = "default_history_step_s")]
    pub history_step_s: f64,
    #[serde(default = "default_live_every_s")]
    pub live_every_s: f64,
    #[serde(default = "default_size")]
    pub size: f64,
    /// Runs day and night, at a load that follows the clock.
    #[serde(default)]
    pub continuous: bool,
    #[serde(default)]
    pub hours_at_start: f64,
    #[serde(default)]
    pub kwh_at_start: f64,
    #[serde(default)]
    pub wear: Vec<Wear>,
}

fn default_history_step_s() -> f64 {
    600.0
}

fn default_live_every_s() -> f64 {
    1.0
}

fn default_size() -> f64 {
    1.0
}

#[derive(Clone, Copy, PartialEq, Message)]
struct State {
    /// Microseconds.
    #[prost(sint64, tag = "1")]
    first_start: i64,
    /// Time of the last row made.
    #[prost(sint64, tag = "2")]
    last: i64,
    #[prost(uint64, tag = "3")]
    produced: u64,
}

/// See the module.
pub struct Simulate {
    machine: Machine,
    channels: Vec<Arc<Channel>>,
    state: State,
    /// Microseconds.
    history_step: i64,
    live_every: i64,
}

/// The first multiple of `step` after `at`.
fn next_multiple(at: i64, step: i64) -> i64 {
    (at.div_euclid(step) + 1) * step
}

impl Simulate {
    /// # Errors
    /// When a setting is out of range.
    pub fn open(config: &Config, resume: Option<&[u8]>, now: Timestamp) -> anyhow::Result<Self> {
        ensure!(!config.device.is_empty(), "`device` must not be empty");
        ensure!(
            config.history_step_s >= 0.001 && config.live_every_s >= 0.001,
            "`history_step_s` and `live_every_s` must be at least 0.001"
        );
        ensure!(
            (0.0..=36_500.0).contains(&config.history_days),
            "`history_days` must be from 0 to 36500"
        );
        ensure!(config.size > 0.0, "`size` must be above 0");
        for wear in &config.wear {
            ensure!(wear.full_days > 0.0, "`full_days` must be above 0");
        }
        let micros = |seconds: f64| (seconds * 1e6) as i64;
        let (history_step, live_every) = (micros(config.history_step_s), micros(config.live_every_s));
        let state = resume
            .and_then(|bytes| State::decode(bytes).ok())
            .unwrap_or_else(|| State {
                first_start: now.micros(),
                last: now.plus_seconds(-config.history_days * 86_400.0).micros(),
                produced: 0,
            });
        let machine = Machine::new(config, Timestamp::from_micros(state.first_start));
        let device: Arc<str> = config.device.as_str().into();
        let channels = machine
            .sensors()
            .iter()
            .map(|sensor| {
                Arc::new(Channel {
                    device: Arc::clone(&device),
                    name: sensor.name.to_owned(),
                    unit: sensor.unit.to_owned(),
                })
            })
            .collect();
        Ok(Self {
            machine,
            channels,
            state,
            history_step,
            live_every,
        })
    }

    fn next(&self, now: i64) -> i64 {
        if now - self.state.last > self.history_step.max((PAUSE_S * 1e6) as i64) {
            next_multiple(self.state.last, self.history_step)
        } else {
            next_multiple(self.state.last, self.live_every)
        }
    }
}

impl Generator for Simulate {
    fn produce(&mut self, now: Timestamp, out: &mut Vec<Reading>) -> Next {
        let mut row = Vec::with_capacity(self.channels.len());
        while out.len() < CHUNK_READINGS {
            let next = self.next(now.micros());
            if next > now.micros() {
                return Next::At(Timestamp::from_micros(next));
            }
            let ts = Timestamp::from_micros(next);
            row.clear();
            self.machine.row(ts, &mut row);
            for (channel, value) in self.channels.iter().zip(&row) {
                out.push(Reading {
                    channel: Arc::clone(channel),
                    ts,
                    value: *value,
                    quality: Quality::Good,
                });
            }
            self.state.last = next;
            self.state.produced += row.len() as u64;
        }
        Next::Now
    }

    fn resume(&self) -> Vec<u8> {
        self.state.encode_to_vec()
    }

    fn produced(&self) -> u64 {
        self.state.produced
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn config(machine: Kind) -> Config {
        Config {
            name: None,
            report: Report::default(),
            device: "m-1".to_owned(),
            machine,
            seed: 7,
            history_days: 30.0,
            history_step_s: 600.0,
            live_every_s: 1.0,
            size: 1.0,
            continuous: false,
            hours_at_start: 100.0,
            kwh_at_start: 0.0,
            wear: Vec::new(),
        }
    }

    type Rows = BTreeMap<(String, i64), f64>;

    fn collect(generator: &mut Simulate, until: Timestamp, rows: &mut Rows) {
        loop {
            let mut out = Vec::new();
            let next = generator.produce(until, &mut out);
            for reading in out {
                let key = (reading.channel.name.clone(), reading.ts.micros());
                assert!(
                    rows.insert(key, reading.value).is_none(),
                    "made twice: {reading:?}"
                );
            }
            if next != Next::Now {
                return;
            }
        }
    }

    fn series(rows: &Rows, channel: &str) -> Vec<f64> {
        rows.iter()
            .filter(|((name, _), _)| name == channel)
            .map(|(_, value)| *value)
            .collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn a_restart_changes_nothing() {
        for kind in [Kind::Pump, Kind::Compressor, Kind::Hvac] {
            let mut whole = Rows::new();
            let mut one = Simulate::open(&config(kind), None, NOW).unwrap();
            let mut parts = Rows::new();
            let mut many = Simulate::open(&config(kind), None, NOW).unwrap();
            collect(&mut one, NOW, &mut whole);
            for _ in 0..3 {
                let mut out = Vec::new();
                many.produce(NOW, &mut out);
                parts.extend(
                    out.into_iter()
                        .map(|r| ((r.channel.name.clone(), r.ts.micros()), r.value)),
                );
                many = Simulate::open(&config(kind), Some(&many.resume()), NOW.plus_seconds(1.0)).unwrap();
            }
            collect(&mut many, NOW, &mut parts);
            for later in [1.5, 30.0] {
                collect(&mut one, NOW.plus_seconds(later), &mut whole);
                many = Simulate::open(&config(kind), Some(&many.resume()), NOW.plus_seconds(later)).unwrap();
                collect(&mut many, NOW.plus_seconds(later), &mut parts);
            }
            assert_eq!(parts, whole);
            assert_eq!(one.produced(), whole.len() as u64);
            assert_eq!(one.resume(), many.resume());
        }
    }

    #[test]
    fn a_long_pause_is_filled_coarsely() {
        let mut rows = Rows::new();
        let mut pump = Simulate::open(&config(Kind::Pump), None, NOW).unwrap();
        collect(&mut pump, NOW, &mut rows);
        let before = rows.len();
        collect(&mut pump, NOW.plus_seconds(7.0 * 86_400.0), &mut rows);
        let made = (rows.len() - before) / pump.channels.len();
        assert!((7 * 144..7 * 144 + 700).contains(&made), "{made} rows");
    }

    #[test]
    fn counters_only_rise_and_agree_with_time() {
        for kind in [Kind::Pump, Kind::Compressor, Kind::Hvac] {
            let mut rows = Rows::new();
            collect(
                &mut Simulate::open(&config(kind), None, NOW).unwrap(),
                NOW,
                &mut rows,
            );
            for counter in ["run_hours", "energy"] {
                let values = series(&rows, counter);
                assert!(
                    values.windows(2).all(|pair| pair[0] <= pair[1]),
                    "{kind:?} {counter} falls"
                );
            }
            let hours = series(&rows, "run_hours");
            let ran = hours.last().unwrap() - hours[0];
            assert!((200.0..=720.0).contains(&ran), "{kind:?} ran {ran} h of 720");
            // The last minutes are denser; means need rows at equal distance.
            rows.retain(|(_, ts), _| ts % 600_000_000 == 0);
            let running = mean(&series(&rows, "running"));
            assert!(
                (running - ran / 720.0).abs() < 0.02,
                "{kind:?}: running {running}, counter {}",
                ran / 720.0
            );
            let (power, energy) = (mean(&series(&rows, "power")) * 720.0, series(&rows, "energy"));
            let counted = energy.last().unwrap() - energy[0];
            assert!(
                (power - counted).abs() < 0.03 * counted,
                "{kind:?}: {power} kWh, counter {counted}"
            );
        }
    }

    #[test]
    fn wear_shows_where_it_should() {
        for (kind, mode, channel, ratio) in [
            (Kind::Pump, Mode::BearingWear, "vibration", 2.5),
            (Kind::Pump, Mode::BearingWear, "bearing_temp", 1.15),
            (Kind::Pump, Mode::SealLeak, "flow", 0.9),
            (Kind::Compressor, Mode::Fouling, "oil_temp", 1.08),
            (Kind::Compressor, Mode::BearingWear, "vibration", 2.5),
            (Kind::Compressor, Mode::FilterClogging, "filter_dp", 1.8),
            (Kind::Hvac, Mode::FilterClogging, "filter_dp", 1.8),
            (Kind::Hvac, Mode::Fouling, "approach_temp", 1.5),
        ] {
            let mut worn = config(kind);
            worn.wear.push(Wear {
                mode,
                onset_days: -20.0,
                full_days: 20.0,
            });
            let (mut good, mut bad) = (Rows::new(), Rows::new());
            collect(
                &mut Simulate::open(&config(kind), None, NOW).unwrap(),
                NOW,
                &mut good,
            );
            collect(&mut Simulate::open(&worn, None, NOW).unwrap(), NOW, &mut bad);
            let last_day = |rows: &Rows| {
                let from = NOW.plus_seconds(-2.0 * 86_400.0).micros();
                let running = |ts: i64| rows[&("running".to_owned(), ts)] > 0.0;
                mean(
                    &rows
                        .iter()
                        .filter(|((name, ts), _)| name == channel && *ts > from && running(*ts))
                        .map(|(_, v)| *v)
                        .collect::<Vec<_>>(),
                )
            };
            let got = last_day(&bad) / last_day(&good);
            assert!(
                if ratio > 1.0 { got > ratio } else { got < ratio },
                "{kind:?} {mode:?} {channel}: {got}"
            );
            let before = |rows: &Rows| mean(&series(rows, channel)[..144]);
            assert_eq!(before(&good), before(&bad), "nothing shows before the onset");
        }
    }
}
