//! Files on their way in: taken part by part, within their limits, without holding anything up.

use std::path::Path;

use api::config::{Attachments, Config};
use reqwest::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, Server};

/// A body that is sent as parts are put into it, and ends when the sender is dropped.
fn body() -> (mpsc::Sender<Vec<u8>>, Body) {
    let (sender, mut parts) = mpsc::channel::<Vec<u8>>(1);
    let stream = async_stream::stream! {
        while let Some(part) = parts.recv().await {
            yield Ok::<_, std::io::Error>(part);
        }
    };
    (sender, Body::wrap_stream(stream))
}

fn files(dir: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return vec![];
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        // Another thread may have moved it on.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push((entry.file_name().into_string().unwrap(), metadata.len()));
        }
    }
    all
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// A server that keeps files so, with a ticket: somebody's token, and the address that takes the ticket's files.
pub async fn ticket_with(attachments: Attachments) -> (Server, String, String) {
    let server = Server::with(Config {
        attachments,
        ..Config::default()
    })
    .await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let ticket = json!({ "asset_id": plant.asset, "title": "Oil" });
    let ticket = server.post("/v1/tickets", &token, ticket).await.expect(201);
    let path = format!("/v1/tickets/{}/attachments", ticket["id"].as_str().unwrap());
    (server, token, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_slowly_and_holds_nothing_up() {
    let dir = std::env::temp_dir().join(format!("fw-files-{}", uuid::Uuid::now_v7().simple()));
    let limits = Attachments {
        dir: dir.clone(),
        max_bytes: 300_000,
        max_bytes_per_tenant: 500_000,
        ..Attachments::default()
    };
    let (server, token, path) = ticket_with(limits).await;
    let path = format!("{path}?name=log.txt");
    let send = |body: Body| {
        let request = server.http.post(server.url(&path)).bearer_auth(&token);
        let request = request.header("content-type", "text/plain").body(body);
        tokio::spawn(async move { request.send().await })
    };

    let (sender, slow) = body();
    let answer = send(slow);
    sender.send(vec![b'x'; 100_000]).await.unwrap();
    until("the first part is written down", async || {
        files(&dir).iter().any(|(_, length)| *length > 0)
    })
    .await;
    // Others come and go; one that waited for the rest of the file would stay.
    until("no transaction is open meanwhile", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&server.database.owner)
        .await
        .unwrap();
        open == 0
    })
    .await;
    sender.send("über".into()).await.unwrap();
    drop(sender);
    let made: Value = answer.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(made["size_bytes"], 100_005, "{made:#}");
    let hash = made["sha256"].as_str().unwrap().to_owned();
    assert_eq!(
        files(&dir),
        [(hash.clone(), 100_005)],
        "it has its place, and nothing else is there"
    );

    // Too much, in a body that doesn't say how long it is: refused where it becomes too much.
    let (sender, endless) = body();
    let answer = send(endless);
    while sender.send(vec![b'y'; 100_000]).await.is_ok() {}
    // The server has stopped reading; whether the client gets to see why depends on what it was doing.
    if let Ok(refused) = answer.await.unwrap() {
        assert_eq!(refused.status(), 413);
    }
    until("what came of it is gone", async || files(&dir).len() == 1).await;

    // Said at once where the length is known; the tenant's own limit, too.
    let refused = send(Body::from(vec![b'y'; 300_001])).await.unwrap().unwrap();
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(
        (&problem["status"], &problem["type"]),
        (&json!(413), &json!("/docs#problem-body-too-large"))
    );
    let text = problem["detail"].as_str().unwrap();
    assert!(text.contains("300000 bytes at most"), "{text}");
    for (letter, expect) in [(b'a', 201), (b'b', 413)] {
        let answer = send(Body::from(vec![letter; 250_000])).await.unwrap().unwrap();
        assert_eq!(answer.status(), expect);
        if expect == 413 {
            let problem: Value = answer.json().await.unwrap();
            let text = problem["detail"].as_str().unwrap();
            assert!(text.contains("ask for more room"), "{text}");
        }
    }

    // One that breaks off leaves nothing.
    let (sender, broken) = body();
    let answer = send(broken);
    sender.send(vec![b'z'; 1000]).await.unwrap();
    until("it has begun", async || files(&dir).len() == 3).await;
    answer.abort();
    drop(sender);
    until("it is gone", async || files(&dir).len() == 2).await;
    server.stop().await;
    std::fs::remove_dir_all(&dir).unwrap();
}
