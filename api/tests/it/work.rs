//! What people do with alarms, predictions, tickets, meters and dead letters.

use models::tenant::MemberRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn an_alarm_is_acknowledged_and_shelved() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let operator = plant.member("operator", MemberRole::Operator, None).await;
    let token = server.sign_in(&operator).await;
    let path = format!("/v1/alarms/{}", plant.alarm);
    let alarm = server
        .post(&format!("{path}/ack"), &token, json!({ "comment": "seen" }))
        .await
        .expect(200);
    assert!(alarm["acked_by"].as_str().unwrap().starts_with("usr_"));
    assert_eq!(
        server.get("/v1/alarms?state=unacked", &token).await.expect(200)["data"],
        json!([])
    );
    let shelf = |hours: f64| {
        let until = models::time::Timestamp::now().plus_seconds(hours * 3600.0);
        json!({ "until": until, "reason": "sensor is being replaced" })
    };
    server
        .post(&format!("{path}/shelve"), &token, shelf(100.0))
        .await
        .refused(422, "refused");
    let alarm = server
        .post(&format!("{path}/shelve"), &token, shelf(1.0))
        .await
        .expect(200);
    assert_eq!(
        (&alarm["suppression"], &alarm["display"]),
        (&json!("shelved"), &json!("shelved"))
    );
    assert_eq!(
        server.get("/v1/alarms?state=shelved", &token).await.expect(200)["data"][0]["id"],
        alarm["id"]
    );
    let alarm = server
        .post(&format!("{path}/unshelve"), &token, json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&alarm["suppression"], &alarm["display"]),
        (&json!("none"), &json!("acknowledged"))
    );
    let kinds: Vec<&str> = alarm["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["raised", "acknowledged", "shelved", "unshelved"]);
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_moves_when_nothing_is_missing() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "asset_id": plant.asset, "title": "Oil on the floor", "priority": "high",
                       "tasks": [{ "kind": "check", "text": "find the leak" }] });
    let ticket = server.post("/v1/tickets", &token, body).await.expect(201);
    assert_eq!(
        (&ticket["number"], &ticket["status"], &ticket["decision"]),
        (&json!(2), &json!("open"), &Value::Null)
    );
    let path = format!("/v1/tickets/{}", ticket["id"].as_str().unwrap());
    let step = async |body: Value| {
        let etag = server.get(&path, &token).await.header("etag").to_owned();
        let headers = [("if-match", etag.as_str())];
        server
            .send(
                Method::POST,
                &format!("{path}/transitions"),
                Some(&token),
                Some(&body),
                &headers,
            )
            .await
    };
    let next = server
        .get(&format!("{path}/transitions"), &token)
        .await
        .expect(200);
    assert!(
        next["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["to"] == "accepted" && one["allowed"] == true)
    );
    step(json!({ "to": "closed" })).await.refused(409, "conflict");
    step(json!({ "to": "accepted" })).await.expect(200);
    step(json!({ "to": "planned" })).await.expect(200);
    let refused = step(json!({ "to": "scheduled" })).await.refused(422, "refused");
    assert_eq!(refused["missing"][0]["code"], "schedule.missing");
    let window = json!({ "to": "scheduled", "scheduled_start": "2026-02-01T06:00:00Z", "scheduled_end": "2026-02-01T08:00:00Z" });
    step(window).await.expect(200);
    let refused = step(json!({ "to": "assigned" })).await.refused(422, "refused");
    assert!(!refused["missing"].as_array().unwrap().is_empty(), "{refused:#}");
    step(json!({ "to": "assigned", "assignee_id": plant.admin }))
        .await
        .expect(200);
    step(json!({ "to": "in_progress" })).await.expect(200);
    step(json!({ "to": "completed" })).await.refused(422, "refused");
    let task = ticket["tasks"][0]["id"].as_str().unwrap();
    let done = server
        .post(
            &format!("{path}/tasks/{task}/done"),
            &token,
            json!({ "result": "found" }),
        )
        .await
        .expect(200);
    assert_eq!(done["tasks"][0]["result"], "found");
    let body = json!({ "kind": "number", "text": "oil level", "min_value": 1, "max_value": 5, "unit": "L" });
    let more = server
        .post(&format!("{path}/tasks"), &token, body)
        .await
        .expect(200);
    assert_eq!(
        (&more["tasks"][1]["position"], &more["tasks"][1]["mandatory"]),
        (&json!(2), &json!(true))
    );
    server
        .post(&format!("{path}/tasks"), &token, json!({ "text": "" }))
        .await
        .refused(422, "invalid-body");
    server
        .post(&format!("{path}/comments"), &token, json!({ "text": " " }))
        .await
        .refused(422, "invalid-body");
    server
        .post(
            &format!("{path}/comments"),
            &token,
            json!({ "text": "dry again" }),
        )
        .await
        .expect(200);
    let mine = server
        .get("/v1/tickets?mine=true&status=in_progress", &token)
        .await
        .expect(200);
    assert_eq!(mine["data"][0]["id"], ticket["id"]);
    let made = server
        .get(&format!("/v1/tickets/{}", plant.ticket), &token)
        .await
        .expect(200);
    assert_eq!(made["decision"]["reason"], "a serious alarm");
    server.stop().await;
}

#[tokio::test]
async fn a_prediction_is_accepted_into_the_cases_ticket_or_dismissed_with_a_reason() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    let token = server.sign_in(&north.email("admin")).await;
    let path = format!("/v1/predictions/{}", north.prediction);
    let act = async |path: &str, token: &str, body: Value| {
        let headers = [("if-match", "\"v1\"")];
        server
            .send(Method::POST, path, Some(token), Some(&body), &headers)
            .await
    };
    let prediction = act(&format!("{path}/accept"), &token, json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&prediction["status"], &prediction["ticket_id"]),
        (&json!("accepted"), &json!(north.ticket))
    );
    let token = server.sign_in(&south.email("admin")).await;
    let path = format!("/v1/predictions/{}", south.prediction);
    act(
        &format!("{path}/attach"),
        &token,
        json!({ "ticket_id": north.ticket }),
    )
    .await
    .refused(422, "refused");
    act(&format!("{path}/dismiss"), &token, json!({ "reason": "other" }))
        .await
        .refused(422, "refused");
    act(&format!("{path}/snooze"), &token, json!({ "above": 2 }))
        .await
        .refused(422, "invalid-body");
    let body = json!({ "reason": "sensor_fault" });
    let prediction = act(&format!("{path}/dismiss"), &token, body).await.expect(200);
    assert_eq!(prediction["status"], "dismissed");
    server.stop().await;
}

#[tokio::test]
async fn accepting_without_a_ticket_makes_one() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    server.as_owner("UPDATE ticket SET status = 'cancelled'").await;
    let path = format!("/v1/predictions/{}/accept", plant.prediction);
    let headers = [("if-match", "\"v1\"")];
    let prediction = server
        .send(Method::POST, &path, Some(&token), Some(&json!({})), &headers)
        .await
        .expect(200);
    let ticket = server
        .get(
            &format!("/v1/tickets/{}", prediction["ticket_id"].as_str().unwrap()),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(
        (&ticket["number"], &ticket["origin"]),
        (&json!(2), &json!("prediction"))
    );
    assert_eq!(ticket["case_id"], plant.case.to_string());
    server.stop().await;
}

#[tokio::test]
async fn meters_are_read_and_plans_changed() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/meters/{}/readings", plant.meter);
    let meter = server
        .post(&path, &token, json!({ "total": 130.5 }))
        .await
        .expect(200);
    assert_eq!(meter["total"], 130.5);
    server
        .post(&path, &token, json!({ "total": 1 }))
        .await
        .refused(422, "refused");
    server
        .post(&path, &token, json!({ "total": 1, "delta": 1 }))
        .await
        .refused(422, "invalid-body");
    assert_eq!(
        server.get(&path, &token).await.expect(200)["data"][0]["total"],
        130.5
    );
    let plans = server.get("/v1/plans", &token).await.expect(200);
    assert_eq!(
        (
            &plans["data"][0]["meter"]["total"],
            &plans["data"][0]["open_occurrence"]["sequence"]
        ),
        (&json!(130.5), &json!(1))
    );
    let body =
        json!({ "asset_id": plant.asset, "name": "Oil", "every_days": 30, "anchor_date": "2026-01-01" });
    let plan = server.post("/v1/plans", &token, body).await.expect(201);
    assert_eq!(plan["basis"], "floating");
    let body = json!({ "asset_id": plant.asset, "name": "Nothing", "anchor_date": "2026-01-01" });
    server
        .post("/v1/plans", &token, body)
        .await
        .refused(422, "refused");
    let body = json!({ "asset_id": plant.asset, "name": "kWh", "unit": "kW.h", "source": "integral" });
    server
        .post("/v1/meters", &token, body)
        .await
        .refused(422, "invalid-body");
    server.stop().await;
}

fn fix_of(order: &str) -> Value {
    if order == "fix" {
        json!({ "units": { "*": "Cel" } })
    } else {
        json!({})
    }
}

#[tokio::test]
async fn a_dead_letter_is_read_mended_and_discarded_once() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/dead-letters/{}", plant.dead_letter);
    let letter = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&letter["payload"], &letter["payload_base64"]),
        (&json!("{\"value\": "), &Value::Null)
    );
    server
        .as_owner("UPDATE dead_letter SET payload = '\\xff00'")
        .await;
    let letter = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&letter["payload"], &letter["payload_base64"]),
        (&Value::Null, &json!("/wA="))
    );
    server
        .post(&format!("{path}/fix"), &token, json!({}))
        .await
        .refused(422, "invalid-body");
    let fix = json!({ "names": { "pmp": "pump" }, "units": { "*": "Cel" } });
    let fixed = server
        .post(&format!("{path}/fix"), &token, fix.clone())
        .await
        .expect(200);
    assert_eq!(
        (&fixed["fix"], &fixed["replay_requested_at"]),
        (&fix, &Value::Null)
    );
    let asked = server
        .post(&format!("{path}/replay"), &token, json!({}))
        .await
        .expect(200);
    assert!(asked["replay_requested_at"].is_string(), "{asked}");
    server
        .post(&format!("{path}/discard"), &token, json!({}))
        .await
        .expect(200);
    for order in ["fix", "replay"] {
        server
            .post(&format!("{path}/{order}"), &token, fix_of(order))
            .await
            .refused(409, "conflict");
    }
    server
        .post(&format!("{path}/discard"), &token, json!({}))
        .await
        .refused(409, "conflict");
    assert_eq!(
        server.get("/v1/dead-letters?open=true", &token).await.expect(200)["data"],
        json!([])
    );
    assert_eq!(
        server.get("/v1/dead-letters", &token).await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn rules_are_made_changed_and_removed() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "asset_id": plant.asset, "name": "health", "kind": "health_below", "limit_value": 50,
                       "severity": "warning" });
    let rule = server
        .post("/v1/alarm-rules", &token, body.clone())
        .await
        .expect(201);
    server
        .post("/v1/alarm-rules", &token, body)
        .await
        .refused(409, "duplicate");
    let body = json!({ "asset_id": plant.asset, "name": "x", "kind": "high", "limit_value": 5, "severity": "warning" });
    let problem = server
        .post("/v1/alarm-rules", &token, body)
        .await
        .refused(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/channel_id");
    let path = format!("/v1/alarm-rules/{}", rule["id"].as_str().unwrap());
    let headers = [("if-match", "\"v1\"")];
    let patch = async |body: Value| {
        server
            .send(Method::PATCH, &path, Some(&token), Some(&body), &headers)
            .await
    };
    assert_eq!(
        patch(json!({ "kind": "low" })).await.refused(422, "invalid-body")["errors"][0]["pointer"],
        "/kind"
    );
    assert_eq!(
        patch(json!({ "limit_value": "high" }))
            .await
            .refused(422, "invalid-body")["errors"][0]["pointer"],
        "/limit_value"
    );
    assert_eq!(
        patch(json!({ "limit_value": 40 })).await.expect(200)["limit_value"],
        40.0
    );
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    server.get(&path, &token).await.refused(404, "not-found");
    // One that has raised an alarm stays, disabled.
    let path = format!("/v1/alarm-rules/{}", plant.rule);
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    assert_eq!(server.get(&path, &token).await.expect(200)["enabled"], false);
    server.stop().await;
}

#[tokio::test]
async fn a_sign_says_whether_it_has_a_ticket_and_why_not() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let answer = async |path: &str| {
        let shown = server.get(path, &token).await.expect(200);
        let mut dispatch = shown["dispatch"].clone();
        dispatch["display"] = shown["display"].clone();
        let reason = dispatch["reason"].as_str().unwrap();
        assert!(
            reason.ends_with('.') && reason.len() > 20,
            "a sentence: {dispatch:#}"
        );
        dispatch
    };
    let decide = async |subject: &str, outcome: &str, ticket: bool, minutes: i32| {
        sqlx::query(
            "INSERT INTO dispatch_decision (id, tenant_id, asset_id, subject, at, outcome, ticket_id, reason)
             VALUES (gen_random_uuid(), $1, $2, $3, now() + make_interval(mins => $4), $5::dispatch_outcome, $6,
                     'The reason for ' || $5 || ', in a sentence.')",
        )
        .bind(plant.tenant)
        .bind(plant.asset)
        .bind(subject)
        .bind(minutes)
        .bind(outcome)
        .bind(ticket.then_some(plant.ticket))
        .execute(&server.database.owner)
        .await
        .unwrap();
    };
    let alarm = format!("/v1/alarms/{}", plant.alarm);
    let set = async |what: &'static str| {
        sqlx::query(what)
            .bind(plant.alarm)
            .execute(&server.database.owner)
            .await
            .unwrap();
    };
    for (what, code, last_word, display) in [
        (
            "UPDATE alarm SET active_at = NULL, dispatched_at = NULL, condition = 'pending' WHERE id = $1",
            "pending",
            false,
            "pending",
        ),
        (
            "UPDATE alarm SET condition = 'inactive' WHERE id = $1",
            "never_raised",
            true,
            "normal",
        ),
        (
            "UPDATE alarm SET condition = 'active', active_at = now() WHERE id = $1",
            "undecided",
            false,
            "unacknowledged",
        ),
    ] {
        set(what).await;
        let said = answer(&alarm).await;
        assert_eq!(
            (&said["code"], &said["last_word"]),
            (&json!(code), &json!(last_word))
        );
        assert_eq!(
            (&said["ticket_id"], &said["display"]),
            (&Value::Null, &json!(display))
        );
    }
    decide(&plant.alarm.to_string(), "suppressed", false, 1).await;
    assert_eq!(answer(&alarm).await["code"], "suppressed");
    decide(&plant.alarm.to_string(), "created", true, 2).await;
    set("UPDATE alarm SET dispatched_at = now() WHERE id = $1").await;
    let said = answer(&alarm).await;
    assert_eq!(
        (&said["code"], &said["ticket_id"], &said["last_word"]),
        (&json!("created"), &json!(plant.ticket), &json!(true))
    );

    let path = format!("/v1/predictions/{}", plant.prediction);
    assert_eq!(answer(&path).await["code"], "undecided");
    decide(&plant.prediction.to_string(), "below_policy", false, 1).await;
    assert_eq!(answer(&path).await["code"], "below_policy");
    let order = async |verb: &str, body: Value| {
        let etag = server.get(&path, &token).await.header("etag").to_owned();
        let headers = [("if-match", etag.as_str())];
        let order = format!("{path}/{verb}");
        let reply = server
            .send(Method::POST, &order, Some(&token), Some(&body), &headers)
            .await;
        reply.expect(200);
    };
    order("claim", json!({})).await;
    order("snooze", json!({ "above": 0.8, "shutdown": true })).await;
    let said = answer(&path).await;
    assert_eq!(said["code"], "snoozed");
    let reason = said["reason"].as_str().unwrap();
    assert!(
        reason.contains("above 80 %") && reason.contains("stands still"),
        "{reason}"
    );
    order("dismiss", json!({ "reason": "known_issue" })).await;
    let said = answer(&path).await;
    assert_eq!(
        (&said["code"], &said["last_word"]),
        (&json!("dismissed"), &json!(true))
    );
    assert!(said["reason"].as_str().unwrap().contains("known_issue"));
    server.stop().await;
}
