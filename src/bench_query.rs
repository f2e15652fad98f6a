//! `forewarn bench query`: how long the questions of a reliability engineer take, through the API's
//! role and functions, beside the same SQL typed by hand as the tables' owner.

use std::time::Instant;

use anyhow::{Context, ensure};
use api::export::{Encoder, ExportFormat};
use models::db::history::bench::{self, ByHand, Filled, Gist};
use models::db::history::rollup::{self, Budget};
use models::db::history::stats::{Grid, outline};
use models::db::history::tree::{Which, places};
use models::db::history::{self, copy};
use models::db::{Role, begin_for, connect, reading, register};
use models::id::{ChannelId, TenantId};
use models::time::Timestamp;
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

#[derive(Clone, Copy, Debug)]
pub struct Args {
    pub readings: i64,
    pub channels: i32,
    pub days: i32,
    /// Times each question is asked of either side, each time of other channels.
    pub rounds: usize,
}

/// Rows of the export at most.
const EXPORTED: i64 = 10_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Runs in a database of its own beside `server`'s, which it drops.
///
/// # Errors
/// When the database can't be made or filled, or an answer differs from the one by hand.
pub async fn run(args: Args, server: &str) -> anyhow::Result<Value> {
    ensure!(
        args.readings > 0 && args.channels > 0 && args.days > 0 && args.rounds > 0,
        "readings, channels, days and rounds are above 0"
    );
    let name = format!("forewarn_bench_{}", uuid());
    let url = reading::make_scratch(server, &name)
        .await
        .context("database for the measurement")?;
    let measured = measure(args, &url).await;
    reading::drop_scratch(server, &name).await?;
    measured
}

fn uuid() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
}

/// Milliseconds of each round, sorted.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn part(&self, part: f64) -> f64 {
        let at = ((self.0.len() as f64 * part).ceil() as usize).clamp(1, self.0.len().max(1));
        self.0.get(at - 1).map_or(0.0, |ms| (ms * 100.0).round() / 100.0)
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

async fn measure(args: Args, url: &str) -> anyhow::Result<Value> {
    let mut owner = bench::owner(url).await?;
    register_one(&mut owner).await?;
    let filling = Instant::now();
    let filled = bench::fill(
        &mut owner,
        args.channels,
        args.readings,
        args.days,
        Timestamp::now(),
    )
    .await?;
    let fill_s = filling.elapsed().as_secs_f64();
    let refreshing = Instant::now();
    rollup::advance(&mut owner, filled.to).await?;
    while rollup::refresh_some(&mut owner, Budget::default())
        .await?
        .channels
        > 0
    {}
    let rollup_s = refreshing.elapsed().as_secs_f64();
    let (table, with_index) = bench::storage(&mut owner).await?;
    let pool = connect(url, Role::Api, 2)?;
    let mut result = json!({
        "readings": filled.readings, "channels": args.channels, "days": args.days, "rounds": args.rounds,
        "fill_s": fill_s.round(), "rollup_s": rollup_s.round(),
        "bytes_per_reading_raw": table as f64 / filled.readings as f64,
        "bytes_per_reading_with_index": with_index as f64 / filled.readings as f64,
    });
    let days = |n: i64| (filled.to.micros() - filled.from.micros()).min(n * DAY_US);
    let year = Grid::choose(filled.from, filled.to, 1000).width_us;
    let questions = [
        ("latest", ByHand::Latest, args.channels as usize, days(1), 1),
        ("raw_day", ByHand::Raw, 1, days(1), 1),
        ("year", ByHand::Buckets, 1, days(i64::MAX / DAY_US), year),
        (
            "hourly",
            ByHand::ManyBuckets,
            50.min(args.channels as usize),
            days(30),
            rollup::HOUR_US,
        ),
    ];
    let mut opened = Times::default();
    for (name, what, n, span_us, width_us) in questions {
        let mut sides = Sides {
            pool: &pool,
            owner: &mut owner,
            tenant: filled.tenant,
            what,
            width_us,
            opened: &mut opened,
        };
        let draw = || Question::draw(&filled, n, span_us);
        let (ours, theirs) = sides
            .compare(args.rounds, draw)
            .await
            .with_context(|| name.to_owned())?;
        result[format!("{name}_p50_ms")] = json!(ours.part(0.5));
        result[format!("{name}_p95_ms")] = json!(ours.part(0.95));
        result[format!("{name}_by_hand_p50_ms")] = json!(theirs.part(0.5));
        let ratio = ours.part(0.5) / theirs.part(0.5).max(0.01);
        result[format!("{name}_ratio")] = json!((ratio * 100.0).round() / 100.0);
    }
    opened.0.sort_by(f64::total_cmp);
    result["tenant_p50_ms"] = json!(opened.part(0.5));
    for (name, format) in [
        ("csv", ExportFormat::Csv),
        ("parquet", ExportFormat::Parquet),
        ("arrow", ExportFormat::Arrow),
    ] {
        let (rows, seconds) = export(&pool, &filled, format).await?;
        result[format!("export_{name}_rows_per_s")] = json!((rows as f64 / seconds).round());
        result["export_rows"] = json!(rows);
    }
    pool.close().await;
    Ok(result)
}

async fn register_one(owner: &mut PgConnection) -> anyhow::Result<()> {
    let new = register::NewTenant {
        slug: "bench",
        name: "Bench",
    };
    let tenant = register::create_tenant(owner, &new).await?;
    let new = register::NewSite {
        tenant,
        name: "Bench",
        time_zone: "UTC",
    };
    let site = register::create_site(owner, &new).await?;
    let new = register::NewGateway {
        tenant,
        site,
        slug: "bench",
        name: "Bench",
    };
    let gateway = register::create_gateway(owner, &new).await?;
    register::ensure_device(owner, tenant, gateway, "machine", None).await?;
    Ok(())
}

/// What is asked about in one go.
struct Question {
    channels: Vec<ChannelId>,
    from: Timestamp,
    to: Timestamp,
}

impl Question {
    /// `n` channels and a span of the filled time, drawn.
    fn draw(filled: &Filled, n: usize, span_us: i64) -> Self {
        let mut channels = filled.channels.clone();
        channels.shuffle(&mut rand::rng());
        channels.truncate(n);
        let room_h = (filled.to.micros() - filled.from.micros() - span_us) / rollup::HOUR_US;
        let ahead = rand::rng().random_range(0..=room_h.max(0)) * rollup::HOUR_US;
        let from = Timestamp::from_micros(filled.from.micros() + ahead);
        Self {
            channels,
            from,
            to: Timestamp::from_micros(from.micros() + span_us),
        }
    }
}

/// Who can answer: the API's role through its functions, and the owner by hand.
struct Sides<'a> {
    pool: &'a PgPool,
    owner: &'a mut PgConnection,
    tenant: TenantId,
    what: ByHand,
    width_us: i64,
    /// How long it took to begin a transaction for the tenant; part of ours.
    opened: &'a mut Times,
}

impl Sides<'_> {
    /// Milliseconds, and what was said.
    async fn answer(&mut self, by_hand: bool, question: &Question) -> anyhow::Result<(f64, Gist)> {
        let Question { channels, from, to } = question;
        let began = Instant::now();
        let gist = if by_hand {
            bench::by_hand(self.owner, self.what, channels, *from, *to, self.width_us).await?
        } else {
            // As a request does it; there is nothing to commit.
            let mut tx = begin_for(self.pool, self.tenant).await?;
            self.opened.0.push(ms(began));
            mine(&mut tx, self.what, channels, *from, *to, self.width_us).await?
        };
        Ok((ms(began), gist))
    }

    /// Asks `rounds` times, ours and by hand, each of other channels and times: whoever is asked second
    /// about the same ones finds in memory what the first had to fetch. Then each answers the other's
    /// question, too, and both have to say the same.
    async fn compare(
        &mut self,
        rounds: usize,
        draw: impl Fn() -> Question,
    ) -> anyhow::Result<(Times, Times)> {
        let (mut ours, mut theirs) = (Times::default(), Times::default());
        for round in 0..rounds {
            let (one, other) = (draw(), draw());
            let by_hand = round % 2 == 1;
            let (took, first) = self.answer(by_hand, &one).await?;
            let (then, second) = self.answer(!by_hand, &other).await?;
            let (ours_ms, theirs_ms) = if by_hand { (then, took) } else { (took, then) };
            ours.0.push(ours_ms);
            theirs.0.push(theirs_ms);
            let again = (
                self.answer(!by_hand, &one).await?.1,
                self.answer(by_hand, &other).await?.1,
            );
            ensure!(
                again == (first, second),
                "{} and {} rows, asked the other way {} and {}, and not the same",
                first.rows,
                second.rows,
                again.0.rows,
                again.1.rows
            );
        }
        ours.0.sort_by(f64::total_cmp);
        theirs.0.sort_by(f64::total_cmp);
        Ok((ours, theirs))
    }
}

async fn mine(
    db: &mut PgConnection,
    what: ByHand,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    width_us: i64,
) -> anyhow::Result<Gist> {
    // Counted from the same moment as by hand, where TimescaleDB's buckets begin: 2000-01-03.
    let origin = 946_857_600_000_000;
    let grid = || {
        let first = origin + (from.micros() - origin).div_euclid(width_us) * width_us;
        Grid::new(width_us, Timestamp::from_micros(first))
    };
    let mut gist = Gist::default();
    match what {
        ByHand::Latest => {
            for (_, row) in history::latest(db, channels).await? {
                gist.add(row.ts, 1, row.value, row.value);
            }
        }
        ByHand::Raw => {
            for row in history::raw(db, channels[0], from, to, i32::MAX).await? {
                gist.add(row.ts, 1, row.value, row.value);
            }
        }
        ByHand::Buckets | ByHand::ManyBuckets => {
            for stat in outline(db, channels, from, to, grid()).await? {
                gist.add(
                    stat.ts,
                    stat.n,
                    stat.low.unwrap_or_default(),
                    stat.high.unwrap_or_default(),
                );
            }
        }
    }
    Ok(gist)
}

/// Rows and seconds of an export into nothing.
async fn export(pool: &PgPool, filled: &Filled, format: ExportFormat) -> anyhow::Result<(i64, f64)> {
    let began = Instant::now();
    let mut tx = begin_for(pool, filled.tenant).await?;
    let all = places(&mut tx, &Which::default(), i64::MAX).await?;
    let mut encoder = Encoder::new(format)?;
    let (mut rows, mut bytes) = (0, 0);
    let mut page = Vec::new();
    'channels: for place in &all {
        let mut at = filled.from;
        loop {
            page.clear();
            copy::page(&mut tx, place.id, at, filled.to, copy::PAGE, &mut page).await?;
            encoder.push(place, &page)?;
            bytes += encoder.take().len();
            rows += page.len() as i64;
            match page.last() {
                _ if rows >= EXPORTED => break 'channels,
                Some(last) if page.len() == copy::PAGE as usize => {
                    at = last.ts + std::time::Duration::from_micros(1);
                }
                _ => break,
            }
        }
    }
    bytes += encoder.finish()?.len();
    tx.commit().await?;
    ensure!(bytes > 0, "nothing was exported");
    Ok((rows, began.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_form_answers_as_by_hand() {
        let url = std::env::var("DATABASE_URL").expect("tests need DATABASE_URL");
        let args = Args {
            readings: 60_000,
            channels: 30,
            days: 40,
            rounds: 3,
        };
        let result = run(args, &url).await.unwrap();
        println!("{result}");
        assert_eq!(result["export_rows"], result["readings"], "{result}");
        assert!(result["year_p95_ms"].as_f64().unwrap() > 0.0);
    }
}
