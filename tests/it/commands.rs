//! The commands that answer "was it stored, and if not, where did it go?", on a database that the services fill.

use std::process::Output;

use models::db::testing::TestDatabase;
use serde_json::{Value, json};

use crate::path::{client, publish};
use crate::plant::Plant;
use crate::processes::{Process, forewarn, forewarn_edge};
use crate::stack::{Stack, until};

async fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    let mut command = forewarn();
    command
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("FOREWARN__LOG__FILTER", "warn");
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_says_where_readings_are_and_a_mended_letter_moves_them() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    sqlx::query("UPDATE channel SET cadence_s = 1")
        .execute(&stack.database.owner)
        .await
        .unwrap();
    let (mqtt, mut events) = client(&stack, &plant);
    let at = |second: i64| json!(1_767_225_600 + second);
    let messages = [
        json!({ "ts": at(0), "temperature": 20 }),
        json!({ "ts": at(1), "temperature": 21 }),
        // Six seconds of silence, while the neighbouring channel speaks.
        json!({ "ts": at(4), "speed": 5 }),
        json!({ "ts": at(8), "temperature": 22 }),
    ];
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1", &messages).await;
    let refused = [json!({ "value": 3, "unit": "bar", "ts": at(9) })];
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1/temperature", &refused).await;

    let database = &stack.database;
    let ledger = answer(&run(database, &["ledger", "--gateway", "acme/line-1", "--json"]).await);
    assert_eq!(
        (
            &ledger["closes"],
            &ledger["received"],
            &ledger["stored"],
            &ledger["dead_lettered"]
        ),
        (&json!(true), &json!(5), &json!(4), &json!(1)),
        "{ledger}"
    );
    let checked = run(database, &["ledger", "--check"]).await;
    assert_eq!(checked.status.code(), Some(3), "a dead letter waits");
    let silences = run(
        database,
        &["ledger", "--from", "2026-01-01", "--to", "2026-01-01", "--json"],
    )
    .await;
    let silences = answer(&silences);
    // The newest is the silence that lasts.
    assert_eq!(silences["cadence_gaps"][0]["place"], "refused", "{silences}");
    let gap = &silences["cadence_gaps"][1];
    assert_eq!(
        (&gap["channel"], &gap["missing"], &gap["place"]),
        (&json!("temperature"), &json!(6), &json!("channel")),
        "{silences}"
    );

    let letters = answer(&run(database, &["dead-letters", "list", "--json"]).await);
    let letter = &letters["dead_letters"][0];
    assert_eq!(
        (&letter["reason"], &letter["readings"]),
        (&json!("unit_mismatch"), &json!(1)),
        "{letters}"
    );
    let id = letter["id"].as_str().unwrap();
    let shown = answer(&run(database, &["dead-letters", "show", id, "--json"]).await);
    assert!(shown["payload"].as_str().unwrap().contains("bar"), "{shown}");
    let nothing = run(database, &["dead-letters", "fix", id]).await;
    assert_eq!(nothing.status.code(), Some(1), "a fix must say something");
    let wrong = run(
        database,
        &["dead-letters", "fix", id, "--unit", "*=m", "--replay", "--json"],
    )
    .await;
    assert_eq!(wrong.status.code(), Some(3), "it is still refused");
    let mended = run(
        database,
        &[
            "dead-letters",
            "fix",
            id,
            "--unit",
            "pump-1/temperature=Cel",
            "--replay",
            "--json",
        ],
    )
    .await;
    assert_eq!(answer(&mended)["stored"], 1);
    let ledger = run(database, &["ledger", "--check", "--json"]).await;
    assert_eq!(ledger.status.code(), Some(0), "everything is settled");
    assert_eq!(answer(&ledger)["stored"], 5);
    let unknown = run(database, &["ledger", "--gateway", "acme/nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("acme/nobody"));
    mqtt.disconnect().await.unwrap();
    stack.stop().await;
}

/// The real agent is sent a configuration by command: tried and kept, or refused with its words.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_configured_from_here() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    let folder = tempfile::tempdir().unwrap();
    let config = plant.agent_config(folder.path(), stack.mqtt.port(), 10);
    let text = std::fs::read_to_string(&config).unwrap() + "[remote]\nenabled = true\n";
    std::fs::write(&config, text.replace("on_end = \"stop\"", "on_end = \"loop\"")).unwrap();
    let agent = Process::spawn(
        "forewarn-edge",
        forewarn_edge().arg("run").arg("--config").arg(&config),
    );
    let database = &stack.database;
    let file = folder.path().join("wanted.toml");
    let wanted = file.to_str().unwrap();
    let stands = async |state: &'static str| {
        until("the agent says what became of it", async || {
            let shown = answer(&run(database, &["gateway", "configuration", "acme/line-1"]).await);
            (shown["state"] == state).then_some(shown)
        })
        .await
    };
    std::fs::write(&file, "[batch]\nmax_age_ms = 250\n").unwrap();
    let sent = run(
        database,
        &["gateway", "configure", "acme/line-1", "--file", wanted],
    )
    .await;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let active = stands("active").await;
    assert!(
        active["sent_at"].is_string() && active["reason"].is_null(),
        "{active}"
    );
    std::fs::write(&file, "[uplink]\nwindow = 3\n").unwrap();
    run(
        database,
        &["gateway", "configure", "acme/line-1", "--file", wanted],
    )
    .await;
    let refused = stands("refused").await;
    assert!(
        refused["reason"].as_str().unwrap().contains("allow_uplink"),
        "{refused}"
    );
    std::fs::write(&file, "[spool]\ndir = \"/\"\n").unwrap();
    let here = run(
        database,
        &["gateway", "configure", "acme/line-1", "--file", wanted],
    )
    .await;
    assert!(!here.status.success());
    assert!(String::from_utf8_lossy(&here.stderr).contains("`spool`"));
    agent.stop();
    stack.stop().await;
}

/// `forewarn … | head`: whoever stops reading ends the command, and nothing is said about it.
#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let lives = folder.path().join("lives.csv");
    std::fs::write(
        &lives,
        "age,status\n400,failed\n700,failed\n900,failed\n2000,suspended\n",
    )
    .unwrap();
    let of_lives = ["reliability", "--file", lives.to_str().unwrap()];
    for arguments in [&of_lives[..], &["config", "check"]] {
        let run = |output: std::process::Stdio| {
            let mut command = forewarn();
            command
                .args(arguments)
                .env("DATABASE_URL", "postgres://nobody@127.0.0.1/none");
            command.stdout(output).output().unwrap()
        };
        assert_eq!(run(std::process::Stdio::piped()).status.code(), Some(0));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = run(writer.into());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((said.as_ref(), ended.status.code()), ("", Some(141)));
    }
}

#[tokio::test]
async fn what_has_nothing_to_say_says_so_in_json() {
    let database = TestDatabase::new().await;
    for arguments in [
        &["train", "--json"][..],
        &["drift", "--json"],
        &["model", "list", "--json"],
    ] {
        let said = answer(&run(&database, arguments).await);
        assert!(
            said["found"] == 0 && said["why"].is_string(),
            "{arguments:?}: {said}"
        );
    }
    database.drop_now().await;
}
