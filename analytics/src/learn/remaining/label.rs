//! Labels: how much life was left at each row, cut at a cap, and which rows can't say.

use std::collections::{BTreeMap, BTreeSet};

use models::id::AssetId;
use models::time::Timestamp;

use crate::learn::data::Rows;
use crate::stats;

/// Rows within the cap that make a run worth counting.
const LEAST_ROWS_OF_RUN: usize = 5;

/// What ended a stretch of a machine's time: a failure, or work that came before one.
pub struct End {
    at: Timestamp,
    failed: bool,
    weight: f64,
}

/// The ends of each machine's stretches, in time.
pub fn ends(rows: &Rows) -> BTreeMap<AssetId, Vec<End>> {
    let mut ends: BTreeMap<AssetId, Vec<End>> = BTreeMap::new();
    for label in &rows.labels {
        ends.entry(label.asset).or_default().push(End {
            at: label.at,
            failed: label.source != "prediction",
            weight: label.weight,
        });
    }
    for ends in ends.values_mut() {
        ends.sort_by_key(|end| end.at);
    }
    ends
}

/// Rows with their labels under a cap.
pub struct Labelled {
    pub cap_h: f64,
    pub rows: Vec<usize>,
    /// Hours left, at most the cap.
    pub left: Vec<f64>,
    pub weight: Vec<f64>,
    /// The run a row below the cap belongs to.
    pub run: Vec<Option<(AssetId, Timestamp)>>,
    pub runs: usize,
    pub machines: usize,
}

/// The median length of the runs to failure, hours; NaN without any.
pub fn usual_run_h(rows: &Rows, ends: &BTreeMap<AssetId, Vec<End>>) -> f64 {
    let mut began: BTreeMap<(AssetId, Timestamp), (Timestamp, usize)> = BTreeMap::new();
    for (asset, at) in rows.asset.iter().zip(&rows.at) {
        let next = ends
            .get(asset)
            .and_then(|ends| ends.iter().find(|end| end.at > *at));
        if let Some(end) = next.filter(|end| end.failed) {
            let (first, n) = began.entry((*asset, end.at)).or_insert((*at, 0));
            *first = (*first).min(*at);
            *n += 1;
        }
    }
    stats::median(
        began
            .iter()
            .filter(|(_, (_, n))| *n >= LEAST_ROWS_OF_RUN)
            .map(|((_, failed), (first, _))| failed.seconds_since(*first) / 3600.0),
    )
}

/// The rows whose next `cap_h` hours are known, with the hours that were left.
pub fn label(rows: &Rows, ends: &BTreeMap<AssetId, Vec<End>>, cap_h: f64) -> Labelled {
    let mut out = Labelled {
        cap_h,
        rows: Vec::new(),
        left: Vec::new(),
        weight: Vec::new(),
        run: Vec::new(),
        runs: 0,
        machines: 0,
    };
    let mut of_run: BTreeMap<(AssetId, Timestamp), usize> = BTreeMap::new();
    for (row, (asset, at)) in rows.asset.iter().zip(&rows.at).enumerate() {
        let until = at.plus_seconds(cap_h * 3600.0);
        // Those that failed too: keeping only what is known early would make lives look short.
        if until > rows.known_until {
            continue;
        }
        let next = ends
            .get(asset)
            .and_then(|ends| ends.iter().find(|end| end.at > *at))
            .filter(|end| end.at < until);
        let (left, weight, run) = match next {
            None => (cap_h, 1.0, None),
            // How long it would have run on without the work nobody knows.
            Some(end) if !end.failed => continue,
            Some(end) => (
                end.at.seconds_since(*at) / 3600.0,
                end.weight,
                Some((*asset, end.at)),
            ),
        };
        if let Some(run) = run {
            *of_run.entry(run).or_default() += 1;
        }
        out.rows.push(row);
        out.left.push(left);
        out.weight.push(weight);
        out.run.push(run);
    }
    let counted = || {
        of_run
            .iter()
            .filter(|(_, n)| **n >= LEAST_ROWS_OF_RUN)
            .map(|(run, _)| run)
    };
    out.runs = counted().count();
    out.machines = counted().map(|(asset, _)| asset).collect::<BTreeSet<_>>().len();
    out
}
