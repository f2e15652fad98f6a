//! Machine failure on the AI4I 2020 milling set: five folds, physics features, no failure-mode flag as a feature.

use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::{Confusion, best_f1_threshold, reliability_table};
use super::settings::{PATIENCE, classifier, judgeable, labels, mean_prediction, only_one_answer};
use super::table::Table;
use crate::boost::{Booster, Feature, Training, cross_fit, grouped_folds};
use crate::learn::leak;
use crate::picture::Bars;

const FOLDS: usize = 5;
const FILE: &str = "ai4i2020.csv";
/// Targets; never features.
const FLAGS: [&str; 6] = ["Machine failure", "TWF", "HDF", "PWF", "OSF", "RNF"];
const SIGNALS: [&str; 5] = [
    "Air temperature [K]",
    "Process temperature [K]",
    "Rotational speed [rpm]",
    "Torque [Nm]",
    "Tool wear [min]",
];

struct Rows {
    x: Array2<f64>,
    y: Vec<bool>,
}

fn features() -> Vec<Feature> {
    let mut all = vec![Feature::categorical("Type")];
    all.extend(SIGNALS.map(Feature::numeric));
    all.extend(
        [
            "power [W]",
            "temperature difference [K]",
            "wear x torque [min Nm]",
        ]
        .map(Feature::numeric),
    );
    all
}

fn read(folder: &Path) -> Result<Rows> {
    let table = Table::read(folder, FILE, b',')?;
    let (kind, target) = (table.column("Type")?, table.column("Machine failure")?);
    let signals = table.columns(&SIGNALS)?;
    let mut x = Vec::new();
    let mut y = Vec::new();
    for row in 0..table.len() {
        let code = match table.text(row, kind) {
            "L" => 0.0,
            "M" => 1.0,
            "H" => 2.0,
            other => return Err(table.bad(row, kind, format_args!("'{other}' is not L, M or H"))),
        };
        let v: Vec<f64> = signals
            .iter()
            .map(|c| table.number(row, *c))
            .collect::<Result<_>>()?;
        let [air, process, speed, torque, wear] = v[..] else {
            bail!("five signals are needed")
        };
        let power = torque * speed * std::f64::consts::TAU / 60.0;
        x.extend([
            code,
            air,
            process,
            speed,
            torque,
            wear,
            power,
            process - air,
            wear * torque,
        ]);
        y.push(table.flag(row, target)?);
    }
    Ok(Rows {
        x: Array2::from_shape_vec((y.len(), features().len()), x)?,
        y,
    })
}

/// What was said of rows that were not learned from.
#[derive(Default)]
struct Judged {
    p: Vec<f64>,
    called: Vec<bool>,
    truth: Vec<bool>,
    /// Mean share of each feature in what was said of the failing rows.
    shares: Vec<f64>,
}

impl Judged {
    fn judge(&mut self, train: &Rows, test: &Rows, features: &[Feature]) -> Result<()> {
        let params = classifier(&train.y, features.len());
        let target = labels(&train.y);
        let rows: Vec<u64> = (0..train.y.len() as u64).collect();
        let training = Training::new(train.x.view(), &target);
        let inner = cross_fit(&params, features, training, &rows, FOLDS, PATIENCE)?;
        let threshold = best_f1_threshold(&inner.predictions, &train.y);
        let p = mean_prediction(&inner.models, test.x.view())?;
        self.called.extend(p.iter().map(|p| *p >= threshold));
        self.p.extend(p);
        self.truth.extend(&test.y);
        self.explain(&inner.models, test);
        Ok(())
    }

    fn explain(&mut self, models: &[Booster], test: &Rows) {
        self.shares.resize(test.x.ncols(), 0.0);
        let Some(model) = models.first() else { return };
        for row in (0..test.y.len()).filter(|row| test.y[*row]) {
            let (_, parts) = model.explain(&test.x.row(row).to_vec());
            self.shares
                .iter_mut()
                .zip(parts)
                .for_each(|(share, part)| *share += part.abs());
        }
    }
}

/// Features that know the label, by the look of training at tables; a flag that tells how a machine failed by its name, too.
fn leaked(rows: &Rows, features: &[Feature]) -> Vec<String> {
    let names: Vec<String> = features.iter().map(|f| f.name.clone()).collect();
    let mut leaked = leak::in_table(rows.x.view(), &names, &rows.y);
    leaked.extend(names.into_iter().filter(|name| FLAGS.contains(&name.as_str())));
    leaked.sort();
    leaked.dedup();
    leaked
}

/// Five folds by row, the threshold of each found by folds within its training rows; or trained on `data` and tested
/// on `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; no failure to learn from.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let all = read(data)?;
    let mut notes = judgeable(&all.y, data.join(FILE).display(), "machine failure")?;
    let features = features();
    let mut judged = Judged::default();
    if let Some(folder) = &args.test_data {
        let test = read(folder)?;
        notes.extend(only_one_answer(
            &test.y,
            folder.join(FILE).display(),
            "machine failure",
        ));
        args.progress.say("learning, and testing on the other folder");
        judged.judge(&all, &test, &features)?;
    } else {
        let rows: Vec<u64> = (0..all.y.len() as u64).collect();
        let fold = grouped_folds(&rows, FOLDS, 1)?;
        for k in 0..FOLDS {
            args.progress.step("fold", k + 1, FOLDS);
            let pick = |held: bool| -> Rows {
                let index: Vec<usize> = (0..fold.len()).filter(|i| (fold[*i] == k) == held).collect();
                Rows {
                    x: all.x.select(ndarray::Axis(0), &index),
                    y: index.iter().map(|i| all.y[*i]).collect(),
                }
            };
            judged.judge(&pick(false), &pick(true), &features)?;
        }
    }
    let c = Confusion::of(judged.called.iter().copied().zip(judged.truth.iter().copied()));
    let failures = c.true_positive + c.false_negative;
    let total: f64 = judged.shares.iter().sum();
    let mut shares: Vec<(String, f64)> = features
        .iter()
        .map(|feature| feature.name.clone())
        .zip(
            judged
                .shares
                .iter()
                .map(|share| share / total.max(f64::MIN_POSITIVE)),
        )
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let bars = Bars {
        name: "importance".to_owned(),
        title: "ai4i: share of each feature in what is said of the rows that failed".to_owned(),
        x_name: "share of the absolute Shapley values".to_owned(),
        bars: shares,
    };
    Ok(json!({
        "set": "ai4i",
        "f1": (failures > 0).then(|| c.f1()),
        "precision": c.precision(),
        "recall": (failures > 0).then(|| c.recall()),
        "failures": failures,
        "leaked_features_used": leaked(&all, &features),
        "folds": FOLDS,
        "reliability": reliability_table(&judged.p, &judged.truth, 10),
        "notes": notes,
        "detail": { "bars": [bars] },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_not_features() {
        assert!(features().iter().all(|f| !FLAGS.contains(&f.name.as_str())));
    }

    #[test]
    fn malformed_rows_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let head = "UDI,Product ID,Type,Air temperature [K],Process temperature [K],Rotational speed [rpm],Torque [Nm],Tool wear [min],Machine failure,TWF,HDF,PWF,OSF,RNF\n";
        let text = format!(
            "{head}1,M1,M,298.1,308.6,1551,42.8,0,0,0,0,0,0,0\n2,X2,X,298.1,308.6,1551,42.8,0,0,0,0,0,0,0\n"
        );
        std::fs::write(dir.path().join("ai4i2020.csv"), text).unwrap();
        let error = run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string();
        assert!(
            error.contains("ai4i2020.csv: line 3, column 3 (Type): 'X' is not L, M or H"),
            "{error}"
        );
        assert!(
            run(&dir.path().join("none"), &BacktestArgs::default())
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }

    /// `rows` rows of which `failed` say that they failed, with this torque.
    fn folder(
        rows: usize,
        failed: impl Fn(usize) -> bool,
        torque: impl Fn(usize) -> f64,
    ) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!("Type,{},Machine failure\n", SIGNALS.join(","));
        for row in 0..rows {
            let noise = |salt: usize| crate::testing::noise(row + 10_000 * salt);
            text += &format!(
                "M,{},{},{},{},{},{}\n",
                298.0 + noise(1),
                308.0 + noise(2),
                1500.0 + 90.0 * noise(3),
                torque(row),
                (row * 7) % 230,
                u8::from(failed(row))
            );
        }
        std::fs::write(dir.path().join("ai4i2020.csv"), text).unwrap();
        dir
    }

    #[test]
    fn labels_that_nothing_can_be_learned_from_are_refused() {
        for (failed, words) in [
            (0, "no machine failure to learn from"),
            (1, "only 1 rows with machine failure"),
            (300, "every row is labelled as machine failure"),
        ] {
            let dir = folder(300, |row| row < failed, |_| 40.0);
            let error = run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_feature_that_knows_the_label_is_named() {
        let failed = |row: usize| row % 20 == 3;
        let of = |torque: &dyn Fn(usize) -> f64| {
            let dir = folder(400, failed, torque);
            leaked(&read(dir.path()).unwrap(), &features())
        };
        let told = of(&|row| if failed(row) { 99.0 } else { 40.0 });
        assert!(told.contains(&"Torque [Nm]".to_owned()), "{told:?}");
        let honest = of(&|row| 40.0 + 9.0 * crate::testing::noise(row));
        assert!(honest.is_empty(), "{honest:?}");
    }
}
