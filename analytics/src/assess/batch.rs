//! Many assets in one pass: every question is asked once for all of them.
//!
//! The fast way is for assets whose window is remembered and whose baseline stands: their news are read
//! by one COPY, facts, rules and predictions by one statement each, features computed in one table, and
//! everything is written in one transaction. Whatever is not of that kind, and every asset of a batch
//! that couldn't be written, is assessed alone and in a transaction of its own: one that fails never
//! takes another with it.

use std::collections::{BTreeMap, HashMap, HashSet};

use models::db::assessment::{self as db, AssetChannel};
use models::id::{AssetId, ChannelId};
use models::time::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::cache::{Kept, Memory, Read, Tail};
use super::load::{self, BASELINE, Inputs, Model};
use super::{Passed, compute, pass, write};
use crate::config::Config;

/// Assesses assets that `worker` has claimed; the claims are given back with the results. The order of
/// the results is not that of `assets`.
pub async fn pass_many(
    pool: &PgPool,
    memory: &Memory,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
    worker: Option<Uuid>,
) -> Vec<(AssetId, anyhow::Result<Passed>)> {
    let mut results = Vec::with_capacity(assets.len());
    if let [_, _, ..] = assets {
        match together(pool, memory, assets, now, config, worker).await {
            Ok(passed) => results.extend(passed.into_iter().map(|(asset, passed)| (asset, Ok(passed)))),
            Err(error) => tracing::warn!(
                assets = assets.len(),
                error = format!("{error:#}"),
                "a batch failed, its assets are assessed one by one"
            ),
        }
    }
    let done: HashSet<AssetId> = results.iter().map(|(asset, _)| *asset).collect();
    for asset in assets.iter().filter(|asset| !done.contains(asset)) {
        results.push((*asset, pass(pool, memory, *asset, now, config, worker).await));
    }
    results
}

/// The assets that can be assessed together; the others are left for later.
async fn together(
    pool: &PgPool,
    memory: &Memory,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
    worker: Option<Uuid>,
) -> anyhow::Result<Vec<(AssetId, Passed)>> {
    let inputs = {
        let mut connection = pool.acquire().await?;
        load_known(&mut connection, memory, assets, now, config).await?
    };
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = tokio::task::spawn_blocking(move || compute::compute_many(inputs)).await?;
    let good: Vec<_> = outcomes
        .into_iter()
        .filter_map(Result::ok)
        .filter(|outcome| {
            outcome
                .gap()
                .is_none_or(|(from, to)| super::points(from, to, config) < 2)
        })
        .collect();
    if good.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = pool.begin().await?;
    let done = write::write_many(&mut transaction, good, config).await?;
    if let Some(worker) = worker {
        let ids: Vec<AssetId> = done.iter().map(|assessment| assessment.asset).collect();
        let ours = db::finish_claims(&mut transaction, &ids, worker, now).await?;
        anyhow::ensure!(
            ours.len() == ids.len(),
            "{} of {} leases had run out",
            ids.len() - ours.len(),
            ids.len()
        );
    }
    transaction.commit().await?;
    Ok(done
        .into_iter()
        .map(|assessment| (assessment.asset, Ok(assessment)))
        .collect())
}

/// Inputs of those assets whose window is remembered and whose baseline stays.
async fn load_known(
    connection: &mut PgConnection,
    memory: &Memory,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<Vec<Inputs>> {
    let seen = memory.late.ask(connection).await?;
    let mut kept: HashMap<AssetId, Known> = HashMap::with_capacity(assets.len());
    for asset in assets {
        let Some(window) = memory.take(*asset) else {
            continue;
        };
        let changed = memory.late.changed(*asset, window.seen);
        if changed.is_some_and(|from| from <= window.start()) {
            tracing::debug!(%asset, "readings changed, its window is read again");
            continue;
        }
        let last = window.last_from();
        let from = changed.map_or(last, |from| window.floor(from).min(last));
        kept.insert(*asset, Known { window, from });
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let known: Vec<AssetId> = kept.keys().copied().collect();
    let mut channels: HashMap<AssetId, Vec<AssetChannel>> = HashMap::new();
    for (asset, channel) in db::assets_channels(connection, &known).await? {
        channels.entry(asset).or_default().push(channel);
    }
    for asset in with_more(connection, &kept, &channels).await? {
        if let Some(known) = kept.get_mut(&asset) {
            known.from = known.window.untold_from();
        }
    }
    let mut asked: BTreeMap<Timestamp, Vec<ChannelId>> = BTreeMap::new();
    for (asset, known) in &kept {
        let own = channels.get(asset).map(Vec::as_slice).unwrap_or_default();
        asked
            .entry(known.from)
            .or_default()
            .extend(own.iter().map(|channel| channel.id));
    }
    let mut rows = Vec::new();
    for (from, mut ids) in asked {
        ids.sort_unstable();
        db::stream_readings(connection, &ids, (from, now), |channel, ts, value, quality| {
            rows.push(Read {
                channel,
                ts,
                value,
                good: quality < 2,
            });
        })
        .await?;
    }
    let tail = Tail::new(rows);
    let mut windows = HashMap::with_capacity(kept.len());
    for (asset, mut known) in kept {
        let own = channels.remove(&asset).unwrap_or_default();
        if let Some(advanced) = known.window.advance(own, &tail, known.from, seen) {
            memory.keep(asset, known.window);
            windows.insert(asset, advanced);
        }
    }
    let ends: Vec<(AssetId, Timestamp)> = windows
        .iter()
        .map(|(asset, (window, _))| (*asset, window.end))
        .collect();
    let known: Vec<AssetId> = ends.iter().map(|(asset, _)| *asset).collect();
    let facts = db::assets_facts(connection, &ends).await?;
    let scopes: Vec<_> = facts
        .iter()
        .map(|facts| (facts.tenant_id, facts.asset_id.to_string()))
        .collect();
    let champions: HashMap<String, _> = db::champion_ids(connection, BASELINE, &scopes)
        .await?
        .into_iter()
        .collect();
    let model_ids: Vec<_> = champions.values().copied().collect();
    let baselines = load::baselines(connection, memory, &model_ids).await?;
    let previous: HashMap<_, _> = db::previous_of(connection, &ends).await?.into_iter().collect();
    let mut rules: HashMap<AssetId, Vec<_>> = HashMap::new();
    for rule in models::db::alarm::rules_for_assets(connection, &known).await? {
        rules.entry(rule.asset).or_default().push(rule);
    }
    let rule_ids: Vec<_> = rules.values().flatten().map(|rule| rule.id).collect();
    let mut machines = if rule_ids.is_empty() {
        HashMap::new()
    } else {
        models::db::alarm::latest_machines(connection, &rule_ids).await?
    };
    let mut inputs = Vec::with_capacity(facts.len());
    for facts in facts {
        let asset = facts.asset_id;
        let (Some((window, newest)), Some(id)) =
            (windows.remove(&asset), champions.get(&asset.to_string()).copied())
        else {
            continue;
        };
        let Some(baseline) = baselines.get(&id).cloned() else {
            continue;
        };
        let previous = previous.get(&asset).copied();
        if baseline.step_s != window.step_s || load::grows(&baseline, &facts, previous, window.end, config) {
            continue;
        }
        let class = load::class_facts(connection, memory, &facts, window.end).await?;
        inputs.push(Inputs {
            facts,
            class,
            model: Model::Stored(id, baseline),
            window,
            newest,
            rules: load::with_machines(rules.remove(&asset).unwrap_or_default(), &mut machines),
            previous,
            now,
        });
    }
    Ok(inputs)
}

/// A remembered window, and from when on its readings are read again.
struct Known {
    window: Kept,
    from: Timestamp,
}

impl Known {
    /// What is neither told when it changes nor read again.
    fn untold(&self) -> (Timestamp, Timestamp) {
        (self.window.untold_from(), self.from)
    }
}

/// Assets of which the database has another number of readings than is remembered where changes are told by nobody.
async fn with_more(
    connection: &mut PgConnection,
    kept: &HashMap<AssetId, Known>,
    channels: &HashMap<AssetId, Vec<AssetChannel>>,
) -> anyhow::Result<Vec<AssetId>> {
    let mut ranges: BTreeMap<(Timestamp, Timestamp), Vec<AssetId>> = BTreeMap::new();
    for (asset, known) in kept {
        let (from, to) = known.untold();
        if from < to {
            ranges.entry((from, to)).or_default().push(*asset);
        }
    }
    let mut found = Vec::new();
    for ((from, to), assets) in ranges {
        let ids: Vec<ChannelId> = assets
            .iter()
            .filter_map(|asset| channels.get(asset))
            .flatten()
            .map(|channel| channel.id)
            .collect();
        let counted: HashMap<ChannelId, i64> = db::counts(connection, &ids, from, to)
            .await?
            .into_iter()
            .collect();
        found.extend(assets.into_iter().filter(|asset| {
            let own = channels.get(asset).map(Vec::as_slice).unwrap_or_default();
            let remembered = kept
                .get(asset)
                .map(|known| known.window.counts(from, to))
                .unwrap_or_default();
            let n = |counts: &HashMap<ChannelId, i64>, id| counts.get(&id).copied().unwrap_or(0);
            own.iter()
                .any(|channel| n(&counted, channel.id) != n(&remembered, channel.id))
        }));
    }
    Ok(found)
}
