//! What has to be true before work begins and before it ends.

use models::tenant::MemberRole;
use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};
use crate::plant::{PICTURE, Plant};

fn in_hours(hours: f64) -> Timestamp {
    Timestamp::now().plus_seconds(hours * 3600.0)
}

/// A ticket with somebody's token: moves it with the version it has.
pub struct Mover<'a> {
    pub server: &'a Server,
    pub token: String,
    pub path: String,
    pub id: String,
}

impl<'a> Mover<'a> {
    pub async fn new(server: &'a Server, token: &str, body: Value) -> Mover<'a> {
        let ticket = server.post("/v1/tickets", token, body).await.expect(201);
        let id = ticket["id"].as_str().unwrap().to_owned();
        Self {
            server,
            token: token.to_owned(),
            path: format!("/v1/tickets/{id}"),
            id,
        }
    }

    pub async fn get(&self) -> Value {
        self.server.get(&self.path, &self.token).await.expect(200)
    }

    pub async fn step(&self, body: Value) -> Reply {
        let etag = self
            .server
            .get(&self.path, &self.token)
            .await
            .header("etag")
            .to_owned();
        let headers = [("if-match", etag.as_str())];
        let path = format!("{}/transitions", self.path);
        self.server
            .send(Method::POST, &path, Some(&self.token), Some(&body), &headers)
            .await
    }

    pub async fn go(&self, steps: &[Value]) {
        for body in steps {
            let reply = self.step(body.clone()).await;
            assert_eq!(reply.status, 200, "{body} {:#}", reply.body);
        }
    }

    pub async fn missing(&self, body: Value) -> Vec<String> {
        let problem = self.step(body).await.refused(422, "refused");
        problem["missing"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn post(&self, what: &str, body: Value) -> Reply {
        self.server
            .post(&format!("{}/{what}", self.path), &self.token, body)
            .await
    }

    pub async fn upload(&self, name: &str, media_type: &str, bytes: &'static [u8]) -> reqwest::Response {
        let path = format!("{}/attachments?name={name}", self.path);
        self.server
            .http
            .post(self.server.url(&path))
            .bearer_auth(&self.token)
            .header("content-type", media_type)
            .body(bytes)
            .send()
            .await
            .unwrap()
    }

    pub async fn photo(&self) -> String {
        let reply = self.upload("lock.png", "image/png", PICTURE).await;
        assert_eq!(reply.status(), 201);
        reply.json::<Value>().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub fn assigned(plant: &Plant) -> [Value; 4] {
    [
        json!({ "to": "accepted" }),
        json!({ "to": "planned" }),
        json!({ "to": "scheduled", "scheduled_start": in_hours(-1.0), "scheduled_end": in_hours(3.0) }),
        json!({ "to": "assigned", "assignee_id": plant.admin }),
    ]
}

fn with_task(plant: &Plant) -> Value {
    json!({ "asset_id": plant.asset, "title": "Weld the bracket", "tasks": [{ "text": "weld" }] })
}

#[tokio::test]
async fn dangerous_work_needs_its_permit_and_its_locks() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let requirement = json!({ "asset_id": plant.asset, "permit": true, "lockout": true });
    server
        .post("/v1/work-requirements", &token, requirement)
        .await
        .expect(201);
    let ticket = Mover::new(&server, &token, with_task(&plant)).await;
    ticket.go(&assigned(&plant)).await;
    assert_eq!(
        ticket.missing(json!({ "to": "in_progress" })).await,
        ["permit", "lockout"]
    );
    // The list says the same, with what to do.
    let next = server
        .get(&format!("{}/transitions", ticket.path), &token)
        .await
        .expect(200);
    let start = next["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["to"] == "in_progress")
        .unwrap();
    assert!(
        start["missing"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("/v1/work-permits"),
        "{start:#}"
    );

    // A high risk is approved by somebody else.
    let mut ask = json!({ "ticket_id": ticket.id, "work": "hot work", "hazards": "sparks", "precautions": "fire watch",
        "likelihood": 4, "consequence": 4, "valid_from": in_hours(-1.0), "valid_until": in_hours(6.0) });
    let permit = server
        .post("/v1/work-permits", &token, ask.clone())
        .await
        .expect(201);
    assert_eq!(
        (&permit["risk"], &permit["status"]),
        (&json!("high"), &json!("requested"))
    );
    let decision = format!("/v1/work-permits/{}/decision", permit["id"].as_str().unwrap());
    let approve = json!({ "decision": "approve", "signature": "A. Admin" });
    let own = server
        .post(&decision, &token, approve.clone())
        .await
        .refused(422, "refused");
    assert!(
        own["detail"].as_str().unwrap().contains("somebody else"),
        "{own:#}"
    );
    let officer = plant.member("officer", MemberRole::SafetyOfficer, None).await;
    let officer = server.sign_in(&officer).await;
    server
        .post(&decision, &officer, json!({ "decision": "approve" }))
        .await
        .refused(422, "refused");
    let operator = plant.member("operator", MemberRole::Operator, None).await;
    let operator = server.sign_in(&operator).await;
    server
        .post(&decision, &operator, approve.clone())
        .await
        .refused(403, "forbidden");
    let approved = server
        .post(&decision, &officer, approve.clone())
        .await
        .expect(200);
    assert_eq!(approved["status"], "approved");
    server
        .post(&decision, &officer, approve)
        .await
        .refused(422, "refused");
    // A low one is approved at once; one without a likelihood asks the prediction.
    ask["likelihood"] = json!(1);
    ask["consequence"] = json!(1);
    assert_eq!(
        server
            .post("/v1/work-permits", &token, ask.clone())
            .await
            .expect(201)["status"],
        "approved"
    );
    ask["likelihood"] = Value::Null;
    let problem = server
        .post("/v1/work-permits", &token, ask.clone())
        .await
        .refused(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/likelihood");
    let mut predicted = ask.clone();
    predicted["ticket_id"] = json!(plant.ticket);
    let permit = server
        .post("/v1/work-permits", &token, predicted)
        .await
        .expect(201);
    assert_eq!(
        (&permit["probability"], &permit["likelihood"]),
        (&json!(0.3), &json!(4))
    );
    ask["valid_until"] = json!(in_hours(48.0));
    server
        .post("/v1/work-permits", &token, ask)
        .await
        .refused(422, "invalid-body");

    // Locks, each with its photo.
    assert_eq!(ticket.missing(json!({ "to": "in_progress" })).await, ["lockout"]);
    let lock = |photo: &str, point: &str| json!({ "procedure_id": plant.procedure, "point": point, "tag": "17", "photo_id": photo });
    let stranger = plant.attachment.to_string();
    ticket
        .post("locks", lock(&stranger, "Q1"))
        .await
        .refused(422, "refused");
    let photo = ticket.photo().await;
    let unknown = ticket
        .post("locks", lock(&photo, "Q9"))
        .await
        .refused(422, "refused");
    assert!(
        unknown["detail"].as_str().unwrap().contains("only Q1"),
        "{unknown:#}"
    );
    let locks = ticket.post("locks", lock(&photo, "Q1")).await.expect(200);
    ticket
        .post("locks", lock(&photo, "Q1"))
        .await
        .refused(422, "refused");
    ticket.go(&[json!({ "to": "in_progress" })]).await;

    // Not off while work goes on, not by a stranger; and no end with a lock on.
    let removal = format!("locks/{}/removal", locks["data"][0]["id"].as_str().unwrap());
    ticket.post(&removal, json!({})).await.refused(422, "refused");
    let done = format!(
        "tasks/{}/done",
        ticket.get().await["tasks"][0]["id"].as_str().unwrap()
    );
    ticket.post(&done, json!({})).await.expect(200);
    assert_eq!(
        ticket.missing(json!({ "to": "completed" })).await,
        ["locks_removed"]
    );
    let path = format!("{}/{removal}", ticket.path);
    server
        .post(&path, &operator, json!({}))
        .await
        .refused(422, "refused");
    ticket
        .post(&removal, json!({ "photo_id": photo }))
        .await
        .expect(200);
    ticket.go(&[json!({ "to": "completed" })]).await;
    let kinds: Vec<Value> = ticket.get().await["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].clone())
        .collect();
    for kind in [
        "permit_requested",
        "permit_approved",
        "lock_applied",
        "lock_removed",
    ] {
        assert!(
            kinds.contains(&json!(kind)),
            "{kind} is not in the history: {kinds:?}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn only_somebody_able_is_assigned() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    plant.member("ada", MemberRole::Technician, None).await;
    let users = server.get("/v1/users?role=technician", &token).await.expect(200);
    let ada = users["data"][0]["id"].as_str().unwrap().to_owned();
    let mut body = with_task(&plant);
    body["required_skill"] = json!("hvac");
    let ticket = Mover::new(&server, &token, body).await;
    ticket.go(&assigned(&plant)[..3]).await;
    let assign = json!({ "to": "assigned", "assignee_id": ada });
    assert_eq!(
        ticket.missing(assign.clone()).await,
        ["assignee.not_a_technician"]
    );
    let put = async |body: Value| {
        server
            .call(
                Method::PUT,
                &format!("/v1/technicians/{ada}"),
                Some(&token),
                Some(&body),
            )
            .await
    };
    put(json!({ "skills": ["sorcery"] }))
        .await
        .refused(422, "invalid-body");
    put(json!({ "skills": ["general"], "home_site_id": plant.other_site }))
        .await
        .expect(200);
    assert_eq!(
        ticket.missing(assign.clone()).await,
        [
            "assignee.site",
            "assignee.skill",
            "assignee.qualification",
            "assignee.shift"
        ]
    );
    put(json!({ "skills": ["general", "hvac"], "home_site_id": plant.other_site, "floating": true }))
        .await
        .expect(200);
    let qualification = |until: Timestamp| json!({ "user_id": ada, "kind": "training", "code": "site_induction", "valid_from": in_hours(-100.0), "valid_until": until });
    // Valid now, but not through the planned end.
    server
        .post("/v1/qualifications", &token, qualification(in_hours(2.0)))
        .await
        .expect(201);
    let shift = |kind: &str, from: f64, to: f64| json!({ "user_id": ada, "kind": kind, "starts_at": in_hours(from), "ends_at": in_hours(to) });
    server
        .post("/v1/shifts", &token, shift("working", -5.0, 5.0))
        .await
        .expect(201);
    server
        .post("/v1/shifts", &token, shift("working", 5.0, 4.0))
        .await
        .refused(422, "invalid-body");
    let sick = server
        .post("/v1/shifts", &token, shift("sick_leave", 1.0, 9.0))
        .await
        .expect(201);
    assert_eq!(
        ticket.missing(assign.clone()).await,
        ["assignee.qualification", "assignee.absent"]
    );
    let candidates = server
        .get(&format!("{}/candidates", ticket.path), &token)
        .await
        .expect(200);
    let of = |name: &str| {
        candidates["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&of("ada")["fit"], &of("ada")["from_pool"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(of("Admin")["refusals"][0]["code"], "assignee.skill");
    let sick = format!("/v1/shifts/{}", sick["id"].as_str().unwrap());
    server
        .call(Method::DELETE, &sick, Some(&token), None)
        .await
        .expect(204);
    server
        .post("/v1/qualifications", &token, qualification(in_hours(50.0)))
        .await
        .expect(201);
    ticket.go(std::slice::from_ref(&assign)).await;
    // He is booked now: a second ticket at the same time is refused, and so is taking over by a change.
    let second = Mover::new(&server, &token, with_task(&plant)).await;
    second.go(&assigned(&plant)).await;
    let etag = server.get(&second.path, &token).await.header("etag").to_owned();
    let headers = [("if-match", etag.as_str())];
    let body = json!({ "assignee_id": ada });
    let problem = server
        .send(Method::PATCH, &second.path, Some(&token), Some(&body), &headers)
        .await
        .refused(422, "refused");
    assert_eq!(problem["missing"][0]["code"], "assignee.overlap");
    server.stop().await;
}

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
