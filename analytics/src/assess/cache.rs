//! What a process remembers between passes: windows, baselines, what is known of classes.
//!
//! A pass an hour over ten thousand assets would read hundreds of millions of readings again that have
//! not changed. The window of the last pass is kept instead, and a pass reads what came since, with the last step. Readings that come late are told by the
//! database where their time was over ([`super::late`]); in the hour or so that isn't over yet they are noticed by
//! counting. A window is read again from where it changed.
//!
//! Nothing here is needed for a result: without it everything is read, and the bits are the same.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::assessment::AssetChannel;
use models::id::{AssetClassId, AssetId, ChannelId, ModelVersionId};
use models::time::Timestamp;
use parking_lot::Mutex;

use super::late::{Late, Seen};
use super::load::{ClassFacts, PASS_STEPS};
use crate::detect::Baseline;
use crate::window::{Packed, Series, Window};

/// How long what is known of a class is taken as it was.
const CLASS_FOR: Duration = Duration::from_secs(60);
/// Windows that no pass asked for in this time make room.
const IDLE: Duration = Duration::from_secs(3 * 3600);
const MOST_BASELINES: usize = 100_000;

/// Facts of a class as of a moment, and when they were read.
type Classes = HashMap<(AssetClassId, Timestamp), (Instant, Arc<ClassFacts>)>;

/// Shared by the workers of a process.
#[derive(Debug)]
pub struct Memory {
    windows: Mutex<Windows>,
    pub(super) late: Late,
    baselines: Mutex<HashMap<ModelVersionId, Arc<Baseline>>>,
    classes: Mutex<Classes>,
}

#[derive(Debug, Default)]
struct Windows {
    kept: HashMap<AssetId, (Instant, Kept)>,
    bytes: usize,
    most: usize,
}

impl Memory {
    /// Keeps windows up to about `mib` mebibytes.
    pub fn new(mib: usize) -> Self {
        let windows = Windows {
            most: mib << 20,
            ..Windows::default()
        };
        Self {
            windows: Mutex::new(windows),
            late: Late::default(),
            baselines: Mutex::default(),
            classes: Mutex::default(),
        }
    }

    /// The window of the last pass, for the one who makes this one; it is given back by [`Self::keep`].
    pub(super) fn take(&self, asset: AssetId) -> Option<Kept> {
        let mut windows = self.windows.lock();
        let (_, kept) = windows.kept.remove(&asset)?;
        windows.bytes -= kept.bytes();
        Some(kept)
    }

    pub(super) fn keep(&self, asset: AssetId, kept: Kept) {
        self.late.has(asset, kept.seen);
        let mut windows = self.windows.lock();
        if let Some((_, old)) = windows.kept.remove(&asset) {
            windows.bytes -= old.bytes();
        }
        let bytes = kept.bytes();
        if windows.bytes + bytes > windows.most {
            let mut gone = 0;
            windows.kept.retain(|_, (used, old)| {
                let stays = used.elapsed() < IDLE;
                gone += if stays { 0 } else { old.bytes() };
                stays
            });
            windows.bytes -= gone;
        }
        // When all are in use the first ones stay: taking turns would help nobody.
        if windows.bytes + bytes <= windows.most {
            windows.bytes += bytes;
            windows.kept.insert(asset, (Instant::now(), kept));
        }
    }

    pub(super) fn baseline(&self, model: ModelVersionId) -> Option<Arc<Baseline>> {
        self.baselines.lock().get(&model).cloned()
    }

    pub(super) fn keep_baseline(&self, model: ModelVersionId, baseline: Arc<Baseline>) {
        let mut baselines = self.baselines.lock();
        if baselines.len() >= MOST_BASELINES {
            baselines.clear();
        }
        baselines.insert(model, baseline);
    }

    pub(super) fn class(&self, class: AssetClassId, at: Timestamp) -> Option<Arc<ClassFacts>> {
        let classes = self.classes.lock();
        let (since, facts) = classes.get(&(class, at))?;
        (since.elapsed() < CLASS_FOR).then(|| facts.clone())
    }

    pub(super) fn keep_class(&self, class: AssetClassId, at: Timestamp, facts: Arc<ClassFacts>) {
        let mut classes = self.classes.lock();
        classes.retain(|_, (since, _)| since.elapsed() < CLASS_FOR);
        classes.insert((class, at), (Instant::now(), facts));
    }
}

/// The window of a pass.
#[derive(Debug)]
pub(super) struct Kept {
    pub step_s: i64,
    first_step: i64,
    pub newest: Vec<(ChannelId, Timestamp)>,
    /// What was known of changes before its readings were read.
    pub seen: Seen,
    series: Vec<Packed>,
}

/// A reading that came since a window was kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub channel: ChannelId,
    pub ts: Timestamp,
    pub value: f64,
    pub good: bool,
}

/// Readings of several channels, each since some moment, by channel and time.
#[derive(Debug, Default)]
pub(super) struct Tail {
    ranges: HashMap<ChannelId, Range<usize>>,
    rows: Vec<Read>,
}

impl Tail {
    /// Of readings in any order.
    pub fn new(mut rows: Vec<Read>) -> Self {
        rows.sort_unstable_by_key(|row| (row.channel, row.ts));
        let mut from = 0;
        let ranges = rows
            .chunk_by(|a, b| a.channel == b.channel)
            .map(|same| {
                let range = from..from + same.len();
                from = range.end;
                (same[0].channel, range)
            })
            .collect();
        Self { ranges, rows }
    }

    fn of(&self, channel: ChannelId) -> &[Read] {
        let range = self.ranges.get(&channel).cloned().unwrap_or(0..0);
        &self.rows[range]
    }
}

impl Kept {
    pub fn pack(window: &Window, newest: &[(ChannelId, Timestamp)], seen: Seen) -> Self {
        Self {
            step_s: window.step_s,
            first_step: window.first_step,
            newest: newest.to_vec(),
            seen,
            series: window.series.iter().map(Series::pack).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let series = self.series.iter().map(Packed::bytes);
        series.sum::<usize>() + 16 * self.newest.len() + 200
    }

    fn steps(&self) -> i64 {
        self.series.first().map_or(0, |series| series.steps() as i64)
    }

    pub fn start(&self) -> Timestamp {
        Timestamp::from_secs(self.first_step * self.step_s)
    }

    /// The start of the last step: from here on a pass reads in any case.
    pub fn last_from(&self) -> Timestamp {
        self.start_of(self.last_step())
    }

    /// From here on nobody tells what came late: readings up to [`Self::last_from`] must be counted.
    pub fn untold_from(&self) -> Timestamp {
        self.start_of(self.seen.frontier.map_or(self.first_step, |at| self.step_of(at)))
    }

    fn last_step(&self) -> i64 {
        (self.first_step + self.steps() - 1).max(self.first_step)
    }

    /// The step of a moment, within the window.
    fn step_of(&self, at: Timestamp) -> i64 {
        at.micros()
            .div_euclid(self.step_s * 1_000_000)
            .clamp(self.first_step, self.last_step())
    }

    fn start_of(&self, step: i64) -> Timestamp {
        Timestamp::from_secs(step * self.step_s)
    }

    /// The start of the step of `at`, within the window.
    pub fn floor(&self, at: Timestamp) -> Timestamp {
        self.start_of(self.step_of(at))
    }

    /// Good readings of the steps between two moments, by channel.
    pub fn counts(&self, from: Timestamp, to: Timestamp) -> HashMap<ChannelId, i64> {
        let place = |at| usize::try_from(self.step_of(at) - self.first_step).unwrap_or(0);
        let places = place(from)..place(to);
        self.series
            .iter()
            .map(|series| (series.channel, series.count(places.clone())))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// The window that ends with the newest reading of `tail`, and the newest reading of each channel. `tail` has
    /// everything since `from`, the start of a step. `None` when the channels or most of the steps are others: then it
    /// must be read.
    ///
    /// It becomes the newer one itself, in the memory it has, as of what was `seen` before `tail` was read: ten thousand
    /// windows that are made anew in each pass, by several threads, would leave as much memory again in pieces.
    pub fn advance(
        &mut self,
        channels: Vec<AssetChannel>,
        tail: &Tail,
        from: Timestamp,
        seen: Seen,
    ) -> Option<(Window, Vec<(ChannelId, Timestamp)>)> {
        if channels.len() != self.series.len()
            || channels
                .iter()
                .zip(&self.series)
                .any(|(channel, series)| channel.id != series.channel)
        {
            return None;
        }
        let newest: Vec<(ChannelId, Timestamp)> = channels
            .iter()
            .filter_map(|channel| {
                let new = tail.of(channel.id).last().map(|row| row.ts);
                let old = self
                    .newest
                    .iter()
                    .find(|(id, _)| *id == channel.id)
                    .map(|(_, at)| *at);
                Some((channel.id, new.max(old)?)).or(new.map(|new| (channel.id, new)))
            })
            .collect();
        let end = newest.iter().map(|(_, at)| *at).max()?;
        let step_us = self.step_s * 1_000_000;
        let first_step = end.micros().div_euclid(step_us) - (PASS_STEPS - 1);
        let moved = usize::try_from(first_step - self.first_step).ok()?;
        let steps = usize::try_from(PASS_STEPS).ok()?;
        if self.steps() != PASS_STEPS || moved > steps / 2 {
            return None;
        }
        let tail_step = self.step_of(from);
        let stays = usize::try_from(tail_step - first_step).unwrap_or(0);
        let series: Vec<Series> = channels
            .into_iter()
            .zip(&self.series)
            .map(|(channel, older)| {
                let rows = tail.of(channel.id);
                let mut series = Series::empty(channel, steps);
                series.take_over(older, moved, stays);
                let new = |row: &&Read| row.good && row.ts.micros().div_euclid(step_us) >= tail_step;
                let (ts, values): (Vec<Timestamp>, Vec<f64>) =
                    rows.iter().filter(new).map(|row| (row.ts, row.value)).unzip();
                series.fill(first_step, self.step_s, stays, &ts, &values);
                series
            })
            .collect();
        for (packed, series) in self.series.iter_mut().zip(&series) {
            packed.renew(series);
        }
        (self.first_step, self.seen) = (first_step, seen);
        self.newest.clone_from(&newest);
        let window = Window {
            step_s: self.step_s,
            first_step,
            steps,
            end,
            series,
        };
        Some((window, newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, noise};

    fn window(first: usize, steps: usize) -> Window {
        let mut window = Machine::new(steps)
            .measurement("a", move |i| noise(first + i))
            .measurement("b", move |i| {
                if (first + i).is_multiple_of(7) {
                    f64::NAN
                } else {
                    noise(first + i + 9000)
                }
            })
            .window();
        window.first_step += first as i64;
        window.end = Timestamp::from_secs((window.first_step + steps as i64) * 600 - 600);
        window
    }

    fn readings(window: &Window, from: Timestamp) -> Tail {
        let mut rows = Vec::new();
        for series in &window.series {
            for (place, value) in series.mean.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                let at = Timestamp::from_secs((window.first_step + place as i64) * 600);
                if at >= from {
                    rows.push(Read {
                        channel: series.channel.id,
                        ts: at,
                        value: *value,
                        good: true,
                    });
                }
            }
        }
        rows.reverse();
        Tail::new(rows)
    }

    fn bits(window: &Window) -> Vec<u64> {
        window
            .series
            .iter()
            .flat_map(|series| {
                (0..series.mean.len()).map(|i| [series.mean[i], series.low(i), series.last(i)])
            })
            .flatten()
            .map(f64::to_bits)
            .collect()
    }

    #[test]
    fn a_kept_window_moves_on_to_the_same_bits_as_one_that_is_read() {
        let steps = PASS_STEPS as usize;
        for (moved, again) in [(0, 1), (1, 1), (6, 1), (6, 9), (40, 1), (40, 9), (3, steps)] {
            let (old, new) = (window(0, steps), window(moved, steps));
            let newest: Vec<_> = old.series.iter().map(|s| (s.channel.id, old.end)).collect();
            let mut kept = Kept::pack(&old, &newest, Seen::default());
            let from = kept.start_of(kept.first_step + (steps - again) as i64);
            let tail = readings(&new, from);
            let channels = new.series.iter().map(|series| series.channel.clone()).collect();
            let (advanced, newest) = kept.advance(channels, &tail, from, Seen::default()).unwrap();
            assert_eq!(
                (advanced.first_step, advanced.end),
                (new.first_step, new.end),
                "{moved}"
            );
            assert_eq!(bits(&advanced), bits(&new), "{moved}");
            assert_eq!(newest[0].1, new.end);
        }
        let old = window(0, steps);
        let mut kept = Kept::pack(&old, &[(ChannelId(1), old.end)], Seen::default());
        assert!(
            kept.advance(Vec::new(), &Tail::default(), old.end, Seen::default())
                .is_none(),
            "other channels"
        );
        let untold = |kept: &Kept| kept.counts(kept.untold_from(), kept.last_from())[&ChannelId(1)];
        assert_eq!(untold(&kept), steps as i64 - 1, "nothing is told: all of it");
        kept.seen.frontier = Some(Timestamp::from_micros(old.end.micros() - 3_599_000_000));
        assert_eq!(untold(&kept), 6);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let memory = Memory::new(1);
        let window = window(0, PASS_STEPS as usize);
        let assets: Vec<AssetId> = (0..400).map(|_| AssetId::new()).collect();
        for asset in &assets {
            memory.keep(*asset, Kept::pack(&window, &[], Seen::default()));
        }
        let kept = assets
            .iter()
            .filter(|asset| memory.take(**asset).is_some())
            .count();
        assert!((200..400).contains(&kept), "{kept}");
        assert!(memory.take(assets[0]).is_none(), "taken by the one who counted");
    }
}
