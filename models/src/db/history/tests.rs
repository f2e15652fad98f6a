//! Rollups against plain computation over what is stored, whatever the order of what happened.

use proptest::prelude::*;
use sqlx::PgConnection;

use super::rollup::{self, Budget};
use super::stats::{Grid, Level, Stat, stats};
use super::{retention, *};
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::db::{act_for, reading};
use crate::reading::{Quality, Reading};

/// 2026-01-05T00:00:00Z, a full hour.
const START: i64 = 1_767_571_200;

/// One reading: seconds after START, value, quality.
type Point = (u32, f64, u8);

#[derive(Clone, Debug)]
enum Step {
    /// Readings in any order, some of them there already.
    Store(Vec<Point>),
    /// Hours after START that are declared over.
    Advance(u8),
    Refresh,
}

fn point() -> impl Strategy<Value = Point> {
    // Two dense hours, and a few readings over two days.
    let at = prop_oneof![4 => 3600_u32..10_800, 1 => 0_u32..172_800];
    (
        at,
        -1000.0..1000.0_f64,
        prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)],
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(point(), 1..400).prop_map(Step::Store),
        1 => (0_u8..60).prop_map(Step::Advance),
        2 => Just(Step::Refresh),
    ]
}

async fn store(connection: &mut PgConnection, channel: ChannelId, points: &[Point]) {
    let mut readings: Vec<Reading> = points
        .iter()
        .map(|(at, value, quality)| Reading {
            channel,
            ts: Timestamp::from_secs(START + i64::from(*at)),
            value: *value,
            quality: Quality::from_code((*quality).into()),
        })
        .collect();
    readings.sort_by_key(|reading| reading.ts);
    readings.dedup_by_key(|reading| reading.ts);
    // As the writer: COPY first, what is there already the slow way.
    use sqlx::Connection;
    let mut tx = connection.begin().await.unwrap();
    let copied = {
        let mut savepoint = tx.begin().await.unwrap();
        match reading::copy(&mut savepoint, &readings).await {
            Ok(_) => {
                savepoint.commit().await.unwrap();
                true
            }
            Err(error) => {
                let code = error
                    .as_database_error()
                    .and_then(|e| e.code().map(|c| c.into_owned()));
                assert_eq!(code.as_deref(), Some("23505"), "{error}");
                savepoint.rollback().await.unwrap();
                false
            }
        }
    };
    if !copied {
        reading::insert_new(&mut tx, &readings).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Plain computation: one pass over the readings for each bucket.
fn expected(channel: ChannelId, rows: &[RawPoint], from: Timestamp, to: Timestamp, grid: Grid) -> Vec<Stat> {
    let start = |ts: Timestamp| {
        let steps = (ts.micros() - grid.origin.micros()).div_euclid(grid.width_us);
        Timestamp::from_micros(grid.origin.micros() + steps * grid.width_us)
    };
    let inside: Vec<&RawPoint> = rows.iter().filter(|row| row.ts >= from && row.ts < to).collect();
    inside
        .chunk_by(|a, b| start(a.ts) == start(b.ts))
        .map(|bucket| {
            let used: Vec<&RawPoint> = bucket.iter().copied().filter(|row| row.quality < 2).collect();
            let sum: f64 = used.iter().map(|row| row.value).sum();
            let area: f64 = used
                .windows(2)
                .map(|pair| pair[0].value * pair[1].ts.seconds_since(pair[0].ts))
                .sum();
            let (first, last) = (used.first(), used.last());
            let mean = (!used.is_empty()).then(|| sum / used.len() as f64);
            Stat {
                channel_id: channel,
                ts: start(bucket[0].ts),
                readings: bucket.len() as i64,
                good: bucket.iter().filter(|row| row.quality == 0).count() as i64,
                n: used.len() as i64,
                low: used.iter().map(|row| row.value).reduce(f64::min),
                high: used.iter().map(|row| row.value).reduce(f64::max),
                mean,
                time_mean: match (first, last) {
                    (Some(first), Some(last)) if last.ts > first.ts => {
                        Some(area / last.ts.seconds_since(first.ts))
                    }
                    _ => mean,
                },
                first_ts: first.map(|row| row.ts),
                first_value: first.map(|row| row.value),
                last_ts: last.map(|row| row.ts),
                last_value: last.map(|row| row.value),
            }
        })
        .collect()
}

#[track_caller]
fn assert_same(got: &[Stat], expected: &[Stat], what: &str) {
    let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-7 * (1.0 + a.abs().max(b.abs())),
        (a, b) => a == b,
    };
    assert_eq!(got.len(), expected.len(), "{what}: {got:#?} {expected:#?}");
    for (a, b) in got.iter().zip(expected) {
        assert!(
            close(a.mean, b.mean) && close(a.time_mean, b.time_mean),
            "{what}: {a:?} {b:?}"
        );
        let exact = |stat: &Stat| Stat {
            mean: None,
            time_mean: None,
            ..*stat
        };
        assert_eq!(exact(a), exact(b), "{what}");
    }
}

async fn compare(connection: &mut PgConnection, channel: ChannelId, tenant: crate::id::TenantId) {
    use sqlx::Connection;
    let mut tx = connection.begin().await.unwrap();
    act_for(&mut tx, tenant).await.unwrap();
    let at = |seconds: i64| Timestamp::from_secs(START + seconds);
    let rows = raw(&mut tx, channel, at(-10), at(200_000), 1_000_000)
        .await
        .unwrap();
    for (from, to, width_s, level) in [
        (at(0), at(172_800), 3600, Level::Hour),
        (at(1234), at(150_000), 7200, Level::Hour),
        (at(0), at(172_800), 86_400, Level::Hour),
        (at(3600), at(10_800), 60, Level::Minute),
        (at(1801), at(40_003), 600, Level::Minute),
        (at(3600), at(10_800), 7, Level::Raw),
    ] {
        let grid = Grid {
            width_us: width_s * 1_000_000,
            origin: at(0),
            level,
        };
        let got = stats(&mut tx, &[channel], from, to, grid).await.unwrap();
        let outlined: Vec<_> = super::stats::outline(&mut tx, &[channel], from, to, grid)
            .await
            .unwrap()
            .into_iter()
            .map(|stat| (stat.ts, stat.n, stat.low, stat.high))
            .collect();
        let used = got.iter().filter(|stat| stat.n > 0);
        let used: Vec<_> = used.map(|stat| (stat.ts, stat.n, stat.low, stat.high)).collect();
        assert_eq!(outlined, used, "{grid:?}");
        assert_same(
            &got,
            &expected(channel, &rows, from, to, grid),
            &format!("{grid:?}"),
        );
    }
    tx.rollback().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Any order of stores, late ones and repetitions, of declaring hours over and of refreshing: at
    /// every moment every query equals the plain computation.
    #[test]
    fn rollups_equal_the_readings_at_every_moment(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = TestDatabase::new().await;
            let plant = Plant::new(&database.owner, "north").await;
            let machine = plant.machine("P-1").await;
            let mut connection = database.owner.acquire().await.unwrap();
            for step in &steps {
                match step {
                    Step::Store(points) => store(&mut connection, machine.channel, points).await,
                    Step::Advance(hours) => {
                        let upto = Timestamp::from_secs(START + i64::from(*hours) * 3600 + 17);
                        rollup::advance(&mut connection, upto).await.unwrap();
                    }
                    Step::Refresh => {
                        rollup::refresh_some(&mut connection, Budget { channels: 5, readings: 300 }).await.unwrap();
                    }
                }
            }
            compare(&mut connection, machine.channel, plant.tenant).await;
            rollup::advance(&mut connection, Timestamp::from_secs(START + 60 * 3600)).await.unwrap();
            while rollup::refresh_some(&mut connection, Budget::default()).await.unwrap().channels > 0 {}
            compare(&mut connection, machine.channel, plant.tenant).await;
            drop(connection);
            database.drop_now().await;
        });
    }
}

async fn dense(connection: &mut PgConnection, channel: ChannelId) {
    let points: Vec<Point> = (0..36_000)
        .step_by(10)
        .map(|at| (at, f64::from(at) / 7.0, 0))
        .collect();
    store(connection, channel, &points).await;
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_correction_by_hand_is_seen_and_dense_hours_have_minutes() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let machine = plant.machine("P-1").await;
    let mut connection = database.owner.acquire().await.unwrap();
    dense(&mut connection, machine.channel).await;
    assert_eq!(
        count(&mut connection, "rollup_dirty").await,
        0,
        "no frontier, no marks"
    );
    rollup::advance(&mut connection, Timestamp::from_secs(START + 9 * 3600))
        .await
        .unwrap();
    while rollup::refresh_some(&mut connection, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
    assert_eq!(
        count(&mut connection, "rollup_hour").await,
        9,
        "not the hour after the frontier"
    );
    assert_eq!(count(&mut connection, "rollup_minute").await, 9 * 60);
    compare(&mut connection, machine.channel, plant.tenant).await;
    sqlx::query("DELETE FROM reading WHERE ts = to_timestamp($1)")
        .bind((START + 7200) as f64)
        .execute(&mut *connection)
        .await
        .unwrap();
    compare(&mut connection, machine.channel, plant.tenant).await;
    assert!(rollup::backlog(&mut connection).await.unwrap().ranges > 0);
    while rollup::refresh_some(&mut connection, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
    compare(&mut connection, machine.channel, plant.tenant).await;
    drop(connection);
    database.drop_now().await;
}

/// The frontier waits for a writer that looked at it; what the writer stores is rolled up.
#[tokio::test]
async fn a_writer_at_work_holds_the_frontier() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let machine = plant.machine("P-1").await;
    let mut refresher = database.owner.acquire().await.unwrap();
    rollup::advance(&mut refresher, Timestamp::from_secs(START))
        .await
        .unwrap();
    let mut writing = database.owner.begin().await.unwrap();
    let rows: Vec<Reading> = (0..20)
        .map(|i| Reading {
            channel: machine.channel,
            ts: Timestamp::from_secs(START + i * 60),
            value: i as f64,
            quality: Quality::Good,
        })
        .collect();
    reading::copy(&mut writing, &rows).await.unwrap();
    sqlx::query("SET statement_timeout = '200ms'")
        .execute(&mut *refresher)
        .await
        .unwrap();
    let error = rollup::advance(&mut refresher, Timestamp::from_secs(START + 7200))
        .await
        .unwrap_err();
    let code = error
        .as_database_error()
        .and_then(|e| e.code().map(|c| c.into_owned()));
    assert_eq!(code.as_deref(), Some("57014"), "it should have waited: {error}");
    writing.commit().await.unwrap();
    sqlx::query("SET statement_timeout = 0")
        .execute(&mut *refresher)
        .await
        .unwrap();
    assert!(
        rollup::advance(&mut refresher, Timestamp::from_secs(START + 7200))
            .await
            .unwrap()
    );
    while rollup::refresh_some(&mut refresher, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
    assert_eq!(count(&mut refresher, "rollup_hour").await, 1);
    compare(&mut refresher, machine.channel, plant.tenant).await;
    drop(refresher);
    database.drop_now().await;
}

#[tokio::test]
async fn readings_that_go_leave_their_rollups() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let (dense_one, sparse) = (plant.machine("P-1").await, plant.machine("P-2").await);
    let mut connection = database.owner.acquire().await.unwrap();
    dense(&mut connection, dense_one.channel).await;
    let few: Vec<Point> = (0..20).map(|i| (i * 5000, f64::from(i), 0)).collect();
    store(&mut connection, sparse.channel, &few).await;
    let day = 86_400;
    let now = Timestamp::from_secs(START + 40 * day);
    rollup::advance(&mut connection, now).await.unwrap();
    while rollup::refresh_some(&mut connection, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
    let whole = Grid::new(day * 1_000_000, Timestamp::from_secs(START));
    async fn all(
        connection: &mut PgConnection,
        plant: &Plant,
        channels: &[ChannelId],
        grid: Grid,
    ) -> Vec<Stat> {
        use sqlx::Connection;
        let mut tx = connection.begin().await.unwrap();
        act_for(&mut tx, plant.tenant).await.unwrap();
        let to = Timestamp::from_secs(START + 5 * 86_400);
        stats(&mut tx, channels, Timestamp::from_secs(START), to, grid)
            .await
            .unwrap()
    }
    let channels = [dense_one.channel, sparse.channel];
    let before = all(&mut connection, &plant, &channels, whole).await;
    assert_eq!(before.len(), 3, "one day of the dense one, two of the sparse one");

    // For ever: nothing goes.
    let kept = retention::remove(&mut connection, now, retention::Keep::default())
        .await
        .unwrap();
    assert_eq!(kept, retention::Removed::default());
    // One class of one tenant goes earlier than the rest.
    let keep = |raw_days| retention::Keep {
        raw_days,
        minute_days: None,
        hour_days: None,
    };
    sqlx::query("UPDATE channel SET kind = 'state' WHERE id = $1")
        .bind(sparse.channel)
        .execute(&mut *connection)
        .await
        .unwrap();
    retention::set_policy(
        &mut connection,
        plant.tenant,
        Some(crate::asset::ChannelKind::State),
        keep(Some(10)),
    )
    .await
    .unwrap();
    let gone = retention::remove(&mut connection, now, keep(None)).await.unwrap();
    assert_eq!((gone.readings, gone.chunks), (20, 0));
    assert_eq!(all(&mut connection, &plant, &channels, whole).await, before);
    // Then everything, by whole chunks.
    let gone = retention::remove(&mut connection, now, keep(Some(30)))
        .await
        .unwrap();
    assert!(gone.chunks > 0, "{gone:?}");
    assert_eq!(count(&mut connection, "reading").await, 0);
    assert_same(
        &all(&mut connection, &plant, &channels, whole).await,
        &before,
        "after dropping",
    );
    // Late readings still arrive, and don't wipe out what is left of their time.
    store(&mut connection, dense_one.channel, &[(3605, 1e9, 0)]).await;
    while rollup::refresh_some(&mut connection, Budget::default())
        .await
        .unwrap()
        .channels
        > 0
    {}
    assert_eq!(count(&mut connection, "reading").await, 1);
    assert_same(
        &all(&mut connection, &plant, &channels, whole).await,
        &before,
        "after a late one",
    );
    // Finer buckets than what is left show what is left.
    let fine = Grid::new(60_000_000, Timestamp::from_secs(START));
    let minutes = all(&mut connection, &plant, &channels[..1], fine).await;
    assert_eq!(minutes.iter().map(|stat| stat.readings).sum::<i64>(), 3600);
    drop(connection);
    database.drop_now().await;
}

#[tokio::test]
async fn pages_of_copy_hold_what_rows_do() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let machine = plant.machine("P-1").await;
    let mut connection = database.owner.acquire().await.unwrap();
    dense(&mut connection, machine.channel).await;
    use sqlx::Connection;
    let mut tx = connection.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let (from, to) = (Timestamp::from_secs(START), Timestamp::from_secs(START + 36_000));
    let rows = raw(&mut tx, machine.channel, from, to, 10_000).await.unwrap();
    assert_eq!(rows.len(), 3600);
    let mut page = Vec::new();
    copy::page(&mut tx, machine.channel, from, to, copy::PAGE, &mut page)
        .await
        .unwrap();
    assert_eq!(page, rows);
    copy::page(&mut tx, ChannelId(999), from, to, copy::PAGE, &mut page)
        .await
        .unwrap();
    assert_eq!(page.len(), 3600, "nobody's channel adds nothing");
    drop(tx);
    drop(connection);
    database.drop_now().await;
}

/// A number that the next statement of the pool answers.
async fn echo(pool: &sqlx::PgPool, number: i64) -> i64 {
    sqlx::query_scalar("SELECT $1::int8 + 0")
        .bind(number)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_nothing_for_the_next() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let machine = plant.machine("P-1").await;
    let mut owner = database.owner.acquire().await.unwrap();
    dense(&mut owner, machine.channel).await;
    let pool = crate::db::connect(&database.url(), crate::db::Role::Api, 1).unwrap();
    // Prepared once, as a service's statements are.
    assert_eq!(echo(&pool, -1).await, -1);
    // The COPY waits for a lock when its reader goes away.
    let mut holding = database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE reading")
        .execute(&mut *holding)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let waits = async {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'COPY%'";
        while sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&mut *owner)
            .await
            .unwrap()
            == 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let (from, to) = (Timestamp::from_secs(START), Timestamp::from_secs(START + 36_000));
    let mut page = Vec::new();
    tokio::select! {
        _ = copy::page(&mut tx, machine.channel, from, to, copy::PAGE, &mut page) => panic!("it didn't wait"),
        () = waits => {}
    }
    drop(tx);
    holding.rollback().await.unwrap();
    for number in 0..5 {
        assert_eq!(echo(&pool, number).await, number);
    }
    pool.close().await;
    drop(owner);
    database.drop_now().await;
}
