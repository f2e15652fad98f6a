//! The window: an asset's channels on one even grid of steps.
//!
//! Few readings are loaded as they are and summed up here, which is six times as fast. Many are summed
//! up by the server, so that a channel with a reading a second costs no more memory than one with a
//! reading every ten minutes. The step fits the asset: the cadence of its
//! slowest ordinary channel at least, ten minutes at most, and fine enough that a short history still
//! has some two hundred steps. It is chosen once, with the baseline, and kept in it.

mod series;

use models::db::assessment::{self as db, AssetChannel};
use models::id::ChannelId;
use models::time::Timestamp;
use sqlx::PgConnection;

pub(crate) use series::Packed;
pub use series::{Series, Step};

use crate::stats;

/// Steps a window may have at most; memory is bounded by this times the number of channels.
pub const MAX_STEPS: i64 = 6000;
/// Readings that are loaded as they are.
const MOST_RAW: i64 = 50_000;
/// The usual step, and the longest one chosen for a channel that is faster.
pub const USUAL_STEP_S: i64 = 600;

/// Readings of one asset on a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Length of a step, seconds.
    pub step_s: i64,
    /// Number of the first step since 1970.
    pub first_step: i64,
    pub steps: usize,
    /// Event time of the newest reading that may be in it.
    pub end: Timestamp,
    /// One for each channel, in order of their ids.
    pub series: Vec<Series>,
}

impl Window {
    pub fn empty(
        channels: &[AssetChannel],
        first_step: i64,
        steps: usize,
        step_s: i64,
        end: Timestamp,
    ) -> Self {
        let series = channels
            .iter()
            .map(|channel| Series::empty(channel.clone(), steps))
            .collect();
        Self {
            step_s,
            first_step,
            steps,
            end,
            series,
        }
    }

    fn series_mut(&mut self, channel: ChannelId) -> Option<&mut Series> {
        self.series.iter_mut().find(|series| series.channel.id == channel)
    }

    pub fn start(&self) -> Timestamp {
        Timestamp::from_secs(self.first_step * self.step_s)
    }

    pub fn steps_per_hour(&self) -> f64 {
        3600.0 / self.step_s as f64
    }

    pub fn hours(&self, steps: usize) -> f64 {
        steps as f64 * self.step_s as f64 / 3600.0
    }

    /// Changes when a reading of the window does, or one comes late.
    pub fn digest(&self) -> u64 {
        let mut digest = stats::Digest::default();
        digest.word(self.first_step.unsigned_abs());
        for series in &self.series {
            digest.word(series.channel.id.0.unsigned_abs().into());
            series.mean.iter().for_each(|value| digest.number(*value));
            // One reading a step is its own extreme.
            if series.has_many() {
                for place in (0..series.mean.len()).filter(|place| series.count(*place) > 1) {
                    digest.number(series.low(place));
                    digest.number(series.high(place));
                    digest.number(series.last(place));
                }
            }
        }
        digest.value()
    }

    /// The first `steps` steps, for a baseline.
    pub fn head(&self, steps: usize) -> Self {
        let steps = steps.min(self.steps);
        let mut head = self.clone();
        head.steps = steps;
        for series in &mut head.series {
            series.truncate(steps);
        }
        if steps < self.steps {
            head.end = Timestamp::from_secs((self.first_step + steps as i64) * self.step_s);
        }
        head
    }

    /// Share of the expected steps of the last `steps` that came, over all channels that report
    /// regularly; 1 when none does. A channel slower than the grid is expected as often as it reports.
    pub fn coverage(&self, steps: usize) -> f64 {
        let (mut came, mut expected) = (0.0, 0.0);
        for series in &self.series {
            let Some(cadence) = series.channel.cadence_s.or_else(|| self.observed_cadence(series)) else {
                continue;
            };
            let steps = steps.min(self.steps);
            let every = (cadence / self.step_s as f64).max(1.0);
            let filled = series.mean[self.steps - steps..]
                .iter()
                .filter(|value| value.is_finite())
                .count() as f64;
            expected += steps as f64;
            came += (filled * every).min(steps as f64);
        }
        if expected > 0.0 { came / expected } else { 1.0 }
    }

    /// Median distance of the steps that came, for a channel nobody gave a cadence.
    fn observed_cadence(&self, series: &Series) -> Option<f64> {
        let places: Vec<usize> = (0..self.steps).filter(|i| series.mean[*i].is_finite()).collect();
        (places.len() > 2).then(|| {
            stats::median(places.windows(2).map(|pair| (pair[1] - pair[0]) as f64)) * self.step_s as f64
        })
    }
}

/// The step for channels with these cadences (seconds) and a history this long.
pub fn choose_step(cadences: &[f64], history_s: f64) -> i64 {
    let cadence = stats::median(cadences.iter().copied());
    let cadence = if cadence.is_finite() { cadence } else { 60.0 };
    let fine = (history_s / 200.0).clamp(10.0, USUAL_STEP_S as f64);
    // A hair more than the cadence, so that jitter leaves no empty steps.
    let wanted = fine.max(cadence).ceil() as i64;
    wanted.max(1)
}

/// The grid from `from` to `end`, at most [`MAX_STEPS`] back from the end.
///
/// # Errors
/// When the database does.
pub async fn load(
    connection: &mut PgConnection,
    channels: &[AssetChannel],
    from: Timestamp,
    end: Timestamp,
    step_s: i64,
) -> Result<Window, sqlx::Error> {
    let last_step = end.micros().div_euclid(step_s * 1_000_000);
    let first_step = from
        .micros()
        .div_euclid(step_s * 1_000_000)
        .max(last_step - MAX_STEPS + 1);
    let steps = usize::try_from(last_step - first_step + 1).unwrap_or(0);
    let mut window = Window::empty(channels, first_step, steps, step_s, end);
    let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.id).collect();
    let just_before = Timestamp::from_micros(first_step * step_s * 1_000_000 - 1);
    if let Some(raw) = db::raw(connection, &ids, just_before, end, MOST_RAW).await? {
        for columns in raw {
            if let Some(series) = window.series_mut(columns.channel_id) {
                series.fill(first_step, step_s, 0, &columns.ts, &columns.value);
            }
        }
        return Ok(window);
    }
    for columns in db::steps(connection, &ids, just_before, end, step_s).await? {
        let Some(series) = window.series_mut(columns.channel_id) else {
            continue;
        };
        for (i, step) in columns.step.iter().enumerate() {
            let Some(place) = usize::try_from(step - first_step)
                .ok()
                .filter(|place| *place < steps)
            else {
                continue;
            };
            let step = Step {
                mean: columns.mean[i],
                low: columns.low[i],
                high: columns.high[i],
                last: columns.last[i],
                n: u32::try_from(columns.n[i]).unwrap_or(u32::MAX),
            };
            series.put(place, step);
        }
        series.settle();
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_step(cadences: &[f64], history_h: f64, expect: i64) {
        assert_eq!(
            choose_step(cadences, history_h * 3600.0),
            expect,
            "{cadences:?} over {history_h} h"
        );
    }

    #[test]
    fn the_step_fits_the_asset() {
        check_step(&[1.0, 1.0], 24.0 * 30.0, 600);
        check_step(&[600.0], 48.0, 600);
        check_step(&[3600.0], 48.0, 3600);
        check_step(&[5.0], 1.0, 18);
        check_step(&[1.0], 0.1, 10);
        check_step(&[], 48.0, 600);
        check_step(&[0.4], 0.0, 10);
    }

    #[tokio::test]
    async fn both_ways_to_load_give_the_same_window() {
        use models::db::Role;
        use models::db::fixture::Plant;
        use models::db::reading;
        use models::db::testing::TestDatabase;
        use models::reading::{Quality, Reading};
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "works").await;
        let machine = plant.machine("m").await;
        // Quarters add up without rounding in any order.
        let readings: Vec<Reading> = (0..=400)
            .filter(|i| !(150..=190).contains(i))
            .map(|i| Reading {
                channel: machine.channel,
                ts: Timestamp::from_secs(1_772_323_200 + 41 * i),
                value: (i * 7 % 23) as f64 * 0.25,
                quality: if i % 50 == 3 { Quality::Bad } else { Quality::Good },
            })
            .collect();
        let mut owner = database.owner.acquire().await.unwrap();
        reading::copy(&mut owner, &readings).await.unwrap();
        drop(owner);
        let pool = database.pool(Role::Analytics);
        let mut connection = pool.acquire().await.unwrap();
        let channels = db::asset_channels(&mut connection, machine.asset).await.unwrap();
        let (from, end) = (
            Timestamp::from_secs(1_772_325_000),
            Timestamp::from_secs(1_772_338_000),
        );
        let window = load(&mut connection, &channels, from, end, 600).await.unwrap();
        assert!(window.series[0].filled() > 15 && window.series[0].filled() < window.steps);
        let ids = [machine.channel];
        assert_eq!(db::raw(&mut connection, &ids, from, end, 10).await.unwrap(), None);
        let just_before = Timestamp::from_micros(window.start().micros() - 1);
        let columns = db::steps(&mut connection, &ids, just_before, end, 600)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(columns.step.len(), window.series[0].filled());
        for (i, step) in columns.step.iter().enumerate() {
            let (series, place) = (&window.series[0], (step - window.first_step) as usize);
            let here = (
                series.mean[place],
                series.low(place),
                series.high(place),
                series.last(place),
            );
            assert_eq!(
                here,
                (columns.mean[i], columns.low[i], columns.high[i], columns.last[i]),
                "step {step}"
            );
            assert_eq!(i64::from(series.count(place)), columns.n[i]);
        }
        drop(connection);
        pool.close().await;
        database.drop_now().await;
    }
}
