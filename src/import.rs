//! `forewarn import`: files of readings through the front door's own checks and ledger.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use ingest::import::{FileFormat, Mapping, Options, Progress, Report, expand, run as import};
use models::db::register::{NewGateway, ensure_gateway, find_tenant, first_site};
use models::db::{Role, connect, registry};
use models::id::GatewayId;
use sqlx::PgConnection;

use crate::gateways;

/// Channels that a gateway made for imports may have.
const MAX_CHANNELS: i32 = 1_000_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  forewarn import --tenant acme pump-7.csv                  the file's name is the device, its columns are channels
  forewarn import --tenant acme --dry-run 'logs/*.parquet'  look, store nothing
  forewarn import --gateway acme/line-1 --map map.toml old.csv
  forewarn import --tenant acme --format line metrics.out   what Telegraf wrote, or influxd inspect export-lp
  forewarn export --tenant acme --format csv | forewarn import --tenant other -

A table is wide (a row a moment, a column a channel) or long (columns channel and value). A mapping file says what the
header doesn't:
  time = \"when\"                 # column of the time stamp
  time_format = \"%d.%m.%Y %H:%M\" # default: RFC 3339 or a number since 1970; or unix_s, unix_ms, unix_us, unix_ns
  zone = \"Europe/Berlin\"        # of stamps without an offset
  device = \"press 4\"            # or device_column = \"machine\"
  channel_column = \"tag\"        # long: with value_column, unit_column, quality_column
  columns = [{ column = \"t1\", channel = \"temperature\", unit = \"Cel\" }]   # wide
  skip = [\"note\"]
Line protocol names its channels itself, measurement.field[tag=value], by which columns and skip mean them. time_format is
its precision (unix_s to unix_ns; nanoseconds when left out), text = \"ignore\" or \"number\" says what becomes of texts.

The same command goes on after an interruption; what is committed is passed. What can't be stored is kept as dead letters
(forewarn dead-letters) and told with line and column.

Exit codes: 0 all is stored; 1 it could not go on; 2 wrong usage; 3 done, and some of it was rejected.")]
pub struct Args {
    /// CSV, Parquet or line protocol; patterns with * and ?; - is standard input (CSV unless --format says).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tenant whose gateway `import` takes them; it is made when missing.
    #[arg(long, required_unless_present = "gateway")]
    tenant: Option<String>,
    /// A gateway of its own: tenant/gateway, or gtw_…. Its channels are found by device and name.
    #[arg(long, conflicts_with = "tenant")]
    gateway: Option<String>,
    /// csv, parquet or line (InfluxDB line protocol); by the file's name (.csv, .parquet, .lp) when left out.
    #[arg(long)]
    format: Option<FileFormat>,
    /// What the columns mean, as TOML.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Look at everything, store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Import files once more that were imported before.
    #[arg(long)]
    again: bool,
    /// Readings of a transaction.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    chunk: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When a file can't be read, the mapping doesn't fit, or the database refuses.
pub async fn run(args: Args, url: &str, config: &ingest::config::Config) -> anyhow::Result<ExitCode> {
    ensure!(args.chunk > 0, "--chunk is 0");
    let options = Options {
        files: expand(&args.files)?,
        format: args.format,
        mapping: args.map.as_deref().map(mapping).transpose()?.unwrap_or_default(),
        dry_run: args.dry_run,
        again: args.again,
        chunk: args.chunk,
    };
    let mut owner = gateways::connect(url, "forewarn-import").await?;
    let gateway = gateway(&mut owner, &args).await?;
    drop(owner);
    let pool = connect(url, Role::Ingest, 4)?;
    let bar = bar();
    let result = import(&pool, config, gateway, &options, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    pool.close().await;
    let report = result?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", text(&report));
    }
    Ok(ExitCode::from(if report.rejected > 0 { 3 } else { 0 }))
}

fn mapping(path: &Path) -> anyhow::Result<Mapping> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

async fn gateway(owner: &mut PgConnection, args: &Args) -> anyhow::Result<GatewayId> {
    if let Some(name) = &args.gateway {
        return Ok(gateways::one(owner, name).await?.id);
    }
    let slug = args.tenant.as_deref().unwrap_or_default();
    let Some(tenant) = find_tenant(owner, slug).await? else {
        bail!("there is no tenant `{slug}`");
    };
    let Some(site) = first_site(owner, tenant).await? else {
        bail!("the tenant `{slug}` has no site yet: a gateway stands in one");
    };
    let new = NewGateway {
        tenant,
        site,
        slug: "import",
        name: "Imported files",
    };
    let id = ensure_gateway(owner, &new).await?;
    registry::raise_channel_quota(owner, id, MAX_CHANNELS).await?;
    Ok(id)
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = "{bar:30} {bytes}/{total_bytes} {msg} {elapsed} (still {eta})";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.bytes_in_all.max(progress.bytes));
    bar.set_position(progress.bytes);
    bar.set_message(format!("{} readings", HumanCount(progress.readings)));
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = report.errors.clone();
    let shown = i64::try_from(report.errors.len()).unwrap_or(i64::MAX);
    if report.rejected > shown {
        lines.push(format!("… and {} more", report.rejected - shown));
    }
    let rate = report.received as f64 / report.seconds.max(1e-9);
    lines.push(format!(
        "{}{} files, {} records, {} readings in {:.1} s ({rate:.0}/s): {} stored, {} duplicate, {} in conflict, {} rejected",
        if report.dry_run { "dry run: " } else { "" },
        report.files,
        report.records,
        report.received,
        report.seconds,
        report.stored,
        report.duplicate,
        report.conflict,
        report.rejected
    ));
    if report.chunks_passed > 0 {
        lines.push(format!(
            "{} chunks were imported before and passed (--again imports them once more)",
            report.chunks_passed
        ));
    }
    lines.join("\n")
}
