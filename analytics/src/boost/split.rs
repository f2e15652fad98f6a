//! The best split of a leaf along one feature, from its histogram.

use super::Monotone;
use super::bins::{Column, MISSING, Mapper};

/// Sums over the rows of one bin or leaf; gradient and curvature in fixed point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub g: i64,
    pub h: i64,
    pub n: u32,
}

impl Sums {
    pub fn minus(self, o: Sums) -> Sums {
        Sums {
            g: self.g - o.g,
            h: self.h - o.h,
            n: self.n - o.n,
        }
    }

    fn plus(self, o: Sums) -> Sums {
        Sums {
            g: self.g + o.g,
            h: self.h + o.h,
            n: self.n + o.n,
        }
    }
}

pub(super) type Histogram = [Sums; 256];

/// Values a leaf may take, from monotone features above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    pub const FREE: Range = Range {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    fn is_free(&self) -> bool {
        self.low == f64::NEG_INFINITY && self.high == f64::INFINITY
    }
}

/// What a round fixes for all its splits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub lambda: f64,
    pub min_leaf: u32,
    /// Fixed point to real.
    pub g_unit: f64,
    pub h_unit: f64,
}

/// Extra ridge for categories: their order is chosen after looking at the gradients.
const CATEGORY_LAMBDA: f64 = 10.0;
/// Least curvature in a leaf.
const MIN_CURVATURE: f64 = 1e-3;

impl Rules {
    pub fn value(&self, s: Sums, range: Range, extra: f64) -> f64 {
        let w = -(s.g as f64 * self.g_unit) / (s.h as f64 * self.h_unit + self.lambda + extra);
        w.clamp(range.low, range.high)
    }

    /// Twice the loss saved by giving these rows the value `w`.
    fn saved_at(&self, s: Sums, w: f64, extra: f64) -> f64 {
        let (g, h) = (
            s.g as f64 * self.g_unit,
            s.h as f64 * self.h_unit + self.lambda + extra,
        );
        -(2.0 * g * w + h * w * w)
    }

    fn saved(&self, s: Sums, extra: f64) -> f64 {
        let g = s.g as f64 * self.g_unit;
        g * g / (s.h as f64 * self.h_unit + self.lambda + extra)
    }

    fn allows(&self, s: Sums) -> bool {
        s.n >= self.min_leaf && s.h as f64 * self.h_unit >= MIN_CURVATURE
    }
}

/// Which bins go left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cut {
    /// Bins up to this one.
    UpTo(u8),
    /// Bins whose bit is set.
    Set([u64; 4]),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Split {
    pub feature: usize,
    pub cut: Cut,
    pub missing_left: bool,
    pub gain: f64,
    pub left: Sums,
    pub right: Sums,
    pub left_value: f64,
    pub right_value: f64,
}

impl Split {
    pub fn goes_left(&self, bin: u8) -> bool {
        match self.cut {
            _ if bin == MISSING => self.missing_left,
            Cut::UpTo(edge) => bin <= edge,
            Cut::Set(set) => set[(bin >> 6) as usize] >> (bin & 63) & 1 == 1,
        }
    }

    /// The better of two; a tie goes to the lower feature, so that the answer does not depend on who looked first.
    pub fn better(a: Option<Split>, b: Option<Split>) -> Option<Split> {
        match (a, b) {
            (Some(a), Some(b)) => {
                let first = a.gain > b.gain || (a.gain == b.gain && a.feature < b.feature);
                Some(if first { a } else { b })
            }
            (a, b) => a.or(b),
        }
    }
}

/// The best split along `feature`, if any saves something.
pub(super) fn best(
    feature: usize,
    column: &Column,
    monotone: Monotone,
    histogram: &Histogram,
    total: Sums,
    range: Range,
    rules: &Rules,
) -> Option<Split> {
    let search = Search {
        feature,
        column,
        monotone,
        histogram,
        total,
        range,
        rules,
    };
    match &column.mapper {
        Mapper::Numeric(_) => search.numeric(),
        Mapper::Categorical(_) => search.categorical(),
    }
}

struct Search<'a> {
    feature: usize,
    column: &'a Column,
    monotone: Monotone,
    histogram: &'a Histogram,
    total: Sums,
    range: Range,
    rules: &'a Rules,
}

impl Search<'_> {
    fn numeric(&self) -> Option<Split> {
        let last = self.column.mapper.len() - 1;
        let missing = self.histogram[MISSING as usize];
        let parent = self.parent(0.0);
        let mut best: Option<Split> = None;
        let sides: &[bool] = if missing.n > 0 { &[false, true] } else { &[false] };
        for &missing_left in sides {
            let mut left = if missing_left { missing } else { Sums::default() };
            // With missing rows "all values against the missing ones" is a split too.
            let end = if missing.n > 0 && !missing_left {
                last + 1
            } else {
                last
            };
            for bin in 0..end {
                let here = self.histogram[bin];
                if here.n == 0 {
                    continue;
                }
                left = left.plus(here);
                let right = self.total.minus(left);
                if right.n < self.rules.min_leaf {
                    break;
                }
                if let Some((gain, values)) = self.gain(left, right, parent, 0.0)
                    && best.as_ref().is_none_or(|b| gain > b.gain)
                {
                    best = Some(self.split(Cut::UpTo(bin as u8), missing_left, gain, left, right, values));
                }
            }
        }
        // Nothing was missing while growing: a missing value later goes with the majority.
        best.map(|mut s| {
            if missing.n == 0 {
                s.missing_left = s.left.n >= s.right.n;
            }
            s
        })
    }

    fn categorical(&self) -> Option<Split> {
        let ratio = |s: &Sums| {
            let (g, h) = (s.g as f64 * self.rules.g_unit, s.h as f64 * self.rules.h_unit);
            g / (h + CATEGORY_LAMBDA)
        };
        let mut bins: Vec<u8> = (0..=MISSING)
            .filter(|b| self.histogram[*b as usize].n > 0)
            .collect();
        if bins.len() < 2 {
            return None;
        }
        bins.sort_by(|a, b| {
            let (x, y) = (&self.histogram[*a as usize], &self.histogram[*b as usize]);
            ratio(x).total_cmp(&ratio(y)).then(a.cmp(b))
        });
        // Two categories need no search for an order, hence no extra ridge.
        let extra = if bins.len() > 2 { CATEGORY_LAMBDA } else { 0.0 };
        let parent = self.parent(extra);
        let mut best: Option<Split> = None;
        let mut left = Sums::default();
        let mut set = [0_u64; 4];
        for &bin in &bins[..bins.len() - 1] {
            left = left.plus(self.histogram[bin as usize]);
            set[(bin >> 6) as usize] |= 1 << (bin & 63);
            let right = self.total.minus(left);
            if right.n < self.rules.min_leaf {
                break;
            }
            if let Some((gain, values)) = self.gain(left, right, parent, extra)
                && best.as_ref().is_none_or(|b| gain > b.gain)
            {
                let missing_left = set[3] >> 63 == 1;
                best = Some(self.split(Cut::Set(set), missing_left, gain, left, right, values));
            }
        }
        let missing = self.histogram[MISSING as usize].n > 0;
        best.map(|mut s| {
            if !missing {
                s.missing_left = s.left.n >= s.right.n;
            }
            s
        })
    }

    fn parent(&self, extra: f64) -> f64 {
        if self.range.is_free() {
            self.rules.saved(self.total, extra)
        } else {
            self.rules
                .saved_at(self.total, self.rules.value(self.total, self.range, extra), extra)
        }
    }

    fn gain(&self, left: Sums, right: Sums, parent: f64, extra: f64) -> Option<(f64, (f64, f64))> {
        if !self.rules.allows(left) || !self.rules.allows(right) {
            return None;
        }
        let free = self.range.is_free() && self.monotone == Monotone::Free;
        if free {
            let gain = self.rules.saved(left, extra) + self.rules.saved(right, extra) - parent;
            if gain <= 1e-12 {
                return None;
            }
            let value = |s| self.rules.value(s, self.range, extra);
            return Some((gain, (value(left), value(right))));
        }
        let l = self.rules.value(left, self.range, extra);
        let r = self.rules.value(right, self.range, extra);
        let refused = match self.monotone {
            Monotone::Free => false,
            Monotone::Increasing => l > r,
            Monotone::Decreasing => l < r,
        };
        let gain = self.rules.saved_at(left, l, extra) + self.rules.saved_at(right, r, extra) - parent;
        (!refused && gain > 1e-12).then_some((gain, (l, r)))
    }

    fn split(
        &self,
        cut: Cut,
        missing_left: bool,
        gain: f64,
        left: Sums,
        right: Sums,
        (left_value, right_value): (f64, f64),
    ) -> Split {
        Split {
            feature: self.feature,
            cut,
            missing_left,
            gain,
            left,
            right,
            left_value,
            right_value,
        }
    }
}
