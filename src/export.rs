//! `forewarn export`: readings of any channels and range as a file, in the memory of one page.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use api::export::{Encoder, ExportFormat};
use models::db::act_for;
use models::db::history::copy;
use models::db::history::tree::{Which, places};
use models::db::register::find_tenant;
use models::id::{AssetId, ChannelId};
use models::time::Timestamp;
use sqlx::Connection;

use crate::gateways;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  forewarn export --tenant acme --from 2026-01-01T00:00:00Z -o january.parquet
  forewarn export --tenant acme --channel chn_7,chn_8 --format csv > two.csv
  forewarn export --tenant acme --asset ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f -o machine.arrows

Columns: gateway, device, channel, unit, ts, value, quality; channel by channel, oldest first.")]
pub struct Args {
    #[arg(long)]
    tenant: String,
    /// Only these channels, by comma.
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    channel: Vec<ChannelId>,
    /// Only channels of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only the channels of this asset and of all below it.
    #[arg(long, value_name = "ID")]
    asset: Option<AssetId>,
    /// First moment, RFC 3339; the beginning when left out.
    #[arg(long)]
    from: Option<Timestamp>,
    /// End, exclusive; now when left out.
    #[arg(long)]
    to: Option<Timestamp>,
    /// csv, parquet or arrow; by the output's name, else csv.
    #[arg(long)]
    format: Option<ExportFormat>,
    /// File; standard output when left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// # Errors
/// When the database can't be read or the file not be written.
pub async fn run(args: Args, url: &str) -> anyhow::Result<ExitCode> {
    let format = match (&args.format, &args.output) {
        (Some(format), _) => *format,
        (None, Some(path)) => match path.extension() {
            Some(extension) => extension.to_string_lossy().parse().context("--format")?,
            None => ExportFormat::default(),
        },
        (None, None) => ExportFormat::default(),
    };
    let from = args.from.unwrap_or(Timestamp::from_secs(0));
    let to = args
        .to
        .unwrap_or_else(|| Timestamp::now() + Duration::from_micros(1));
    let mut connection = gateways::connect(url, "forewarn-export").await?;
    let Some(tenant) = find_tenant(&mut connection, &args.tenant).await? else {
        bail!("there is no tenant `{}`", args.tenant);
    };
    let mut output: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).with_context(|| path.display().to_string())?,
        )),
        None => Box::new(crate::out::Stdout),
    };
    let mut tx = connection.begin().await?;
    act_for(&mut tx, tenant).await?;
    // The role of the API: what the tenant may not see is not there.
    models::db::become_api(&mut tx).await?;
    let which = Which {
        ids: args.channel,
        below: args.asset,
        name: args.name,
    };
    let mut encoder = Encoder::new(format)?;
    let mut page = Vec::new();
    let (mut readings, mut channels) = (0_u64, 0);
    for place in places(&mut tx, &which, i64::from(i32::MAX)).await? {
        channels += 1;
        let mut at = from;
        loop {
            page.clear();
            copy::page(&mut tx, place.id, at, to, copy::PAGE, &mut page).await?;
            encoder.push(&place, &page)?;
            output.write_all(&encoder.take())?;
            readings += page.len() as u64;
            match page.last() {
                Some(last) if page.len() == copy::PAGE as usize => at = last.ts + Duration::from_micros(1),
                _ => break,
            }
        }
    }
    output.write_all(&encoder.finish()?)?;
    output.flush()?;
    tx.commit().await?;
    eprintln!("{readings} readings of {channels} channels");
    Ok(ExitCode::SUCCESS)
}
