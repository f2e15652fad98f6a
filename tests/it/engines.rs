//! The demo's engines: what those that failed teach about those that fly, on the way that everybody's data go.

use std::path::Path;
use std::process::Output;

use models::id::AssetId;
use serde_json::Value;

use crate::processes::{Process, forewarn, forewarn_edge};
use crate::stack::{Stack, until};

/// Engines of the demo that have failed.
const FAILED: i64 = 14;

async fn run(stack: &Stack, arguments: &[&str]) -> Output {
    let mut command = forewarn();
    command
        .args(arguments)
        .env("DATABASE_URL", stack.database.url())
        .env("FOREWARN__LOG__FILTER", "warn");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let objects = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    objects.unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_failed_teach_how_much_life_is_left() {
    let stack = Stack::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/data");
    let (uplink, data) = (format!("mqtt://{}", stack.mqtt), data.display().to_string());
    let prepare = [
        "demo", "prepare", "--dir", &folder, "--uplink", &uplink, "--data", &data,
    ];
    run(&stack, &prepare).await;
    let owner = &stack.database.owner;
    let reports = async || -> Vec<(String, String, Option<String>)> {
        let reports = sqlx::query_as(
            "SELECT failed_at::text, source, reported_by FROM failure_report ORDER BY failed_at",
        );
        reports.fetch_all(owner).await.unwrap()
    };
    let entered = reports().await;
    assert_eq!(entered.len(), FAILED as usize);
    assert!(
        entered
            .iter()
            .all(|(_, source, by)| source == "person" && by.as_deref() == Some("Demo planner")),
        "{entered:?}"
    );
    let config = dir.path().join("agents/hangar-4.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    // Again, as every `./dev up` does: nothing moves.
    run(&stack, &prepare).await;
    assert_eq!(reports().await, entered);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), settings);

    let mut agent = Process::spawn(
        "forewarn-edge",
        forewarn_edge().args(["run", "--config"]).arg(&config),
    );
    // One engine after the other: each past is looked at in its order, and what ends with the last flight is the last of it.
    for engine in 1..=FAILED {
        until("the next failed engine's run is looked at", || async {
            let seen: i64 = sqlx::query_scalar(
                "SELECT count(DISTINCT r.asset_id) FROM failure_report r JOIN feature f ON f.asset_id = r.asset_id
                 AND f.window_end BETWEEN r.failed_at - interval '7 hours' AND r.failed_at",
            )
            .fetch_one(owner)
            .await
            .unwrap();
            (seen >= engine).then_some(())
        })
        .await;
    }
    let trained = objects(&run(&stack, &["train", "--class", "Turbofan", "--json"]).await);
    let life = trained
        .iter()
        .find(|one| one["name"] == "remaining_life")
        .unwrap();
    assert_eq!(
        (&life["outcome"], &life["figures"]["runs"]),
        (&Value::from("promoted"), &Value::from(FAILED)),
        "{life}"
    );

    // The last engine has just made its last flight; the first has more than a month of them before it.
    for (engine, least_h, most_h) in [("Engine 20", 0.0, 240.0), ("Engine 01", 240.0, f64::MAX)] {
        let id: AssetId = sqlx::query_scalar("SELECT id FROM asset WHERE name = $1")
            .bind(engine)
            .fetch_one(owner)
            .await
            .unwrap();
        let assessed = objects(&run(&stack, &["assess", &id.to_string(), "--json"]).await).remove(0);
        assert!(assessed["life_model"].is_string(), "{engine}: {assessed}");
        let left = assessed["rul"]["p50_h"].as_f64().unwrap();
        assert!(least_h <= left && left < most_h, "{engine}: {assessed}");
    }
    // Nobody is told of what failed long ago and has been mended.
    let told: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM alarm x JOIN asset a ON a.id = x.asset_id WHERE a.status = 'maintenance')
              + (SELECT count(*) FROM prediction x JOIN asset a ON a.id = x.asset_id WHERE a.status = 'maintenance')",
    )
    .fetch_one(owner)
    .await
    .unwrap();
    assert_eq!(told, 0);
    agent.assert_running();
    agent.stop();
    stack.stop().await;
}
