//! Files of lives: what each column means, and which place is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::backtest::table::Table;
use crate::reliability::Life;
use crate::reliability::recurrence::History;

use super::{Lived, Lives, System};

/// Ages between which squares and products stay numbers; no life in any unit lies outside.
const AGES: std::ops::RangeInclusive<f64> = 1e-9..=1e15;
const KNOWN: [&str; 7] = ["age", "status", "age_to", "system", "group", "cause", "repair_h"];

struct Columns {
    age: usize,
    status: usize,
    age_to: Option<usize>,
    system: Option<usize>,
    group: Option<usize>,
    cause: Option<usize>,
    repair_h: Option<usize>,
    covariates: Vec<usize>,
}

impl Columns {
    fn of(table: &Table, covariates: &[String]) -> Result<Self> {
        for (place, name) in table.header.iter().enumerate() {
            if table.header[..place].contains(name) {
                bail!(
                    "{}: line 1, column {}: there is a second column '{name}'; keep one",
                    table.place(),
                    place + 1
                );
            }
        }
        let needed = |name: &str| {
            table.column(name).map_err(|error| {
                let found = table.header.join("', '");
                anyhow!(
                    "{error}; the header must name age and status, separated by commas, and names '{found}'"
                )
            })
        };
        let named = |name: &str| table.column(name).ok();
        let covariates = covariates.iter().map(|name| {
            if KNOWN.contains(&name.as_str()) {
                bail!(
                    "--covariates {name}: this column has a meaning of its own; name other columns of numbers"
                );
            }
            table
                .column(name)
                .map_err(|error| anyhow!("{error}; --covariates {name} asks for it"))
        });
        let columns = Self {
            age: needed("age")?,
            status: needed("status")?,
            age_to: named("age_to"),
            system: named("system"),
            group: named("group"),
            cause: named("cause"),
            repair_h: named("repair_h"),
            covariates: covariates.collect::<Result<_>>()?,
        };
        if let (Some(column), Some(_)) = (columns.age_to, columns.system) {
            bail!(
                "{}: line 1, column {} (age_to): failures of repaired systems need one age each; leave out age_to, or system",
                table.place(),
                column + 1
            );
        }
        Ok(columns)
    }
}

/// Reads a file of lives. `covariates` names further columns of numbers.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn read(path: &Path, covariates: &[String]) -> Result<Lives> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("the file has no name")?;
    let table = Table::read(folder, name, b',')?;
    let columns = Columns::of(&table, covariates)?;
    let mut lives = Lives {
        covariates: covariates.to_vec(),
        repairs: columns.repair_h.map(|_| Vec::new()),
        ..Lives::default()
    };
    let unused: Vec<&str> = table
        .header
        .iter()
        .map(String::as_str)
        .filter(|name| !KNOWN.contains(name) && !covariates.iter().any(|c| c == name))
        .collect();
    if !unused.is_empty() {
        lives.notes.push(format!(
            "not used: column {} (columns of numbers can be named by --covariates)",
            unused.join(", ")
        ));
    }
    let mut systems: BTreeMap<&str, Vec<(usize, Lived)>> = BTreeMap::new();
    for row in 0..table.len() {
        let lived = one(&table, &columns, row)?;
        if let (Some(column), Some(repairs)) = (columns.repair_h, &mut lives.repairs)
            && let Some(repair) = repair(&table, row, column, lived.life.is_failure())?
        {
            repairs.push(repair);
        }
        match columns.system {
            Some(column) => {
                let system = table.text(row, column);
                if system.is_empty() {
                    return Err(table.bad(row, column, "which system is it? Give each row the name of one"));
                }
                systems.entry(system).or_default().push((row, lived));
            }
            None => lives.lives.push(lived),
        }
    }
    for (name, rows) in systems {
        let history = history(&table, &columns, rows, &mut lives)?;
        lives.systems.push(System {
            name: name.to_owned(),
            history,
        });
    }
    Ok(lives)
}

/// One row.
fn one(table: &Table, columns: &Columns, row: usize) -> Result<Lived> {
    let (age, status) = (columns.age, columns.status);
    let at = table.number(row, age)?;
    let failed = match table.text(row, status).to_ascii_lowercase().as_str() {
        "failed" | "failure" | "f" | "1" => true,
        "suspended" | "censored" | "s" | "0" => false,
        other => {
            return Err(table.bad(
                row,
                status,
                format_args!("'{other}' is neither failed nor suspended"),
            ));
        }
    };
    let to = columns
        .age_to
        .filter(|column| !table.text(row, *column).is_empty())
        .map(|column| Ok::<_, anyhow::Error>((column, table.number(row, column)?)))
        .transpose()?;
    let usable = |column: usize, value: f64| {
        if AGES.contains(&value) {
            return Ok(());
        }
        let text = table.text(row, column);
        let why = format!("{text} is not a usable age: ages lie between 1e-9 and 1e15 in any unit");
        Err(table.bad(row, column, why))
    };
    // Age 0 says that nothing was seen before, which only an interval or a suspension can.
    if at != 0.0 {
        usable(age, at)?;
    } else if failed && to.is_none() {
        return Err(table.bad(
            row,
            age,
            "0 is not a usable age of a failure; where it failed before its first inspection, that age belongs in age_to",
        ));
    }
    let life = match (failed, to) {
        (false, Some((column, _))) => {
            return Err(table.bad(
                row,
                column,
                "a suspension has no second age; leave it empty, or write failed as its status",
            ));
        }
        (false, None) => Life::Suspended(at),
        (true, None) => Life::Failed(at),
        (true, Some((column, to))) => {
            usable(column, to)?;
            if to <= at {
                return Err(table.bad(row, column, format_args!("{to} must be above the age {at}")));
            }
            if at == 0.0 {
                Life::FailedBefore(to)
            } else {
                Life::FailedBetween(at, to)
            }
        }
    };
    let group = match columns.group {
        Some(column) if table.text(row, column).is_empty() => {
            return Err(table.bad(row, column, "which group is it? Every life belongs to one"));
        }
        column => column.map(|column| table.text(row, column).to_owned()),
    };
    let cause = match columns.cause.map(|column| (column, table.text(row, column))) {
        Some((column, "")) if failed => {
            return Err(table.bad(
                row,
                column,
                "a failure needs a cause; write unknown where nobody knows it",
            ));
        }
        Some((column, cause)) if !failed && !cause.is_empty() => {
            let why = format!(
                "a suspension has no cause of failure; leave '{cause}' out, or write failed as its status"
            );
            return Err(table.bad(row, column, why));
        }
        cause => cause.filter(|_| failed).map(|(_, cause)| cause.to_owned()),
    };
    let covariates = columns.covariates.iter().map(|column| table.number(row, *column));
    Ok(Lived {
        life,
        group,
        cause,
        covariates: covariates.collect::<Result<_>>()?,
    })
}

/// Hours of the repair that followed; None where they aren't known.
fn repair(table: &Table, row: usize, column: usize, failed: bool) -> Result<Option<f64>> {
    if table.text(row, column).is_empty() {
        return Ok(None);
    }
    let hours = table.number(row, column)?;
    if !failed {
        return Err(table.bad(row, column, "a suspension has no repair; leave it empty"));
    }
    if hours < 0.0 || hours > *AGES.end() {
        return Err(table.bad(
            row,
            column,
            format_args!("{hours} is not a usable time of a repair: 0 hours or more"),
        ));
    }
    Ok(Some(hours))
}

/// The history of one system; the times between its failures become lives.
fn history(
    table: &Table,
    columns: &Columns,
    mut rows: Vec<(usize, Lived)>,
    lives: &mut Lives,
) -> Result<History> {
    let end = rows
        .iter()
        .filter(|(_, lived)| !lived.life.is_failure())
        .map(|(row, lived)| (*row, lived.life.age()));
    let mut end: Vec<(usize, f64)> = end.collect();
    if let Some((row, _)) = end.get(1) {
        return Err(table.bad(
            *row,
            columns.status,
            "a system is suspended once, at the end of its observation; keep the last of these rows",
        ));
    }
    let end = end.pop();
    rows.sort_by(|(_, a), (_, b)| {
        a.life
            .age()
            .total_cmp(&b.life.age())
            .then(b.life.is_failure().cmp(&a.life.is_failure()))
    });
    let mut before = 0.0;
    let mut failures = Vec::new();
    for (row, lived) in rows {
        let at = lived.life.age();
        let failed = lived.life.is_failure();
        if let Some((_, end)) = end.filter(|(_, end)| at > *end) {
            let why =
                format_args!("the observation of this system ends at {end}; no failure can come after it");
            return Err(table.bad(row, columns.age, why));
        }
        if at <= 0.0 {
            return Err(table.bad(
                row,
                columns.age,
                "a system must have been observed for longer than 0",
            ));
        }
        let gap = at - before;
        before = at;
        if failed {
            failures.push(at);
            lives.touching |= gap <= 0.0;
        }
        if gap > 0.0 {
            let life = if failed {
                Life::Failed(gap)
            } else {
                Life::Suspended(gap)
            };
            lives.lives.push(Lived { life, ..lived });
        }
    }
    Ok(match end {
        Some((_, end)) => History::until(end, failures),
        None => History::to_last_failure(failures),
    })
}
