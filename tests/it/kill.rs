//! kill -9 of the real executables while readings travel: what is stored must be what was produced,
//! each once, and the ledger must close.

use std::path::Path;
use std::process::Command;

use models::db::testing::TestDatabase;

use crate::plant::{self, Plant};
use crate::processes::{Process, forewarn, forewarn_edge, free_port};
use crate::stack::until;

/// Rows of the recorded run: enough that the kills fall into the middle.
const ROWS: usize = 80_000;

fn serve(database: &TestDatabase, mqtt: u16, http: u16) -> Command {
    let mut command = forewarn();
    command
        .arg("serve")
        .env("DATABASE_URL", database.url())
        .env("FOREWARN__INGEST__LISTEN", format!("127.0.0.1:{mqtt}"))
        .env("FOREWARN__API__LISTEN", format!("127.0.0.1:{http}"))
        .env("FOREWARN__LOG__FILTER", "warn");
    command
}

fn agent(config: &Path) -> Command {
    let mut command = forewarn_edge();
    command.arg("run").arg("--config").arg(config);
    command
}

async fn stored(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM reading")
        .fetch_one(&database.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_either_side_is_killed() {
    let database = TestDatabase::new().await;
    let plant = Plant::register(&database).await;
    let dir = tempfile::tempdir().unwrap();
    let (mqtt, http) = (free_port(), free_port());
    let config = plant.agent_config(dir.path(), mqtt, ROWS);

    let mut server = Process::spawn("forewarn", &mut serve(&database, mqtt, http));
    let mut edge = Process::spawn("forewarn-edge", &mut agent(&config));
    // Each kill waits until something more has been stored, so that every life does some work.
    let mut before = 0;
    for round in 0..6 {
        before = until("more readings are stored", async || {
            let now = stored(&database).await;
            (now > before).then_some(now)
        })
        .await;
        server.assert_running();
        edge.assert_running();
        if round % 2 == 0 {
            server.kill();
            server = Process::spawn("forewarn", &mut serve(&database, mqtt, http));
        } else {
            edge.kill();
            edge = Process::spawn("forewarn-edge", &mut agent(&config));
        }
    }
    let produced = plant::produced(ROWS);
    until("everything produced is stored", async || {
        (stored(&database).await >= produced).then_some(())
    })
    .await;
    edge.stop();
    server.stop();

    assert_eq!(stored(&database).await, produced, "stored = produced");
    let distinct: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT DISTINCT channel_id, ts FROM reading) r")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(distinct, produced, "each once");
    let (received, sum, in_ledger): (i64, i64, i64) = sqlx::query_as(
        "SELECT sum(received)::int8, sum(stored + duplicate + conflict + rejected)::int8, sum(stored)::int8 FROM ledger",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(received, sum, "the ledger closes");
    assert_eq!(in_ledger, produced, "and says what is there");
    let open_gaps: i64 = sqlx::query_scalar("SELECT count(*) FROM sequence_gap WHERE closed_at IS NULL")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(open_gaps, 0);
    database.drop_now().await;
}
