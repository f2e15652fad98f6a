//! What a pass reads.

use anyhow::Context;
use models::alarm::{Machine, Rule};
use models::asset::ChannelKind;
use models::db::assessment::{self as db, AssetChannel, AssetFacts, ModeFacts, Previous};
use models::id::{AssetId, ChannelId, ModelVersionId};
use models::time::Timestamp;
use sqlx::PgConnection;

use crate::config::Config;
use crate::detect::Baseline;
use crate::detect::baseline::LEAST_STEPS;
use crate::features::LONG;
use crate::reliability::Life;
use crate::window::{self, Window};

/// Name of the baseline among the model versions.
pub const BASELINE: &str = "baseline";
/// Steps of a pass: twice the long window, so that "for how long" can be told.
const PASS_STEPS: i64 = 2 * LONG as i64;

/// The model a pass works with.
#[derive(Clone, Debug)]
pub enum Model {
    Stored(ModelVersionId, Box<Baseline>),
    /// To be learned from this window; provisional while the history is shorter than wanted.
    Learn {
        window: Window,
        provisional: bool,
    },
}

/// Everything that [`super::compute`] needs.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub facts: AssetFacts,
    pub modes: Vec<ModeFacts>,
    pub lives: Vec<Life>,
    pub model: Model,
    pub window: Window,
    pub newest: Vec<(ChannelId, Timestamp)>,
    pub rules: Vec<(Rule, Machine)>,
    /// The assessment before this one, or what stands there from an earlier pass.
    pub previous: Option<Previous>,
    pub now: Timestamp,
}

/// `None`: the asset has no readings yet.
///
/// # Errors
/// When the asset doesn't exist, or the database does.
pub async fn load(
    connection: &mut PgConnection,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<Option<Inputs>> {
    let channels = db::asset_channels(connection, asset).await?;
    let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.id).collect();
    let newest = db::newest_readings(connection, &ids, now).await?;
    let Some(end) = newest.iter().map(|(_, at)| *at).max() else {
        return Ok(None);
    };
    let facts = db::asset_facts(connection, asset, end)
        .await?
        .with_context(|| format!("no asset {asset}"))?;
    let modes = db::failure_modes(connection, facts.class_id).await?;
    let lives = db::class_lives(connection, facts.class_id, end).await?;
    let lives = lives.into_iter().filter(|(age, _)| *age > 0.0);
    let lives = lives
        .map(|(age, failed)| {
            if failed {
                Life::Failed(age)
            } else {
                Life::Suspended(age)
            }
        })
        .collect();

    let previous = db::previous(connection, asset, end).await?;
    let stored = db::champion(connection, facts.tenant_id, BASELINE, &asset.to_string()).await?;
    let hours = facts
        .baseline_hours
        .filter(|hours| *hours > 0.0)
        .unwrap_or(config.baseline_hours);
    let model = match stored {
        Some(stored) => {
            let baseline: Baseline = stored.artifact.open().context("the stored baseline")?;
            let span_h = baseline.to.seconds_since(baseline.from) / 3600.0;
            let longer = end.seconds_since(baseline.from) / 3600.0 >= 2.0 * span_h;
            let full = span_h >= 0.95 * baseline_span_h(hours, baseline.step_s);
            let calm = previous.is_some_and(|previous| previous.anomaly.is_some_and(|anomaly| anomaly < 1.0));
            // A provisional baseline grows with the history, but never learns from an alarm.
            if !full && longer && calm {
                learn(connection, &channels, baseline.from, end, hours).await?
            } else {
                Model::Stored(stored.id, Box::new(baseline))
            }
        }
        None => {
            let from = end.plus_seconds(-config.history_days * 86_400.0);
            let first = db::first_reading(connection, &ids, from, end)
                .await?
                .unwrap_or(end);
            learn(connection, &channels, first, end, hours).await?
        }
    };
    let step_s = match &model {
        Model::Stored(_, baseline) => baseline.step_s,
        Model::Learn { window, .. } => window.step_s,
    };
    let from = end.plus_seconds(-((PASS_STEPS - 1) * step_s) as f64);
    let window = window::load(connection, &channels, from, end, step_s).await?;

    let rules = models::db::alarm::rules_for_asset(connection, asset).await?;
    let rule_ids: Vec<_> = rules.iter().map(|rule| rule.id).collect();
    let mut machines = models::db::alarm::latest_machines(connection, &rule_ids).await?;
    let rules = rules
        .into_iter()
        .map(|rule| {
            let machine = machines.remove(&rule.id).unwrap_or_default();
            (rule, machine)
        })
        .collect();
    Ok(Some(Inputs {
        facts,
        modes,
        lives,
        model,
        window,
        newest,
        rules,
        previous,
        now,
    }))
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
