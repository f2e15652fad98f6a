//! Order statistics that one bad reading can't move. NaN stands for "no value" and is skipped.

/// Factor from the median absolute deviation to the standard deviation of a normal distribution.
const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// The values that are there, in order.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Quantile `q` (0 to 1) of sorted values, linear between neighbours; NaN without values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// Where values lie and how far they spread, robustly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub n: usize,
    pub median: f64,
    /// Like a standard deviation. 0 = every value is the same.
    pub scale: f64,
    pub low: f64,
    pub high: f64,
}

/// `None` without values. A coarsely rounded signal has more than half of its values equal and a
/// median absolute deviation of 0: the quartiles, then the standard deviation, stand in.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let values = sorted(values);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = quantile(&values, 0.5);
    let mad = median(values.iter().map(|value| (value - middle).abs())) * MAD_TO_SD;
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    // Rounded noise: the median deviation jumps between multiples of the resolution.
    let scale = if mad < 0.5 * sd {
        mad.max((quantile(&values, 0.9) - quantile(&values, 0.1)) / 2.563)
            .max(0.5 * sd)
    } else {
        mad
    };
    // Equal values whose mean rounds differently are still equal.
    let scale = if low == high { 0.0 } else { scale };
    Some(Spread {
        n,
        median: middle,
        scale,
        low,
        high,
    })
}

/// A 64-bit digest of numbers and text, the same on every machine: to see whether something changed,
/// not against somebody who wants it to look unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    pub fn word(&mut self, word: u64) {
        // FNV-1a over words, with the high bits folded back.
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        self.0 ^= self.0 >> 29;
    }

    /// Every NaN counts as the same.
    pub fn number(&mut self, number: f64) {
        self.word(if number.is_nan() {
            u64::MAX
        } else {
            number.to_bits()
        });
    }

    pub fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.word(u64::from(byte)));
        self.word(0x100);
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles() {
        let values = sorted([3.0, 1.0, f64::NAN, 2.0]);
        for (q, expect) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (1.0, 3.0)] {
            assert_eq!(quantile(&values, q), expect, "{q}");
        }
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn one_outlier_does_not_move_the_spread() {
        let clean = spread((0..100).map(|i| f64::from(i % 10))).unwrap();
        let dirty = spread((0..100).map(|i| if i == 50 { 1e9 } else { f64::from(i % 10) })).unwrap();
        assert!((clean.median - dirty.median).abs() < 1.0);
        assert!(dirty.scale < 1e9 && clean.scale > 2.0);
        assert_eq!(spread([5.0; 9]).unwrap().scale, 0.0);
        assert_eq!(spread([f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn the_spread_scales_with_the_values(values in prop::collection::vec(-100.0..100.0f64, 3..60), factor in 0.1..10.0f64) {
            let one = spread(values.iter().copied()).unwrap();
            let two = spread(values.iter().map(|value| value * factor)).unwrap();
            prop_assert!((one.scale * factor - two.scale).abs() < 1e-9 * (1.0 + two.scale));
            prop_assert!(one.low <= one.median && one.median <= one.high && one.scale >= 0.0);
        }
    }
}
