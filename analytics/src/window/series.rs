//! One channel on the grid.

use std::ops::Range;

use models::asset::ChannelKind;
use models::db::assessment::AssetChannel;
use models::id::ChannelId;
use models::time::Timestamp;

/// One channel on the grid, NaN where nothing came.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub channel: AssetChannel,
    pub mean: Vec<f64>,
    /// `None`: no step has more than one reading, which then is its own extreme. Most channels are of that kind, and a
    /// pass handles twenty of them for each of ten thousand machines.
    many: Option<Box<Many>>,
}

/// A series of which only the numbers are kept.
#[derive(Debug)]
pub(crate) struct Packed {
    pub channel: ChannelId,
    mean: Box<[f64]>,
    many: Option<Box<Many>>,
}

/// What a step with several readings has besides their mean.
#[derive(Clone, Debug, PartialEq)]
struct Many {
    low: Vec<f64>,
    high: Vec<f64>,
    last: Vec<f64>,
    count: Vec<u32>,
}

/// A step with readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub last: f64,
    pub n: u32,
}

impl Series {
    pub fn empty(channel: AssetChannel, steps: usize) -> Self {
        Self {
            channel,
            mean: vec![f64::NAN; steps],
            many: None,
        }
    }

    pub fn kind(&self) -> ChannelKind {
        self.channel.kind
    }

    pub fn title(&self) -> &str {
        self.channel.label.as_deref().unwrap_or(&self.channel.name)
    }

    /// Smallest reading of a step.
    pub fn low(&self, place: usize) -> f64 {
        self.many
            .as_ref()
            .map_or(self.mean[place], |many| many.low[place])
    }

    /// Largest reading of a step.
    pub fn high(&self, place: usize) -> f64 {
        self.many
            .as_ref()
            .map_or(self.mean[place], |many| many.high[place])
    }

    /// Newest reading of a step.
    pub fn last(&self, place: usize) -> f64 {
        self.many
            .as_ref()
            .map_or(self.mean[place], |many| many.last[place])
    }

    /// Readings of a step.
    pub fn count(&self, place: usize) -> u32 {
        self.many
            .as_ref()
            .map_or_else(|| u32::from(!self.mean[place].is_nan()), |many| many.count[place])
    }

    pub fn has_many(&self) -> bool {
        self.many.is_some()
    }

    /// Steps that have a value.
    pub fn filled(&self) -> usize {
        self.mean.iter().filter(|value| value.is_finite()).count()
    }

    /// Steps of an older window in the place of the first ones, from its place `moved` on.
    pub(crate) fn take_over(&mut self, older: &Packed, moved: usize, stays: usize) {
        let old = moved..moved + stays;
        self.mean[..stays].copy_from_slice(&older.mean[old.clone()]);
        if let Some(older) = &older.many {
            let many = self.many();
            many.low[..stays].copy_from_slice(&older.low[old.clone()]);
            many.high[..stays].copy_from_slice(&older.high[old.clone()]);
            many.last[..stays].copy_from_slice(&older.last[old.clone()]);
            many.count[..stays].copy_from_slice(&older.count[old]);
        }
    }

    /// Sums up readings in order of time. Steps before place `stays` are left as they are.
    pub(crate) fn fill(
        &mut self,
        first_step: i64,
        step_s: i64,
        stays: usize,
        ts: &[Timestamp],
        values: &[f64],
    ) {
        for (at, value) in ts.iter().zip(values) {
            let step = at.micros().div_euclid(step_s * 1_000_000) - first_step;
            let Some(place) = usize::try_from(step)
                .ok()
                .filter(|place| (stays..self.mean.len()).contains(place))
            else {
                continue;
            };
            self.add(place, *value);
        }
        if let Some(many) = &self.many {
            for (mean, n) in self.mean.iter_mut().zip(&many.count).skip(stays) {
                if *n > 1 {
                    *mean /= f64::from(*n);
                }
            }
        }
        self.settle();
    }

    /// One more reading; the mean of a step with several is their sum until all are there.
    fn add(&mut self, place: usize, value: f64) {
        let n = self.count(place);
        if n == 0 {
            self.put(
                place,
                Step {
                    mean: 0.0 + value,
                    low: value,
                    high: value,
                    last: value,
                    n: 1,
                },
            );
            return;
        }
        let many = self.many();
        many.low[place] = many.low[place].min(value);
        many.high[place] = many.high[place].max(value);
        many.last[place] = value;
        many.count[place] = n + 1;
        self.mean[place] += value;
    }

    /// A step that was summed up elsewhere.
    pub(crate) fn put(&mut self, place: usize, step: Step) {
        if step.n > 1 || self.many.is_some() {
            let many = self.many();
            many.low[place] = step.low;
            many.high[place] = step.high;
            many.last[place] = step.last;
            many.count[place] = step.n;
        }
        self.mean[place] = step.mean;
    }

    fn many(&mut self) -> &mut Many {
        let mean = &self.mean;
        self.many.get_or_insert_with(|| {
            Box::new(Many {
                low: mean.clone(),
                high: mean.clone(),
                last: mean.clone(),
                count: mean.iter().map(|mean| u32::from(!mean.is_nan())).collect(),
            })
        })
    }

    /// The same steps have the same form, however they came about.
    pub(crate) fn settle(&mut self) {
        if self
            .many
            .as_ref()
            .is_some_and(|many| many.count.iter().all(|n| *n < 2))
        {
            self.many = None;
        }
    }

    pub(crate) fn truncate(&mut self, steps: usize) {
        self.mean.truncate(steps);
        if let Some(many) = &mut self.many {
            many.low.truncate(steps);
            many.high.truncate(steps);
            many.last.truncate(steps);
            many.count.truncate(steps);
        }
        self.settle();
    }

    pub(crate) fn pack(&self) -> Packed {
        Packed {
            channel: self.channel.id,
            mean: self.mean.as_slice().into(),
            many: self.many.clone(),
        }
    }
}

impl Packed {
    /// Takes the numbers of a newer window of as many steps, in the memory it has.
    pub fn renew(&mut self, newer: &Series) {
        if self.mean.len() == newer.mean.len() {
            self.mean.copy_from_slice(&newer.mean);
        } else {
            self.mean = newer.mean.as_slice().into();
        }
        self.many.clone_from(&newer.many);
    }

    pub fn steps(&self) -> usize {
        self.mean.len()
    }

    /// Readings of some of the steps.
    pub fn count(&self, places: Range<usize>) -> i64 {
        match &self.many {
            Some(many) => many.count[places].iter().map(|n| i64::from(*n)).sum(),
            None => self.mean[places].iter().filter(|mean| !mean.is_nan()).count() as i64,
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.mean.len() * if self.many.is_some() { 36 } else { 8 } + 96
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(steps: usize) -> Series {
        let channel = AssetChannel {
            id: ChannelId(1),
            name: "a".to_owned(),
            label: None,
            unit: "1".to_owned(),
            kind: ChannelKind::Measurement,
            cadence_s: None,
            high_limit: None,
            low_limit: None,
        };
        Series::empty(channel, steps)
    }

    #[test]
    fn a_step_with_several_readings_has_extremes_and_the_others_are_their_own() {
        let mut filled = series(4);
        let ts = [0, 10, 11, 12, 30].map(Timestamp::from_secs);
        filled.fill(0, 10, 0, &ts, &[1.0, 4.0, 2.0, 3.0, 7.0]);
        assert!(filled.has_many());
        let of = |i| {
            (
                filled.mean[i],
                filled.low(i),
                filled.high(i),
                filled.last(i),
                filled.count(i),
            )
        };
        assert_eq!(of(0), (1.0, 1.0, 1.0, 1.0, 1));
        assert_eq!(of(1), (3.0, 2.0, 4.0, 3.0, 3));
        assert_eq!((filled.count(2), filled.low(2).is_nan()), (0, true));
        assert_eq!(of(3), (7.0, 7.0, 7.0, 7.0, 1));
        let mut moved = series(4);
        let packed = filled.pack();
        assert_eq!((packed.count(0..4), packed.count(2..4)), (5, 1));
        moved.take_over(&packed, 1, 2);
        moved.fill(1, 10, 2, &ts[4..], &[7.0]);
        assert_eq!((moved.mean[0], moved.low(0), moved.count(0)), (3.0, 2.0, 3));
        moved.truncate(4);
        let mut without = series(4);
        without.take_over(&packed, 2, 1);
        without.fill(2, 10, 1, &ts[4..], &[7.0]);
        assert!(!without.has_many(), "none of these has several");
        assert_eq!(without.mean[1], 7.0);
    }
}
