//! Rules tried before they are saved, cases regrouped, predictions labelled, meters corrected, plans of a
//! year; and what is answered to what can't be.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};

/// An order for the version that is there now.
async fn order(server: &Server, token: &str, of: &str, path: &str, body: Value) -> Reply {
    let etag = server.get(of, token).await.header("etag").to_owned();
    let headers = [("if-match", etag.as_str())];
    server
        .send(Method::POST, path, Some(token), Some(&body), &headers)
        .await
}

#[tokio::test]
async fn a_rule_is_tried_on_history_before_it_is_saved() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let now = Timestamp::now();
    // A reading a minute for a day; an hour beyond the limit at noon, another in the evening.
    for minute in 0..1440_i64 {
        let beyond = (720..780).contains(&minute) || (1200..1260).contains(&minute);
        sqlx::query("INSERT INTO reading (ts, value, channel_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(now.plus_seconds((minute - 2000) as f64 * 60.0))
            .bind(if beyond {
                9.0
            } else {
                3.0 + (minute % 3) as f64 * 0.1
            })
            .bind(plant.channel)
            .execute(&server.database.owner)
            .await
            .unwrap();
    }
    let rule = |change: fn(&mut Value)| {
        let mut rule = json!({ "asset_id": plant.asset, "channel_id": plant.channel, "name": "tried", "kind": "high",
                               "limit_value": 7.1, "severity": "serious" });
        change(&mut rule);
        json!({ "rule": rule, "days": 3 })
    };
    let tried = server
        .post("/v1/alarm-rules/backtest", &token, rule(|_| {}))
        .await
        .expect(200);
    assert_eq!(
        (&tried["fired"], &tried["tickets"]),
        (&json!(2), &json!(1)),
        "{tried:#}"
    );
    assert_eq!(tried["firings"].as_array().unwrap().len(), 2);
    assert!(
        tried["summary"].as_str().unwrap().contains("fired 2 times"),
        "{tried:#}"
    );
    assert!(tried["proposal"]["deadband"].as_f64().unwrap() > 0.0, "{tried:#}");
    let rules = server.get("/v1/alarm-rules", &token).await.expect(200);
    assert!(
        rules["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["name"] != "tried"),
        "nothing is saved"
    );
    // What can't be is said with the place and the remedy.
    let refused = server
        .post(
            "/v1/alarm-rules/backtest",
            &token,
            rule(|rule| rule["kind"] = json!("deviation")),
        )
        .await
        .refused(422, "invalid-body");
    assert!(
        refused["detail"].as_str().unwrap().contains("try the limit"),
        "{refused:#}"
    );
    let windows = |windows: Value| json!({ "schedule": { "windows": windows } });
    for (params, pointer) in [
        (windows(json!([])), "/params/schedule"),
        (
            windows(json!([{ "from": "06:00", "to": "06:00" }])),
            "/params/schedule",
        ),
        (json!({ "escalate_after_s": 0 }), "/params/escalate_after_s"),
    ] {
        let mut body = rule(|_| {})["rule"].clone();
        body["params"] = params;
        let refused = server
            .post("/v1/alarm-rules", &token, body)
            .await
            .refused(422, "invalid-body");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused:#}");
    }
    server.stop().await;
}

#[tokio::test]
async fn cases_are_split_and_merged_again_and_predictions_labelled() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let case = format!("/v1/cases/{}", plant.case);
    let body = json!({ "predictions": [plant.prediction], "title": "Something else" });
    let split = order(&server, &token, &case, &format!("{case}/split"), body.clone())
        .await
        .expect(200);
    assert_eq!(split["title"], "Something else");
    assert_eq!(split["predictions"][0]["id"], json!(plant.prediction));
    let new = format!("/v1/cases/{}", split["id"].as_str().unwrap());
    order(&server, &token, &case, &format!("{case}/split"), body)
        .await
        .refused(422, "refused");
    order(&server, &token, &case, &format!("{case}/split"), json!({}))
        .await
        .refused(422, "refused");
    order(
        &server,
        &token,
        &new,
        &format!("{new}/merge"),
        json!({ "into": split["id"] }),
    )
    .await
    .refused(422, "refused");
    let merged = order(
        &server,
        &token,
        &new,
        &format!("{new}/merge"),
        json!({ "into": plant.case }),
    )
    .await
    .expect(200);
    assert_eq!(merged["id"], json!(plant.case));
    let closed = server.get(&new, &token).await.expect(200);
    assert_eq!(closed["merged_into"], json!(plant.case));
    // A case that is closed is told so.
    let refused = order(
        &server,
        &token,
        &new,
        &format!("{new}/merge"),
        json!({ "into": plant.case }),
    )
    .await
    .refused(422, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("is closed"),
        "{refused:#}"
    );

    let prediction = format!("/v1/predictions/{}", plant.prediction);
    let label = format!("{prediction}/label");
    let body = json!({ "label": "no_fault_found", "note": "all as new" });
    let refused = order(&server, &token, &prediction, &label, body.clone())
        .await
        .refused(422, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("decide on it first"),
        "{refused:#}"
    );
    let snooze = json!({ "shutdown": true });
    let snoozed = order(
        &server,
        &token,
        &prediction,
        &format!("{prediction}/snooze"),
        snooze,
    )
    .await
    .expect(200);
    assert_eq!(
        (&snoozed["status"], &snoozed["snooze_shutdown"]),
        (&json!("snoozed"), &json!(true))
    );
    let dismiss = json!({ "reason": "sensor_fault" });
    order(
        &server,
        &token,
        &prediction,
        &format!("{prediction}/dismiss"),
        dismiss,
    )
    .await
    .expect(200);
    let tickets = server.get("/v1/tickets", &token).await.expect(200);
    assert!(
        tickets["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["title"].as_str().unwrap().contains("check the sensors")),
        "{tickets:#}"
    );
    let auto = json!({ "label": "false_negative" });
    order(&server, &token, &prediction, &label, auto)
        .await
        .refused(422, "refused");
    let labelled = order(&server, &token, &prediction, &label, body)
        .await
        .expect(200);
    assert_eq!(
        (&labelled["label"], &labelled["label_source"]),
        (&json!("no_fault_found"), &json!("person"))
    );
    let cards = server.get("/v1/predictions/scorecard", &token).await.expect(200);
    assert_eq!(cards["data"][0]["false_alarms"], 1, "{cards:#}");
    assert_eq!(cards["data"][0]["precision"]["value"], 0.0);
    server.stop().await;
}

#[tokio::test]
async fn a_meter_is_corrected_in_the_past_and_says_what_can_not_be() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/meters/{}", plant.meter);
    let ago = |hours: f64| Timestamp::now().plus_seconds(-hours * 3600.0).to_string();
    let (early, late) = (ago(10.0), ago(2.0));
    let enter = async |body: Value| server.post(&format!("{path}/readings"), &token, body).await;
    enter(json!({ "total": 150, "at": late })).await.expect(200);
    // Late, between two others; then backwards, taken, in the future.
    let meter = enter(json!({ "total": 120, "at": early })).await.expect(200);
    assert_eq!(meter["total"], 150.0);
    let backwards = enter(json!({ "total": 90, "at": ago(1.0) }))
        .await
        .refused(422, "refused");
    let detail = backwards["detail"].as_str().unwrap();
    assert!(
        detail.contains("backwards") && detail.contains("exchange"),
        "{detail}"
    );
    let taken = enter(json!({ "total": 121, "at": early }))
        .await
        .refused(422, "refused");
    assert!(
        taken["detail"].as_str().unwrap().contains("correct that one"),
        "{taken:#}"
    );
    enter(json!({ "total": 200, "at": "2999-01-01T00:00:00Z" }))
        .await
        .refused(422, "invalid-body");
    let post = async |what: &str, body: Value| server.post(&format!("{path}/{what}"), &token, body).await;
    let done = post("readings/correct", json!({ "at": late, "total": 140.5 }))
        .await
        .expect(200);
    assert_eq!(done["meter"]["total"], 140.5);
    let done = post("exchange", json!({ "at": ago(1.5), "last": 141, "first": 5 }))
        .await
        .expect(200);
    assert_eq!(done["meter"]["total"], 141.0);
    let meter = enter(json!({ "total": 7, "at": ago(0.5) })).await.expect(200);
    assert_eq!(meter["total"], 143.0);
    post("readings/void", json!({ "at": early, "reason": " " }))
        .await
        .refused(422, "invalid-body");
    post("readings/void", json!({ "at": ago(99.0), "reason": "x" }))
        .await
        .refused(422, "refused");
    let done = post(
        "readings/void",
        json!({ "at": early, "reason": "the neighbour's" }),
    )
    .await
    .expect(200);
    assert_eq!(
        (&done["meter"]["total"], &done["recounted"]),
        (&json!(143.0), &json!(1))
    );
    let forecast = server
        .get(&format!("{path}/forecast?days=10"), &token)
        .await
        .expect(200);
    assert_eq!(forecast["total"], 143.0);
    server.stop().await;
}

#[tokio::test]
async fn plans_of_a_year_and_plans_that_can_not_be() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let today = Timestamp::now().to_string()[..10].to_owned();
    let monthly = |change: fn(&mut Value)| {
        let mut plan = json!({ "asset_id": plant.asset, "name": "Inspect", "basis": "fixed", "every_days": 30,
                               "anchor_date": today, "calendar": { "rest_days": ["sunday"], "on_rest": "after" } });
        change(&mut plan);
        plan
    };
    let plan = server
        .post("/v1/plans", &token, monthly(|_| {}))
        .await
        .expect(201);
    let forecast = server
        .get("/v1/plans/forecast?months=12", &token)
        .await
        .expect(200);
    let mine: Vec<&Value> = forecast["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["plan"]["id"] == plan["id"])
        .collect();
    assert_eq!(mine.len(), 12, "{forecast:#}");
    assert!(
        mine.iter()
            .all(|one| one["explanation"].as_str().unwrap().contains("every 30 days"))
    );
    server
        .get("/v1/plans/forecast?months=61", &token)
        .await
        .refused(400, "invalid-query");
    let path = format!("/v1/plans/{}", plan["id"].as_str().unwrap());
    let future = json!({ "at": "2999-01-01T00:00:00Z" });
    order(&server, &token, &path, &format!("{path}/done"), future)
        .await
        .refused(422, "refused");
    let done = order(&server, &token, &path, &format!("{path}/done"), json!({}))
        .await
        .expect(200);
    assert!(
        done["anchor_date"].as_str().unwrap() >= today.as_str(),
        "the interval begins anew"
    );
    let stale = server
        .send(
            Method::POST,
            &format!("{path}/done"),
            Some(&token),
            Some(&json!({})),
            &[("if-match", "\"v1\"")],
        )
        .await
        .refused(412, "stale-version");
    assert!(stale["detail"].as_str().unwrap().contains("version"), "{stale:#}");
    for (change, pointer) in [
        (
            (|plan| plan["calendar"] = json!({ "seasons": [{ "from": "02-30", "to": "03-01" }] }))
                as fn(&mut Value),
            "MM-DD",
        ),
        (
            |plan| plan["calendar"] = json!({ "rest_days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] }),
            "leave at least one out",
        ),
        (
            |plan| plan["calendar"] = json!({ "skip_every": 1 }),
            "`skip_every` is 1",
        ),
        (|plan| plan["lead_days"] = json!(30), "lead must be shorter"),
        (
            |plan| plan["parent_id"] = json!("pln_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"),
            "parent plan",
        ),
    ] {
        let mut body = monthly(change);
        body["name"] = json!("Impossible");
        let reply = server.post("/v1/plans", &token, body).await;
        assert_eq!(reply.status, 422, "{:#}", reply.body);
        assert!(
            reply.body["detail"].as_str().unwrap().contains(pointer),
            "{:#}",
            reply.body
        );
    }
    server.stop().await;
}
