//! Parts: set aside, posted, given back, and the bill of materials that says which.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::mover::{Mover, assigned, in_hours};

#[tokio::test]
async fn parts_are_reserved_posted_and_given_back() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    // Ticket 1 of the plant holds 2 of 4, and 1 was posted: 1 is left; the bill of materials asks for 2.
    let part = async || server.get("/v1/parts", &token).await.expect(200)["data"][0].clone();
    assert_eq!(
        (&part().await["on_hand"], &part().await["available"]),
        (&json!(4.0), &json!(2.0))
    );
    let body = json!({ "asset_id": plant.asset, "title": "Bearing", "failure_mode_id": plant.failure_mode,
        "tasks": [{ "text": "replace" }] });
    let ticket = Mover::new(&server, &token, body.clone()).await;
    ticket.go(&assigned(&plant)[..2]).await;
    let parts = server
        .get(&format!("{}/parts", ticket.path), &token)
        .await
        .expect(200);
    assert_eq!(
        (
            &parts["reservations"][0]["kind"],
            &parts["reservations"][0]["quantity"]
        ),
        (&json!("hard"), &json!(2.0))
    );
    assert_eq!(part().await["available"], 0.0);
    // Nothing is left for the next one: a shortage is told once, and it waits.
    let second = Mover::new(&server, &token, body).await;
    second.go(&assigned(&plant)[..2]).await;
    assert_eq!(second.missing(assigned(&plant)[2].clone()).await, ["parts"]);
    second.go(&[json!({ "to": "waiting_parts" })]).await;
    let told: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox WHERE kind = 'part.shortage_predicted' AND subject = $1",
    )
    .bind(&second.id)
    .fetch_one(&server.database.owner)
    .await
    .unwrap();
    assert_eq!(told, 1);
    // A delivery moves it on; an older count is left out.
    let count = |on_hand: f64, hours: f64| json!({ "lines": [{ "part_number": "6308", "warehouse": "main", "on_hand": on_hand, "as_of": in_hours(hours) }] });
    let stale = server
        .post("/v1/parts/stock", &token, count(99.0, -5.0))
        .await
        .expect(200);
    assert_eq!(
        (&stale["taken"], &stale["tickets_moved"]),
        (&json!(0), &json!([]))
    );
    server
        .post("/v1/parts/stock", &token, count(9.0, 9.0))
        .await
        .refused(422, "invalid-body");
    let taken = server
        .post("/v1/parts/stock", &token, count(9.0, 0.0))
        .await
        .expect(200);
    assert_eq!(
        (&taken["taken"], &taken["tickets_moved"]),
        (&json!(1), &json!([second.id]))
    );
    assert_eq!(second.get().await["status"], "planned");

    let post = json!({ "part_number": "6308", "warehouse": "main", "quantity": 2 });
    ticket
        .post("parts/postings", post.clone())
        .await
        .refused(422, "refused");
    ticket.go(&assigned(&plant)[2..]).await;
    ticket.go(&[json!({ "to": "in_progress" })]).await;
    let task = ticket.get().await["tasks"][0]["id"].as_str().unwrap().to_owned();
    ticket
        .post(&format!("tasks/{task}/done"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        ticket.missing(json!({ "to": "completed" })).await,
        ["parts_posted"]
    );
    let mut bad = post.clone();
    bad["quantity"] = json!(-1);
    ticket.post("parts/postings", bad).await.refused(422, "refused");
    let parts = ticket.post("parts/postings", post).await.expect(200);
    assert_eq!(parts["reservations"][0]["status"], "consumed");
    assert_eq!(part().await["on_hand"], 7.0);
    let reversal = format!(
        "parts/postings/{}/reversal",
        parts["postings"][0]["id"].as_str().unwrap()
    );
    ticket
        .post(&reversal, json!({ "reason": " " }))
        .await
        .refused(422, "refused");
    ticket
        .post(&reversal, json!({ "reason": "it was good" }))
        .await
        .expect(200);
    ticket
        .post(&reversal, json!({ "reason": "again" }))
        .await
        .refused(422, "refused");
    assert_eq!(part().await["on_hand"], 9.0);
    ticket.go(&[json!({ "to": "completed" })]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_bill_of_materials_is_what_repairs_reserve() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/assets/{}/bom", plant.asset);
    let put = async |lines: Value| {
        let body = json!({ "lines": lines });
        server.call(Method::PUT, &path, Some(&token), Some(&body)).await
    };
    let line = |part: &str, mode: Value, quantity: f64| json!({ "part_number": part, "failure_mode_id": mode, "quantity": quantity, "lead_time_days": 30.0 });
    let mode = json!(plant.failure_mode);
    for (lines, pointer) in [
        (json!([line(" ", Value::Null, 1.0)]), "/lines/0/part_number"),
        (
            json!([line("6308", Value::Null, 1.0), line("seal", mode.clone(), 0.0)]),
            "/lines/1/quantity",
        ),
        (
            json!([line("6308", mode.clone(), 1.0), line("6308", mode.clone(), 2.0)]),
            "/lines/1/part_number",
        ),
        (
            json!([line("6308", json!("fmd_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"), 1.0)]),
            "/lines/0/failure_mode_id",
        ),
    ] {
        let problem = put(lines).await.refused(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    assert_eq!(
        server.get(&path, &token).await.expect(200)["data"][0]["part_number"],
        "6308",
        "as it was"
    );
    // Grease for every repair, a seal for this one only, a belt for none of it.
    let lines = json!([
        line("grease", Value::Null, 0.2),
        line("seal", mode, 1.0),
        line("seal", Value::Null, 1.0)
    ]);
    let bom = put(lines).await.expect(200);
    let shown: Vec<_> = bom["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["part_number"])
        .collect();
    assert_eq!(shown, ["grease", "seal", "seal"]);
    let body = json!({ "asset_id": plant.asset, "title": "Bearing", "failure_mode_id": plant.failure_mode });
    let ticket = Mover::new(&server, &token, body).await;
    ticket.go(&[json!({ "to": "accepted" })]).await;
    let parts = server
        .get(&format!("{}/parts", ticket.path), &token)
        .await
        .expect(200);
    let reserved: Vec<_> = parts["reservations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["part_number"].as_str().unwrap(),
                one["quantity"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(reserved, [("grease", 0.2), ("seal", 2.0)]);
    // An open prediction of the mode sets the same aside, softly.
    sqlx::query("UPDATE prediction SET status = 'new', probability = 0.9, peak_probability = 0.9, closed_at = NULL WHERE id = $1")
        .bind(plant.prediction)
        .execute(&server.database.owner)
        .await
        .unwrap();
    let mut tx = server.database.owner.begin().await.unwrap();
    models::db::parts::plan_ahead(&mut tx, plant.tenant, Timestamp::now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let soft: Vec<(String, f64)> = sqlx::query_as(
        "SELECT part_number, quantity FROM part_reservation WHERE kind = 'soft' AND status = 'active' ORDER BY part_number",
    )
    .fetch_all(&server.database.owner)
    .await
    .unwrap();
    assert_eq!(soft, [("grease".to_owned(), 0.2), ("seal".to_owned(), 2.0)]);
    put(json!([])).await.expect(200);
    assert_eq!(server.get(&path, &token).await.expect(200)["data"], json!([]));
    server.stop().await;
}
