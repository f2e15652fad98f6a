//! `forewarn train`, `model`, `assess` and `drift`: the life of models from the command line.

mod said;

use std::path::PathBuf;
use std::process::ExitCode;

use analytics::assess::{self, Memory};
use analytics::learn::{data, draw, drift, export, train};
use anyhow::Context;
use models::db::assessment as db;
use models::db::{Role, connect};
use models::id::{AssetId, ModelVersionId};
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgPool;

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Name of one class of assets; all of them if none is given.
    #[arg(long)]
    class: Option<String>,
    /// Days of features to learn from.
    #[arg(long, default_value_t = 365.0)]
    days: f64,
    /// Keep a better candidate a candidate until somebody promotes it.
    #[arg(long)]
    no_promote: bool,
    /// Write what is learned from as Parquet files below this folder, one folder for each class.
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// Draw the reliability table of each horizon below this folder, one folder for each class.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// One JSON object a class instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub enum ModelCommand {
    /// Versions, newest first.
    List {
        /// `baseline`, `failure_probability` or `remaining_life`; by default everything but baselines.
        #[arg(long)]
        name: Option<String>,
        /// `candidate`, `champion` or `retired`.
        #[arg(long)]
        status: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: i64,
        #[arg(long)]
        json: bool,
    },
    /// The card of a version: data window, features, figures, limits, and what happened to it.
    Show { id: ModelVersionId },
    /// Make a version the champion; the one before retires.
    Promote { id: ModelVersionId },
    /// Take a champion back: the version before it is used again.
    Rollback { id: ModelVersionId },
}

#[derive(Debug, clap::Args)]
pub struct AssessArgs {
    /// The asset to assess now.
    asset: Option<AssetId>,
    /// Compute a stored assessment of this asset again and compare it bit by bit (exit code 1 if it differs).
    #[arg(long, value_name = "ASSET", conflicts_with = "asset")]
    recompute: Option<AssetId>,
    /// End of the window that is computed again; the newest if none is given.
    #[arg(long, requires = "recompute")]
    at: Option<Timestamp>,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct DriftArgs {
    /// Days of features that are compared with training.
    #[arg(long, default_value_t = 7.0)]
    days: f64,
    #[arg(long)]
    json: bool,
}

fn pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(connect(url, Role::Analytics, 4)?)
}

/// The last line of what has nothing to say, for who reads it as JSON.
fn nothing(why: &str) -> String {
    json!({ "found": 0, "why": why }).to_string()
}

/// # Errors
/// When the database does, or there is no such class.
pub async fn train(args: TrainArgs, url: &str) -> anyhow::Result<ExitCode> {
    let pool = pool(url)?;
    let now = Timestamp::now();
    let how = train::Args {
        days: args.days,
        promote: !args.no_promote,
    };
    let trained = train::run(&pool, args.class.as_deref(), how, now, |line| eprintln!("{line}")).await?;
    if args.json && trained.is_empty() {
        println!("{}", nothing("no class has machines in use"));
    }
    for one in &trained {
        if args.json {
            println!("{}", serde_json::to_string(one)?);
        } else {
            let version = one
                .version
                .map_or_else(|| "no version".to_owned(), |v| format!("version {v}"));
            println!(
                "{}/{}, {}: {} ({version}, {} rows of {} machines)",
                one.tenant, one.class, one.name, one.outcome, one.rows, one.assets
            );
            one.why.iter().for_each(|why| println!("  {why}"));
        }
        if let Some(folder) = &args.svg {
            let folder = folder.join(format!(
                "{}-{}",
                one.tenant,
                one.class.replace(|c: char| !c.is_alphanumeric(), "_")
            ));
            for name in draw::draw(one, &folder)? {
                eprintln!("{}", folder.join(name).display());
            }
        }
    }
    if let Some(folder) = &args.export {
        let from = now.plus_seconds(-args.days * 86_400.0);
        for class in db::trainable_classes(&mut *pool.acquire().await?, &analytics::learn::MODELS).await? {
            if args.class.as_ref().is_none_or(|only| *only == class.name) {
                let rows = data::read(&mut *pool.acquire().await?, class.class_id, from, now).await?;
                let folder = folder.join(format!("{}-{}", class.tenant, class.class_id));
                let (rows, labels) = export::write(&rows, &folder)?;
                eprintln!("{}: {rows} rows of features, {labels} labels", folder.display());
            }
        }
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When the database does, or the version can't be what is asked for.
pub async fn model(command: ModelCommand, url: &str) -> anyhow::Result<ExitCode> {
    let pool = pool(url)?;
    let mut connection = pool.begin().await?;
    let actor = "command line";
    match command {
        ModelCommand::List {
            name,
            status,
            limit,
            json,
        } => {
            let mut rows = db::model_list(&mut connection, name.as_deref(), status.as_deref(), limit).await?;
            if name.is_none() {
                rows.retain(|row| row.name != "baseline");
            }
            if rows.is_empty() {
                let why = "there is no such version";
                println!("{}", if json { nothing(why) } else { why.to_owned() });
            }
            for row in rows {
                let scope = row.scope_name.as_deref().unwrap_or(&row.scope);
                if json {
                    println!(
                        "{}",
                        json!({ "id": row.id, "name": row.name, "scope": row.scope, "scope_name": row.scope_name,
                                "version": row.version, "status": row.status, "trained_from": row.trained_from,
                                "trained_to": row.trained_to, "created_at": row.created_at, "promoted_at": row.promoted_at })
                    );
                } else {
                    println!(
                        "{}  {} of {scope}, version {}, {}, data {} to {}",
                        row.id, row.name, row.version, row.status, row.trained_from, row.trained_to
                    );
                }
            }
        }
        ModelCommand::Show { id } => {
            let row = db::model_get(&mut connection, id)
                .await?
                .with_context(|| format!("there is no model version {id}"))?;
            let events: Vec<_> = db::model_events(&mut connection, id)
                .await?
                .into_iter()
                .map(|event| json!({ "at": event.at, "kind": event.kind, "by": event.actor, "detail": event.detail }))
                .collect();
            let shown = json!({
                "id": row.id, "name": row.name, "scope": row.scope, "scope_name": row.scope_name, "version": row.version,
                "status": row.status, "code_version": row.code_version, "created_at": row.created_at,
                "promoted_at": row.promoted_at, "card": row.card.0, "events": events,
            });
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        ModelCommand::Promote { id } => {
            db::promote(&mut connection, id, actor)
                .await
                .with_context(|| id.to_string())?;
            println!("{id} is the champion now; passes use it within a minute");
        }
        ModelCommand::Rollback { id } => {
            let before = db::roll_back(&mut connection, id, actor)
                .await
                .with_context(|| id.to_string())?;
            println!("{before} is the champion again");
        }
    }
    connection.commit().await?;
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When the asset has no readings or no such assessment, or the database does.
pub async fn assess(args: AssessArgs, url: &str, config: &analytics::Config) -> anyhow::Result<ExitCode> {
    let pool = pool(url)?;
    if let Some(asset) = args.recompute {
        let again = assess::recompute(&mut *pool.acquire().await?, asset, args.at).await?;
        if args.json {
            println!("{}", serde_json::to_string(&again)?);
        } else if again.same {
            println!(
                "{asset}, window to {}: the same to the last bit",
                again.window_end
            );
        } else {
            println!("{asset}, window to {}: it differs", again.window_end);
            again.why.iter().for_each(|why| println!("  {why}"));
            for (field, stored, computed) in &again.differs {
                println!("  {field}: stored {stored}, computed {computed}");
            }
        }
        pool.close().await;
        return Ok(if again.same {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let asset = args.asset.context("name an asset, or --recompute one")?;
    let memory = Memory::new(0);
    let assessment = assess::pass(&pool, &memory, asset, Timestamp::now(), config, None)
        .await?
        .map_err(|_| anyhow::anyhow!("{asset} has no readings yet"))?;
    if args.json {
        println!(
            "{}",
            json!({ "asset": assessment.asset, "window_end": assessment.window_end, "health": assessment.health,
                    "anomaly": assessment.anomaly, "coverage": assessment.coverage, "freshness_s": assessment.freshness_s, "p_fail": assessment.p_fail,
                    "rul": assessment.rul, "factors": assessment.factors, "advice": assessment.advice,
                    "notes": assessment.notes, "model": assessment.model, "failure_model": assessment.failure_model,
                    "life_model": assessment.life_model(),
                    "code_version": assessment.code_version })
        );
    } else {
        let versions = said::versions(&mut *pool.acquire().await?, &assessment).await?;
        print!("{}", said::text(&assessment, &versions));
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When the database does.
pub async fn look_at_drift(args: DriftArgs, url: &str) -> anyhow::Result<ExitCode> {
    let pool = pool(url)?;
    let looks = drift::run(&pool, args.days, Timestamp::now()).await?;
    if looks.is_empty() {
        let why = "no class has a model, or enough rows of features, yet";
        println!("{}", if args.json { nothing(why) } else { why.to_owned() });
    }
    for look in looks {
        if args.json {
            println!("{}", serde_json::to_string(&look)?);
        } else {
            let verdict = if look.retrain {
                "train again"
            } else {
                "as in training"
            };
            println!("{}/{}: {verdict} ({} rows)", look.tenant, look.class, look.rows);
            look.reasons.iter().for_each(|reason| println!("  {reason}"));
        }
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}
