//! Strict reading of the files of a data set: every refusal names file, line and column.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::MultiGzDecoder;

/// The file `name` of a folder, or `name.gz`.
pub(crate) fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    if plain.is_file() {
        return Ok(plain);
    }
    let packed = folder.join(format!("{name}.gz"));
    if packed.is_file() {
        return Ok(packed);
    }
    bail!("{}: file not found, nor {name}.gz beside it", plain.display())
}

/// Names of what a folder holds, sorted, without the `.gz` of packed files.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let place = || format!("{}: cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(place)? {
        let name = entry
            .with_context(place)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        names.push(name.strip_suffix(".gz").unwrap_or(&name).to_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    Ok(if path.extension().is_some_and(|e| e == "gz") {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(BufReader::new(file))
    })
}

/// Seconds since 1970 of a civil time such as `2015-01-05 06:00:00`, taken as UTC.
pub(crate) fn seconds(text: &str) -> Result<f64> {
    let time: jiff::civil::DateTime = text
        .trim()
        .parse()
        .map_err(|_| anyhow!("'{text}' is not a time"))?;
    let at = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|_| anyhow!("'{text}' is out of range"))?;
    Ok(at.timestamp().as_nanosecond() as f64 / 1e9)
}

/// What is wrong with a delimited file, and where.
fn refused(path: &Path, error: &csv::Error, line: u64) -> anyhow::Error {
    let line = error.position().map_or(line, csv::Position::line);
    let (column, what) = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => (
            len.min(expected_len) + 1,
            format!("{len} values where {expected_len} belong"),
        ),
        csv::ErrorKind::Utf8 { err, .. } => (err.field() as u64 + 1, "the text is not UTF-8".to_owned()),
        _ => return anyhow!("{}: line {line}: {error}", path.display()),
    };
    anyhow!("{}: line {line}, column {column}: {what}", path.display())
}

/// A delimited text file with a header.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    pub header: Vec<String>,
    records: Vec<csv::StringRecord>,
}

impl Table {
    pub fn read(folder: &Path, name: &str, delimiter: u8) -> Result<Self> {
        let path = find(folder, name)?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(open(&path)?);
        let place = |e: csv::Error, line: u64| refused(&path, &e, line);
        let header: Vec<String> = match reader.headers() {
            Ok(header) => header
                .iter()
                .map(|h| h.trim().trim_start_matches('\u{feff}').to_owned())
                .collect(),
            Err(e) => return Err(place(e, 1)),
        };
        if header.iter().all(String::is_empty) {
            bail!("{}: line 1, column 1: the file is empty", path.display());
        }
        let mut records = Vec::new();
        let mut record = csv::StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => records.push(record.clone()),
                Ok(false) => break,
                Err(e) => return Err(place(e, reader.position().line())),
            }
        }
        if records.is_empty() {
            bail!("{}: line 2: there are no rows below the header", path.display());
        }
        Ok(Self {
            path,
            header,
            records,
        })
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Position of a column.
    pub fn column(&self, name: &str) -> Result<usize> {
        let found = self.header.iter().position(|h| h == name);
        found.ok_or_else(|| anyhow!("{}: line 1: column '{name}' is missing", self.path.display()))
    }

    pub fn columns(&self, names: &[&str]) -> Result<Vec<usize>> {
        names.iter().map(|n| self.column(n)).collect()
    }

    pub fn text(&self, row: usize, column: usize) -> &str {
        self.records[row].get(column).unwrap_or_default().trim()
    }

    /// Where it was read from.
    pub fn place(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// An error at one value.
    pub fn bad(&self, row: usize, column: usize, what: impl std::fmt::Display) -> anyhow::Error {
        let line = self.records[row].position().map_or(0, csv::Position::line);
        let name = self.header.get(column).map_or("", String::as_str);
        anyhow!(
            "{}: line {line}, column {} ({name}): {what}",
            self.path.display(),
            column + 1
        )
    }

    /// A finite number.
    pub fn number(&self, row: usize, column: usize) -> Result<f64> {
        let text = self.text(row, column);
        match text.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(self.bad(row, column, format_args!("'{text}' is not a number"))),
        }
    }

    /// The number of a machine.
    pub fn whole(&self, row: usize, column: usize) -> Result<u64> {
        let text = self.text(row, column);
        match self.number(row, column)? {
            v if v >= 0.0 && v.fract() == 0.0 && v < 9e15 => Ok(v as u64),
            _ => Err(self.bad(row, column, format_args!("'{text}' is not a whole number from 0"))),
        }
    }

    pub fn numbers(&self, column: usize) -> Result<Vec<f64>> {
        (0..self.len()).map(|row| self.number(row, column)).collect()
    }

    /// 0 or 1, also written as a decimal, or true and false.
    pub fn flag(&self, row: usize, column: usize) -> Result<bool> {
        match self.text(row, column).to_ascii_lowercase().as_str() {
            "0" | "0.0" | "false" => Ok(false),
            "1" | "1.0" | "true" => Ok(true),
            text => Err(self.bad(row, column, format_args!("'{text}' is neither 0 nor 1"))),
        }
    }

    pub fn time(&self, row: usize, column: usize) -> Result<f64> {
        seconds(self.text(row, column)).map_err(|e| self.bad(row, column, e))
    }
}

/// A text file of numbers without a header, separated by blanks or tabs.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub path: PathBuf,
    pub rows: Vec<Vec<f64>>,
    /// Where each row stands in the file: blank lines are no rows.
    lines: Vec<usize>,
}

impl Matrix {
    /// `columns` per line; None: as many as in the first.
    pub fn read(folder: &Path, name: &str, columns: Option<usize>) -> Result<Self> {
        let path = find(folder, name)?;
        let (mut rows, mut lines) = (Vec::<Vec<f64>>::new(), Vec::new());
        for (index, line) in BufReader::new(open(&path)?).lines().enumerate() {
            let place = || format!("{}: line {}", path.display(), index + 1);
            let line = line.with_context(place)?;
            if line.trim().is_empty() {
                continue;
            }
            let mut row = Vec::with_capacity(columns.unwrap_or(16));
            for (c, text) in line.split_ascii_whitespace().enumerate() {
                match text.parse::<f64>() {
                    Ok(v) if v.is_finite() => row.push(v),
                    _ => bail!("{}, column {}: '{text}' is not a number", place(), c + 1),
                }
            }
            let expected = columns.or(rows.first().map(Vec::len)).unwrap_or(row.len());
            if row.len() != expected {
                let at = row.len().min(expected) + 1;
                bail!(
                    "{}, column {at}: {} values where {expected} belong",
                    place(),
                    row.len()
                );
            }
            rows.push(row);
            lines.push(index + 1);
        }
        if rows.is_empty() {
            bail!("{}: line 1, column 1: there are no rows", path.display());
        }
        Ok(Self { path, rows, lines })
    }

    /// An error at one value, the column counted from 0.
    pub fn bad(&self, row: usize, column: usize, what: impl std::fmt::Display) -> anyhow::Error {
        let line = self.lines.get(row).copied().unwrap_or(row + 1);
        anyhow!(
            "{}: line {line}, column {}: {what}",
            self.path.display(),
            column + 1
        )
    }

    /// Refuses a file with other than `expected` rows, which is how many `of` has.
    pub fn rows_as(&self, expected: usize, of: impl std::fmt::Display) -> Result<()> {
        if self.rows.len() == expected {
            return Ok(());
        }
        // The first row too many, or the line that ends too early.
        let at = self.rows.len().saturating_sub(1).min(expected);
        Err(self.bad(
            at,
            0,
            format_args!("{} rows where {expected} belong, as in {of}", self.rows.len()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        dir
    }

    #[test]
    fn refusals_name_the_place() {
        let dir = folder(
            "a.csv",
            "time,value\n2020-01-01 00:00:00,1.5\n2020-01-01 00:00:01,oops\n",
        );
        let table = Table::read(dir.path(), "a.csv", b',').unwrap();
        assert_eq!(table.number(0, 1).unwrap(), 1.5);
        let error = table.number(1, 1).unwrap_err().to_string();
        assert!(
            error.ends_with("a.csv: line 3, column 2 (value): 'oops' is not a number"),
            "{error}"
        );
        assert!(
            table
                .column("speed")
                .unwrap_err()
                .to_string()
                .contains("column 'speed' is missing")
        );
        assert_eq!(table.time(0, 0).unwrap(), 1_577_836_800.0);
        assert!(
            Table::read(dir.path(), "b.csv", b',')
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }

    #[test]
    fn uneven_lines_are_refused() {
        let dir = folder("a.csv", "a,b\n1,2\n3\n");
        let error = Table::read(dir.path(), "a.csv", b',').unwrap_err().to_string();
        assert!(
            error.ends_with("a.csv: line 3, column 2: 1 values where 2 belong"),
            "{error}"
        );
        for (text, words) in [
            ("", "a.csv: line 1, column 1: the file is empty"),
            ("a,b\n", "a.csv: line 2: there are no rows below the header"),
        ] {
            let dir = folder("a.csv", text);
            let error = Table::read(dir.path(), "a.csv", b',').unwrap_err().to_string();
            assert!(error.ends_with(words), "{error}");
        }
        let dir = folder("m.txt", "1 2 3\n4 5 6\n7 8\n");
        let error = Matrix::read(dir.path(), "m.txt", None).unwrap_err().to_string();
        assert!(
            error.contains("line 3, column 3: 2 values where 3 belong"),
            "{error}"
        );
        let dir = folder("m.txt", "1 2 x\n");
        let error = Matrix::read(dir.path(), "m.txt", Some(3))
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 1, column 3: 'x' is not a number"), "{error}");
        let dir = folder("m.txt", "\n");
        assert!(Matrix::read(dir.path(), "m.txt", None).is_err());
        // Lines are counted as an editor does, blank ones too.
        let dir = folder("m.txt", "1 2\n\n3 4\n");
        let matrix = Matrix::read(dir.path(), "m.txt", None).unwrap();
        let error = matrix.bad(1, 1, "is odd").to_string();
        assert!(error.ends_with("m.txt: line 3, column 2: is odd"), "{error}");
        let error = matrix.rows_as(3, "b.txt").unwrap_err().to_string();
        assert!(
            error.ends_with("line 3, column 1: 2 rows where 3 belong, as in b.txt"),
            "{error}"
        );
        assert!(matrix.rows_as(2, "b.txt").is_ok());
    }

    #[test]
    fn numbers_of_machines_are_whole() {
        let dir = folder("a.csv", "id\n7\n7.0\n1.7\n-1\n");
        let table = Table::read(dir.path(), "a.csv", b',').unwrap();
        assert_eq!((table.whole(0, 0).unwrap(), table.whole(1, 0).unwrap()), (7, 7));
        for row in [2, 3] {
            let error = table.whole(row, 0).unwrap_err().to_string();
            assert!(
                error.contains(&format!("line {}, column 1 (id): '", row + 2))
                    && error.ends_with("is not a whole number from 0"),
                "{error}"
            );
        }
    }
}
