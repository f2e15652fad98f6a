//! Several signals at once on the SKAB test bed: per file the first rows are normal, the rest is judged by the distance
//! of the smoothed signals from them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use super::metrics::{Confusion, quantile};
use super::table::{Table, names};

/// Protocol of the leaderboard.
const TRAIN_ROWS: usize = 400;
/// Weight of the newest row in the smoothed signals.
const SMOOTHING: f64 = 0.1;
/// Share of the normal rows that lie below the limit.
const LIMIT: f64 = 0.99;
/// How many times as far as the normal rows went a row must be: 400 rows never show all that is normal.
const BEYOND: f64 = 2.0;

/// Distance of smoothed rows from a normal state, with the share of each signal.
#[derive(Debug, Clone)]
pub struct Distance {
    mean: Array1<f64>,
    scale: Array1<f64>,
    precision: Array2<f64>,
    smooth: Array1<f64>,
}

impl Distance {
    /// Learns from normal rows; None without two rows.
    pub fn learn(rows: &Array2<f64>) -> Option<Self> {
        let n = rows.nrows() as f64;
        if n < 2.0 {
            return None;
        }
        let mean = rows.mean_axis(ndarray::Axis(0))?;
        let scale = rows
            .std_axis(ndarray::Axis(0), 1.0)
            .mapv(|s| if s > 1e-9 { s } else { 1.0 });
        // How the *smoothed* signals vary together: slow movements survive smoothing and noise doesn't, so that the
        // covariance of the rows themselves would take every slow movement of a healthy state for a fault.
        let mut smooth = (rows - &mean) / &scale;
        let mut last = Array1::<f64>::zeros(mean.len());
        for mut row in smooth.rows_mut() {
            last = last * (1.0 - SMOOTHING) + &row * SMOOTHING;
            row.assign(&last);
        }
        if let Some(centre) = smooth.mean_axis(ndarray::Axis(0)) {
            smooth -= &centre;
        }
        let mut c = smooth.t().dot(&smooth) / (n - 1.0);
        let usual = c.diag().mean().filter(|usual| *usual > 0.0).unwrap_or(1.0);
        c /= usual;
        // A little of the identity: signals that move together exactly must not blow the distance up.
        c.mapv_inplace(|v| v * 0.9);
        c.diag_mut().mapv_inplace(|v| v + 0.1);
        let width = mean.len();
        Some(Self {
            mean,
            scale,
            precision: invert(c)?,
            smooth: Array1::zeros(width),
        })
    }

    /// Squared distance of the smoothed signals after this row.
    pub fn push(&mut self, row: &Array1<f64>) -> f64 {
        let z = (row - &self.mean) / &self.scale;
        self.smooth = &self.smooth * (1.0 - SMOOTHING) + z * SMOOTHING;
        self.smooth.dot(&self.precision.dot(&self.smooth))
    }

    /// Share of each signal in the present distance; the shares add up to 1.
    pub fn shares(&self) -> Array1<f64> {
        let parts = &self.smooth * &self.precision.dot(&self.smooth);
        let total = parts.sum();
        if total > 0.0 { parts / total } else { parts }
    }

    fn restart(&mut self) {
        self.smooth.fill(0.0);
    }
}

/// Inverse by Gauss-Jordan with pivots; None if singular.
fn invert(mut a: Array2<f64>) -> Option<Array2<f64>> {
    let n = a.nrows();
    let mut out = Array2::eye(n);
    for c in 0..n {
        let pivot = (c..n).max_by(|i, j| a[[*i, c]].abs().total_cmp(&a[[*j, c]].abs()))?;
        if a[[pivot, c]].abs() < 1e-12 {
            return None;
        }
        for k in 0..n {
            a.swap([c, k], [pivot, k]);
            out.swap([c, k], [pivot, k]);
        }
        let p = a[[c, c]];
        for k in 0..n {
            a[[c, k]] /= p;
            out[[c, k]] /= p;
        }
        for r in (0..n).filter(|r| *r != c) {
            let f = a[[r, c]];
            for k in 0..n {
                let (x, y) = (a[[c, k]], out[[c, k]]);
                a[[r, k]] -= f * x;
                out[[r, k]] -= f * y;
            }
        }
    }
    Some(out)
}

/// Files with an `anomaly` column in the subfolders, in name order.
fn files(data: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for part in names(data)?.iter().filter(|part| *part != "anomaly-free") {
        let folder = data.join(part);
        if folder.is_dir() {
            let files = names(&folder)?.into_iter().filter(|name| name.ends_with(".csv"));
            found.extend(files.map(|name| (folder.clone(), name)));
        }
    }
    Ok(found)
}

/// Judges every experiment.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let folder = test_data.unwrap_or(data);
    let mut pairs = Vec::new();
    let mut judged = 0;
    for (folder, name) in files(folder)? {
        let table = Table::read(&folder, &name, b';')?;
        let (time, label) = (table.column("datetime")?, table.column("anomaly")?);
        let change = table.column("changepoint").unwrap_or(label);
        let signals: Vec<usize> = (0..table.header.len())
            .filter(|c| ![time, label, change].contains(c))
            .collect();
        if table.len() <= TRAIN_ROWS {
            return Err(table.bad(
                table.len() - 1,
                time,
                format_args!("more than {TRAIN_ROWS} rows are needed"),
            ));
        }
        let mut x = Array2::zeros((table.len(), signals.len()));
        for row in 0..table.len() {
            for (j, c) in signals.iter().enumerate() {
                x[[row, j]] = table.number(row, *c)?;
            }
        }
        let normal = x.slice(ndarray::s![..TRAIN_ROWS, ..]).to_owned();
        let Some(mut distance) = Distance::learn(&normal) else {
            bail!("{}/{name}: the normal rows are singular", folder.display());
        };
        let quiet: Vec<f64> = normal
            .rows()
            .into_iter()
            .map(|r| distance.push(&r.to_owned()))
            .collect();
        let limit = BEYOND * BEYOND * quantile(&quiet, LIMIT);
        distance.restart();
        for row in 0..table.len() {
            let far = distance.push(&x.row(row).to_owned()) > limit;
            if row >= TRAIN_ROWS {
                pairs.push((far, table.flag(row, label)?));
            }
        }
        judged += 1;
    }
    if judged == 0 {
        bail!("{}: no experiments in its subfolders", folder.display());
    }
    let c = Confusion::of(pairs);
    Ok(json!({
        "set": "skab",
        "f1": c.f1(),
        "false_alarm_rate": c.false_alarm_rate(),
        "missed_alarm_rate": c.miss_rate(),
        "files": judged,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_that_moved_has_the_share() {
        let noise = |i: usize, j: usize| ((i * 7919 + j * 104_729) % 1009) as f64 / 1009.0;
        let rows = Array2::from_shape_fn((300, 3), |(i, j)| noise(i, j));
        let mut d = Distance::learn(&rows).unwrap();
        let quiet = rows
            .rows()
            .into_iter()
            .map(|r| d.push(&r.to_owned()))
            .fold(0.0, f64::max);
        let mut far = 0.0;
        for i in 0..30 {
            far = d.push(&Array1::from(vec![noise(i, 0), 4.0, noise(i, 2)]));
        }
        let shares = d.shares();
        assert!(far > 10.0 * quiet && shares[1] > 0.8 && (shares.sum() - 1.0).abs() < 1e-9);
        assert!(Distance::learn(&Array2::zeros((1, 3))).is_none());
        assert!(Distance::learn(&Array2::ones((50, 3))).is_some());
    }
}
