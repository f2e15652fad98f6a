//! What a selector finds: channels and the health of assets, with their labels, and their samples.

use std::collections::BTreeMap;

use models::db::history::tree::{self, ChannelPlace, Which};
use models::db::history::{self, moments, stats};
use models::id::{AssetId, ChannelId};
use models::reading::Quality;
use models::time::Timestamp;
use sqlx::PgConnection;

use super::ast::Matcher;
use super::functions::Sample;

pub type Labels = BTreeMap<String, String>;

/// Series of one selector, and samples of one query, at most.
pub const MOST_SERIES: usize = 2_000;
pub const MOST_SAMPLES: i64 = 2_000_000;
const MOST_CHANNELS: i64 = 50_000;
const MOST_ASSESSMENTS: i32 = 100_000;
pub const HEALTH: &str = "forewarn_asset_health";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Channel(ChannelId),
    Health(AssetId),
}

#[derive(Clone, Debug)]
pub struct Series {
    pub key: Key,
    pub labels: Labels,
    pub cadence_s: Option<f64>,
}

/// A name as a metric may be called.
pub fn metric_name(name: &str) -> String {
    let mut fit: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == ':' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if fit.starts_with(|c: char| c.is_ascii_digit()) || fit.is_empty() {
        fit.insert(0, '_');
    }
    fit
}

fn of_channel(place: ChannelPlace) -> Series {
    let kind = serde_json::to_value(place.kind).unwrap_or_default();
    let mut labels = Labels::new();
    let mut put = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(label.to_owned(), value);
        }
    };
    put("__name__", Some(metric_name(&place.name)));
    put("channel", Some(place.name));
    put("channel_id", Some(place.id.to_string()));
    put("unit", Some(place.unit));
    put("kind", kind.as_str().map(str::to_owned));
    put("device", Some(place.device));
    put("gateway", Some(place.gateway));
    put("site", Some(place.site));
    put("area", place.area);
    put("asset", place.asset);
    put("asset_id", place.asset_id.map(|id| id.to_string()));
    put("asset_class", place.asset_class);
    Series {
        key: Key::Channel(place.id),
        labels,
        cadence_s: place.cadence_s,
    }
}

/// Every series of the tenant that fits all of `matchers`.
///
/// # Errors
/// When the database does.
pub async fn find(db: &mut PgConnection, matchers: &[Matcher]) -> Result<Vec<Series>, sqlx::Error> {
    let fits = |labels: &Labels| {
        matchers.iter().all(|matcher| {
            matcher
                .test
                .holds(labels.get(&matcher.label).map_or("", String::as_str))
        })
    };
    let name_fits = |name: &str| {
        matchers
            .iter()
            .filter(|matcher| matcher.label == "__name__")
            .all(|matcher| matcher.test.holds(name))
    };
    let places = tree::places(db, &Which::default(), MOST_CHANNELS).await?;
    let mut found: Vec<Series> = places
        .into_iter()
        .filter(|place| name_fits(&metric_name(&place.name)))
        .map(of_channel)
        .filter(|series| fits(&series.labels))
        .collect();
    if name_fits(HEALTH) {
        for asset in tree::assets(db, MOST_CHANNELS).await? {
            let mut labels = Labels::new();
            for (label, value) in [
                ("__name__", Some(HEALTH.to_owned())),
                ("asset", Some(asset.name)),
                ("asset_id", Some(asset.id.to_string())),
                ("asset_class", Some(asset.asset_class)),
                ("site", Some(asset.site)),
                ("area", asset.area),
            ] {
                if let Some(value) = value {
                    labels.insert(label.to_owned(), value);
                }
            }
            if fits(&labels) {
                found.push(Series {
                    key: Key::Health(asset.id),
                    labels,
                    cadence_s: None,
                });
            }
        }
    }
    Ok(found)
}

fn channels(series: &[Series]) -> Vec<ChannelId> {
    series
        .iter()
        .filter_map(|series| match series.key {
            Key::Channel(id) => Some(id),
            Key::Health(_) => None,
        })
        .collect()
}

async fn health(
    db: &mut PgConnection,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Sample>, sqlx::Error> {
    let mut rows: Vec<Sample> = history::health(db, asset, from, to, MOST_ASSESSMENTS)
        .await?
        .into_iter()
        .map(|(at, health)| (at.micros() as f64 / 1e6, health))
        .collect();
    rows.reverse();
    Ok(rows)
}

/// The samples of each series in `(after, until]`, oldest first. `None`: more than [`MOST_SAMPLES`].
///
/// # Errors
/// When the database does.
pub async fn samples(
    db: &mut PgConnection,
    series: &[Series],
    after_us: i64,
    until_us: i64,
) -> Result<Option<BTreeMap<Key, Vec<Sample>>>, sqlx::Error> {
    let (from, to) = (
        Timestamp::from_micros(after_us + 1),
        Timestamp::from_micros(until_us + 1),
    );
    let mut found: BTreeMap<Key, Vec<Sample>> = BTreeMap::new();
    let rows = moments::many(db, &channels(series), from, to, MOST_SAMPLES + 1).await?;
    if rows.len() as i64 > MOST_SAMPLES {
        return Ok(None);
    }
    for (channel, row) in rows {
        if Quality::from_code(row.quality) != Quality::Bad {
            found
                .entry(Key::Channel(channel))
                .or_default()
                .push((row.ts.micros() as f64 / 1e6, row.value));
        }
    }
    for one in series {
        if let Key::Health(asset) = one.key {
            found.insert(one.key, health(db, asset, from, to).await?);
        }
    }
    Ok(Some(found))
}

/// The newest sample of each channel in `(t − within, t]` for each `t`, few readings read.
///
/// # Errors
/// When the database does.
pub async fn at(
    db: &mut PgConnection,
    series: &[Series],
    times_us: &[i64],
    within_us: i64,
) -> Result<BTreeMap<Key, Vec<Sample>>, sqlx::Error> {
    let times: Vec<Timestamp> = times_us.iter().map(|us| Timestamp::from_micros(*us)).collect();
    let mut found: BTreeMap<Key, Vec<Sample>> = BTreeMap::new();
    for row in moments::at(db, &channels(series), &times, within_us).await? {
        let samples = found.entry(Key::Channel(row.channel_id)).or_default();
        let sample = (row.ts.micros() as f64 / 1e6, row.value);
        if samples.last() != Some(&sample) {
            samples.push(sample);
        }
    }
    if let (Some(first), Some(last)) = (times_us.first(), times_us.last()) {
        for one in series {
            if let Key::Health(asset) = one.key {
                let (from, to) = (
                    Timestamp::from_micros(first - within_us + 1),
                    Timestamp::from_micros(last + 1),
                );
                found.insert(one.key, health(db, asset, from, to).await?);
            }
        }
    }
    Ok(found)
}

/// Buckets of `width_us` in `[from, to)` of the channels, from rollups; with first and last values
/// when asked for.
///
/// # Errors
/// When the database does.
pub async fn buckets(
    db: &mut PgConnection,
    series: &[Series],
    from_us: i64,
    to_us: i64,
    width_us: i64,
    with_ends: bool,
) -> Result<BTreeMap<Key, Vec<stats::Stat>>, sqlx::Error> {
    let (from, to) = (Timestamp::from_micros(from_us), Timestamp::from_micros(to_us));
    let grid = stats::Grid::new(width_us, from);
    let mut found: BTreeMap<Key, Vec<stats::Stat>> = BTreeMap::new();
    let ids = channels(series);
    let rows = if with_ends {
        stats::stats(db, &ids, from, to, grid).await?
    } else {
        stats::outline(db, &ids, from, to, grid).await?
    };
    for stat in rows {
        found.entry(Key::Channel(stat.channel_id)).or_default().push(stat);
    }
    Ok(found)
}
