//! Which files, in which format, and how they are told apart.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use models::time::Timestamp;
use sha2::{Digest, Sha256};

use super::csv_file::CsvFile;
use super::lines::LineFile;
use super::parquet_file::ParquetFile;
use super::{Options, Source};
use crate::validate::TimeLimits;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    Csv,
    Parquet,
    /// InfluxDB line protocol.
    Line,
}

impl std::str::FromStr for FileFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "txt" => Ok(Self::Csv),
            "parquet" | "pq" => Ok(Self::Parquet),
            "line" | "lp" | "influx" => Ok(Self::Line),
            _ => bail!("`{text}` is none of csv, parquet, line"),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What it is called in messages.
pub(super) fn name(path: &Path) -> String {
    match path.file_name() {
        Some(name) if !is_stdin(path) => name.to_string_lossy().into_owned(),
        _ => "stdin".to_owned(),
    }
}

/// Bytes; 0 = nobody knows.
pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
}

/// Patterns with `*` and `?` in the file's name → files, sorted. Others stay as they are.
///
/// # Errors
/// When a pattern finds nothing or its folder can't be read.
pub fn expand(patterns: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let name = pattern
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !name.contains(['*', '?']) || pattern.exists() {
            files.push(pattern.clone());
            continue;
        }
        let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| folder.display().to_string())?
            .filter_map(Result::ok)
            .filter(|entry| fits(name.as_bytes(), entry.file_name().as_encoded_bytes()))
            .map(|entry| entry.path())
            .collect();
        if found.is_empty() {
            bail!("{}: no file fits", pattern.display());
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Whether a name fits a pattern of `*` (anything) and `?` (one byte).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|n| fits(rest, &name[n..])),
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((a, rest)), Some((b, name))) if a == b => fits(rest, name),
        _ => false,
    }
}

const END_BYTES: usize = 64 * 1024;

/// The sequence a file goes in as: the same file, mapping and chunks have the same one, unless it is
/// to be imported again. What comes from standard input can't be found again and is always new.
pub(super) fn epoch(path: &Path, options: &Options) -> anyhow::Result<u64> {
    let mut hash = Sha256::new();
    if is_stdin(path) || options.again {
        hash.update(uuid::Uuid::now_v7().as_bytes());
    } else {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        hash.update(length.to_be_bytes());
        let mut end = vec![0; END_BYTES];
        let n = read_up_to(&mut file, &mut end)?;
        hash.update(&end[..n]);
        file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES as u64)))?;
        let n = read_up_to(&mut file, &mut end)?;
        hash.update(&end[..n]);
    }
    hash.update(serde_json::to_vec(&options.mapping)?);
    hash.update(options.chunk.to_be_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // Positive as the database counts, and never 0.
    Ok((u64::from_be_bytes(first) >> 1).max(1))
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// First and last moment that is believed, microseconds since 1970.
pub(super) fn believed(limits: TimeLimits) -> (i64, i64) {
    let ahead = i64::try_from(limits.future_s)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000);
    (
        limits.ancient.micros(),
        Timestamp::now().micros().saturating_add(ahead),
    )
}

/// # Errors
/// When it can't be opened, its format can't be told, or the mapping doesn't fit.
pub(super) fn open(path: &Path, options: &Options, limits: TimeLimits) -> anyhow::Result<Box<dyn Source>> {
    let name = name(path);
    let format = match options.format {
        Some(format) => format,
        None if is_stdin(path) => FileFormat::Csv,
        None => path
            .extension()
            .map(|extension| extension.to_string_lossy().into_owned())
            .unwrap_or_default()
            .parse()
            .context("the file's name doesn't tell its format: --format csv, parquet or line")?,
    };
    let (mapping, chunk) = (&options.mapping, options.chunk.max(1));
    if is_stdin(path) {
        let input = std::io::stdin();
        return Ok(match format {
            FileFormat::Csv => Box::new(CsvFile::new(input, &name, mapping, limits, chunk)?),
            FileFormat::Line => Box::new(LineFile::new(
                BufReader::new(input),
                &name,
                mapping,
                limits,
                chunk,
            )?),
            FileFormat::Parquet => bail!("Parquet is read from its end: it can't come from standard input"),
        });
    }
    let file = File::open(path)?;
    Ok(match format {
        FileFormat::Csv => Box::new(CsvFile::new(file, &name, mapping, limits, chunk)?),
        FileFormat::Line => Box::new(LineFile::new(
            BufReader::new(file),
            &name,
            mapping,
            limits,
            chunk,
        )?),
        FileFormat::Parquet => Box::new(ParquetFile::new(file, &name, mapping, limits, chunk)?),
    })
}

/// Counts what is read through it.
pub(super) struct Counter<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

/// The count of a [`Counter`].
#[derive(Clone, Debug)]
pub(super) struct Count(Arc<AtomicU64>);

impl Count {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<R> Counter<R> {
    pub fn new(inner: R) -> (Self, Count) {
        let bytes = Arc::new(AtomicU64::new(0));
        let count = Count(bytes.clone());
        (Self { inner, bytes }, count)
    }
}

impl<R: Read> Read for Counter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("*", "", true),
            ("x*y*z", "x-y-y-z", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_file_is_known_again_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "ts,x\n1,2\n").unwrap();
        let options = Options::default();
        let first = epoch(&path, &options).unwrap();
        assert_eq!(epoch(&path, &options).unwrap(), first);
        let again = Options {
            again: true,
            ..Options::default()
        };
        assert_ne!(epoch(&path, &again).unwrap(), first);
        std::fs::write(&path, "ts,x\n1,3\n").unwrap();
        assert_ne!(epoch(&path, &options).unwrap(), first);
        assert_eq!(expand(&[folder.path().join("*.csv")]).unwrap(), [path]);
        assert!(expand(&[folder.path().join("*.parquet")]).is_err());
    }
}
