//! Rows of a class: features as they were stored, labels from reports and tickets.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use models::db::assessment::{self as db, ClassLabel, ClassRow};
use models::id::{AssetClassId, AssetId, FailureModeId};
use models::time::Timestamp;
use ndarray::Array2;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Layout, stored};
use crate::features::NAMES;

/// More rows say nothing new: neighbours in time are alike.
const MOST_ROWS: i64 = 60_000;

/// A failure as a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub asset: AssetId,
    pub at: Timestamp,
    /// 0 to 1: how sure it is.
    pub weight: f64,
    pub source: String,
    /// How it failed and the name of that, where it was said.
    pub mode: Option<(FailureModeId, String)>,
}

/// Features of a class over time, with the failures that followed.
#[derive(Clone, Debug)]
pub struct Rows {
    pub layout: Layout,
    pub x: Array2<f64>,
    pub asset: Vec<AssetId>,
    pub at: Vec<Timestamp>,
    pub labels: Vec<Label>,
    /// Until here it is known who failed.
    pub known_until: Timestamp,
}

/// Rows of a horizon: their places, whether a failure followed, and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    pub rows: Vec<usize>,
    pub y: Vec<bool>,
    pub weight: Vec<f64>,
    /// The failure that followed.
    pub failure: Vec<Option<(AssetId, Timestamp)>>,
    /// Failures that a row with features comes before, and machines that had one.
    pub failures: usize,
    pub failed_assets: usize,
}

/// Reads a class's rows and labels between two moments. Rows of a machine that has failed and isn't back in service yet
/// are left out: opened and stopped it looks like nothing that comes before a failure, nor like a healthy one.
///
/// # Errors
/// When the database does, or a stored row isn't one.
pub async fn read(
    connection: &mut PgConnection,
    class: AssetClassId,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<Rows> {
    let stored = db::class_features(connection, class, from, to, MOST_ROWS).await?;
    let labels = db::class_labels(connection, class, to).await?;
    rows(&stored, labels, to)
}

pub(crate) fn rows(stored_rows: &[ClassRow], labels: Vec<ClassLabel>, to: Timestamp) -> anyhow::Result<Rows> {
    let mut out_of_service: BTreeMap<AssetId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for label in labels.iter().filter(|label| label.restored_at > label.failed_at) {
        let of = out_of_service.entry(label.asset_id).or_default();
        of.push((label.failed_at, label.restored_at));
    }
    let in_service = |row: &&ClassRow| {
        out_of_service.get(&row.asset_id).is_none_or(|spans| {
            let during = |(from, to): &(Timestamp, Timestamp)| *from < row.window_end && row.window_end < *to;
            !spans.iter().any(during)
        })
    };
    let stored_rows: Vec<&ClassRow> = stored_rows.iter().filter(in_service).collect();
    let mut channels = BTreeSet::new();
    let mut asset_names = BTreeSet::new();
    for row in &stored_rows {
        let object = row
            .features
            .as_object()
            .context("a feature row is not an object")?;
        for (name, value) in object {
            if value.is_array() {
                channels.insert(name.as_str());
            } else if name != "regime" {
                asset_names.insert(name.as_str());
            }
        }
    }
    let layout = Layout {
        channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        features: NAMES.iter().map(|name| (*name).to_owned()).collect(),
        asset: asset_names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let width = layout.channels.len() * NAMES.len() + layout.asset.len();
    let mut x = Array2::from_elem((stored_rows.len(), width), f64::NAN);
    let number = |value: Option<&Value>| value.and_then(Value::as_f64).map_or(f64::NAN, stored);
    for (mut to, row) in x.rows_mut().into_iter().zip(&stored_rows) {
        for (place, channel) in layout.channels.iter().enumerate() {
            if let Some(numbers) = row.features.get(channel).and_then(Value::as_array)
                && numbers.len() == NAMES.len()
            {
                for (i, value) in numbers.iter().enumerate() {
                    to[place * NAMES.len() + i] = number(Some(value));
                }
            }
        }
        let first = layout.channels.len() * NAMES.len();
        for (place, name) in layout.asset.iter().enumerate() {
            to[first + place] = number(row.features.get(name));
        }
    }
    Ok(Rows {
        layout,
        x,
        asset: stored_rows.iter().map(|row| row.asset_id).collect(),
        at: stored_rows.iter().map(|row| row.window_end).collect(),
        labels: labels
            .into_iter()
            .map(|label| Label {
                asset: label.asset_id,
                at: label.failed_at,
                weight: label.weight,
                source: label.source,
                mode: label.failure_mode_id.zip(label.failure_mode_name),
            })
            .collect(),
        known_until: to,
    })
}

impl Rows {
    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// A number for each machine, the same in every run.
    pub fn groups(&self) -> Vec<u64> {
        let ids: BTreeMap<AssetId, u64> = self
            .asset
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .enumerate()
            .map(|(place, id)| (*id, place as u64))
            .collect();
        self.asset.iter().map(|asset| ids[asset]).collect()
    }

    pub fn assets(&self) -> usize {
        self.asset.iter().collect::<BTreeSet<_>>().len()
    }

    /// The rows whose next `horizon_h` hours are known.
    pub fn labelled(&self, horizon_h: f64) -> Labelled {
        self.labelled_by(horizon_h, None)
    }

    /// The same for failures of one mode: one of another cause that comes first ends the life without it, and what comes
    /// before a failure whose cause nobody recorded can't say.
    pub fn labelled_by(&self, horizon_h: f64, mode: Option<FailureModeId>) -> Labelled {
        let mut by_asset: BTreeMap<AssetId, Vec<&Label>> = BTreeMap::new();
        for label in &self.labels {
            by_asset.entry(label.asset).or_default().push(label);
        }
        let mut out = Labelled {
            rows: Vec::new(),
            y: Vec::new(),
            weight: Vec::new(),
            failure: Vec::new(),
            failures: 0,
            failed_assets: 0,
        };
        let mut seen = BTreeSet::new();
        for row in 0..self.len() {
            let until = self.at[row].plus_seconds(horizon_h * 3600.0);
            let next = by_asset.get(&self.asset[row]).and_then(|labels| {
                labels
                    .iter()
                    .find(|label| label.at > self.at[row] && label.at <= until)
            });
            // Failures too: keeping only what is known early would make failing look usual.
            if until > self.known_until {
                continue;
            }
            let cause = next.and_then(|label| label.mode.as_ref()).map(|(id, _)| *id);
            if mode.is_some() && next.is_some() && cause.is_none() {
                continue;
            }
            let next = next.filter(|_| mode.is_none() || cause == mode);
            if let Some(label) = next {
                seen.insert((label.asset, label.at));
            }
            out.rows.push(row);
            out.y.push(next.is_some());
            out.weight.push(next.map_or(1.0, |label| label.weight));
            out.failure.push(next.map(|label| (label.asset, label.at)));
        }
        out.failures = seen.len();
        out.failed_assets = seen.iter().map(|(asset, _)| asset).collect::<BTreeSet<_>>().len();
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::noise;

    /// A fleet whose level rises for three days before it fails; `rows` of them an hour apart.
    pub fn fleet(machines: usize, rows: usize, mut fails: impl FnMut(usize) -> Option<usize>) -> Rows {
        let start = Timestamp::from_secs(1_750_000_000);
        let (mut stored, mut labels) = (Vec::new(), Vec::new());
        for machine in 0..machines {
            let asset = AssetId::new();
            let failed = fails(machine);
            if let Some(at) = failed {
                labels.push(ClassLabel {
                    asset_id: asset,
                    failed_at: start.plus_seconds(at as f64 * 3600.0 + 60.0),
                    restored_at: start.plus_seconds(at as f64 * 3600.0 + 60.0),
                    weight: 1.0,
                    source: "person".to_owned(),
                    failure_mode_id: None,
                    failure_mode_name: None,
                });
            }
            for row in 0..rows {
                let before = failed.filter(|at| *at >= row).map_or(1e9, |at| (at - row) as f64);
                let level = noise(machine * rows + row) + 4.0 * (1.0 - before / 72.0).max(0.0);
                let numbers: Vec<Value> = (0..NAMES.len())
                    .map(|place| {
                        Value::from(if place == 0 {
                            level
                        } else {
                            noise(1_000_000 + row * 20 + place)
                        })
                    })
                    .collect();
                stored.push(ClassRow {
                    asset_id: asset,
                    window_end: start.plus_seconds(row as f64 * 3600.0),
                    features: serde_json::json!({ "vibration": numbers, "errors_24h": 0.0, "regime": 0 }),
                });
            }
        }
        rows_of(&stored, labels, start.plus_seconds(rows as f64 * 3600.0))
    }

    fn rows_of(stored: &[ClassRow], labels: Vec<ClassLabel>, to: Timestamp) -> Rows {
        rows(stored, labels, to).unwrap()
    }

    /// The machine stands open for ten hours: those rows are neither before a failure nor healthy ones.
    #[test]
    fn what_is_being_repaired_is_no_row() {
        let whole = fleet(2, 100, |machine| (machine == 0).then_some(50));
        let asset = whole.labels[0].asset;
        let stored: Vec<ClassRow> = whole
            .asset
            .iter()
            .zip(&whole.at)
            .map(|(asset_id, at)| ClassRow {
                asset_id: *asset_id,
                window_end: *at,
                features: serde_json::json!({ "errors_24h": 0.0 }),
            })
            .collect();
        let failed_at = whole.labels[0].at;
        let label = ClassLabel {
            asset_id: asset,
            failed_at,
            restored_at: failed_at.plus_seconds(36_000.0),
            weight: 1.0,
            source: "ticket".to_owned(),
            failure_mode_id: None,
            failure_mode_name: None,
        };
        let rows = rows_of(&stored, vec![label], whole.known_until);
        assert_eq!(rows.len(), 190);
        let during = |at: &Timestamp| *at > failed_at && *at < failed_at.plus_seconds(36_000.0);
        assert!(
            !rows
                .at
                .iter()
                .zip(&rows.asset)
                .any(|(at, of)| *of == asset && during(at))
        );
        assert_eq!(rows.labelled(24.0).y.iter().filter(|y| **y).count(), 24);
    }

    #[test]
    fn one_mode_is_labelled_beside_the_others() {
        let mut rows = fleet(3, 100, |_| Some(50));
        let (wear, leak) = (FailureModeId::new(), FailureModeId::new());
        rows.labels[0].mode = Some((wear, "Wear".to_owned()));
        rows.labels[1].mode = Some((leak, "Leak".to_owned()));
        let labelled = rows.labelled_by(24.0, Some(wear));
        assert_eq!((labelled.failures, labelled.failed_assets), (1, 1));
        assert_eq!(labelled.y.iter().filter(|y| **y).count(), 24);
        // The day before the failure of the third can't say; that of the second is no wear.
        assert_eq!(labelled.rows.len(), 3 * 77 - 24);
    }

    #[test]
    fn a_row_is_labelled_by_what_follows_and_left_out_where_nobody_knows() {
        let rows = fleet(2, 100, |machine| (machine == 0).then_some(50));
        let labelled = rows.labelled(24.0);
        assert_eq!((labelled.failures, labelled.failed_assets), (1, 1));
        let failed: Vec<usize> = labelled
            .rows
            .iter()
            .zip(&labelled.y)
            .filter(|(_, y)| **y)
            .map(|(r, _)| *r)
            .collect();
        assert_eq!(failed, (27..=50).collect::<Vec<_>>());
        // The last 24 hours of each machine are not known yet.
        assert_eq!(labelled.rows.len(), 2 * 77);
        assert_eq!(rows.layout.names()[0], "vibration.last");
        assert_eq!(rows.x[[3, 0]], stored(rows.x[[3, 0]]));
    }
}
