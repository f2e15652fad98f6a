//! What is exported and imported again is the same.

use api::export::{Encoder, ExportFormat};
use ingest::import::{Options, run as import};
use models::db::fixture::Plant;
use models::db::history::copy;
use models::db::history::tree::{Which, places};
use models::db::testing::TestDatabase;
use models::db::{Role, act_for};
use models::id::GatewayId;
use models::time::Timestamp;
use proptest::prelude::*;
use sqlx::PgPool;

type Row = (String, String, String, i64, f64, i16);

/// device, channel, unit, microseconds, value, quality of a tenant, in order.
async fn rows(owner: &PgPool, plant: &Plant) -> Vec<Row> {
    sqlx::query_as(
        "SELECT d.name, c.name, c.unit, (extract(epoch FROM r.ts) * 1000000)::int8, r.value, r.quality
         FROM reading r JOIN channel c ON c.id = r.channel_id JOIN device d ON d.id = c.device_id
         WHERE c.tenant_id = $1 ORDER BY 1, 2, 4",
    )
    .bind(plant.tenant)
    .fetch_all(owner)
    .await
    .unwrap()
}

async fn export(pool: &PgPool, plant: &Plant, format: ExportFormat) -> Vec<u8> {
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let mut encoder = Encoder::new(format).unwrap();
    let mut file = Vec::new();
    for place in places(&mut tx, &Which::default(), 1000).await.unwrap() {
        let mut at = Timestamp::MIN;
        loop {
            // Pages of a few readings, so that there are many.
            let mut page = Vec::new();
            copy::page(&mut tx, place.id, at, Timestamp::MAX, 7, &mut page)
                .await
                .unwrap();
            encoder.push(&place, &page).unwrap();
            file.extend(encoder.take());
            match page.last() {
                Some(last) if page.len() == 7 => at = last.ts + std::time::Duration::from_micros(1),
                _ => break,
            }
        }
    }
    file.extend(encoder.finish().unwrap());
    file
}

fn values() -> impl Strategy<Value = Vec<(i64, f64, u8)>> {
    // From 1990 to 2026, to the microsecond; values of every size.
    let at = prop_oneof![
        631_152_000_000_000_i64..1_767_225_600_000_000,
        (631_152_000_i64..1_767_225_600).prop_map(|s| s * 1_000_000)
    ];
    let value = prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        (-1000_i32..1000).prop_map(f64::from)
    ];
    prop::collection::vec((at, value, 0_u8..3), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 10, ..ProptestConfig::default() })]

    #[test]
    fn out_and_in_again_is_the_same(a in values(), b in values()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let database = TestDatabase::new().await;
            let plant = Plant::new(&database.owner, "north").await;
            for (name, readings) in [("drive, \"end\"", &a), ("load", &b)] {
                let machine = plant.machine(name).await;
                sqlx::query(
                    "INSERT INTO reading (ts, value, channel_id, quality)
                     SELECT timestamptz 'epoch' + t * interval '1 microsecond', v, $1, q
                     FROM unnest($2::int8[], $3::float8[], $4::int2[]) AS x (t, v, q) ON CONFLICT DO NOTHING",
                )
                .bind(machine.channel)
                .bind(readings.iter().map(|row| row.0).collect::<Vec<_>>())
                .bind(readings.iter().map(|row| row.1).collect::<Vec<_>>())
                .bind(readings.iter().map(|row| i16::from(row.2)).collect::<Vec<_>>())
                .execute(&database.owner)
                .await
                .unwrap();
            }
            let before = rows(&database.owner, &plant).await;
            let (reading, writing) = (database.pool(Role::Api), database.pool(Role::Ingest));
            let folder = tempfile::tempdir().unwrap();
            for (format, slug) in [(ExportFormat::Csv, "south"), (ExportFormat::Parquet, "west")] {
                let other = Plant::new(&database.owner, slug).await;
                let gateway: GatewayId = sqlx::query_scalar("SELECT id FROM gateway WHERE tenant_id = $1")
                    .bind(other.tenant)
                    .fetch_one(&database.owner)
                    .await
                    .unwrap();
                let path = folder.path().join(format!("all.{}", format.extension()));
                std::fs::write(&path, export(&reading, &plant, format).await).unwrap();
                let options = Options { files: vec![path], chunk: 11, ..Options::default() };
                let config = ingest::config::Config::default();
                let report = import(&writing, &config, gateway, &options, |_| {}).await.unwrap();
                assert_eq!((report.stored, report.rejected), (before.len() as i64, 0), "{report:?}");
                assert_eq!(rows(&database.owner, &other).await, before, "{format:?}");
            }
            reading.close().await;
            writing.close().await;
            database.drop_now().await;
        });
    }
}

/// The commands, as somebody types them: out of one tenant by a pipe, into another.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_pass_readings_on() {
    use std::io::Write;
    use std::process::{Output, Stdio};

    let database = TestDatabase::new().await;
    let north = Plant::new(&database.owner, "north").await;
    Plant::new(&database.owner, "south").await;
    let machine = north.machine("load").await;
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id, quality)
         SELECT timestamptz '2026-01-01T00:00:00Z' + i * interval '1 second', i, $1, i % 3 FROM generate_series(1, 500) i",
    )
    .bind(machine.channel)
    .execute(&database.owner)
    .await
    .unwrap();
    let url = database.url();
    let run = async |arguments: &[&str], input: Vec<u8>| -> Output {
        let mut command = crate::processes::forewarn();
        command
            .args(arguments)
            .env("DATABASE_URL", &url)
            .stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tokio::task::spawn_blocking(move || {
            let mut pipe = child.stdin.take().unwrap();
            // The command may end without reading all of it.
            let _ = pipe.write_all(&input);
            drop(pipe);
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let out = run(&["export", "--tenant", "north", "--name", "load"], Vec::new()).await;
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout).lines().count(), 501);
    assert!(
        text(&out.stderr).contains("500 readings of 1 channels"),
        "{}",
        text(&out.stderr)
    );
    let dry = run(
        &["import", "--tenant", "south", "--dry-run", "--json", "-"],
        out.stdout.clone(),
    )
    .await;
    let report: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&report["received"], &report["stored"]), (&500.into(), &0.into()));
    let into = run(&["import", "--tenant", "south", "-"], out.stdout).await;
    assert!(into.status.success(), "{}", text(&into.stderr));
    assert!(
        text(&into.stdout).contains("500 stored, 0 duplicate"),
        "{}",
        text(&into.stdout)
    );
    let there: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM reading r JOIN channel c ON c.id = r.channel_id JOIN device d ON d.id = c.device_id
         JOIN gateway g ON g.id = d.gateway_id JOIN tenant t ON t.id = g.tenant_id
         WHERE t.slug = 'south' AND g.slug = 'import' AND c.name = 'load' AND c.unit = 'mm/s'",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(there, 500);
    // What is wrong is told with its place, kept, and the exit code says so.
    let bad = run(
        &["import", "--tenant", "south", "-"],
        b"ts,channel,value\n2026-01-01T00:00:00Z,load,ten\n".to_vec(),
    )
    .await;
    assert_eq!(bad.status.code(), Some(3), "{}", text(&bad.stderr));
    assert!(
        text(&bad.stdout).contains("stdin line 2, column 3 (`value`): `ten` is not a number"),
        "{}",
        text(&bad.stdout)
    );
    for (arguments, words) in [
        (
            ["import", "--tenant", "nobody", "-"],
            "there is no tenant `nobody`",
        ),
        (
            ["import", "--tenant", "south", "no-such-file.csv"],
            "no-such-file.csv",
        ),
    ] {
        let refused = run(&arguments, Vec::new()).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(words), "{}", text(&refused.stderr));
    }
    database.drop_now().await;
}
