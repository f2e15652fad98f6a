//! `forewarn ledger`: was it stored, and if not, where did it go?

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use jiff::civil::Date;
use jiff::{Timestamp as Moment, ToSpan, tz::TimeZone};
use models::db::overview::{self, CadenceFilter, CadenceGapRow, GapRow, LedgerFilter, LedgerRow};
use models::db::{act_for, registry};
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::gateways;

/// Rows of each part that are read at most.
const MOST: i64 = 10_000;
const MOST_GAPS: i64 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  forewarn ledger                                     the last seven days of all gateways
  forewarn ledger --gateway acme/line-1 --day 2026-01-31
  forewarn ledger --from 2026-01-01 --to 2026-01-31 --json
  forewarn ledger --check || mail -s 'readings are missing' ops@acme.example

received = stored + duplicate + conflict + dead-lettered + rejected. Dead-lettered readings can still be mended and
replayed (forewarn dead-letters); rejected ones were given up by a person.

Exit codes: 0 all is well or --check was not given; 1 the ledger could not be read; 2 wrong usage; 3 with --check: it does
not close, dead letters wait, or batches are missing.")]
pub struct Args {
    /// Only this gateway: tenant/gateway, its name alone where one tenant only has it, or gtw_….
    #[arg(long)]
    gateway: Option<String>,
    /// Only this UTC day of receipt, such as 2026-01-31.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    day: Option<Date>,
    /// First UTC day; default six days before the last one.
    #[arg(long)]
    from: Option<Date>,
    /// Last UTC day; default today.
    #[arg(long)]
    to: Option<Date>,
    /// A channel with an expected cadence that says nothing for so many times its cadence has a gap.
    #[arg(long, default_value_t = 2.5, value_name = "N")]
    cadence_factor: f64,
    /// Exit code 3 when anything is open, missing or lost.
    #[arg(long)]
    check: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

struct Account {
    from: Date,
    to: Date,
    days: Vec<LedgerRow>,
    gaps: Vec<GapRow>,
    /// With the tenant's slug.
    silences: Vec<(String, CadenceGapRow)>,
}

/// # Errors
/// When the database can't be read, or the gateway is not known.
pub async fn run(args: Args, url: &str) -> anyhow::Result<ExitCode> {
    let (from, to) = args.days()?;
    ensure!(
        (1.0..=1000.0).contains(&args.cadence_factor),
        "--cadence-factor is a number from 1 to 1000"
    );
    let mut connection = gateways::connect(url, "forewarn-ledger").await?;
    let account = read(&mut connection, &args, from, to).await?;
    connection.close().await?;
    if args.json {
        println!("{}", account.json());
    } else {
        print!("{}", account.text());
    }
    Ok(if args.check && !account.is_well() {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
}

impl Args {
    fn days(&self) -> anyhow::Result<(Date, Date)> {
        if let Some(day) = self.day {
            return Ok((day, day));
        }
        let today = Moment::now().to_zoned(TimeZone::UTC).date();
        let to = self
            .to
            .unwrap_or_else(|| self.from.map_or(today, |from| from.max(today)));
        let from = match self.from {
            Some(from) => from,
            None => to.checked_sub(6.days()).context("--to")?,
        };
        ensure!(from <= to, "--from {from} is after --to {to}");
        Ok((from, to))
    }
}

async fn read(connection: &mut PgConnection, args: &Args, from: Date, to: Date) -> anyhow::Result<Account> {
    let wanted = match &args.gateway {
        Some(name) => Some(gateways::one(connection, name).await?),
        None => None,
    };
    let gateway = wanted.as_ref().map(|gateway| gateway.id);
    let after = to.tomorrow().context("--to")?;
    let filter = LedgerFilter {
        gateway,
        from: Some(from.to_string()),
        to: Some(after.to_string()),
    };
    let days = overview::ledger(connection, &filter, None, MOST).await?;
    let gaps = overview::gaps(connection, gateway, true, MOST_GAPS).await?;
    let mut tenants: Vec<_> = match wanted {
        Some(gateway) => vec![(gateway.tenant_id, gateway.tenant_slug)],
        None => registry::gateways_named(connection, None)
            .await?
            .into_iter()
            .map(|gateway| (gateway.tenant_id, gateway.tenant_slug))
            .collect(),
    };
    tenants.dedup();
    let cadence = CadenceFilter {
        gateway,
        channel: None,
        from: midnight(from)?,
        to: midnight(after)?.min(Timestamp::now()),
        factor: args.cadence_factor,
    };
    let mut silences = Vec::new();
    for (tenant, slug) in tenants {
        let mut transaction = connection.begin().await?;
        act_for(&mut transaction, tenant).await?;
        let rows = overview::cadence_gaps(&mut transaction, &cadence, MOST_GAPS as i32).await?;
        transaction.rollback().await?;
        silences.extend(rows.into_iter().map(|row| (slug.clone(), row)));
    }
    Ok(Account {
        from,
        to,
        days,
        gaps,
        silences,
    })
}

fn midnight(day: Date) -> anyhow::Result<Timestamp> {
    let moment = day.to_zoned(TimeZone::UTC)?.timestamp();
    Ok(Timestamp::from_micros(moment.as_microsecond()))
}

impl Account {
    fn sum(&self, of: fn(&LedgerRow) -> i64) -> i64 {
        self.days.iter().map(of).sum()
    }

    fn closes(&self) -> bool {
        self.days.iter().all(LedgerRow::closes)
    }

    /// Nothing waits, is missing or lost. A silence is no fault of the way from the gateway to here.
    fn is_well(&self) -> bool {
        self.closes() && self.sum(|day| day.dead_lettered) == 0 && self.gaps.is_empty()
    }

    fn json(&self) -> Value {
        let day = |row: &LedgerRow| {
            json!({
                "tenant": row.tenant_slug, "gateway": row.gateway_slug, "day": row.day, "received": row.received,
                "stored": row.stored, "duplicate": row.duplicate, "conflict": row.conflict,
                "dead_lettered": row.dead_lettered, "rejected": row.rejected, "payloads": row.payloads,
                "payloads_dead": row.payloads_dead, "closes": row.closes(), "first_at": row.first_at,
                "last_at": row.last_at,
            })
        };
        let gap = |row: &GapRow| {
            json!({
                "tenant": row.tenant_slug, "gateway": row.gateway_slug, "epoch": row.epoch, "first_seq": row.first_seq,
                "last_seq": row.last_seq, "seen_at": row.seen_at, "lost_at": row.lost_at, "place": row.place(),
            })
        };
        let silence = |(tenant, row): &(String, CadenceGapRow)| {
            json!({
                "tenant": tenant, "gateway": row.gateway_slug, "device": row.device, "channel": row.channel,
                "channel_id": row.channel_id, "cadence_s": row.cadence_s, "after": row.after_ts,
                "before": row.before_ts, "missing": row.missing, "place": row.place,
            })
        };
        json!({
            "from": self.from.to_string(), "to": self.to.to_string(), "closes": self.closes(),
            "received": self.sum(|day| day.received), "stored": self.sum(|day| day.stored),
            "duplicate": self.sum(|day| day.duplicate), "conflict": self.sum(|day| day.conflict),
            "dead_lettered": self.sum(|day| day.dead_lettered), "rejected": self.sum(|day| day.rejected),
            "days": self.days.iter().map(day).collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(gap).collect::<Vec<_>>(),
            "cadence_gaps": self.silences.iter().map(silence).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String can't fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        if self.days.is_empty() {
            writeln!(out, "nothing was received from {} to {}", self.from, self.to)?;
        } else {
            let line = |name: &str, n: [i64; 6], end: &str| {
                format!(
                    "{name:<36}{:>13}{:>13}{:>11}{:>10}{:>15}{:>10}  {end}",
                    n[0], n[1], n[2], n[3], n[4], n[5]
                )
            };
            writeln!(
                out,
                "{:<36}{:>13}{:>13}{:>11}{:>10}{:>15}{:>10}",
                "UTC day     gateway",
                "received",
                "stored",
                "duplicate",
                "conflict",
                "dead-lettered",
                "rejected"
            )?;
            for row in &self.days {
                let name = format!("{}  {}/{}", row.day, row.tenant_slug, row.gateway_slug);
                let numbers = [
                    row.received,
                    row.stored,
                    row.duplicate,
                    row.conflict,
                    row.dead_lettered,
                    row.rejected,
                ];
                let mut end = if row.closes() { "closes" } else { "DOES NOT CLOSE" }.to_owned();
                if row.payloads_dead > 0 {
                    write!(end, ", {} payloads unreadable", row.payloads_dead)?;
                }
                writeln!(out, "{}", line(&name, numbers, &end))?;
            }
            let sums = [
                self.sum(|day| day.received),
                self.sum(|day| day.stored),
                self.sum(|day| day.duplicate),
                self.sum(|day| day.conflict),
                self.sum(|day| day.dead_lettered),
                self.sum(|day| day.rejected),
            ];
            writeln!(
                out,
                "{}",
                line(
                    "all",
                    sums,
                    if self.closes() { "closes" } else { "DOES NOT CLOSE" }
                )
            )?;
        }
        writeln!(
            out,
            "\nbatches missing in a gateway's sequence: {}",
            list_of(self.gaps.len())
        )?;
        for gap in &self.gaps {
            let state = match gap.lost_at {
                Some(at) => {
                    format!("lost, said {at}: the gateway's spool let go of them before they were committed")
                }
                None => "open: on the link, or still in the gateway's spool".to_owned(),
            };
            writeln!(
                out,
                "  {}/{} epoch {}: {} to {}, seen {}; {state}",
                gap.tenant_slug, gap.gateway_slug, gap.epoch, gap.first_seq, gap.last_seq, gap.seen_at
            )?;
        }
        writeln!(
            out,
            "\nsilences of channels with an expected cadence: {}",
            list_of(self.silences.len())
        )?;
        for (tenant, gap) in &self.silences {
            let until = gap
                .before_ts
                .map_or_else(|| "now".to_owned(), |at| at.to_string());
            writeln!(
                out,
                "  {tenant}/{} {}/{}: {} to {until}, {} readings expected; {}",
                gap.gateway_slug,
                gap.device,
                gap.channel,
                gap.after_ts,
                gap.missing,
                place_in_words(&gap.place)
            )?;
        }
        Ok(())
    }
}

fn list_of(n: usize) -> String {
    if n == 0 { "none".to_owned() } else { n.to_string() }
}

fn place_in_words(place: &str) -> &str {
    match place {
        "refused" => "refused here: see forewarn dead-letters list",
        "channel" => "lost at the channel: its device sent others meanwhile",
        "device" => "lost at the device: its gateway sent others meanwhile",
        "gateway_spool" => "lost in the gateway's spool, which was full",
        "link" => "on the link: the gateway's batches are missing and may still come",
        "gateway" => "nothing from the gateway, and no hole in its sequence: it was off or had nothing",
        other => other,
    }
}
