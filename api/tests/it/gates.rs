//! What has to be true before work begins and before it ends.

use models::tenant::MemberRole;
use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::mover::{Mover, assigned, in_hours, with_task};

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
    let start = ticket.offer("in_progress").await;
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
