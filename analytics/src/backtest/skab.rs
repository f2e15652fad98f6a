//! Several signals at once on the SKAB test bed: per file the first rows are normal, the rest is judged by the distance
//! of the smoothed signals from them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use super::metrics::{Confusion, quantile};
use super::served::passes;
use super::table::{Table, names};
use super::{BacktestArgs, NOTHING_LEARNED};
use crate::picture::{Course, Line};

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

/// One experiment.
struct Experiment {
    name: String,
    times: Vec<f64>,
    names: Vec<String>,
    x: Array2<f64>,
    anomaly: Vec<bool>,
}

fn read(folder: &Path, name: &str) -> Result<Experiment> {
    let table = Table::read(folder, name, b';')?;
    let (time, label) = (table.column("datetime")?, table.column("anomaly")?);
    let change = table.column("changepoint").unwrap_or(label);
    let signals: Vec<usize> = (0..table.header.len())
        .filter(|c| ![time, label, change].contains(c))
        .collect();
    if signals.is_empty() {
        bail!(
            "{}: line 1: there is no signal beside the time and the labels",
            table.place()
        );
    }
    if table.len() <= TRAIN_ROWS {
        return Err(table.bad(
            table.len() - 1,
            time,
            format_args!(
                "the file ends here: more than {TRAIN_ROWS} rows are needed, those are the normal state"
            ),
        ));
    }
    let mut x = Array2::zeros((table.len(), signals.len()));
    let (mut times, mut anomaly) = (Vec::new(), Vec::new());
    for row in 0..table.len() {
        for (j, c) in signals.iter().enumerate() {
            x[[row, j]] = table.number(row, *c)?;
        }
        let at = table.time(row, time)?;
        if times.last().is_some_and(|before| at < *before) {
            return Err(table.bad(row, time, "the time goes back"));
        }
        times.push(at);
        anomaly.push(table.flag(row, label)?);
    }
    let folder = folder
        .file_name()
        .map_or_else(String::new, |f| f.to_string_lossy().into_owned());
    Ok(Experiment {
        name: format!("{folder}/{name}"),
        times,
        names: signals.iter().map(|c| table.header[*c].clone()).collect(),
        x,
        anomaly,
    })
}

fn read_all(data: &Path) -> Result<Vec<Experiment>> {
    let all: Vec<Experiment> = files(data)?
        .iter()
        .map(|(folder, name)| read(folder, name))
        .collect::<Result<_>>()?;
    if all.is_empty() {
        bail!("{}: no experiments (*.csv) in its subfolders", data.display());
    }
    Ok(all)
}

impl Experiment {
    fn varies(&self, column: usize) -> bool {
        let column = self.x.column(column);
        column.iter().any(|v| *v != column[0])
    }

    /// Distance of each row in limits: beyond 1 it is called.
    fn distances(&self) -> Result<Vec<f64>> {
        let normal = self.x.slice(ndarray::s![..TRAIN_ROWS, ..]).to_owned();
        let Some(mut distance) = Distance::learn(&normal) else {
            bail!("{}: the normal rows are singular", self.name);
        };
        let quiet: Vec<f64> = normal
            .rows()
            .into_iter()
            .map(|r| distance.push(&r.to_owned()))
            .collect();
        let limit = BEYOND * BEYOND * quantile(&quiet, LIMIT);
        distance.restart();
        let rows = self.x.rows();
        Ok(rows
            .into_iter()
            .map(|row| distance.push(&row.to_owned()))
            .map(|squared| if squared > 0.0 { squared / limit } else { 0.0 })
            .collect())
    }

    /// Whether serving's detection was in alarm by the last pass before each row, if it had a baseline at all.
    fn served(&self) -> Result<(Vec<bool>, Option<String>)> {
        let columns: Vec<Vec<f64>> = self.x.columns().into_iter().map(|c| c.to_vec()).collect();
        let channels: Vec<(String, &[f64])> = self
            .names
            .iter()
            .zip(&columns)
            .map(|(name, values)| (name.clone(), &values[..]))
            .collect();
        let said = passes(&self.times, &channels, self.times[TRAIN_ROWS] - self.times[0])?;
        let alarmed = |at: &f64| said.known_at(*at).is_some_and(|anomaly| anomaly >= 1.0);
        Ok((self.times.iter().map(alarmed).collect(), said.why))
    }

    fn course(&self, distances: &[f64]) -> Course {
        let minute = |row: usize| (self.times[row] - self.times[0]) / 60.0;
        let mut marked: Vec<(f64, f64)> = Vec::new();
        for row in (0..self.anomaly.len()).filter(|row| self.anomaly[*row]) {
            match marked.last_mut() {
                Some(last) if row > 0 && self.anomaly[row - 1] => last.1 = minute(row),
                _ => marked.push((minute(row), minute(row))),
            }
        }
        Course {
            name: format!(
                "distance_{}",
                self.name.trim_end_matches(".csv").replace('/', "_")
            ),
            title: format!("{}: distance from the normal state", self.name),
            x_name: "minutes".to_owned(),
            y_name: "distance, 1 = limit".to_owned(),
            lines: vec![Line {
                name: "distance".to_owned(),
                points: distances
                    .iter()
                    .enumerate()
                    .map(|(row, d)| (minute(row), d.sqrt()))
                    .collect(),
            }],
            marked,
            marked_as: "labelled anomaly".to_owned(),
            said: Vec::new(),
            said_what: String::new(),
        }
    }
}

/// Experiments that a person sees in pictures: the first of each folder.
const DRAWN: usize = 4;

/// Judges every experiment.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let mut experiments = read_all(data)?;
    let mut notes: Vec<String> = Vec::new();
    if let Some(test) = &args.test_data {
        experiments = read_all(test)?;
        notes.push(NOTHING_LEARNED.to_owned());
    }
    let mut drawn: Vec<String> = Vec::new();
    let (mut pairs, mut served, mut why, mut courses) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::<Course>::new());
    for (number, one) in experiments.iter().enumerate() {
        args.progress.step("experiment", number + 1, experiments.len());
        let still: Vec<&str> = (0..one.names.len())
            .filter(|column| !one.varies(*column))
            .map(|column| one.names[column].as_str())
            .collect();
        if still.len() == one.names.len() {
            notes.push(format!("{}: no signal ever changes, it is left out", one.name));
            continue;
        }
        if !still.is_empty() {
            notes.push(format!("{}: constant: {}", one.name, still.join(", ")));
        }
        let distances = one.distances()?;
        let judged = TRAIN_ROWS..one.times.len();
        pairs.extend(judged.clone().map(|row| (distances[row] > 1.0, one.anomaly[row])));
        let (said, none) = one.served()?;
        match none {
            Some(none) => why.push(format!("{}: {none}", one.name)),
            None => served.extend(judged.map(|row| (said[row], one.anomaly[row]))),
        }
        let folder = one.name.split('/').next().unwrap_or_default().to_owned();
        if courses.len() < DRAWN && !drawn.contains(&folder) {
            courses.push(one.course(&distances));
            drawn.push(folder);
        }
    }
    let of = |pairs: &[(bool, bool)]| {
        let c = Confusion::of(pairs.iter().copied());
        let known = pairs.iter().any(|(_, anomaly)| *anomaly);
        json!({
            "f1": known.then(|| c.f1()),
            "false_alarm_rate": (!pairs.is_empty()).then(|| c.false_alarm_rate()),
            "missed_alarm_rate": known.then(|| c.miss_rate()),
        })
    };
    if !pairs.iter().any(|(_, anomaly)| *anomaly) {
        notes.push("no row that is judged is labelled as anomaly: there is no f1".to_owned());
    }
    let mut found = of(&pairs);
    found["set"] = json!("skab");
    found["files"] = json!(experiments.len());
    found["served"] = of(&served);
    found["served"]["notes"] = json!(why);
    found["notes"] = json!(notes);
    found["detail"] = json!({ "courses": courses });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_never_change_are_said_and_both_folders_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("valve")).unwrap();
        let write = |name: &str, value: &dyn Fn(usize) -> f64| {
            let mut text = "datetime;a;b;anomaly;changepoint\n".to_owned();
            for row in 0..900_usize {
                let wrong = u8::from(row >= 600);
                text += &format!(
                    "2020-03-09 10:{:02}:{:02};{};7;{wrong};0\n",
                    row / 60,
                    row % 60,
                    value(row)
                );
            }
            std::fs::write(dir.path().join("valve").join(name), text).unwrap();
        };
        write("0.csv", &|_| 1.0);
        let found = run(dir.path(), &BacktestArgs::default()).unwrap();
        assert!(
            found["f1"].is_null() && found["false_alarm_rate"].is_null(),
            "{found}"
        );
        assert_eq!(
            found["notes"][0],
            json!("valve/0.csv: no signal ever changes, it is left out")
        );
        write("1.csv", &|row| {
            crate::testing::noise(row) + if row >= 600 { 9.0 } else { 0.0 }
        });
        let found = run(dir.path(), &BacktestArgs::default()).unwrap();
        assert!(found["f1"].as_f64().unwrap() > 0.97, "{found}");
        assert_eq!(found["notes"][1], json!("valve/1.csv: constant: b"));
        assert!(found["served"]["f1"].as_f64().unwrap() > 0.85, "{found}");
        let args = BacktestArgs {
            test_data: Some(dir.path().to_path_buf()),
            ..BacktestArgs::default()
        };
        assert_eq!(
            run(dir.path(), &args).unwrap()["notes"][0],
            json!(NOTHING_LEARNED)
        );
        let error = run(&dir.path().join("none"), &args).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
        let short = "datetime;a;anomaly\n2020-03-09 10:00:00;1;0\n";
        std::fs::write(dir.path().join("valve/0.csv"), short).unwrap();
        let error = run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string();
        assert!(
            error.contains("valve/0.csv: line 2, column 1 (datetime): the file ends here"),
            "{error}"
        );
    }

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
