//! Live changes.

use std::collections::VecDeque;

use models::db::outbox;
use models::tenant::Permission;
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server};
use crate::plant::Plant;

/// Reads server-sent events as they come.
struct Events {
    response: Response,
    buffer: String,
    ready: VecDeque<(String, String, Value)>,
}

impl Events {
    async fn open(server: &Server, query: &str, token: &str, last: Option<&str>) -> Self {
        let mut request = server
            .http
            .get(server.url(&format!("/v1/stream{query}")))
            .bearer_auth(token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
            ready: VecDeque::new(),
        }
    }

    /// Kind, id and data of the next one; `None` when the stream ended. A new stream may begin with
    /// what was committed just before it, while an older transaction was open anywhere on the server:
    /// the plant's own event, which has no data, is passed over.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if event.2["data"] != json!({}) {
                    return Some(event);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .expect("an event in time");
            let chunk = chunk.expect("the stream ends in order")?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(line.trim_start_matches(':').trim().to_owned())
                };
                if let (Some(kind), Some(id), Some(data)) = (field("event"), field("id"), field("data")) {
                    self.ready
                        .push_back((kind, id, serde_json::from_str(&data).unwrap()));
                }
            }
        }
    }
}

async fn say(server: &Server, plant: &Plant, kind: &str, n: i64) {
    let mut owner = server.database.owner.acquire().await.unwrap();
    outbox::append(
        &mut owner,
        plant.tenant,
        kind,
        "tkt_x",
        Some(plant.asset),
        &json!({ "n": n }),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stream_tells_what_is_committed_in_its_own_tenant() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    let token = server.sign_in(&north.email("admin")).await;
    let mut events = Events::open(&server, "", &token, None).await;
    say(&server, &south, "ticket.created", 0).await;
    let mut rolled_back = server.database.owner.begin().await.unwrap();
    outbox::append(
        &mut rolled_back,
        north.tenant,
        "ticket.created",
        "x",
        None,
        &json!({ "n": -1 }),
    )
    .await
    .unwrap();
    rolled_back.rollback().await.unwrap();
    for n in 1..=3 {
        say(&server, &north, "ticket.created", n).await;
        let (kind, id, data) = events.next().await.unwrap();
        assert_eq!((kind.as_str(), &data["data"]["n"]), ("ticket.created", &json!(n)));
        assert_eq!(
            (data["id"].to_string(), data["asset_id"].as_str()),
            (id, Some(&*north.asset.to_string()))
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let mut events = Events::open(&server, "", &token, None).await;
    say(&server, &plant, "ticket.created", 1).await;
    let (_, last, _) = events.next().await.unwrap();
    drop(events);
    for n in 2..=450 {
        say(&server, &plant, "ticket.changed", n).await;
    }
    let mut events = Events::open(&server, "", &token, Some(&last)).await;
    for n in 2..=450 {
        assert_eq!(events.next().await.unwrap().2["data"]["n"], n);
    }
    drop(events);
    // What is no longer kept can't be resumed: the client is told to load anew.
    sqlx::query("DELETE FROM outbox WHERE id <= $1")
        .bind(last.parse::<i64>().unwrap())
        .execute(&server.database.owner)
        .await
        .unwrap();
    let mut events = Events::open(&server, "", &token, Some(&last)).await;
    assert_eq!(events.next().await.unwrap().0, "reset");
    say(&server, &plant, "ticket.changed", 451).await;
    assert_eq!(events.next().await.unwrap().2["data"]["n"], 451);
    server.stop().await;
}

#[tokio::test]
async fn a_change_that_commits_late_is_neither_lost_nor_overtaken() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let mut events = Events::open(&server, "", &token, None).await;
    let mut slow = server.database.owner.begin().await.unwrap();
    outbox::append(
        &mut slow,
        plant.tenant,
        "ticket.changed",
        "x",
        None,
        &json!({ "n": 1 }),
    )
    .await
    .unwrap();
    say(&server, &plant, "ticket.changed", 2).await;
    slow.commit().await.unwrap();
    let mut seen = vec![events.next().await.unwrap().2["data"]["n"].as_i64().unwrap()];
    seen.push(events.next().await.unwrap().2["data"]["n"].as_i64().unwrap());
    assert_eq!(seen, [1, 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_shows_the_topics_asked_for_and_allowed() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let key = plant.key(&[Permission::AlarmsRead]).await;
    let token = server.sign_in(&plant.email("admin")).await;
    let mut allowed = Events::open(&server, "", &key, None).await;
    let mut wanted = Events::open(&server, "?topics=alarm,asset", &token, None).await;
    say(&server, &plant, "ticket.created", 1).await;
    say(&server, &plant, "alarm.raised", 2).await;
    say(&server, &plant, "asset.health_changed", 3).await;
    assert_eq!(allowed.next().await.unwrap().2["data"]["n"], 2);
    assert_eq!(wanted.next().await.unwrap().2["data"]["n"], 2);
    assert_eq!(wanted.next().await.unwrap().2["data"]["n"], 3);
    // The token in the address is taken here, and nowhere else.
    let by_query = server
        .http
        .get(server.url(&format!("/v1/stream?access_token={token}")))
        .send()
        .await
        .unwrap();
    assert_eq!(by_query.status(), 200);
    let elsewhere = server
        .http
        .get(server.url(&format!("/v1/me?access_token={token}")))
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 401);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_with_the_server() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let key = plant.key(&[Permission::TicketsRead]).await;
    let token = server.sign_in(&plant.email("admin")).await;
    let mut revoked = Events::open(&server, "", &key, None).await;
    let mut open = Events::open(&server, "", &token, None).await;
    sqlx::query("UPDATE api_key SET revoked_at = now()")
        .execute(&server.database.owner)
        .await
        .unwrap();
    // A reading that had begun before may still come; then the stream ends.
    let mut after = 0;
    loop {
        say(&server, &plant, "ticket.created", after).await;
        if revoked.next().await.is_none() {
            break;
        }
        after += 1;
        assert!(after < 3, "a revoked key still reads");
    }
    for n in 0..=after {
        assert_eq!(open.next().await.unwrap().2["data"]["n"], n);
    }
    let ended = tokio::spawn(async move { open.next().await });
    server.stop().await;
    assert_eq!(ended.await.unwrap(), None);
}
