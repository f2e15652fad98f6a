//! Raw snapshots of bearings (IMS): the features that Forewarn makes of them against those that came with the set, and
//! which bearing's fault lines stand out first, of which part.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use models::vibration::{BearingGeometry, CLEAR, Snapshot};
use serde_json::{Value, json};

use super::table::{Matrix, Table, names, seconds};

/// Rexnord ZA-2115 (double row), at 2000 rpm, sampled at 20 kHz: the test bed's description.
const BEARING: BearingGeometry = BearingGeometry {
    rolling_elements: 16,
    element_diameter: 0.331,
    pitch_diameter: 2.815,
    contact_angle: 15.17,
};
const SHAFT_HZ: f64 = 2000.0 / 60.0;
const RATE_HZ: f64 = 20_000.0;
/// What came with the set, by its column, and the same by the name of a feature.
const COLUMNS: [(&str, &str); 6] = [
    ("mean", "mean"),
    ("rms", "rms"),
    ("peak", "peak"),
    ("skew", "skewness"),
    ("kurtosis", "kurtosis"),
    ("crest", "crest"),
];

/// A fault line of a bearing over the snapshots.
struct Line {
    bearing: usize,
    fault: &'static str,
    prominence: Vec<f64>,
}

impl Line {
    /// The first snapshot from which it stays clear to the end.
    fn clear_from(&self) -> Option<usize> {
        let quiet = self.prominence.iter().rposition(|p| *p < CLEAR);
        let from = quiet.map_or(0, |last| last + 1);
        (from < self.prominence.len()).then_some(from)
    }
}

/// `2004.02.12.10.32.39.txt` → seconds.
fn time_of(path: &Path, name: &str) -> Result<f64> {
    let fields: Vec<&str> = name.trim_end_matches(".txt").splitn(6, '.').collect();
    let [year, month, day, hour, minute, second] = fields[..] else {
        bail!(
            "{}: the name is no time such as 2004.02.12.10.32.39.txt",
            path.display()
        );
    };
    seconds(&format!("{year}-{month}-{day} {hour}:{minute}:{second}"))
        .map_err(|e| anyhow!("{}: the name: {e}", path.display()))
}

/// Judges a folder of snapshots, named by their times, a column for each bearing. `features`: the file that came with it.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn judge(folder: &Path, features: Option<(&Path, &str)>) -> Result<Value> {
    let names = names(folder)?;
    let faults = BEARING.fault_frequencies(SHAFT_HZ)?;
    let given = features
        .map(|(folder, name)| Given::read(folder, name))
        .transpose()?;
    let (mut times, mut lines, mut differ) = (Vec::new(), Vec::<Line>::new(), None::<f64>);
    let mut width = None;
    for name in &names {
        let at = time_of(&folder.join(name), name)?;
        let matrix = Matrix::read(folder, name, width)?;
        width = matrix.rows.first().map(Vec::len);
        if times.last().is_some_and(|before| at <= *before) {
            bail!(
                "{}: its time is not after that of the snapshot before",
                folder.join(name).display()
            );
        }
        for bearing in 0..width.unwrap_or(0) {
            let samples: Vec<f64> = matrix.rows.iter().map(|row| row[bearing]).collect();
            let snapshot = Snapshot::new(&samples, RATE_HZ)
                .map_err(|e| anyhow!("{}: column {}: {e}", matrix.path.display(), bearing + 1))?;
            for (fault, prominence) in snapshot.fault_lines(&faults).named() {
                let line = lines
                    .iter_mut()
                    .find(|l| l.bearing == bearing && l.fault == fault);
                match line {
                    Some(line) => line.prominence.push(prominence),
                    None => lines.push(Line {
                        bearing,
                        fault,
                        prominence: vec![prominence],
                    }),
                }
            }
            if let Some(given) = &given {
                let own = given.differ(at, bearing, &snapshot.features().named())?;
                differ = Some(differ.unwrap_or(0.0).max(own));
            }
        }
        times.push(at);
    }
    // A line that can't be told in every snapshot can't be followed.
    lines.retain(|line| line.prominence.len() == times.len());
    let (Some(last), false) = (times.last().copied(), lines.is_empty()) else {
        bail!(
            "{}: no snapshots long enough to hold the lines of a fault",
            folder.display()
        );
    };
    let end = given.as_ref().map_or(last, |given| given.end).max(last);
    let first = lines
        .iter()
        .filter_map(|line| Some((line.clear_from()?, line)))
        .min_by_key(|(from, line)| (*from, line.bearing));
    Ok(json!({
        "folder": folder.file_name().map(|name| name.to_string_lossy()),
        "snapshots": times.len(),
        "features_differ_by": differ,
        "origin": first.as_ref().map(|(_, line)| (line.bearing + 1).to_string()),
        "line": first.as_ref().map(|(_, line)| line.fault),
        "lead_time_h": first.as_ref().map(|(from, _)| (end - times[*from]) / 3600.0),
        "prominence": first.as_ref().map(|(_, line)| line.prominence.clone()),
        "highest_while_healthy": first.as_ref().map(|(from, _)| {
            lines.iter().flat_map(|line| &line.prominence[..*from]).copied().fold(0.0, f64::max)
        }),
    }))
}

/// The file of features that came with the snapshots.
struct Given {
    table: Table,
    columns: Vec<usize>,
    time: usize,
    bearing: usize,
    end: f64,
}

impl Given {
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let table = Table::read(folder, name, b',')?;
        let (time, bearing) = (table.column("timestamp")?, table.column("bearing")?);
        let columns = table.columns(&COLUMNS.map(|c| c.0))?;
        let end = table.time(table.len() - 1, time)?;
        Ok(Self {
            table,
            columns,
            time,
            bearing,
            end,
        })
    }

    /// Largest difference, as a share of the printed value but of a thousandth at least: six digits are printed.
    fn differ(&self, at: f64, bearing: usize, own: &[(&str, f64, bool)]) -> Result<f64> {
        let label = (bearing + 1).to_string();
        for row in 0..self.table.len() {
            if self.table.text(row, self.bearing) != label || self.table.time(row, self.time)? != at {
                continue;
            }
            let mut largest = 0.0_f64;
            for ((_, name), column) in COLUMNS.iter().zip(&self.columns) {
                let printed = self.table.number(row, *column)?;
                let value = own.iter().find(|o| o.0 == *name).map_or(f64::INFINITY, |o| o.1);
                largest = largest.max((value - printed).abs() / printed.abs().max(1e-3));
            }
            return Ok(largest);
        }
        bail!(
            "{}: no row of bearing {label} for a raw snapshot",
            self.table.place()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_snapshots_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", judge(dir.path(), None).unwrap_err());
            std::fs::remove_file(&path).unwrap();
            error
        };
        assert!(refused("noon.txt", "1 2\n").contains("noon.txt: the name is no time such as"));
        assert!(refused("2004.02.31.10.32.39.txt", "1 2\n").contains("is not a time"));
        let error = refused("2004.02.12.10.32.39.txt", "1 2\n3 x\n");
        assert!(error.contains("line 2, column 2: 'x' is not a number"), "{error}");
        let error = refused("2004.02.12.10.32.39.txt", "1 2\n3 4\n");
        assert!(
            error.contains("column 1: 2 samples: a snapshot has 64"),
            "{error}"
        );
        let error = refused("2004.02.12.10.32.39.txt", &"0.5 0.25\n".repeat(100));
        assert!(error.contains("long enough"), "{error}");
    }
}
