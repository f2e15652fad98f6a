//! Causal window features on columns: a row sees itself and earlier rows of its own segment, nothing else.

/// Prefix sums of one segment, from which any window's mean and deviation follow in constant time.
#[derive(Debug)]
pub(crate) struct Prefix {
    sum: Vec<f64>,
    square: Vec<f64>,
    shift: f64,
}

impl Prefix {
    pub fn new(values: &[f64]) -> Self {
        // Sums around the first value keep the deviation exact when the level is large.
        let shift = values.first().copied().unwrap_or(0.0);
        let (mut sum, mut square) = (vec![0.0], vec![0.0]);
        for (i, v) in values.iter().enumerate() {
            let d = v - shift;
            sum.push(sum[i] + d);
            square.push(square[i] + d * d);
        }
        Self { sum, square, shift }
    }

    /// Mean of the last `width` values up to and with `at`, fewer at the start.
    pub fn mean(&self, at: usize, width: usize) -> f64 {
        let from = (at + 1).saturating_sub(width);
        (self.sum[at + 1] - self.sum[from]) / (at + 1 - from) as f64 + self.shift
    }

    /// Sample deviation over the same window; NaN with fewer than two values.
    pub fn deviation(&self, at: usize, width: usize) -> f64 {
        let from = (at + 1).saturating_sub(width);
        let n = (at + 1 - from) as f64;
        if n < 2.0 {
            return f64::NAN;
        }
        let s = self.sum[at + 1] - self.sum[from];
        let q = self.square[at + 1] - self.square[from];
        ((q - s * s / n) / (n - 1.0)).max(0.0).sqrt()
    }
}

/// Prefix sums for the slope of a least-squares line over the position.
#[derive(Debug)]
pub(crate) struct Slopes {
    sum: Vec<f64>,
    moment: Vec<f64>,
}

impl Slopes {
    pub fn new(values: &[f64]) -> Self {
        let (mut sum, mut moment) = (vec![0.0], vec![0.0]);
        for (i, v) in values.iter().enumerate() {
            sum.push(sum[i] + v);
            moment.push(moment[i] + v * i as f64);
        }
        Self { sum, moment }
    }

    /// Slope per row over the last `width` values; NaN with fewer than three.
    pub fn slope(&self, at: usize, width: usize) -> f64 {
        let from = (at + 1).saturating_sub(width);
        let n = (at + 1 - from) as f64;
        if n < 3.0 {
            return f64::NAN;
        }
        let s = self.sum[at + 1] - self.sum[from];
        let m = self.moment[at + 1] - self.moment[from];
        let centre = (from + at) as f64 / 2.0;
        (m - centre * s) / (n * (n * n - 1.0) / 12.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_match_the_definition() {
        let v: Vec<f64> = (0..50).map(|i| 1e6 + f64::from(i * i % 17)).collect();
        let (p, s) = (Prefix::new(&v), Slopes::new(&v));
        for at in 0..50_usize {
            for width in [1, 3, 10, 100] {
                let w = &v[(at + 1).saturating_sub(width)..=at];
                let n = w.len() as f64;
                let mean = w.iter().sum::<f64>() / n;
                assert!((p.mean(at, width) - mean).abs() < 1e-6);
                if w.len() > 2 {
                    let sd = (w.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
                    assert!((p.deviation(at, width) - sd).abs() < 1e-6);
                    let centre = (n - 1.0) / 2.0;
                    let up: f64 = w
                        .iter()
                        .enumerate()
                        .map(|(i, x)| (i as f64 - centre) * (x - mean))
                        .sum();
                    let down: f64 = (0..w.len()).map(|i| (i as f64 - centre).powi(2)).sum();
                    assert!((s.slope(at, width) - up / down).abs() < 1e-5);
                }
            }
        }
    }
}
