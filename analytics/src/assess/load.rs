//! What a pass reads.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use models::alarm::{Machine, Rule};
use models::artifact::Artifact;
use models::asset::ChannelKind;
use models::db::assessment::{self as db, AssetChannel, AssetFacts, ModeFacts, Previous};
use models::id::{AlarmRuleId, AssetClassId, AssetId, ChannelId, ModelVersionId};
use models::time::Timestamp;
use sqlx::PgConnection;

use super::cache::{Kept, Memory};
use crate::config::Config;
use crate::detect::Baseline;
use crate::detect::baseline::LEAST_STEPS;
use crate::detect::class::{self, LEAST_PEERS, Peer};
use crate::features::LONG;
use crate::learn::FailureModel;
use crate::learn::cause::{self, Causes};
use crate::learn::remaining::RemainingModel;
use crate::prognosis::life::ClassLives;
use crate::window::{self, Window};

/// Name of the baseline among the model versions.
pub const BASELINE: &str = "baseline";
/// Steps of a pass: two thirds more than the long window, so that "for how long" can be told.
pub(super) const PASS_STEPS: i64 = LONG as i64 * 5 / 3;

/// The model a pass works with.
#[derive(Clone, Debug)]
pub enum Model {
    /// Nothing to compare with: the register and life data alone.
    None,
    Stored(ModelVersionId, Arc<Baseline>),
    /// The class's, because the asset's own past is too short; it is stored with what comes of it.
    Borrowed(Arc<Baseline>),
    /// To be learned from this window; provisional while the history is shorter than wanted.
    Learn {
        window: Window,
        provisional: bool,
    },
}

impl Model {
    /// Seconds of a step of the windows it works with.
    fn step_s(&self) -> i64 {
        match self {
            Self::None => window::USUAL_STEP_S,
            Self::Stored(_, baseline) | Self::Borrowed(baseline) => baseline.step_s,
            Self::Learn { window, .. } => window.step_s,
        }
    }
}

/// What is known of a class of assets at a full hour.
#[derive(Debug)]
pub struct ClassFacts {
    pub modes: Vec<ModeFacts>,
    pub lives: Arc<ClassLives>,
    /// The same by what ended them.
    pub causes: Arc<Causes>,
    /// The model of its failures that was promoted, if there is one.
    pub failure_model: Option<(ModelVersionId, FailureModel)>,
    /// The same for remaining life.
    pub life_model: Option<(ModelVersionId, RemainingModel)>,
}

/// Everything that [`super::compute`] needs.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub facts: AssetFacts,
    pub class: Arc<ClassFacts>,
    pub model: Model,
    pub window: Window,
    pub newest: Vec<(ChannelId, Timestamp)>,
    pub rules: Vec<(Rule, Machine)>,
    /// The assessment before this one, or what stands there from an earlier pass.
    pub previous: Option<Previous>,
    pub now: Timestamp,
}

/// Lives are counted up to the full hour before the window's end, so that one count serves all assets
/// of a class and a repeated pass finds the same.
fn class_moment(end: Timestamp) -> Timestamp {
    Timestamp::from_micros(end.micros().div_euclid(3_600_000_000) * 3_600_000_000)
}

/// # Errors
/// When the database does, or the promoted model can't be read.
pub(super) async fn class_facts(
    connection: &mut PgConnection,
    memory: &Memory,
    facts: &AssetFacts,
    end: Timestamp,
) -> anyhow::Result<Arc<ClassFacts>> {
    let (class, at): (AssetClassId, Timestamp) = (facts.class_id, class_moment(end));
    if let Some(known) = memory.class(class, at) {
        return Ok(known);
    }
    let modes = db::failure_modes(connection, class).await?;
    let lives = db::class_lives(connection, class, at).await?;
    let failure_model = promoted(connection, facts, FailureModel::NAME).await?;
    let life_model = promoted(connection, facts, RemainingModel::NAME).await?;
    let found = Arc::new(ClassFacts {
        modes,
        lives: Arc::new(cause::lives(&lives).into()),
        causes: Arc::new(Causes::new(lives)),
        failure_model,
        life_model,
    });
    memory.keep_class(class, at, found.clone());
    Ok(found)
}

/// The champion of one kind for the asset's class.
async fn promoted<M: Artifact>(
    connection: &mut PgConnection,
    facts: &AssetFacts,
    name: &str,
) -> anyhow::Result<Option<(ModelVersionId, M)>> {
    let stored = db::champion(connection, facts.tenant_id, name, &facts.class_id.to_string()).await?;
    stored
        .map(|stored| Ok::<_, anyhow::Error>((stored.id, stored.artifact.open()?)))
        .transpose()
        .with_context(|| format!("the model {name} of class {}", facts.class_name))
}

/// A stored baseline by its id, opened once.
pub(super) async fn baselines(
    connection: &mut PgConnection,
    memory: &Memory,
    ids: &[ModelVersionId],
) -> anyhow::Result<HashMap<ModelVersionId, Arc<Baseline>>> {
    let mut found: HashMap<_, _> = ids
        .iter()
        .filter_map(|id| Some((*id, memory.baseline(*id)?)))
        .collect();
    let missing: Vec<ModelVersionId> = ids.iter().copied().filter(|id| !found.contains_key(id)).collect();
    if !missing.is_empty() {
        for stored in db::models_by_id(connection, &missing).await? {
            let baseline: Arc<Baseline> = Arc::new(
                stored
                    .artifact
                    .open()
                    .with_context(|| format!("the stored baseline {}", stored.id))?,
            );
            memory.keep_baseline(stored.id, baseline.clone());
            found.insert(stored.id, baseline);
        }
    }
    Ok(found)
}

/// A provisional baseline grows with the history, but never learns from an alarm. A borrowed one is
/// looked at in every pass.
pub(super) fn grows(
    baseline: &Baseline,
    facts: &AssetFacts,
    previous: Option<Previous>,
    end: Timestamp,
    config: &Config,
) -> bool {
    if baseline.borrowed.is_some() {
        return true;
    }
    let span_h = baseline.to.seconds_since(baseline.from) / 3600.0;
    let longer = end.seconds_since(baseline.from) / 3600.0 >= 2.0 * span_h;
    let full = span_h >= 0.95 * baseline_span_h(baseline_hours(facts, config), baseline.step_s);
    !full && longer && is_calm(previous)
}

fn is_calm(previous: Option<Previous>) -> bool {
    previous.is_some_and(|previous| previous.anomaly.is_some_and(|anomaly| anomaly < 1.0))
}

/// The asset's own past in place of its class's, as soon as it can be learned from. One that deviates from its class
/// waits for the whole of it: what it is from the start may be a fault.
fn own_past(learned: &Model, previous: Option<Previous>) -> bool {
    match learned {
        Model::Learn { window, provisional } => {
            Baseline::steps_of(window) >= LEAST_STEPS && (is_calm(previous) || !provisional)
        }
        _ => false,
    }
}

/// Others of the class that are asked for a baseline.
const MOST_PEERS: i64 = 40;

/// What the class says of an asset without a past.
async fn borrow(
    connection: &mut PgConnection,
    facts: &AssetFacts,
    channels: &[AssetChannel],
    span: (Timestamp, Timestamp),
) -> anyhow::Result<Option<Baseline>> {
    let stored = db::class_models(connection, facts.class_id, facts.asset_id, BASELINE, MOST_PEERS).await?;
    if stored.len() < LEAST_PEERS {
        return Ok(None);
    }
    let assets: Vec<AssetId> = stored.iter().map(|(asset, _)| *asset).collect();
    let mut of: HashMap<AssetId, Vec<AssetChannel>> = HashMap::new();
    for (asset, channel) in db::assets_channels(connection, &assets).await? {
        of.entry(asset).or_default().push(channel);
    }
    let peers: Vec<Peer> = stored
        .into_iter()
        .filter_map(|(asset, artifact)| {
            // A baseline that can't be read is the trouble of its own asset.
            let baseline = artifact.0.open().ok()?;
            let channels = of.remove(&asset)?;
            Some(Peer { baseline, channels })
        })
        .collect();
    Ok(class::pool(&facts.class_name, channels, &peers, span))
}

fn baseline_hours(facts: &AssetFacts, config: &Config) -> f64 {
    facts
        .baseline_hours
        .filter(|hours| *hours > 0.0)
        .unwrap_or(config.baseline_hours)
}

/// `None`: the asset has no readings yet.
///
/// # Errors
/// When the asset doesn't exist, or the database does.
pub async fn load(
    connection: &mut PgConnection,
    memory: &Memory,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<Option<Inputs>> {
    let seen = memory.late.ask(connection).await?;
    let channels = db::asset_channels(connection, asset).await?;
    let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.id).collect();
    let newest = db::newest_readings(connection, &ids, now).await?;
    let Some(end) = newest.iter().map(|(_, at)| *at).max() else {
        return Ok(None);
    };
    let facts = db::asset_facts(connection, asset, end)
        .await?
        .with_context(|| format!("no asset {asset}"))?;
    let class = class_facts(connection, memory, &facts, end).await?;
    let previous = db::previous(connection, asset, end).await?;
    let scope = [(facts.tenant_id, asset.to_string())];
    let stored = db::champion_ids(connection, BASELINE, &scope).await?.pop();
    let hours = baseline_hours(&facts, config);
    let model = match stored {
        Some((_, id)) => {
            let baseline = baselines(connection, memory, &[id])
                .await?
                .remove(&id)
                .context("the champion of the baselines is gone")?;
            if grows(&baseline, &facts, previous, end, config) {
                let learned = learn(connection, &channels, baseline.from, end, hours).await?;
                if baseline.borrowed.is_none() || own_past(&learned, previous) {
                    learned
                } else {
                    Model::Stored(id, baseline)
                }
            } else {
                Model::Stored(id, baseline)
            }
        }
        None => {
            let from = end.plus_seconds(-config.history_days * 86_400.0);
            let first = db::first_reading(connection, &ids, from, end)
                .await?
                .unwrap_or(end);
            let learned = learn(connection, &channels, first, end, hours).await?;
            let short =
                matches!(&learned, Model::Learn { window, .. } if Baseline::steps_of(window) < LEAST_STEPS);
            let borrowed = if short {
                borrow(connection, &facts, &channels, (first, end)).await?
            } else {
                None
            };
            borrowed.map_or(learned, |baseline| Model::Borrowed(Arc::new(baseline)))
        }
    };
    let step_s = model.step_s();
    let from = end.plus_seconds(-((PASS_STEPS - 1) * step_s) as f64);
    let window = window::load(connection, &channels, from, end, step_s).await?;
    memory.keep(asset, Kept::pack(&window, &newest, seen));

    let rules = models::db::alarm::rules_for_asset(connection, asset).await?;
    let rule_ids: Vec<_> = rules.iter().map(|rule| rule.id).collect();
    let mut machines = models::db::alarm::latest_machines(connection, &rule_ids).await?;
    Ok(Some(Inputs {
        facts,
        class,
        model,
        window,
        newest,
        rules: with_machines(rules, &mut machines),
        previous,
        now,
    }))
}

pub(super) fn with_machines(
    rules: Vec<Rule>,
    machines: &mut HashMap<AlarmRuleId, Machine>,
) -> Vec<(Rule, Machine)> {
    rules
        .into_iter()
        .map(|rule| {
            let machine = machines.remove(&rule.id).unwrap_or_default();
            (rule, machine)
        })
        .collect()
}

/// Hours of healthy history that are wanted: as configured, or what a slow channel needs.
fn baseline_span_h(hours: f64, step_s: i64) -> f64 {
    hours.max(1.25 * LEAST_STEPS as f64 * step_s as f64 / 3600.0)
}

async fn learn(
    connection: &mut PgConnection,
    channels: &[AssetChannel],
    first: Timestamp,
    end: Timestamp,
    hours: f64,
) -> anyhow::Result<Model> {
    let measured: Vec<ChannelId> = channels
        .iter()
        .filter(|channel| channel.kind == ChannelKind::Measurement)
        .map(|channel| channel.id)
        .collect();
    let cadences: Vec<f64> = db::cadences(connection, &measured, first, end)
        .await?
        .into_iter()
        .map(|(_, gap)| gap)
        .collect();
    let history_s = end.seconds_since(first).min(hours * 3600.0);
    let step_s = window::choose_step(&cadences, history_s);
    let span_s = baseline_span_h(hours, step_s) * 3600.0;
    let until = end.min(first.plus_seconds(span_s));
    let window = window::load(connection, channels, first, until, step_s).await?;
    Ok(Model::Learn {
        window,
        provisional: until == end,
    })
}
