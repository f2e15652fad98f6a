//! `forewarn reliability`: life data statistics for people and notebooks.

use std::path::PathBuf;
use std::process::ExitCode;

use analytics::reliability::Life;
use analytics::reliability::replacement::Costs;
use analytics::report::{self, Lives};
use anyhow::Context;
use models::db::assessment as db;
use models::db::{Role, connect};
use models::time::Timestamp;
use serde_json::Value;

use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CSV with the columns age and status (failed, suspended), and if wanted age_to and system.
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
        (Some(file), _) => report::read(file)?,
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
        println!("{found}");
    } else {
        text(&found, &how.unit);
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
    let lives = lives
        .into_iter()
        .filter(|(age, _)| *age > 0.0)
        .map(|(age, failed)| {
            if failed {
                Life::Failed(age)
            } else {
                Life::Suspended(age)
            }
        })
        .collect();
    drop(connection);
    pool.close().await;
    Ok((
        Lives {
            lives,
            systems: Vec::new(),
        },
        class.weibull_shape,
    ))
}

fn text(found: &Value, unit: &str) {
    let number = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "open".to_owned(), |v| format!("{v:.4}"))
    };
    println!("{}", found["basis"].as_str().unwrap_or_default());
    let weibull = &found["weibull"];
    if weibull["shape"].is_number() {
        let bounds = |name: &str| {
            format!(
                "{} to {}",
                number(&weibull[name]["low"]),
                number(&weibull[name]["high"])
            )
        };
        println!(
            "shape  {} ({})",
            number(&weibull["shape"]),
            bounds("shape_bounds")
        );
        println!(
            "scale  {} {unit} ({})",
            number(&weibull["scale"]),
            bounds("scale_bounds")
        );
        println!(
            "B10    {} {unit} ({})",
            number(&weibull["b10"]),
            bounds("b10_bounds")
        );
    } else {
        println!("shape  {} assumed", number(&weibull["assumed_shape"]));
        println!(
            "scale  {} {unit} (at least {}, at most {})",
            number(&weibull["scale"]),
            number(&weibull["scale_at_least"]),
            number(&weibull["scale_at_most"])
        );
        if let Some(why) = weibull["why"].as_str() {
            println!("       {why}");
        }
    }
    let mtbf = &found["mtbf"];
    println!(
        "MTBF   {} {unit} ({} to {})",
        number(&mtbf["value"]),
        number(&mtbf["low"]),
        number(&mtbf["high"])
    );
    let replacement = &found["replacement"];
    if replacement.is_object() {
        match replacement["best"]["policy"]["age"].as_f64() {
            Some(age) => println!(
                "replace at {age:.1} {unit}, cost {} per {unit}",
                number(&replacement["best"]["cost_rate"])
            ),
            None => println!(
                "run to failure: {}",
                replacement["text"]
                    .as_str()
                    .unwrap_or("planned replacement costs more")
            ),
        }
    }
}
