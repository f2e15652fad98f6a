use serde::{Deserialize, Serialize};

/// A rising step curve from score to probability, by pooling adjacent violators; linear between its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    score: Vec<f64>,
    probability: Vec<f64>,
}

impl Isotonic {
    /// Fits a curve to scores and outcomes with weights; None without a row of positive weight.
    pub fn fit(score: &[f64], y: &[bool], weights: Option<&[f64]>) -> Option<Self> {
        let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
        let mut order: Vec<usize> = (0..score.len())
            .filter(|i| weight(*i) > 0.0 && score[*i].is_finite())
            .collect();
        order.sort_by(|a, b| score[*a].total_cmp(&score[*b]));
        // (weight, sum of outcomes, lowest score, highest score)
        let mut blocks: Vec<(f64, f64, f64, f64)> = Vec::new();
        for tie in order.chunk_by(|a, b| score[*a] == score[*b]) {
            let w = tie.iter().map(|i| weight(*i)).sum();
            let hits = tie.iter().filter(|i| y[**i]).map(|i| weight(*i)).sum();
            let mut block = (w, hits, score[tie[0]], score[tie[0]]);
            while let Some(last) = blocks.last()
                && last.1 / last.0 >= block.1 / block.0
            {
                block = (last.0 + block.0, last.1 + block.1, last.2, block.3);
                blocks.pop();
            }
            blocks.push(block);
        }
        let mut curve = Self {
            score: Vec::new(),
            probability: Vec::new(),
        };
        for (w, hits, low, high) in blocks {
            curve.score.push(low);
            curve.probability.push(hits / w);
            if high > low {
                curve.score.push(high);
                curve.probability.push(hits / w);
            }
        }
        (!curve.score.is_empty()).then_some(curve)
    }

    pub fn probability(&self, score: f64) -> f64 {
        let above = self.score.partition_point(|s| *s <= score);
        if above == 0 {
            return self.probability[0];
        }
        let Some(next) = self.score.get(above) else {
            return self.probability[above - 1];
        };
        let (low, p) = (self.score[above - 1], self.probability[above - 1]);
        p + (self.probability[above] - p) * (score - low) / (next - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_and_keeps_the_mean() {
        let score: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 200) / 200.0).collect();
        let y: Vec<bool> = (0..200)
            .map(|i| (i * 13 % 7) as f64 / 7.0 < score[i as usize])
            .collect();
        let curve = Isotonic::fit(&score, &y, None).unwrap();
        let p: Vec<f64> = score.iter().map(|s| curve.probability(*s)).collect();
        let hits = y.iter().filter(|y| **y).count() as f64;
        assert!((p.iter().sum::<f64>() - hits).abs() < 1e-9);
        let mut sorted: Vec<(f64, f64)> = score.iter().copied().zip(p).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(sorted.windows(2).all(|w| w[0].1 <= w[1].1 + 1e-12));
        assert!(Isotonic::fit(&[], &[], None).is_none());
    }
}
