//! What the files of the set say: machines with their telemetry, errors, changes of parts and failures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

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

/// Events of a file by machine, with their kinds as codes of a sorted list.
type Events = BTreeMap<u64, Vec<(f64, usize)>>;

/// `kinds`: those that are known from training, if there was one; else they are collected here.
fn events(
    data: &Path,
    name: &str,
    column: &str,
    machines: &BTreeMap<u64, Machine>,
    kinds: &mut Vec<String>,
) -> Result<Events> {
    let table = Table::read(data, name, b',')?;
    let (time, machine, kind) = (
        table.column("datetime")?,
        table.column("machineID")?,
        table.column(column)?,
    );
    if kinds.is_empty() {
        let all: BTreeSet<&str> = (0..table.len()).map(|r| table.text(r, kind)).collect();
        kinds.extend(all.into_iter().map(str::to_owned));
    }
    let mut by_machine = Events::new();
    for row in 0..table.len() {
        let text = table.text(row, kind);
        if text.is_empty() {
            return Err(table.bad(row, kind, "is empty"));
        }
        let Some(code) = kinds.iter().position(|k| k == text) else {
            let what = format!(
                "'{text}' is not in the data that was trained on, which has {}",
                kinds.join(", ")
            );
            return Err(table.bad(row, kind, what));
        };
        let id = table.whole(row, machine)?;
        if !machines.contains_key(&id) {
            return Err(table.bad(row, machine, UNKNOWN));
        }
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

const UNKNOWN: &str = "the machine is not in PdM_machines.csv";

fn read_machines(data: &Path) -> Result<BTreeMap<u64, Machine>> {
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
        let machine = Machine {
            id: table.whole(row, id)?,
            age: table.number(row, age)?,
            model: digits
                .parse()
                .map_err(|_| table.bad(row, model, "the model has no number"))?,
            errors: Vec::new(),
            changes: Vec::new(),
            failures: Vec::new(),
            runs: Vec::new(),
        };
        if machines.insert(machine.id, machine).is_some() {
            return Err(table.bad(row, id, "the machine is there twice: leave one of the two out"));
        }
    }
    Ok(machines)
}

pub(super) fn read(data: &Path, error_codes: &[String], components: &[String]) -> Result<Fleet> {
    let mut machines = read_machines(data)?;
    let (mut error_codes, mut components) = (error_codes.to_vec(), components.to_vec());
    for (id, errors) in events(data, "PdM_errors.csv", "errorID", &machines, &mut error_codes)? {
        machines.entry(id).and_modify(|m| m.errors = errors);
    }
    for (id, changes) in events(data, "PdM_maint.csv", "comp", &machines, &mut components)? {
        machines.entry(id).and_modify(|m| m.changes = changes);
    }
    for (id, failures) in events(data, "PdM_failures.csv", "failure", &machines, &mut Vec::new())? {
        machines
            .entry(id)
            .and_modify(|m| m.failures = failures.into_iter().map(|f| f.0).collect());
    }
    let name = ["PdM_telemetry.csv", "PdM_telemetry_sampled.csv"]
        .into_iter()
        .find(|n| table::find(data, n).is_ok())
        .unwrap_or("PdM_telemetry.csv");
    let table = Table::read(data, name, b',')?;
    let (time, machine) = (table.column("datetime")?, table.column("machineID")?);
    let signals = table.columns(&SIGNALS)?;
    for row in 0..table.len() {
        let number = table.whole(row, machine)?;
        let at = table.time(row, time)?;
        let Some(m) = machines.get_mut(&number) else {
            return Err(table.bad(row, machine, UNKNOWN));
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
