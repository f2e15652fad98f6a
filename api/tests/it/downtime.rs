//! What failed and how long it stood: codes, stops, reliability.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::mover::{Mover, assigned};

fn ago(hours: f64) -> Timestamp {
    Timestamp::now().plus_seconds(-hours * 3600.0)
}

#[tokio::test]
async fn what_failed_is_coded_and_how_long_it_stood_is_confirmed() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    // The asset goes down: a stop opens by itself, and the ticket can't be completed without its reason.
    let down = async |status: &'static str| {
        sqlx::query("UPDATE asset SET status = $1::asset_status")
            .bind(status)
            .execute(&server.database.owner)
            .await
            .unwrap();
    };
    down("down").await;
    let open = server
        .get("/v1/downtime?unconfirmed=true", &token)
        .await
        .expect(200);
    assert_eq!(
        (&open["data"][0]["source"], &open["data"][0]["ended_at"]),
        (&json!("status"), &Value::Null)
    );
    let body = json!({ "asset_id": plant.asset, "title": "Seized", "tasks": [{ "text": "replace" }] });
    let ticket = Mover::new(&server, &token, body).await;
    ticket.go(&assigned(&plant)).await;
    ticket.go(&[json!({ "to": "in_progress" })]).await;
    let task = ticket.get().await["tasks"][0]["id"].as_str().unwrap().to_owned();
    ticket
        .post(&format!("tasks/{task}/done"), json!({}))
        .await
        .expect(200);
    down("operational").await;
    assert_eq!(ticket.missing(json!({ "to": "completed" })).await, ["downtime"]);
    let path = format!("/v1/downtime/{}", open["data"][0]["id"].as_str().unwrap());
    let confirm = async |body: Value| server.call(Method::PATCH, &path, Some(&token), Some(&body)).await;
    confirm(json!({})).await.refused(422, "invalid-body");
    confirm(json!({ "reason": "tired" }))
        .await
        .refused(422, "invalid-body");
    confirm(json!({ "reason": "other" }))
        .await
        .refused(422, "invalid-body");
    confirm(json!({ "reason": "maintenance", "ended_at": ago(99.0) }))
        .await
        .refused(422, "invalid-body");
    let headers = [("if-match", "\"v1\"")];
    let late = json!({ "reason": "maintenance" });
    server
        .send(Method::PATCH, &path, Some(&token), Some(&late), &headers)
        .await
        .refused(412, "stale-version");
    confirm(json!({ "reason": "equipment_failure", "started_at": ago(1.0) }))
        .await
        .expect(200);
    let coded = |cause: &str| json!({ "to": "completed", "cause_code": cause, "remedy_code": "replaced" });
    ticket.step(coded("gremlins")).await.refused(422, "invalid-body");
    ticket.go(&[coded("birds")]).await;
    assert_eq!(ticket.get().await["cause_code"], "birds", "the tenant's own word");

    // 2 h stop of the plant and about 1 h here, both failures, within the last 10 h.
    let report = server
        .get(
            &format!("/v1/assets/{}/reliability?from={}", plant.asset, ago(10.0)),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(
        (&report["failures"], &report["formula"]),
        (&json!(2), &json!("downtime/1"))
    );
    let mttr = report["mttr_h"].as_f64().unwrap();
    assert!((1.45..1.55).contains(&mttr), "{report:#}");
    assert_eq!(
        report["failed"].as_array().unwrap().len(),
        2,
        "the figure opens onto its intervals"
    );

    // An alarm that says so opens and ends one.
    sqlx::query("UPDATE alarm SET condition = 'clearing' WHERE id = $1")
        .bind(plant.alarm)
        .execute(&server.database.owner)
        .await
        .unwrap();
    let unconfirmed = server
        .get("/v1/downtime?unconfirmed=true", &token)
        .await
        .expect(200);
    assert_eq!(unconfirmed["data"][0]["source"], "alarm");
    sqlx::query("UPDATE alarm SET condition = 'inactive', cleared_at = now() WHERE id = $1")
        .bind(plant.alarm)
        .execute(&server.database.owner)
        .await
        .unwrap();
    let unconfirmed = server
        .get("/v1/downtime?unconfirmed=true", &token)
        .await
        .expect(200);
    assert!(unconfirmed["data"][0]["ended_at"].is_string());

    let codes = server
        .get("/v1/failure-codes?parent=wear", &token)
        .await
        .expect(200);
    let first = codes["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["level"] == "cause")
        .unwrap();
    assert_eq!(first["parent"], "wear");
    for body in [
        json!({ "level": "cause", "code": "Bird Nest", "name": "x" }),
        json!({ "level": "cause", "code": "other", "name": "x", "enabled": false }),
        json!({ "level": "feeling", "code": "sad", "name": "x" }),
    ] {
        server
            .post("/v1/failure-codes", &token, body)
            .await
            .refused(422, "invalid-body");
    }
    let failed =
        json!({ "asset_id": plant.asset, "failure_mode_id": plant.failure_mode, "failed_at": ago(2.0) });
    server
        .post("/v1/failures", &token, failed.clone())
        .await
        .expect(201);
    server
        .post("/v1/failures", &token, failed)
        .await
        .refused(409, "duplicate");
    let early = json!({ "asset_id": plant.asset, "failed_at": ago(-2.0) });
    server
        .post("/v1/failures", &token, early)
        .await
        .refused(422, "invalid-body");
    server.stop().await;
}
