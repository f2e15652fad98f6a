//! Rows to learn from: one for each machine and hour, with what is known by then.

use anyhow::Result;
use ndarray::Array2;

use super::HOUR;
use super::fleet::{Fleet, SIGNALS};
use crate::boost::Feature;
use crate::features::rolling::{back, moments};

/// A run without a gap this long shows how often machines really fail; shorter ones were cut out around failures.
const NATURAL_ROWS: usize = 24 * 30;

impl Fleet {
    pub(super) fn features(&self) -> Vec<Feature> {
        let kinds = ["mean3", "sd3", "mean24", "sd24"];
        let mut names: Vec<Feature> = SIGNALS
            .iter()
            .flat_map(|s| kinds.map(|k| Feature::numeric(format!("{s}:{k}"))))
            .collect();
        for e in &self.error_codes {
            names.push(Feature::numeric(format!("{e}:count24")));
            names.push(Feature::numeric(format!("{e}:hours_since")));
        }
        names.extend(
            self.components
                .iter()
                .map(|c| Feature::numeric(format!("{c}:hours_since_change"))),
        );
        names.push(Feature::categorical("model"));
        names.push(Feature::numeric("age"));
        names
    }
}

/// The rows of a fleet, ready to learn from.
pub(super) struct Rows {
    pub(super) x: Vec<Vec<f64>>,
    pub(super) y: Vec<bool>,
    pub(super) machine: Vec<u64>,
    pub(super) time: Vec<f64>,
    pub(super) natural: Vec<bool>,
}

pub(super) fn rows(fleet: &Fleet, horizon: f64) -> Rows {
    let mut out = Rows {
        x: Vec::new(),
        y: Vec::new(),
        machine: Vec::new(),
        time: Vec::new(),
        natural: Vec::new(),
    };
    for m in &fleet.machines {
        for (times, columns) in &m.runs {
            for (i, t) in times.iter().enumerate() {
                let mut row = Vec::with_capacity(40);
                for column in columns {
                    for hours in [3, 24] {
                        let (_, mean, deviation) = moments(back(column, i, hours));
                        row.extend([mean, deviation]);
                    }
                }
                let errors = &m.errors[..m.errors.partition_point(|e| e.0 <= *t)];
                for code in 0..fleet.error_codes.len() {
                    let of = || errors.iter().rev().filter(|e| e.1 == code);
                    row.push(of().take_while(|e| t - e.0 < 24.0 * HOUR).count() as f64);
                    row.push(of().next().map_or(f64::NAN, |e| (t - e.0) / HOUR));
                }
                let changes = &m.changes[..m.changes.partition_point(|c| c.0 <= *t)];
                for code in 0..fleet.components.len() {
                    let last = changes.iter().rev().find(|c| c.1 == code);
                    row.push(last.map_or(f64::NAN, |c| (t - c.0) / HOUR));
                }
                row.extend([m.model, m.age]);
                out.x.push(row);
                out.y
                    .push(m.failures.iter().any(|f| *f > *t && *f <= t + horizon));
                out.machine.push(m.id);
                out.time.push(*t);
                out.natural.push(times.len() >= NATURAL_ROWS);
            }
        }
    }
    out
}

impl Rows {
    pub(super) fn matrix(&self) -> Result<Array2<f64>> {
        Ok(Array2::from_shape_vec(
            (self.x.len(), self.x[0].len()),
            self.x.concat(),
        )?)
    }
}
