//! `forewarn dead-letters`: look at what could not be stored, mend it, try it again.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use models::db::dead_letter::{self, Filter};
use models::db::overview::{self, DeadLetterFilter, DeadLetterRow};
use models::db::{self, Role};
use models::dead_letter::Fix;
use models::id::{DeadLetterId, GatewayId};
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::gateways;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  forewarn dead-letters list --gateway acme/line-1
  forewarn dead-letters show dlt_0197…
  forewarn dead-letters fix --reason quota_exceeded --max-channels 20000 --replay
  forewarn dead-letters fix dlt_0197… --map pmp-1/tmp=pump-1/temperature --unit pump-1/temperature=Cel
  forewarn dead-letters fix --reason too_far_in_future --gateway acme/line-1 --future-limit-s 172800 --replay
  forewarn dead-letters replay --all

Exit codes: 0 done; 1 it could not be done; 2 wrong usage; 3 letters were tried and are still refused.")]
pub enum Command {
    /// The newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// Replayed and discarded ones too.
        #[arg(long)]
        settled: bool,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// One of them, with its payload.
    Show {
        id: DeadLetterId,
        #[arg(long)]
        json: bool,
    },
    /// Say what was wrong: it is applied when the letter is tried again.
    Fix(FixArgs),
    /// Try letters again, through the same checks and into the same ledger as everything else.
    Replay {
        #[command(flatten)]
        which: Which,
        /// All open ones.
        #[arg(long)]
        all: bool,
        #[arg(long)]
        json: bool,
    },
}

/// Which letters.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// These.
    ids: Vec<DeadLetterId>,
    /// Those of a gateway: tenant/gateway, its name alone where one tenant only has it, or gtw_….
    #[arg(long)]
    gateway: Option<String>,
    /// Those with this reason, such as too_far_in_future.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct FixArgs {
    #[command(flatten)]
    which: Which,
    /// A name that was sent wrong: device=device or device/channel=device/channel. May be repeated.
    #[arg(long = "map", value_name = "SENT=MEANT", value_parser = pair)]
    names: Vec<(String, String)>,
    /// The unit that values are really in: device/channel=UCUM, or *=UCUM for all. May be repeated.
    #[arg(long = "unit", value_name = "NAME=UNIT", value_parser = pair)]
    units: Vec<(String, String)>,
    /// Believe readings so far ahead of the server's clock at receipt, seconds.
    #[arg(long, value_name = "SECONDS")]
    future_limit_s: Option<u64>,
    /// Believe readings from this moment on.
    #[arg(long, value_name = "MOMENT")]
    ancient_limit: Option<Timestamp>,
    /// Let the letters' gateways register up to so many channels, from now on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    max_channels: Option<i32>,
    /// Try them again at once.
    #[arg(long)]
    replay: bool,
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("expected two names with = between them".to_owned()),
    }
}

/// # Errors
/// When the database can't be reached, or there is no such letter or gateway.
pub async fn run(command: Command, url: &str, config: &ingest::config::Config) -> anyhow::Result<ExitCode> {
    let mut connection = gateways::connect(url, "forewarn-dead-letters").await?;
    let code = match command {
        Command::List {
            which,
            settled,
            limit,
            json,
        } => list(&mut connection, &which, settled, limit, json).await?,
        Command::Show { id, json } => show(&mut connection, id, json).await?,
        Command::Fix(args) => fix(&mut connection, args, url, config).await?,
        Command::Replay { which, all, json } => {
            ensure!(
                all || which.says_something(),
                "say which letters: ids, --gateway, --reason, or --all"
            );
            let ids = which.open_ids(&mut connection).await?;
            replay(&ids, url, config, json).await?
        }
    };
    connection.close().await?;
    Ok(code)
}

impl Which {
    fn says_something(&self) -> bool {
        !self.ids.is_empty() || self.gateway.is_some() || self.reason.is_some()
    }

    async fn gateway_id(&self, connection: &mut PgConnection) -> anyhow::Result<Option<GatewayId>> {
        Ok(match &self.gateway {
            Some(name) => Some(gateways::one(connection, name).await?.id),
            None => None,
        })
    }

    /// The open letters that are meant. A letter that is named must be there and open.
    async fn open_ids(&self, connection: &mut PgConnection) -> anyhow::Result<Vec<DeadLetterId>> {
        let filter = Filter {
            gateway: self.gateway_id(connection).await?,
            reason: self.reason.clone(),
            ids: self.ids.clone(),
            ..Filter::default()
        };
        let found = dead_letter::open_ids(connection, &filter).await?;
        if let Some(id) = self.ids.iter().find(|id| !found.contains(id)) {
            bail!("{id} is no open dead letter: it does not exist, or is replayed or discarded already");
        }
        Ok(found)
    }
}

async fn list(
    connection: &mut PgConnection,
    which: &Which,
    settled: bool,
    limit: u32,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let filter = DeadLetterFilter {
        gateway: which.gateway_id(connection).await?,
        reason: which.reason.clone(),
        open: !settled,
    };
    let mut rows = overview::dead_letters(connection, &filter, None, i64::from(limit)).await?;
    if !which.ids.is_empty() {
        rows.retain(|row| which.ids.contains(&row.id));
    }
    if json {
        let rows: Vec<Value> = rows.iter().map(as_json).collect();
        println!("{}", json!({ "dead_letters": rows }));
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("no dead letters");
    }
    for row in &rows {
        let readings = match row.readings {
            0 => "payload unreadable".to_owned(),
            1 => "1 reading".to_owned(),
            n => format!("{n} readings"),
        };
        println!(
            "{}  {}  {}/{}  {}  {}, {readings}, {} bytes\n    {}",
            row.id,
            row.received_at,
            row.tenant_slug,
            row.gateway_slug,
            row.reason,
            state(row),
            row.bytes,
            row.detail
        );
        if let Some(why) = &row.replay_error {
            println!("    tried again: {why}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(row: &DeadLetterRow) -> &'static str {
    if row.replayed_at.is_some() {
        "replayed"
    } else if row.discarded_at.is_some() {
        "discarded"
    } else if row.replay_requested_at.is_some() {
        "to be replayed"
    } else {
        "open"
    }
}

fn as_json(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.id, "tenant": row.tenant_slug, "gateway": row.gateway_slug, "received_at": row.received_at,
        "topic": row.topic, "format": row.format, "reason": row.reason, "detail": row.detail,
        "readings": row.readings, "bytes": row.bytes, "state": state(row), "fix": row.fix,
        "replayed_at": row.replayed_at, "discarded_at": row.discarded_at, "replay_error": row.replay_error,
    })
}

async fn show(connection: &mut PgConnection, id: DeadLetterId, json: bool) -> anyhow::Result<ExitCode> {
    let (row, payload) = overview::dead_letter(connection, id)
        .await?
        .with_context(|| format!("there is no dead letter {id}"))?;
    let (text, base64) = match String::from_utf8(payload) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    };
    let mut shown = as_json(&row);
    if json {
        shown["payload"] = json!(text);
        shown["payload_base64"] = json!(base64);
        println!("{shown}");
    } else {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        match (text, base64) {
            (Some(text), _) => println!("payload:\n{text}"),
            (None, base64) => println!("payload (base64):\n{}", base64.unwrap_or_default()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn fix(
    connection: &mut PgConnection,
    args: FixArgs,
    url: &str,
    config: &ingest::config::Config,
) -> anyhow::Result<ExitCode> {
    ensure!(
        args.which.says_something(),
        "say which letters: ids, --gateway or --reason"
    );
    let fix = Fix {
        names: args.names.into_iter().collect::<BTreeMap<_, _>>(),
        units: args.units.into_iter().collect::<BTreeMap<_, _>>(),
        future_limit_s: args.future_limit_s,
        ancient_limit: args.ancient_limit,
    };
    let nothing = fix == Fix::default();
    ensure!(
        !nothing || args.max_channels.is_some(),
        "say what was wrong: --map, --unit, --future-limit-s, --ancient-limit or --max-channels"
    );
    if !nothing {
        fix.check()?;
    }
    let ids = args.which.open_ids(connection).await?;
    if ids.is_empty() {
        println!(
            "{}",
            if args.json {
                "{\"letters\":0}"
            } else {
                "no open dead letter matches"
            }
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut transaction = connection.begin().await?;
    if !nothing {
        dead_letter::set_fix(&mut transaction, &ids, &fix).await?;
    }
    if let Some(channels) = args.max_channels {
        dead_letter::raise_quota(&mut transaction, &ids, channels).await?;
    }
    transaction.commit().await?;
    if args.replay {
        return replay(&ids, url, config, args.json).await;
    }
    if args.json {
        println!("{}", json!({ "letters": ids.len(), "fix": fix }));
    } else {
        println!("{} letters will be mended when they are replayed", ids.len());
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(
    ids: &[DeadLetterId],
    url: &str,
    config: &ingest::config::Config,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut done = ingest::replay::Replayed::default();
    if !ids.is_empty() {
        // With the rights of the service whose work this is.
        let pool = db::connect(url, Role::Ingest, 2)?;
        let filter = Filter {
            ids: ids.to_vec(),
            ..Filter::default()
        };
        done = ingest::replay::replay(&pool, config, &filter).await?;
        pool.close().await;
    }
    if json {
        let refused: Vec<Value> = done
            .still_refused
            .iter()
            .map(|(id, reason, detail)| json!({ "id": id, "reason": reason, "detail": detail }))
            .collect();
        println!(
            "{}",
            json!({
                "letters": done.letters, "stored": done.stored, "duplicate": done.duplicate,
                "conflict": done.conflict, "still_refused": refused,
            })
        );
    } else {
        println!(
            "{} letters replayed: {} readings stored, {} duplicate, {} in conflict; {} letters still refused",
            done.letters,
            done.stored,
            done.duplicate,
            done.conflict,
            done.still_refused.len()
        );
        for (id, reason, detail) in &done.still_refused {
            println!("  {id}  {reason}: {detail}");
        }
    }
    Ok(if done.still_refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}
