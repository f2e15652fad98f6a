//! Operating regimes: k-means on the settings, and standardisation of the sensors within each.

/// Centres of the regimes in standardised settings.
#[derive(Debug, Clone)]
pub(crate) struct Regimes {
    mean: Vec<f64>,
    scale: Vec<f64>,
    centres: Vec<Vec<f64>>,
}

const MOST: usize = 12;
/// Share of the spread of the settings that may remain within regimes: they are tight clusters, or one.
const TIGHT: f64 = 1e-3;

impl Regimes {
    /// The smallest number of regimes that explains the settings; one if they form no clusters.
    pub fn learn(settings: &[Vec<f64>]) -> Self {
        let width = settings.first().map_or(0, Vec::len);
        let n = settings.len().max(1) as f64;
        let mean: Vec<f64> = (0..width)
            .map(|j| settings.iter().map(|s| s[j]).sum::<f64>() / n)
            .collect();
        let scale: Vec<f64> = (0..width)
            .map(|j| (settings.iter().map(|s| (s[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt())
            .map(|sd| if sd > 1e-9 { sd } else { f64::INFINITY })
            .collect();
        let mut regimes = Self {
            mean,
            scale,
            centres: vec![vec![0.0; width]],
        };
        let points: Vec<Vec<f64>> = settings.iter().map(|s| regimes.standard(s)).collect();
        let spread: f64 = points.iter().map(|p| distance(p, &regimes.centres[0])).sum();
        if spread <= 0.0 {
            return regimes;
        }
        for k in 2..=MOST {
            let (centres, left) = k_means(&points, k);
            if left <= TIGHT * spread {
                regimes.centres = centres;
                return regimes;
            }
        }
        regimes
    }

    fn standard(&self, settings: &[f64]) -> Vec<f64> {
        settings
            .iter()
            .zip(&self.mean)
            .zip(&self.scale)
            .map(|((s, m), d)| (s - m) / d)
            .collect()
    }

    pub fn len(&self) -> usize {
        self.centres.len()
    }

    pub fn of(&self, settings: &[f64]) -> usize {
        nearest(&self.standard(settings), &self.centres).0
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn nearest(point: &[f64], centres: &[Vec<f64>]) -> (usize, f64) {
    let all = centres.iter().map(|c| distance(point, c)).enumerate();
    all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// Lloyd's iterations from a farthest-first start, which needs no random numbers and finds tight clusters.
fn k_means(points: &[Vec<f64>], k: usize) -> (Vec<Vec<f64>>, f64) {
    let mut centres = vec![points[0].clone()];
    let mut far: Vec<f64> = points.iter().map(|p| distance(p, &centres[0])).collect();
    while centres.len() < k {
        let next = (0..points.len())
            .max_by(|a, b| far[*a].total_cmp(&far[*b]))
            .unwrap_or(0);
        centres.push(points[next].clone());
        for (d, p) in far.iter_mut().zip(points) {
            *d = d.min(distance(p, &points[next]));
        }
    }
    let mut left = f64::INFINITY;
    for _ in 0..50 {
        let mut sums = vec![(vec![0.0; points[0].len()], 0.0); k];
        let mut total = 0.0;
        for p in points {
            let (c, d) = nearest(p, &centres);
            total += d;
            sums[c].1 += 1.0;
            sums[c].0.iter_mut().zip(p).for_each(|(s, x)| *s += x);
        }
        for (centre, (sum, n)) in centres.iter_mut().zip(sums) {
            if n > 0.0 {
                *centre = sum.iter().map(|s| s / n).collect();
            }
        }
        if total >= left * (1.0 - 1e-9) {
            return (centres, total);
        }
        left = total;
    }
    (centres, left)
}

/// Mean and deviation of every sensor within every regime.
#[derive(Debug, Clone)]
pub(crate) struct Scaler {
    by_regime: Vec<Vec<(f64, f64)>>,
    /// Sensors that move within some regime.
    pub live: Vec<usize>,
}

impl Scaler {
    pub fn learn(rows: &[(usize, &[f64])], regimes: usize) -> Self {
        let width = rows.first().map_or(0, |r| r.1.len());
        let mut by_regime = vec![vec![(0.0, 0.0); width]; regimes];
        for (regime, stats) in by_regime.iter_mut().enumerate() {
            let here: Vec<&[f64]> = rows.iter().filter(|r| r.0 == regime).map(|r| r.1).collect();
            let n = here.len().max(1) as f64;
            for (j, s) in stats.iter_mut().enumerate() {
                let mean = here.iter().map(|r| r[j]).sum::<f64>() / n;
                let sd = (here.iter().map(|r| (r[j] - mean).powi(2)).sum::<f64>() / n).sqrt();
                *s = (mean, if sd > 1e-9 * mean.abs().max(1e-9) { sd } else { 0.0 });
            }
        }
        let live = (0..width)
            .filter(|j| by_regime.iter().any(|r| r[*j].1 > 0.0))
            .collect();
        Self { by_regime, live }
    }

    /// The live sensors in standard deviations of their regime; 0 where a sensor stands still.
    pub fn scale(&self, regime: usize, row: &[f64]) -> Vec<f64> {
        let one = |j: &usize| {
            let (mean, sd) = self.by_regime[regime][*j];
            if sd > 0.0 { (row[*j] - mean) / sd } else { 0.0 }
        };
        self.live.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    #[test]
    fn finds_six_regimes_and_not_more() {
        let points = [
            (0.0, 0.0, 100.0),
            (10.0, 0.25, 100.0),
            (20.0, 0.7, 100.0),
            (25.0, 0.62, 60.0),
            (35.0, 0.84, 100.0),
            (42.0, 0.84, 100.0),
        ];
        let settings: Vec<Vec<f64>> = (0..1200)
            .map(|i| {
                let p = points[i % 6];
                vec![p.0 + 0.008 * noise(i), p.1 + 0.001 * noise(i + 5), p.2]
            })
            .collect();
        let regimes = Regimes::learn(&settings);
        assert_eq!(regimes.len(), 6);
        let of: Vec<usize> = settings.iter().map(|s| regimes.of(s)).collect();
        assert!((0..1200).all(|i| of[i] == of[i % 6]));
    }

    #[test]
    fn noise_is_one_regime() {
        let settings: Vec<Vec<f64>> = (0..1000)
            .map(|i| vec![0.004 * noise(i), 0.0005 * noise(i * 31 + 7), 100.0])
            .collect();
        assert_eq!(Regimes::learn(&settings).len(), 1);
        assert_eq!(Regimes::learn(&vec![vec![1.0, 2.0]; 20]).len(), 1);
    }

    #[test]
    fn standing_sensors_are_dropped() {
        let rows: Vec<Vec<f64>> = (0..100).map(|i| vec![518.67, f64::from(i)]).collect();
        let view: Vec<(usize, &[f64])> = rows.iter().map(|r| (0, &r[..])).collect();
        let scaler = Scaler::learn(&view, 1);
        assert_eq!(scaler.live, [1]);
        assert!(scaler.scale(0, &[518.67, 49.5])[0].abs() < 1e-9);
    }
}
