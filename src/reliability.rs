//! `forewarn reliability`: life data statistics for people and notebooks.

use std::path::PathBuf;
use std::process::ExitCode;

use analytics::reliability::Life;
use analytics::reliability::replacement::Costs;
use analytics::report::{self, Lived, Lives};
use anyhow::Context;
use models::db::assessment::{self as db, ClassLabel, ClassLife, ModeFacts};
use models::db::{Role, connect};
use models::time::Timestamp;

use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CSV with the columns age and status (failed, suspended); if wanted age_to (failed between two ages), system
    /// (recurring failures of repaired systems), group, cause (of a failure), repair_h (hours the repair took).
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "class",
        conflicts_with = "class"
    )]
    file: Option<PathBuf>,
    /// Lives of this class of assets, from its failure reports.
    #[arg(long)]
    class: Option<String>,
    /// Tenant of the class, where several have one of this name.
    #[arg(long, requires = "class")]
    tenant: Option<String>,
    /// Further columns of the file, numbers each: what do they do to the life (Cox, Weibull AFT)?
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        conflicts_with = "class"
    )]
    covariates: Vec<String>,
    /// Of bounds, and of the tests whether failures come faster.
    #[arg(long, default_value_t = 0.9)]
    confidence: f64,
    /// Shape to assume where failures are too few to fit one.
    #[arg(long)]
    shape: Option<f64>,
    /// Cost of a planned replacement, and of a failure with its consequences: for the best age to replace at.
    #[arg(long, requires = "failure_cost")]
    planned_cost: Option<f64>,
    #[arg(long, requires = "planned_cost")]
    failure_cost: Option<f64>,
    /// Unit of the ages.
    #[arg(long, default_value = "h")]
    unit: String,
    /// Draw the Weibull plot and the cost curve into this folder.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// A file that isn't one of lives, a class nobody knows, a database that is away.
pub async fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.confidence > 0.0 && args.confidence < 1.0,
        "--confidence {}: it must be between 0 and 1",
        args.confidence
    );
    let mut shape = args.shape;
    let lives = match (&args.file, &args.class) {
        (Some(file), _) => report::read(file, &args.covariates)?,
        (None, Some(class)) => {
            let (lives, of_class) =
                of_class(class, args.tenant.as_deref(), &config.database.address()?).await?;
            shape = shape.or(of_class);
            lives
        }
        (None, None) => anyhow::bail!("name a file of lives (--file) or a class of assets (--class)"),
    };
    let how = report::Args {
        confidence: args.confidence,
        shape,
        costs: args
            .planned_cost
            .zip(args.failure_cost)
            .map(|(planned, failure)| Costs { planned, failure }),
        unit: args.unit,
    };
    let found = report::report(&lives, &how, args.svg.as_deref())?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        print!("{}", found.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// Lives of a class and the shape that people assume for it.
async fn of_class(name: &str, tenant: Option<&str>, url: &str) -> anyhow::Result<(Lives, Option<f64>)> {
    let pool = connect(url, Role::Analytics, 1)?;
    let mut connection = pool.acquire().await?;
    let classes = db::trainable_classes(&mut connection, &analytics::learn::MODELS).await?;
    let mut found = classes
        .into_iter()
        .filter(|class| class.name == name && tenant.is_none_or(|tenant| class.tenant == tenant));
    let class = found
        .next()
        .with_context(|| format!("no class is named `{name}`, or no machine of it is in use"))?;
    if let Some(other) = found.next() {
        anyhow::bail!(
            "tenants {} and {} both have a class `{name}`: say which with --tenant",
            class.tenant,
            other.tenant
        );
    }
    let now = Timestamp::now();
    let lives = db::class_lives(&mut connection, class.class_id, now).await?;
    let modes = db::failure_modes(&mut connection, class.class_id).await?;
    let labels = db::class_labels(&mut connection, class.class_id, now).await?;
    drop(connection);
    pool.close().await;
    let lives = Lives {
        lives: told_apart(&lives, &modes),
        repairs: repairs(&labels, now),
        ..Lives::default()
    };
    Ok((lives, class.weibull_shape))
}

/// Lives with the name of what ended them, where that was ever said.
fn told_apart(lives: &[ClassLife], modes: &[ModeFacts]) -> Vec<Lived> {
    let said = lives.iter().any(|life| life.failure_mode_id.is_some());
    let cause = |life: &ClassLife| {
        let mode = modes.iter().find(|mode| Some(mode.id) == life.failure_mode_id);
        mode.map_or_else(|| "cause not recorded".to_owned(), |mode| mode.name.clone())
    };
    lives
        .iter()
        .filter(|life| life.age_h > 0.0)
        .map(|life| {
            let lived = if life.failed {
                Life::Failed
            } else {
                Life::Suspended
            };
            Lived {
                cause: (said && life.failed).then(|| cause(life)),
                ..Lived::from(lived(life.age_h))
            }
        })
        .collect()
}

/// Hours from each failure until its machine was back in service, where that is known. What was prevented was no
/// repair, and one that lasts has no time yet.
fn repairs(labels: &[ClassLabel], now: Timestamp) -> Option<Vec<f64>> {
    let hours: Vec<f64> = labels
        .iter()
        .filter(|label| {
            label.source != "prediction" && label.failed_at < label.restored_at && label.restored_at < now
        })
        .map(|label| label.restored_at.seconds_since(label.failed_at) / 3600.0)
        .collect();
    (!hours.is_empty()).then_some(hours)
}

#[cfg(test)]
mod tests {
    use models::id::{AssetId, FailureModeId};
    use sqlx::types::Json;

    use super::*;

    #[test]
    fn lives_of_a_class_carry_what_ended_them() {
        let wear = ModeFacts {
            id: FailureModeId::new(),
            code: "wear".to_owned(),
            name: "Bearing wear".to_owned(),
            signature: Json(Default::default()),
            pf_interval_days: None,
            repair_hours: None,
            repair_cost: None,
        };
        let life = |age_h: f64, failed: bool, failure_mode_id: Option<FailureModeId>| ClassLife {
            age_h,
            failed,
            failure_mode_id,
        };
        let said = [
            life(0.0, false, None),
            life(300.0, true, Some(wear.id)),
            life(400.0, true, None),
            life(500.0, false, None),
        ];
        let lives = told_apart(&said, std::slice::from_ref(&wear));
        let causes: Vec<Option<&str>> = lives.iter().map(|lived| lived.cause.as_deref()).collect();
        assert_eq!(causes, [Some("Bearing wear"), Some("cause not recorded"), None]);
        assert_eq!(lives[2].life, Life::Suspended(500.0));
        // Where nobody ever said how, there is nothing to tell apart.
        let unsaid = told_apart(&[life(400.0, true, None)], &[wear]);
        assert_eq!(unsaid, [Lived::from(Life::Failed(400.0))]);
    }

    #[test]
    fn a_repair_lasts_until_the_machine_is_back() {
        let failed_at = Timestamp::from_secs(1_000_000);
        let hour = |hours: f64| failed_at.plus_seconds(3600.0 * hours);
        let label = |source: &str, restored_at: Timestamp| ClassLabel {
            asset_id: AssetId::new(),
            failed_at,
            restored_at,
            weight: 1.0,
            source: source.to_owned(),
            failure_mode_id: None,
            failure_mode_name: None,
        };
        let labels = [
            label("person", hour(6.0)),
            label("ticket", failed_at),
            label("prediction", hour(4.0)),
            label("signal", hour(48.0)),
        ];
        assert_eq!(
            repairs(&labels, hour(48.0)),
            Some(vec![6.0]),
            "the last one lasts"
        );
        assert_eq!(repairs(&labels[1..3], hour(48.0)), None);
    }
}
