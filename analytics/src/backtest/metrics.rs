//! Figures by which predictions are judged.

/// Root of the mean squared error.
pub fn rmse(predicted: &[f64], actual: &[f64]) -> f64 {
    let n = predicted.len().max(1) as f64;
    (predicted
        .iter()
        .zip(actual)
        .map(|(p, a)| (p - a) * (p - a))
        .sum::<f64>()
        / n)
        .sqrt()
}

/// Penalty of the PHM08 challenge for one error (predicted - true): late predictions cost more.
pub fn phm08(error: f64) -> f64 {
    if error < 0.0 {
        (-error / 13.0).exp_m1()
    } else {
        (error / 10.0).exp_m1()
    }
}

/// Total PHM08 penalty.
pub fn phm08_total(predicted: &[f64], actual: &[f64]) -> f64 {
    predicted.iter().zip(actual).map(|(p, a)| phm08(p - a)).sum()
}

/// Mean squared error of probabilities.
pub fn brier(p: &[f64], y: &[bool]) -> f64 {
    let n = p.len().max(1) as f64;
    p.iter()
        .zip(y)
        .map(|(p, y)| (p - f64::from(u8::from(*y))).powi(2))
        .sum::<f64>()
        / n
}

/// Mean negative log likelihood of probabilities.
pub fn log_loss(p: &[f64], y: &[bool]) -> f64 {
    let n = p.len().max(1) as f64;
    let one = |(p, y): (&f64, &bool)| -if *y { *p } else { 1.0 - p }.max(1e-15).ln();
    p.iter().zip(y).map(one).sum::<f64>() / n
}

/// Probability that a positive scores above a negative; None if one of them is missing.
pub fn roc_auc(score: &[f64], y: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|a, b| score[*a].total_cmp(&score[*b]));
    let (mut positives, mut rank_sum, mut seen) = (0.0, 0.0, 0.0);
    for tie in order.chunk_by(|a, b| score[*a] == score[*b]) {
        let rank = seen + (tie.len() as f64 + 1.0) / 2.0;
        let hits = tie.iter().filter(|i| y[**i]).count() as f64;
        positives += hits;
        rank_sum += rank * hits;
        seen += tie.len() as f64;
    }
    let negatives = seen - positives;
    (positives > 0.0 && negatives > 0.0)
        .then(|| (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// Mean precision over the recall steps; None without positives.
pub fn average_precision(score: &[f64], y: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
    let positives = y.iter().filter(|y| **y).count() as f64;
    let (mut hits, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for tie in order.chunk_by(|a, b| score[*a] == score[*b]) {
        let new = tie.iter().filter(|i| y[**i]).count() as f64;
        hits += new;
        seen += tie.len() as f64;
        sum += hits / seen * new / positives;
    }
    (positives > 0.0).then_some(sum)
}

/// Counts of a yes-or-no decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    pub true_positive: usize,
    pub false_positive: usize,
    pub false_negative: usize,
    pub true_negative: usize,
}

impl Confusion {
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut c = Self::default();
        for (said, is) in pairs {
            match (said, is) {
                (true, true) => c.true_positive += 1,
                (true, false) => c.false_positive += 1,
                (false, true) => c.false_negative += 1,
                (false, false) => c.true_negative += 1,
            }
        }
        c
    }

    pub fn precision(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    pub fn recall(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    pub fn f1(&self) -> f64 {
        ratio(
            2 * self.true_positive,
            2 * self.true_positive + self.false_positive + self.false_negative,
        )
    }

    /// False alarms among the negatives.
    pub fn false_alarm_rate(&self) -> f64 {
        ratio(self.false_positive, self.false_positive + self.true_negative)
    }

    /// Misses among the positives.
    pub fn miss_rate(&self) -> f64 {
        ratio(self.false_negative, self.false_negative + self.true_positive)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Decision threshold with the best F1 (say yes at or above it).
pub fn best_f1_threshold(score: &[f64], y: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
    let positives = y.iter().filter(|y| **y).count() as f64;
    let (mut hits, mut seen, mut best) = (0.0, 0.0, (0.0, 0.5));
    let mut ties = order.chunk_by(|a, b| score[*a] == score[*b]).peekable();
    while let Some(tie) = ties.next() {
        hits += tie.iter().filter(|i| y[**i]).count() as f64;
        seen += tie.len() as f64;
        let f1 = 2.0 * hits / (seen + positives).max(1.0);
        if f1 > best.0 {
            // Half-way to the next score, so that the exact scores of one sample do not decide.
            let next = ties.peek().map_or(score[tie[0]], |n| score[n[0]]);
            best = (f1, 0.5 * (score[tie[0]] + next));
        }
    }
    best.1
}

/// One bin of a reliability table.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ReliabilityBin {
    pub rows: usize,
    pub mean_predicted: f64,
    pub observed: f64,
}

/// Predictions in bins of equal width against what happened; empty bins are left out.
pub fn reliability_table(p: &[f64], y: &[bool], bins: usize) -> Vec<ReliabilityBin> {
    let mut sums = vec![(0_usize, 0.0, 0.0); bins];
    for (p, y) in p.iter().zip(y) {
        let b = ((p * bins as f64) as usize).min(bins - 1);
        sums[b].0 += 1;
        sums[b].1 += p;
        sums[b].2 += f64::from(u8::from(*y));
    }
    let used = sums.into_iter().filter(|s| s.0 > 0);
    used.map(|(rows, p, y)| ReliabilityBin {
        rows,
        mean_predicted: p / rows as f64,
        observed: y / rows as f64,
    })
    .collect()
}

/// Expected calibration error over bins of equal width.
pub fn calibration_error(p: &[f64], y: &[bool], bins: usize) -> f64 {
    let n = p.len().max(1) as f64;
    reliability_table(p, y, bins)
        .iter()
        .map(|b| b.rows as f64 / n * (b.mean_predicted - b.observed).abs())
        .sum()
}

/// The `q` quantile of a sample, linear between order statistics.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => {
            let at = q.clamp(0.0, 1.0) * (n - 1) as f64;
            let (low, part) = (at.floor() as usize, at.fract());
            sorted[low] + (sorted[(low + 1).min(n - 1)] - sorted[low]) * part
        }
    }
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Expected depth of an isolation tree over `n` rows (Liu, Ting and Zhou 2008), which makes its scores comparable;
/// with the logarithm in place of the harmonic number, as most tools have it, or exact.
pub fn isolation_depth(n: u64, exact: bool) -> f64 {
    if n < 2 {
        return 0.0;
    }
    const EULER: f64 = 0.577_215_664_901_532_9;
    let m = (n - 1) as f64;
    let harmonic = if exact {
        (1..n).map(|i| 1.0 / i as f64).sum()
    } else {
        m.ln() + EULER
    };
    2.0 * harmonic - 2.0 * m / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_separates_what_can_be_separated() {
        let (p, y) = ([0.1, 0.4, 0.6, 0.9], [false, false, true, true]);
        let t = best_f1_threshold(&p, &y);
        assert!(t > 0.4 && t <= 0.6);
        let none = Confusion::of(p.iter().map(|p| (*p >= 2.0, true)));
        assert_eq!((none.precision(), none.recall(), none.f1()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn one_class_has_no_ranking() {
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(average_precision(&[0.1, 0.2], &[false, false]), None);
    }

    #[test]
    fn quantiles_lie_between() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
