//! What the files of the set say: machines with their telemetry, errors, changes of parts and failures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};

use super::HOUR;
use crate::backtest::table::{self, Table};

pub(super) const SIGNALS: [&str; 4] = ["volt", "rotate", "pressure", "vibration"];

pub(super) struct Machine {
    pub(super) id: u64,
    pub(super) age: f64,
    pub(super) model: f64,
    /// (time, error code), (time, component) in time order.
    pub(super) errors: Vec<(f64, usize)>,
    pub(super) changes: Vec<(f64, usize)>,
    pub(super) failures: Vec<f64>,
    /// Runs without a gap: times and one column per signal.
    pub(super) runs: Vec<(Vec<f64>, Vec<Vec<f64>>)>,
}

pub(super) struct Fleet {
    pub(super) machines: Vec<Machine>,
    pub(super) error_codes: Vec<String>,
    pub(super) components: Vec<String>,
}

/// Events of a file by machine, with their kinds as codes of a sorted list that is extended as needed.
type Events = BTreeMap<u64, Vec<(f64, usize)>>;

fn events(data: &Path, name: &str, column: &str, kinds: &mut Vec<String>) -> Result<Events> {
    let table = Table::read(data, name, b',')?;
    let [time, machine, kind] = table.columns(&["datetime", "machineID", column])?[..] else {
        bail!("{name}: columns are missing")
    };
    let known: BTreeSet<String> = (0..table.len())
        .map(|r| table.text(r, kind).to_owned())
        .chain(kinds.drain(..))
        .collect();
    kinds.extend(known);
    let mut by_machine = Events::new();
    for row in 0..table.len() {
        let text = table.text(row, kind);
        if text.is_empty() {
            return Err(table.bad(row, kind, "is empty"));
        }
        let code = kinds.iter().position(|k| k == text).unwrap_or_default();
        let id = table.number(row, machine)? as u64;
        by_machine
            .entry(id)
            .or_default()
            .push((table.time(row, time)?, code));
    }
    by_machine
        .values_mut()
        .for_each(|e| e.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Ok(by_machine)
}

pub(super) fn read(data: &Path, error_codes: &[String], components: &[String]) -> Result<Fleet> {
    let (mut error_codes, mut components) = (error_codes.to_vec(), components.to_vec());
    let mut errors = events(data, "PdM_errors.csv", "errorID", &mut error_codes)?;
    let mut changes = events(data, "PdM_maint.csv", "comp", &mut components)?;
    let mut kinds = Vec::new();
    let mut failures = events(data, "PdM_failures.csv", "failure", &mut kinds)?;
    let table = Table::read(data, "PdM_machines.csv", b',')?;
    let (id, model, age) = (
        table.column("machineID")?,
        table.column("model")?,
        table.column("age")?,
    );
    let mut machines: BTreeMap<u64, Machine> = BTreeMap::new();
    for row in 0..table.len() {
        let digits: String = table
            .text(row, model)
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let code = digits
            .parse()
            .map_err(|_| table.bad(row, model, "the model has no number"))?;
        let number = table.number(row, id)? as u64;
        machines.insert(
            number,
            Machine {
                id: number,
                age: table.number(row, age)?,
                model: code,
                errors: errors.remove(&number).unwrap_or_default(),
                changes: changes.remove(&number).unwrap_or_default(),
                failures: failures
                    .remove(&number)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|f| f.0)
                    .collect(),
                runs: Vec::new(),
            },
        );
    }
    let name = ["PdM_telemetry.csv", "PdM_telemetry_sampled.csv"]
        .into_iter()
        .find(|n| table::find(data, n).is_ok())
        .unwrap_or("PdM_telemetry.csv");
    let table = Table::read(data, name, b',')?;
    let (time, machine) = (table.column("datetime")?, table.column("machineID")?);
    let signals = table.columns(&SIGNALS)?;
    for row in 0..table.len() {
        let number = table.number(row, machine)? as u64;
        let at = table.time(row, time)?;
        let Some(m) = machines.get_mut(&number) else {
            return Err(table.bad(row, machine, "the machine is not in PdM_machines.csv"));
        };
        let last = m.runs.last().and_then(|r| r.0.last().copied());
        match last {
            Some(t) if at <= t => return Err(table.bad(row, time, "the time of a machine goes back")),
            Some(t) if at - t <= 1.5 * HOUR => {}
            _ => m.runs.push((Vec::new(), vec![Vec::new(); SIGNALS.len()])),
        }
        // A run was pushed just above if there was none.
        let Some(run) = m.runs.last_mut() else { continue };
        run.0.push(at);
        for (column, signal) in run.1.iter_mut().zip(&signals) {
            column.push(table.number(row, *signal)?);
        }
    }
    Ok(Fleet {
        machines: machines.into_values().collect(),
        error_codes,
        components,
    })
}
