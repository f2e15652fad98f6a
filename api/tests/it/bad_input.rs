//! What goes wrong between a planner and the plant: each has an answer that says what to do about it.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};
use crate::mover::{Mover, assigned};

/// The refusal says all of that to people.
#[track_caller]
fn says(reply: Reply, status: u16, name: &str, remedies: &[&str]) -> Value {
    let problem = reply.refused(status, name);
    let text = problem.to_string();
    for remedy in remedies {
        assert!(text.contains(remedy), "nothing of “{remedy}” in {problem:#}");
    }
    problem
}

#[tokio::test]
async fn every_bad_input_says_what_to_do() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "asset_id": plant.asset, "title": "One", "tasks": [{ "text": "a" }] });
    let ticket = Mover::new(&server, &token, body.clone()).await;

    // An illegal transition names those that there are.
    says(
        ticket.step(json!({ "to": "closed" })).await,
        409,
        "conflict",
        &["only accepted, cancelled"],
    );

    // A stale version.
    let etag = server.get(&ticket.path, &token).await.header("etag").to_owned();
    ticket.go(&assigned(&plant)[..1]).await;
    let change = json!({ "title": "Two" });
    let stale = [("if-match", etag.as_str())];
    let reply = server
        .send(Method::PATCH, &ticket.path, Some(&token), Some(&change), &stale)
        .await;
    says(reply, 412, "stale-version", &["read it again", "version 2"]);

    // A missing gate: with what is missing, for programs and for people.
    let etag = server.get(&ticket.path, &token).await.header("etag").to_owned();
    let change = json!({ "needs_permit": true, "needs_lockout": true });
    let fresh = [("if-match", etag.as_str())];
    let reply = server
        .send(Method::PATCH, &ticket.path, Some(&token), Some(&change), &fresh)
        .await;
    reply.expect(200);
    ticket.go(&assigned(&plant)[1..]).await;
    let reply = ticket.step(json!({ "to": "in_progress" })).await;
    let problem = says(reply, 422, "refused", &["\"permit\"", "\"lockout\""]);
    let offer = ticket.offer("in_progress").await;
    assert_eq!(offer["missing"], problem["missing"], "the list says the same");

    // A closed parent takes no parts, tasks, reservations or changes.
    let parent = Mover::new(&server, &token, body.clone()).await;
    let task = parent.get().await["tasks"][0]["id"].clone();
    parent
        .go(&[json!({ "to": "cancelled", "reason": "not needed" })])
        .await;
    let split = json!({ "title": "Part", "task_ids": [task] });
    says(parent.post("split", split).await, 409, "conflict", &["repeat_of"]);
    says(
        parent.post("tasks", json!({ "text": "more" })).await,
        409,
        "conflict",
        &["cancelled"],
    );
    let part = json!({ "part_number": "6308", "quantity": 1 });
    says(
        parent.post("parts/reservations", part).await,
        409,
        "conflict",
        &["nothing is reserved for it any more"],
    );
    let reply = parent.step(json!({ "to": "open" })).await;
    says(reply, 409, "conflict", &["nothing more can happen to it"]);

    // A zone that isn't one, and hours that can't be.
    let calendar = format!("/v1/sites/{}/calendar", plant.site);
    let put = async |body: Value| {
        server
            .call(Method::PUT, &calendar, Some(&token), Some(&body))
            .await
    };
    let week = json!({ "mon": [["06:00", "14:00"]] });
    says(
        put(json!({ "time_zone": "CEST", "week": week })).await,
        422,
        "invalid-body",
        &["IANA name", "/time_zone"],
    );
    let night = json!({ "week": { "mon": [["22:00", "06:00"]] } });
    says(put(night).await, 422, "invalid-body", &["two pairs"]);

    // A moment on a wall clock is none, least of all in the hour that the clocks leave out.
    let gap = json!({ "to": "scheduled", "scheduled_start": "2026-03-29T02:30:00", "scheduled_end": "2026-03-29T04:00:00" });
    says(
        ticket.step(gap).await,
        422,
        "invalid-body",
        &["RFC 3339", "2026-01-31T12:00:00Z"],
    );

    // A meter that runs backwards.
    let readings = format!("/v1/meters/{}/readings", plant.meter);
    let read = async |total: f64, ago: f64| {
        let at = Timestamp::now().plus_seconds(-ago);
        server
            .post(&readings, &token, json!({ "total": total, "at": at }))
            .await
    };
    read(150.0, 60.0).await.expect(200);
    says(read(90.0, 30.0).await, 422, "refused", &["backwards", "exchange"]);

    // A key that was used for another order.
    let order = async |title: &str| {
        let body = json!({ "asset_id": plant.asset, "title": title });
        let key = [("idempotency-key", "order 7")];
        server
            .send(Method::POST, "/v1/tickets", Some(&token), Some(&body), &key)
            .await
    };
    order("Leak").await.expect(201);
    order("Leak").await.expect(201);
    says(
        order("Noise").await,
        422,
        "key-reused",
        &["a new order needs a new key"],
    );

    // Work that goes on while another ticket has taken the cause over.
    let of_cause = async |key: &str| {
        let new = models::db::ticket::NewTicket {
            tenant: plant.tenant,
            asset: plant.asset,
            case: Some(plant.case),
            occurrence: None,
            failure_mode: None,
            origin: models::ticket::Origin::Person,
            origin_key: key.to_owned(),
            title: "Noise".to_owned(),
            description: String::new(),
            priority: models::ticket::Priority::Medium,
            due_at: None,
            repeat_of: None,
            tasks: vec![],
        };
        let mut db = server.database.owner.acquire().await.unwrap();
        models::db::ticket::create(&mut db, &new, "dispatch")
            .await
            .unwrap()
            .id()
    };
    // The plant's own ticket of the case makes room first.
    sqlx::query("UPDATE ticket SET status = 'completed', completed_at = now() WHERE id = $1")
        .bind(plant.ticket)
        .execute(&server.database.owner)
        .await
        .unwrap();
    of_cause("again").await;
    let done = Mover {
        server: &server,
        token: token.clone(),
        path: format!("/v1/tickets/{}", plant.ticket),
        id: plant.ticket.to_string(),
    };
    let reply = done
        .step(json!({ "to": "in_progress", "reason": "still loose" }))
        .await;
    says(
        reply,
        422,
        "refused",
        &["reopen.other_ticket", "go on with that one"],
    );
    server.stop().await;
}
