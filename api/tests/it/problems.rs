//! Bad input: one shape of answer whatever refused it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn every_bad_request_is_a_problem() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    for (path, status, name) in [
        ("/v1/nothing", 404, "not-found"),
        ("/v1", 404, "not-found"),
        ("/v1/assets/P-101", 400, "invalid-path"),
        (
            "/v1/assets/tkt_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
            400,
            "invalid-path",
        ),
        (
            "/v1/assets/ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
            404,
            "not-found",
        ),
        ("/v1/channels/chn_0", 400, "invalid-path"),
        ("/v1/channels/chn_999999", 404, "not-found"),
        ("/v1/assets?limit=0", 400, "invalid-query"),
        ("/v1/assets?limit=201", 400, "invalid-query"),
        ("/v1/assets?limit=ten", 400, "invalid-query"),
        ("/v1/assets?cursor=xyz", 400, "invalid-query"),
        ("/v1/assets?colour=red", 400, "invalid-query"),
        ("/v1/assets?status=broken", 400, "invalid-query"),
        ("/v1/tickets?status=open,lost", 400, "invalid-query"),
        ("/v1/ledger?from=yesterday", 400, "invalid-query"),
        ("/v1/events", 400, "invalid-query"),
    ] {
        server.get(path, &token).await.refused(status, name);
    }
    server
        .call(Method::PUT, "/v1/assets", Some(&token), None)
        .await
        .refused(405, "method-not-allowed");
    let series = format!("/v1/channels/{}/series", plant.channel);
    for query in [
        "from=x",
        "to=x",
        "from=20&to=10",
        "points=9",
        "points=5001",
        "points=-1",
    ] {
        server
            .get(&format!("{series}?{query}"), &token)
            .await
            .refused(400, "invalid-query");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_bad_body_names_the_place() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let raw = async |body: &'static str, kind: &'static str| {
        let request = server
            .http
            .post(server.url("/v1/assets"))
            .bearer_auth(&token)
            .header("content-type", kind);
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            response.json::<Value>().await.unwrap()["type"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    let json_type = "application/json";
    assert_eq!(
        raw("{", json_type).await,
        (400, "/docs#problem-malformed-body".into())
    );
    assert_eq!(
        raw("\u{0}", json_type).await,
        (400, "/docs#problem-malformed-body".into())
    );
    assert_eq!(
        raw("{}", "text/plain").await,
        (415, "/docs#problem-unsupported-media-type".into())
    );
    assert_eq!(
        raw("[]", json_type).await,
        (422, "/docs#problem-invalid-body".into())
    );

    let good = json!({ "name": "P-9", "site_id": plant.site, "class": "pump" });
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    for (body, pointer) in [
        (with("status", json!("broken")), "/status"),
        (with("site_id", json!("sit_1")), "/site_id"),
        (with("installed_at", json!("yesterday")), "/installed_at"),
        (with("colour", json!("red")), "/colour"),
        (with("name", json!("")), "/name"),
        (with("downtime_cost_per_h", json!(-1)), "/downtime_cost_per_h"),
    ] {
        let problem = server
            .post("/v1/assets", &token, body)
            .await
            .refused(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    let body = with("name", json!("P-101"));
    server
        .post("/v1/assets", &token, body)
        .await
        .refused(409, "duplicate");
    let body = with("site_id", json!("sit_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"));
    server
        .post("/v1/assets", &token, body)
        .await
        .refused(422, "invalid-body");
    let huge = with("name", json!("x".repeat(2 << 20)));
    server
        .post("/v1/assets", &token, huge)
        .await
        .refused(413, "body-too-large");
    let deep = format!(
        "{{\"attributes\":{{\"a\":{}{}}}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let request = server
        .http
        .post(server.url("/v1/assets"))
        .bearer_auth(&token)
        .header("content-type", json_type);
    assert_eq!(request.body(deep).send().await.unwrap().status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn the_operators_addresses_answer() {
    let server = Server::start().await;
    let get = async |path: &str| server.http.get(server.url(path)).send().await.unwrap();
    assert_eq!(get("/healthz").await.status(), 200);
    assert_eq!(get("/readyz").await.status(), 200);
    assert_eq!(get("/metrics").await.status(), 404);
    let response = get("/healthz").await;
    let headers = response.headers();
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&server.database.owner)
        .await
        .unwrap();
    let response = get("/readyz").await;
    assert_eq!(response.status(), 503);
    assert!(response.text().await.unwrap().contains("forewarn migrate"));
    server.stop().await;
}
