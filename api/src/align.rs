//! One grid of time for several channels: laying buckets on it, filling what is empty, putting
//! channels together. Pure.

use models::db::history::stats::Grid;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What stands in a bucket in which nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// `null`: a gap is a gap.
    #[default]
    None,
    /// The last value before, also from before the range.
    Previous,
    /// On the line between the neighbours; nothing before the first and after the last.
    Linear,
}

impl Fill {
    /// `before`: what held when the range began.
    pub fn apply(self, values: &mut [Option<f64>], before: Option<f64>) {
        match self {
            Self::None => {}
            Self::Previous => {
                let mut last = before;
                for value in values {
                    last = value.or(last);
                    *value = last;
                }
            }
            Self::Linear => {
                let mut from: Option<usize> = None;
                for i in 0..values.len() {
                    let Some(right) = values[i] else { continue };
                    if let Some(at) = from
                        && let Some(left) = values[at]
                    {
                        for (k, value) in values[at + 1..i].iter_mut().enumerate() {
                            let part = (k + 1) as f64 / (i - at) as f64;
                            *value = Some(left + (right - left) * part);
                        }
                    }
                    from = Some(i);
                }
            }
        }
    }
}

/// How several channels become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Across {
    #[default]
    Mean,
    Sum,
    Min,
    Max,
    /// Channels that have something.
    Count,
}

impl Across {
    /// Rows of equal length to one, and how many of them had something (n,n).
    pub fn combine(self, rows: &[Vec<Option<f64>>], n: usize) -> (Vec<Option<f64>>, Vec<u32>) {
        let column = |i: usize| rows.iter().filter_map(move |row| row.get(i).copied().flatten());
        let present: Vec<u32> = (0..n)
            .map(|i| u32::try_from(column(i).count()).unwrap_or(u32::MAX))
            .collect();
        let values = (0..n)
            .map(|i| match (self, present[i]) {
                (Self::Count, count) => Some(f64::from(count)),
                (_, 0) => None,
                (Self::Sum, _) => Some(column(i).sum()),
                (Self::Mean, count) => Some(column(i).sum::<f64>() / f64::from(count)),
                (Self::Min, _) => column(i).reduce(f64::min),
                (Self::Max, _) => column(i).reduce(f64::max),
            })
            .collect();
        (values, present)
    }
}

/// The buckets of `[from, to)`.
#[derive(Clone, Copy, Debug)]
pub struct Lattice {
    grid: Grid,
    first: i64,
    n: usize,
}

impl Lattice {
    pub fn new(grid: Grid, from: Timestamp, to: Timestamp) -> Self {
        let place = |micros: i64| (micros - grid.origin.micros()).div_euclid(grid.width_us);
        let first = place(from.micros());
        let last = place(to.micros() - 1);
        Self {
            grid,
            first,
            n: usize::try_from(last - first + 1).unwrap_or(0),
        }
    }

    pub fn len(&self) -> usize {
        self.n
    }

    /// Starts of the buckets, seconds since 1970.
    pub fn seconds(&self) -> Vec<f64> {
        (0..self.n as i64)
            .map(|i| (self.grid.origin.micros() + (self.first + i) * self.grid.width_us) as f64 / 1e6)
            .collect()
    }

    /// One value for each bucket; `None` where nothing is said.
    pub fn lay(&self, values: impl Iterator<Item = (Timestamp, Option<f64>)>) -> Vec<Option<f64>> {
        let mut laid = vec![None; self.n];
        for (ts, value) in values {
            let place = (ts.micros() - self.grid.origin.micros()).div_euclid(self.grid.width_us) - self.first;
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| laid.get_mut(place)) {
                *slot = value;
            }
        }
        laid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_gaps_unless_asked_otherwise() {
        let holes = [None, Some(1.0), None, None, Some(4.0), None];
        let filled = |fill: Fill, before| {
            let mut values = holes;
            fill.apply(&mut values, before);
            values
        };
        assert_eq!(filled(Fill::None, Some(9.0)), holes);
        assert_eq!(
            filled(Fill::Previous, Some(9.0)),
            [Some(9.0), Some(1.0), Some(1.0), Some(1.0), Some(4.0), Some(4.0)]
        );
        assert_eq!(filled(Fill::Previous, None)[0], None);
        assert_eq!(
            filled(Fill::Linear, Some(9.0)),
            [None, Some(1.0), Some(2.0), Some(3.0), Some(4.0), None]
        );
    }

    #[test]
    fn a_lattice_covers_the_range_and_no_more() {
        let at = Timestamp::from_secs;
        let lattice = Lattice::new(Grid::new(10_000_000, at(0)), at(25), at(61));
        assert_eq!(lattice.seconds(), [20.0, 30.0, 40.0, 50.0, 60.0]);
        let laid = lattice.lay([(at(20), Some(1.0)), (at(60), Some(2.0)), (at(70), Some(3.0))].into_iter());
        assert_eq!(laid, [Some(1.0), None, None, None, Some(2.0)]);
    }

    #[test]
    fn channels_are_put_together() {
        let rows = [vec![Some(1.0), None, None], vec![Some(3.0), Some(5.0), None]];
        let one = |across: Across| across.combine(&rows, 3).0;
        assert_eq!(one(Across::Mean), [Some(2.0), Some(5.0), None]);
        assert_eq!(one(Across::Sum), [Some(4.0), Some(5.0), None]);
        assert_eq!(one(Across::Max), [Some(3.0), Some(5.0), None]);
        assert_eq!(one(Across::Count), [Some(2.0), Some(1.0), Some(0.0)]);
        assert_eq!(Across::Min.combine(&rows, 3).1, [2, 1, 0]);
    }
}
