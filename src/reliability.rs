//! `forewarn reliability`: life data statistics for people and notebooks.

use std::path::PathBuf;
use std::process::ExitCode;

use analytics::reliability::Life;
use analytics::reliability::replacement::Costs;
use analytics::report::{self, Lived, Lives};
use anyhow::Context;
use models::db::assessment as db;
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
    let lives = db::class_lives(&mut connection, class.class_id, Timestamp::now()).await?;
    drop(connection);
    pool.close().await;
    let lives = lives
        .into_iter()
        .filter(|life| life.age_h > 0.0)
        .map(|life| {
            Lived::from(if life.failed {
                Life::Failed(life.age_h)
            } else {
                Life::Suspended(life.age_h)
            })
        })
        .collect();
    Ok((
        Lives {
            lives,
            ..Lives::default()
        },
        class.weibull_shape,
    ))
}
