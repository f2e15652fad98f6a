//! What tickets carry beside their state: workflow, tasks, files, relations, names elsewhere.

use models::tenant::MemberRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::mover::{Mover, assigned};
use crate::plant::PICTURE;

#[tokio::test]
async fn a_tenants_own_steps_hold_a_ticket_up_and_remove_nothing() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let step = json!({ "state": "accepted", "code": "budget", "name": "Budget approved", "role": "planner" });
    let made = server.post("/v1/workflow", &token, step).await.expect(201);
    let bad = json!({ "state": "closed", "code": "x", "name": "x" });
    server
        .post("/v1/workflow", &token, bad)
        .await
        .refused(422, "invalid-body");
    let ticket = Mover::new(
        &server,
        &token,
        json!({ "asset_id": plant.asset, "title": "Oil" }),
    )
    .await;
    ticket.go(&[json!({ "to": "accepted" })]).await;
    assert_eq!(
        ticket.missing(json!({ "to": "planned" })).await,
        ["workflow.step", "tasks.none"],
        "the step comes on top of the gate"
    );
    let technician = plant.member("tech", MemberRole::Technician, None).await;
    let technician = server.sign_in(&technician).await;
    let path = format!("{}/steps", ticket.path);
    let refused = server
        .post(&path, &technician, json!({ "code": "budget" }))
        .await
        .refused(422, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("planner"),
        "{refused:#}"
    );
    let unknown = ticket
        .post("steps", json!({ "code": "lunch" }))
        .await
        .refused(422, "invalid-body");
    assert!(
        unknown["detail"].as_str().unwrap().contains("only budget"),
        "{unknown:#}"
    );
    let planner = plant.member("planner", MemberRole::Planner, None).await;
    let planner = server.sign_in(&planner).await;
    let shown = server
        .post(&path, &planner, json!({ "code": "budget" }))
        .await
        .expect(200);
    assert!(shown["steps"][0]["done_by"].as_str().unwrap().starts_with("usr_"));
    assert_eq!(ticket.missing(json!({ "to": "planned" })).await, ["tasks.none"]);
    let path = format!("/v1/workflow/{}", made["id"].as_str().unwrap());
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    assert_eq!(ticket.get().await["steps"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn tasks_take_what_fits_them_and_files_are_what_they_say() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "asset_id": plant.asset, "title": "Check", "tasks": [
        { "kind": "number", "text": "oil level", "min_value": 1, "max_value": 5, "unit": "L" },
        { "kind": "meter", "text": "hours", "meter_id": plant.meter },
        { "kind": "photo", "text": "nameplate" }, { "kind": "signature", "text": "sign" }] });
    let mut backwards = body.clone();
    backwards["tasks"][0]["min_value"] = json!(9);
    let problem = server
        .post("/v1/tickets", &token, backwards)
        .await
        .refused(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/tasks/0");
    let ticket = Mover::new(&server, &token, body).await;
    let tasks: Vec<String> = ticket.get().await["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| format!("tasks/{}", task["id"].as_str().unwrap()))
        .collect();
    let done = async |index: usize, body: Value| ticket.post(&format!("{}/done", tasks[index]), body).await;
    done(0, json!({ "result": "full" }))
        .await
        .refused(422, "invalid-body");
    let outside = done(0, json!({ "result": 9 })).await.refused(422, "invalid-body");
    assert!(
        outside["detail"].as_str().unwrap().contains("measure again"),
        "{outside:#}"
    );
    done(0, json!({ "result": 9, "note": "drained to 4" }))
        .await
        .expect(200);
    done(1, json!({ "result": 130.5 })).await.expect(200);
    let backwards = done(1, json!({ "result": 50 })).await.refused(422, "refused");
    assert!(
        backwards["detail"].as_str().unwrap().contains("meter"),
        "{backwards:#}"
    );
    let meter = server
        .get(&format!("/v1/meters/{}/readings", plant.meter), &token)
        .await
        .expect(200);
    assert_eq!(
        meter["data"][0]["total"], 130.5,
        "the task's number is the meter's"
    );
    done(2, json!({ "result": plant.attachment }))
        .await
        .refused(422, "invalid-body");
    let photo = ticket.photo().await;
    assert_eq!(
        photo,
        ticket.photo().await,
        "the same file again is the same attachment"
    );
    done(2, json!({ "result": photo })).await.expect(200);
    done(3, json!({ "result": "A" }))
        .await
        .refused(422, "invalid-body");
    done(3, json!({ "result": "Ada Admin" })).await.expect(200);
    let edit = async |body: Value| {
        let path = format!("{}/{}", ticket.path, tasks[0]);
        server.call(Method::PATCH, &path, Some(&token), Some(&body)).await
    };
    edit(json!({ "text": "x" })).await.refused(409, "conflict");
    done(0, json!({ "done": false })).await.expect(200);
    edit(json!({ "max_value": 0 })).await.refused(422, "invalid-body");
    assert_eq!(
        edit(json!({ "text": "oil" })).await.expect(200)["tasks"][0]["text"],
        "oil"
    );

    // Files: a type that is not taken, one that is not what it says, nothing, too much.
    assert_eq!(
        ticket
            .upload("a.exe", "application/x-msdownload", b"MZ")
            .await
            .status(),
        415
    );
    assert_eq!(
        ticket.upload("a.png", "image/png", b"<script>").await.status(),
        415
    );
    assert_eq!(ticket.upload("a.txt", "text/plain", b"").await.status(), 422);
    assert_eq!(
        ticket.upload("..%2Fa.txt", "text/plain", b"x").await.status(),
        400
    );
    let of_another = format!("a.txt&task_id={}", plant.task);
    let refused = ticket.upload(&of_another, "text/plain", b"x").await;
    assert_eq!(refused.status(), 400, "a task of another ticket");
    let own = format!("a.txt&task_id={}", tasks[0].trim_start_matches("tasks/"));
    assert_eq!(ticket.upload(&own, "text/plain", b"x").await.status(), 201);
    static HUGE: [u8; (20 << 20) + 1] = [b'x'; (20 << 20) + 1];
    assert_eq!(ticket.upload("a.txt", "text/plain", &HUGE).await.status(), 413);
    let content = server
        .http
        .get(server.url(&format!("/v1/attachments/{photo}")))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(content.headers()["content-type"], "image/png");
    assert!(
        content.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    assert!(
        content.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("sandbox")
    );
    assert_eq!(content.bytes().await.unwrap(), PICTURE);
    server.stop().await;
}

#[tokio::test]
async fn tickets_are_duplicates_wait_for_each_other_and_are_split() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body =
        json!({ "asset_id": plant.asset, "title": "One", "tasks": [{ "text": "a" }, { "text": "b" }] });
    let one = Mover::new(&server, &token, body.clone()).await;
    let two = Mover::new(&server, &token, body.clone()).await;
    let relate = async |from: &Mover<'_>, kind: &str, to: &str| {
        from.post("relations", json!({ "kind": kind, "other_id": to }))
            .await
    };
    relate(&two, "blocked_by", &one.id).await.expect(200);
    relate(&one, "blocked_by", &two.id).await.refused(409, "conflict");
    relate(&one, "blocked_by", &one.id).await.refused(422, "refused");
    relate(&one, "blocked_by", "tkt_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f")
        .await
        .refused(422, "invalid-body");
    two.go(&assigned(&plant)).await;
    assert_eq!(two.missing(json!({ "to": "in_progress" })).await, ["blocked_by"]);
    let shown = one.get().await;
    assert_eq!(
        (&shown["relations"][0]["kind"], &shown["relations"][0]["outgoing"]),
        (&json!("blocked_by"), &json!(false))
    );
    // Splitting off a task.
    let task = shown["tasks"][1]["id"].clone();
    one.post("split", json!({ "title": "Part", "task_ids": [] }))
        .await
        .refused(422, "refused");
    one.post("split", json!({ "title": "Part", "task_ids": [plant.task] }))
        .await
        .refused(422, "refused");
    let part = one
        .post("split", json!({ "title": "Part", "task_ids": [task] }))
        .await
        .expect(201);
    assert_eq!(
        (&part["tasks"][0]["text"], &part["relations"][0]["kind"]),
        (&json!("b"), &json!("split_from"))
    );
    assert_eq!(one.get().await["tasks"].as_array().unwrap().len(), 1);
    // A duplicate is cancelled, and frees whoever waited for it.
    let three = Mover::new(&server, &token, body).await;
    let shown = relate(&one, "duplicate_of", &three.id).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["status_reason"]),
        (&json!("cancelled"), &json!("duplicate of #5"))
    );
    relate(&three, "duplicate_of", &one.id)
        .await
        .refused(422, "refused");
    two.go(&[json!({ "to": "in_progress" })]).await;
    // A closed parent.
    one.post("split", json!({ "title": "x", "task_ids": [task] }))
        .await
        .refused(409, "conflict");
    relate(&one, "blocked_by", &two.id).await.refused(409, "conflict");
    relate(&two, "blocked_by", &one.id).await.refused(422, "refused");
    let etag = server.get(&one.path, &token).await.header("etag").to_owned();
    let headers = [("if-match", etag.as_str())];
    let body = json!({ "title": "New" });
    server
        .send(Method::PATCH, &one.path, Some(&token), Some(&body), &headers)
        .await
        .refused(409, "conflict");
    let relation = two.get().await["relations"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("{}/relations/{relation}", two.path);
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .refused(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn another_systems_ticket_is_made_once() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "asset_id": plant.asset, "title": "WO 4711", "external_system": "maximo", "external_id": "4711" });
    let first = server.post("/v1/tickets", &token, body.clone()).await.expect(201);
    let again = server.post("/v1/tickets", &token, body.clone()).await.expect(200);
    assert_eq!(
        (&first["id"], &first["origin"]),
        (&again["id"], &json!("external"))
    );
    let found = server
        .get("/v1/tickets?external_system=maximo&external_id=4711", &token)
        .await
        .expect(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    let half = json!({ "asset_id": plant.asset, "title": "x", "external_system": "maximo" });
    server
        .post("/v1/tickets", &token, half)
        .await
        .refused(422, "invalid-body");
    // Another ticket can't take the pair.
    let other = Mover::new(&server, &token, json!({ "asset_id": plant.asset, "title": "x" })).await;
    let headers = [("if-match", "\"v1\"")];
    let pair = json!({ "external_system": "maximo", "external_id": "4711" });
    server
        .send(Method::PATCH, &other.path, Some(&token), Some(&pair), &headers)
        .await
        .refused(409, "duplicate");
    // A repeated idempotency key with another body.
    let keyed = async |title: &str| {
        let body = json!({ "asset_id": plant.asset, "title": title });
        let headers = [("idempotency-key", "k1")];
        server
            .send(Method::POST, "/v1/tickets", Some(&token), Some(&body), &headers)
            .await
    };
    let made = keyed("one").await.expect(201);
    assert_eq!(keyed("one").await.expect(201)["id"], made["id"]);
    keyed("two").await.refused(422, "key-reused");
    server.as_owner("UPDATE asset SET status = 'disposed'").await;
    let body = json!({ "asset_id": plant.asset, "title": "too late" });
    let problem = server
        .post("/v1/tickets", &token, body)
        .await
        .refused(422, "invalid-body");
    assert!(problem["detail"].as_str().unwrap().contains("disposed"));
    server.stop().await;
}
