//! Files of each kind through the real transaction.

use std::path::{Path, PathBuf};

use models::db::fixture::Plant;
use models::db::testing::TestDatabase;
use models::db::{Role, ledger};
use models::id::GatewayId;
use sqlx::PgPool;

use super::*;

struct Site {
    database: TestDatabase,
    pool: PgPool,
    gateway: GatewayId,
    folder: tempfile::TempDir,
}

type Row = (String, String, String, f64, i16);

impl Site {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        Plant::new(&database.owner, "north").await;
        let gateway = sqlx::query_scalar("SELECT id FROM gateway")
            .fetch_one(&database.owner)
            .await
            .unwrap();
        Self {
            pool: database.pool(Role::Ingest),
            gateway,
            database,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn import(&self, path: &Path, change: impl FnOnce(&mut Options)) -> anyhow::Result<Report> {
        let mut options = Options {
            files: vec![path.to_owned()],
            ..Options::default()
        };
        change(&mut options);
        let report = run(&self.pool, &Config::default(), self.gateway, &options, |_| {}).await;
        let mut owner = self.database.owner.acquire().await.unwrap();
        let (stored, doubled) = ledger::totals(&mut owner).await.unwrap();
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM reading")
            .fetch_one(&mut *owner)
            .await
            .unwrap();
        assert_eq!(stored, there, "the ledger says what is there ({doubled} doubled)");
        report
    }

    /// device, channel, time, value, quality; in order.
    async fn rows(&self) -> Vec<Row> {
        sqlx::query_as(
            "SELECT d.name, c.name, to_char(r.ts AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'), r.value, r.quality
             FROM reading r JOIN channel c ON c.id = r.channel_id JOIN device d ON d.id = c.device_id ORDER BY 1, 2, 3",
        )
        .fetch_all(&self.database.owner)
        .await
        .unwrap()
    }

    async fn end(self) {
        self.pool.close().await;
        self.database.drop_now().await;
    }
}

fn row(device: &str, channel: &str, at: &str, value: f64, quality: i16) -> Row {
    (device.into(), channel.into(), at.into(), value, quality)
}

#[tokio::test]
async fn wide_and_long_tables_with_what_is_wrong_in_them() {
    let site = Site::new().await;
    let wide = site.write(
        "pump-7.csv",
        "time,temp,flow,note\n\
         2026-01-01 00:00:00,300.15,1.5,x\n\
         2026-01-01 00:01:00,,2.5,x\n\
         yesterday,1,1,x\n\
         2026-01-01 00:02:00,warm,3.5,x\n\
         2026-01-01 00:03:00,1\n",
    );
    let mapping = Mapping {
        columns: vec![ColumnMap {
            column: "temp".into(),
            unit: Some("K".into()),
            ..ColumnMap::default()
        }],
        skip: vec!["note".into()],
        ..Mapping::default()
    };
    let dry = site
        .import(&wide, |options| {
            options.mapping = mapping.clone();
            options.dry_run = true;
        })
        .await
        .unwrap();
    assert_eq!((dry.received, dry.rejected, dry.stored), (7, 3, 0));
    assert!(site.rows().await.is_empty());
    let report = site
        .import(&wide, |options| options.mapping = mapping.clone())
        .await
        .unwrap();
    assert_eq!(
        (report.records, report.received, report.stored, report.rejected),
        (5, 7, 4, 3)
    );
    assert_eq!(dry.errors, report.errors);
    for (error, words) in report.errors.iter().zip([
        [
            "pump-7.csv line 4, column 1 (`time`)",
            "`yesterday` is not a time stamp",
        ],
        ["pump-7.csv line 5, column 2 (`temp`)", "`warm` is not a number"],
        ["pump-7.csv line 6, column 3", "2 fields, the header has 4"],
    ]) {
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let letters: Vec<(String, i32)> =
        sqlx::query_as("SELECT topic, readings FROM dead_letter ORDER BY reason")
            .fetch_all(&site.database.owner)
            .await
            .unwrap();
    assert_eq!(letters.iter().map(|(_, readings)| readings).sum::<i32>(), 3);
    assert!(letters.iter().all(|(topic, _)| topic == "import/pump-7.csv"));

    let long = site.write(
        "rest.csv",
        "device,channel,unit,ts,value,quality\n\
         pump-7,temp,Cel,2026-01-01T00:05:00Z,20,good\n\
         fan,rpm,{rpm},1767225660,900,suspect\n\
         fan,rpm,{rpm},1767225660,900,suspect\n\
         fan,rpm,{rpm},1767225720,905,dubious\n",
    );
    let report = site.import(&long, |_| {}).await.unwrap();
    assert_eq!((report.stored, report.duplicate, report.rejected), (2, 1, 1));
    let rows = site.rows().await;
    assert_eq!(rows[0], row("fan", "rpm", "01-01 00:01:00", 900.0, 1));
    assert_eq!(rows[1], row("pump-7", "flow", "01-01 00:00:00", 1.5, 0));
    assert_eq!(rows[4], row("pump-7", "temp", "01-01 00:00:00", 300.15, 0));
    // The channel was registered in kelvin; what comes in degrees is converted.
    assert_eq!(rows[5], row("pump-7", "temp", "01-01 00:05:00", 293.15, 0));
    site.end().await;
}

#[tokio::test]
async fn a_file_goes_in_once_and_on_after_an_interruption() {
    let mut text = String::from("ts,device,channel,value\n");
    for i in 0..1000 {
        text += &format!("{},m{},speed,{i}\n", 1_767_225_600 + i, i % 3);
    }
    once_and_on_after_an_interruption("log.csv", &text).await;
}

#[tokio::test]
async fn lines_go_in_once_and_on_after_an_interruption() {
    let mut text = String::new();
    for i in 0..1000 {
        text += &format!("log,device=m{} speed={i} {}000000000\n", i % 3, 1_767_225_600 + i);
    }
    once_and_on_after_an_interruption("log.lp", &text).await;
}

/// `text` holds a thousand readings.
async fn once_and_on_after_an_interruption(name: &str, text: &str) {
    let site = Site::new().await;
    let path = site.write(name, text);
    let chunks = |options: &mut Options| options.chunk = 100;
    // The database goes away in the middle: the pool is closed under the third chunk's nose.
    let breaking = site.database.pool(Role::Ingest);
    let options = Options {
        files: vec![path.clone()],
        chunk: 100,
        ..Options::default()
    };
    let mut seen = 0;
    let closing = breaking.clone();
    let error = run(&breaking, &Config::default(), site.gateway, &options, |_| {
        seen += 1;
        if seen == 3 {
            let closing = closing.clone();
            tokio::spawn(async move { closing.close().await });
            closing_began(&breaking);
        }
    })
    .await
    .unwrap_err();
    assert!(format!("{error:#}").contains(name), "{error:#}");
    let report = site.import(&path, chunks).await.unwrap();
    assert!((3..10).contains(&report.chunks_passed), "{report:?}");
    assert_eq!(report.stored, 1000 - 100 * report.chunks_passed as i64);
    assert_eq!(report.duplicate, 0);
    assert_eq!(site.rows().await.len(), 1000);
    // A third time there is nothing to do; asked for once more, everything is a duplicate.
    let report = site.import(&path, chunks).await.unwrap();
    assert_eq!((report.chunks_passed, report.received), (10, 0));
    let report = site
        .import(&path, |options| {
            options.chunk = 100;
            options.again = true;
        })
        .await
        .unwrap();
    assert_eq!((report.stored, report.duplicate), (0, 1000));
    site.end().await;
}

/// The same register, checks and ledger as of everything else; see `lines` for what a line may hold.
#[tokio::test]
async fn line_protocol_with_what_is_wrong_in_it() {
    let site = Site::new().await;
    let path = site.write(
        "telegraf.lp",
        "# Telegraf's file output\n\
         cpu,host=press-3 usage_idle=92.5,usage_user=5i 1767225600000000000\n\
         modbus,device=press-3,slave=1 temp=300.15,running=true 1767225660000000000\n\
         modbus,device=press-3,slave=1 temp=warm 1767225661000000000\n\
         modbus,device=press-3,slave=1 temp=301.15 1767225662\n\
         modbus,device=press-3,slave=1 note=\"shift 2\" 1767225663000000000\n\
         modbus,device=press-3,slave=1 temp=302.15\n\
         modbus,device=press-3,slave=1 temp=303.15 1767225664000000000\n",
    );
    let mapping = Mapping {
        columns: vec![ColumnMap {
            column: "modbus.temp[slave=1]".into(),
            channel: Some("temperature".into()),
            unit: Some("K".into()),
            ..ColumnMap::default()
        }],
        ..Mapping::default()
    };
    let dry = site
        .import(&path, |options| {
            options.mapping = mapping.clone();
            options.dry_run = true;
        })
        .await
        .unwrap();
    assert_eq!((dry.received, dry.rejected, dry.stored), (9, 4, 0));
    assert!(site.rows().await.is_empty());
    let report = site
        .import(&path, |options| options.mapping = mapping.clone())
        .await
        .unwrap();
    assert_eq!(
        (report.records, report.received, report.stored, report.rejected),
        (8, 9, 5, 4)
    );
    assert_eq!(dry.errors, report.errors);
    let expect = [
        "telegraf.lp line 4, column 36: field `temp`: expected a number",
        "telegraf.lp line 5, column 43: 1970-01-01T00:00:01.767225Z is too long ago",
        "telegraf.lp line 6, field `note`: expected a number or truth value, got text \"shift 2\"",
        "telegraf.lp line 7, column 42: a time stamp is missing",
    ];
    assert_eq!(report.errors.len(), expect.len(), "{:#?}", report.errors);
    for (error, words) in report.errors.iter().zip(expect) {
        assert!(error.starts_with(words), "{error} should begin with {words}");
    }
    let rows = site.rows().await;
    assert_eq!(
        rows[0],
        row("press-3", "cpu.usage_idle", "01-01 00:00:00", 92.5, 0)
    );
    assert_eq!(
        rows[2],
        row("press-3", "modbus.running[slave=1]", "01-01 00:01:00", 1.0, 0)
    );
    assert_eq!(
        rows[4],
        row("press-3", "temperature", "01-01 00:01:04", 303.15, 0)
    );
    let unit: String = sqlx::query_scalar("SELECT unit FROM channel WHERE name = 'temperature'")
        .fetch_one(&site.database.owner)
        .await
        .unwrap();
    assert_eq!(unit, "K");
    let letters: Vec<(String, String)> =
        sqlx::query_as("SELECT reason, topic FROM dead_letter ORDER BY reason")
            .fetch_all(&site.database.owner)
            .await
            .unwrap();
    let reasons = ["bad_time", "malformed_line", "not_a_number", "too_ancient"];
    assert_eq!(
        letters.iter().map(|letter| letter.0.as_str()).collect::<Vec<_>>(),
        reasons
    );
    assert!(letters.iter().all(|(_, topic)| topic == "import/telegraf.lp"));
    // In seconds, the one line that said so is right and the others are not.
    let seconds = site
        .import(&path, |options| {
            options.mapping.time_format = "unix_s".to_owned().into();
            options.dry_run = true;
        })
        .await
        .unwrap();
    assert_eq!(seconds.received - seconds.rejected, 1);
    site.end().await;
}

/// Marks the pool as closed before the caller goes on.
fn closing_began(pool: &PgPool) {
    let _ = futures::FutureExt::now_or_never(pool.close());
}

#[tokio::test]
async fn parquet_of_other_programs() {
    use arrow_array::{
        BooleanArray, Float32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    };
    use std::sync::Arc;
    let site = Site::new().await;
    let write = |name: &str, batch: &RecordBatch| {
        let path = site.folder.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        path
    };
    let wide = RecordBatch::try_from_iter([
        (
            "timestamp",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_767_225_600_000),
                Some(1_767_225_601_000),
                None,
            ])) as _,
        ),
        (
            "temp",
            Arc::new(Float32Array::from(vec![Some(1.5), None, Some(3.0)])) as _,
        ),
        (
            "running",
            Arc::new(BooleanArray::from(vec![true, false, true])) as _,
        ),
    ])
    .unwrap();
    let report = site.import(&write("press.parquet", &wide), |_| {}).await.unwrap();
    assert_eq!((report.stored, report.rejected), (3, 1));
    assert!(
        report.errors[0].contains("press.parquet row 3, column 1 (`timestamp`)"),
        "{:?}",
        report.errors
    );
    let long = RecordBatch::try_from_iter([
        (
            "time",
            Arc::new(Int64Array::from(vec![1_767_225_600, 1_767_225_660])) as _,
        ),
        ("tag", Arc::new(StringArray::from(vec!["a", "b"])) as _),
        ("reading", Arc::new(Int64Array::from(vec![7, 8])) as _),
    ])
    .unwrap();
    let path = write("long.parquet", &long);
    let mapping = Mapping {
        channel_column: Some("tag".into()),
        value_column: Some("reading".into()),
        device: Some("mill".into()),
        ..Mapping::default()
    };
    let report = site
        .import(&path, |options| options.mapping = mapping)
        .await
        .unwrap();
    assert_eq!((report.stored, report.rejected), (2, 0));
    let rows = site.rows().await;
    assert_eq!(rows[0], row("mill", "a", "01-01 00:00:00", 7.0, 0));
    assert_eq!(rows[2], row("press", "running", "01-01 00:00:00", 1.0, 0));
    assert_eq!(rows[4], row("press", "temp", "01-01 00:00:00", 1.5, 0));
    let broken = site.write("x.parquet", "no parquet");
    let error = format!("{:#}", site.import(&broken, |_| {}).await.unwrap_err());
    assert!(
        error.contains("x.parquet") && error.contains("not a Parquet file"),
        "{error}"
    );
    site.end().await;
}
