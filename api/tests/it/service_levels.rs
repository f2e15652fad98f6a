//! Service levels of tickets, on the clocks of their sites.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::mover::{Mover, assigned};

#[tokio::test]
async fn service_levels_run_on_the_sites_calendar_and_pause() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let policy = |respond: f64| {
        json!({ "priority": "high", "respond_s": respond, "restore_s": 7200, "always": true,
                "pausing": ["waiting_access"], "escalate_to": "planner" })
    };
    server
        .post("/v1/sla-policies", &token, policy(3600.0))
        .await
        .expect(200);
    server
        .post("/v1/sla-policies", &token, policy(9000.0))
        .await
        .refused(422, "invalid-body");
    let mut wrong = policy(3600.0);
    wrong["pausing"] = json!(["lunch"]);
    server
        .post("/v1/sla-policies", &token, wrong)
        .await
        .refused(422, "invalid-body");
    let body =
        json!({ "asset_id": plant.asset, "title": "Leak", "priority": "high", "tasks": [{ "text": "a" }] });
    let ticket = Mover::new(&server, &token, body).await;
    // 110 minutes old: answering is overdue, restoring is past 80 %.
    sqlx::query("UPDATE ticket SET created_at = created_at - interval '110 minutes' WHERE id = $1::uuid")
        .bind(uuid(&ticket.id))
        .execute(&server.database.owner)
        .await
        .unwrap();
    let clock = async |name: &str| {
        let all = ticket.get().await["sla"].clone();
        all.as_array()
            .unwrap()
            .iter()
            .find(|one| one["clock"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (
            &clock("respond").await["state"],
            &clock("restore").await["reached"]
        ),
        (&json!("breached"), &json!(80))
    );
    // Told once each, however often one looks.
    let pool = server.database.pool(models::db::Role::Api);
    for expected in [2, 0] {
        let mut tx = pool.begin().await.unwrap();
        models::db::act_for(&mut tx, plant.tenant).await.unwrap();
        let id = ticket.id.parse().unwrap();
        models::db::sla::refresh(&mut tx, id, Timestamp::now())
            .await
            .unwrap();
        let told = models::db::sla::announce(&mut tx, plant.tenant, Timestamp::now())
            .await
            .unwrap();
        assert_eq!(told, expected);
        tx.commit().await.unwrap();
    }
    pool.close().await;
    let kinds: Vec<String> = sqlx::query_scalar(
        "SELECT kind FROM outbox WHERE subject = $1 AND kind LIKE 'ticket.sla%' ORDER BY kind",
    )
    .bind(&ticket.id)
    .fetch_all(&server.database.owner)
    .await
    .unwrap();
    assert_eq!(kinds, ["ticket.sla_breached", "ticket.sla_warning"]);

    ticket.go(&assigned(&plant)).await;
    ticket.go(&[json!({ "to": "in_progress" })]).await;
    assert!(clock("respond").await["stopped_at"].is_string());
    let hold = json!({ "to": "on_hold", "reason": "no key", "hold_code": "lunch" });
    ticket.step(hold).await.refused(422, "invalid-body");
    ticket
        .go(&[json!({ "to": "on_hold", "reason": "no key", "hold_code": "waiting_access" })])
        .await;
    assert_eq!(
        (
            &clock("restore").await["state"],
            &clock("restore").await["due_at"]
        ),
        (&json!("paused"), &Value::Null)
    );
    ticket.go(&[json!({ "to": "in_progress" })]).await;
    assert_eq!(clock("restore").await["state"], "running");

    // Working hours, a zone that isn't, a change of the zone.
    let path = format!("/v1/sites/{}/calendar", plant.site);
    let put = async |body: Value| server.call(Method::PUT, &path, Some(&token), Some(&body)).await;
    let problem = put(json!({ "time_zone": "Europe/Atlantis", "week": { "mon": [["06:00", "14:00"]] } }))
        .await
        .refused(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/time_zone");
    assert!(problem["detail"].as_str().unwrap().contains("IANA"));
    put(json!({ "week": { "mon": [["22:00", "06:00"]] } }))
        .await
        .refused(422, "invalid-body");
    put(json!({ "week": { "someday": [["06:00", "14:00"]] } }))
        .await
        .refused(422, "invalid-body");
    // A window in the hour that the change of the clocks leaves out is taken: it moves with the gap.
    put(json!({ "week": { "sun": [["02:15", "02:45"]] }, "holidays": ["2026-12-25"] }))
        .await
        .expect(200);
    let mut by_calendar = policy(3600.0);
    by_calendar["always"] = json!(false);
    server
        .post("/v1/sla-policies", &token, by_calendar)
        .await
        .expect(200);
    let before = clock("restore").await["due_at"].clone();
    assert!(before.is_string());
    put(json!({ "time_zone": "America/New_York", "week": { "sun": [["02:15", "02:45"]] } }))
        .await
        .expect(200);
    assert_ne!(
        clock("restore").await["due_at"],
        before,
        "the zone's change moved the clock"
    );
    assert_eq!(
        server.get(&path, &token).await.expect(200)["time_zone"],
        "America/New_York"
    );
    server.stop().await;
}

fn uuid(id: &str) -> String {
    id.split_once('_').unwrap().1.to_owned()
}
