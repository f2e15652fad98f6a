//! Orders given twice, orders given on old knowledge.

use models::db::idempotency::{self, KeyOf, Seen};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};

async fn keyed(server: &Server, token: &str, key: &str, body: &Value) -> Reply {
    let headers = [("idempotency-key", key)];
    server
        .send(Method::POST, "/v1/assets", Some(token), Some(body), &headers)
        .await
}

#[tokio::test]
async fn the_same_key_is_the_same_order() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "name": "P-7", "site_id": plant.site, "class": "pump" });
    let first = keyed(&server, &token, "k1", &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    let again = keyed(&server, &token, "k1", &body).await;
    assert_eq!(
        (again.status, again.header("idempotency-replayed")),
        (201, "true")
    );
    assert_eq!(first.body, again.body);
    let other = json!({ "name": "P-8", "site_id": plant.site, "class": "pump" });
    keyed(&server, &token, "k1", &other)
        .await
        .refused(422, "key-reused");
    // Another credential's key of the same name is another key.
    let colleague = plant
        .member("colleague", models::tenant::MemberRole::TenantAdmin, None)
        .await;
    let colleague = server.sign_in(&colleague).await;
    keyed(&server, &colleague, "k1", &other).await.expect(201);
    // A refused order is not kept: mended, it may come again.
    keyed(&server, &token, "k2", &body)
        .await
        .refused(409, "duplicate");
    let mended = json!({ "name": "P-9", "site_id": plant.site, "class": "pump" });
    keyed(&server, &token, "k2", &mended).await.expect(201);
    keyed(&server, &token, "", &mended)
        .await
        .refused(400, "invalid-header");
    server.stop().await;
}

#[tokio::test]
async fn orders_that_come_at_once_are_carried_out_once() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let before = server.get("/v1/tickets", &token).await.expect(200)["data"]
        .as_array()
        .unwrap()
        .len();
    let body = json!({ "asset_id": plant.asset, "title": "Oil on the floor" });
    let headers = [("idempotency-key", "once")];
    let send = || server.send(Method::POST, "/v1/tickets", Some(&token), Some(&body), &headers);
    let replies = futures::future::join_all((0..8).map(|_| send())).await;
    let mut made = 0;
    for reply in replies {
        match (reply.status, reply.header("idempotency-replayed")) {
            (201, "") => made += 1,
            (201, "true") => {}
            (409, _) => {
                reply.refused(409, "in-flight");
            }
            other => panic!("{other:?} {:#}", reply.body),
        }
    }
    assert_eq!(made, 1);
    let tickets = server.get("/v1/tickets", &token).await.expect(200);
    assert_eq!(tickets["data"].as_array().unwrap().len(), before + 1);
    server.stop().await;
}

#[tokio::test]
async fn an_order_whose_first_one_still_runs_is_told_so() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let of = KeyOf {
        tenant: plant.tenant,
        credential: &plant.admin.to_string(),
        route: "POST /v1/assets",
        key: "slow",
    };
    let mut first = server.database.owner.begin().await.unwrap();
    assert_eq!(
        idempotency::claim(&mut first, of, &[0; 32]).await.unwrap(),
        Seen::New
    );
    let body = json!({ "name": "P-7", "site_id": plant.site, "class": "pump" });
    let reply = keyed(&server, &token, "slow", &body).await;
    assert_eq!(reply.header("retry-after"), "1");
    reply.refused(409, "in-flight");
    first.rollback().await.unwrap();
    keyed(&server, &token, "slow", &body).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn a_secret_is_not_kept_for_the_repetition() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    for (path, body, secret) in [
        (
            "/v1/api-keys".to_owned(),
            json!({ "name": "x", "scopes": ["assets:read"] }),
            "/secret",
        ),
        (
            "/v1/gateways".to_owned(),
            json!({ "slug": "line-1", "name": "Line 1", "site_id": plant.site }),
            "/credential/password",
        ),
        (
            format!("/v1/gateways/{}/credentials", plant.gateway),
            json!({}),
            "/password",
        ),
    ] {
        let headers = [("idempotency-key", "k")];
        let first = server
            .send(Method::POST, &path, Some(&token), Some(&body), &headers)
            .await
            .expect(201);
        let shown = first.pointer(secret).unwrap().as_str().unwrap().to_owned();
        let again = server
            .send(Method::POST, &path, Some(&token), Some(&body), &headers)
            .await
            .expect(201);
        assert_eq!(again.pointer(secret), Some(&Value::Null));
        assert_eq!(first["id"], again["id"]);
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM idempotency_key WHERE strpos(body::text, $1) > 0")
                .bind(shown)
                .fetch_one(&server.database.owner)
                .await
                .unwrap();
        assert_eq!(kept, 0, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn changes_need_the_version_they_are_meant_for() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let colleague = server.sign_in(&plant.email("admin")).await;
    let rule = format!("/v1/alarm-rules/{}", plant.rule);
    let asset = format!("/v1/assets/{}", plant.asset);
    let ticket = format!("/v1/tickets/{}", plant.ticket);
    let plan = format!("/v1/plans/{}", plant.plan);
    let transition = format!("{ticket}/transitions");
    let claim = format!("/v1/predictions/{}/claim", plant.prediction);
    for (method, path, read, body) in [
        (Method::PATCH, &asset, &asset, json!({ "criticality": "high" })),
        (Method::PATCH, &rule, &rule, json!({ "limit_value": 6.5 })),
        (Method::PATCH, &plan, &plan, json!({ "every_days": 60 })),
        (Method::PATCH, &ticket, &ticket, json!({ "title": "Bearing" })),
        (Method::POST, &transition, &ticket, json!({ "to": "accepted" })),
        (
            Method::POST,
            &claim,
            &format!("/v1/predictions/{}", plant.prediction),
            json!({}),
        ),
    ] {
        server
            .call(method.clone(), path, Some(&token), Some(&body))
            .await
            .refused(428, "version-required");
        let stale = [("if-match", "\"v999\"")];
        let reply = server
            .send(method.clone(), path, Some(&token), Some(&body), &stale)
            .await;
        reply.refused(412, "stale-version");
        let bad = [("if-match", "7")];
        server
            .send(method.clone(), path, Some(&token), Some(&body), &bad)
            .await
            .refused(400, "invalid-header");
        let etag = server.get(read, &token).await.header("etag").to_owned();
        let colleagues = server.get(read, &colleague).await.header("etag").to_owned();
        assert_eq!(etag, colleagues, "{read}: the version is the row's, whoever asks");
        let good = [("if-match", etag.as_str())];
        let reply = server
            .send(method.clone(), path, Some(&token), Some(&body), &good)
            .await;
        assert_eq!(reply.status, 200, "{method} {path} {:#}", reply.body);
        let newer = reply.header("etag").to_owned();
        assert_ne!(newer, etag, "{method} {path}");
        assert_eq!(
            server.get(read, &token).await.header("etag"),
            newer,
            "{method} {path}"
        );
        server
            .send(method.clone(), path, Some(&token), Some(&body), &good)
            .await
            .refused(412, "stale-version");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_done_is_noted() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "name": "P-7", "site_id": plant.site, "class": "fan" });
    let asset = server.post("/v1/assets", &token, body).await.expect(201);
    let (actor, action): (String, String) =
        sqlx::query_as("SELECT actor, action FROM audit_event WHERE subject = $1")
            .bind(asset["id"].as_str().unwrap())
            .fetch_one(&server.database.owner)
            .await
            .unwrap();
    assert_eq!(
        (actor, action.as_str()),
        (plant.admin.to_string(), "asset.create")
    );
    server.stop().await;
}
