//! A gateway's first credential, and those after it.

use models::id::CredentialId;
use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn a_claim_code_works_once() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/gateways/{}/claims", plant.gateway);
    let claim = server.post(&path, &token, json!({})).await.expect(201);
    let code = claim["code"].as_str().unwrap();
    assert!(code.starts_with("fwc_"), "{claim}");
    let take = |code: &str| {
        let body = json!({ "code": code });
        let server = &server;
        async move {
            server
                .call(reqwest::Method::POST, "/v1/provision", None, Some(&body))
                .await
        }
    };
    let taken = take(code).await.expect(201);
    assert_eq!(taken["gateway"], plant.gateway.to_string());
    assert!(taken["username"].as_str().unwrap().starts_with("north/"));
    assert!(taken["password"].as_str().unwrap().starts_with("fwg_"));
    take(code).await.refused(422, "refused");
    take("fwc_0000").await.refused(422, "refused");
    let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_event WHERE action = 'gateway.claim'")
        .fetch_one(&server.database.owner)
        .await
        .unwrap();
    assert_eq!(noted, 1);
    let past = json!({ "expires_at": "2020-01-01T00:00:00Z" });
    server
        .post(&path, &token, past)
        .await
        .refused(422, "invalid-body");
    server.stop().await;
}

#[tokio::test]
async fn a_credential_is_rotated_with_an_overlap() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/gateways/{}/credentials", plant.gateway);
    let body = json!({
        "password": "correct horse battery",
        "publish_filters": ["boards/#"],
        "subscribe_filters": ["fw/v1/north/#"],
        "retire_others_at": "2199-01-01T00:00:00Z",
    });
    let new = server.post(&path, &token, body).await.expect(201);
    let id: CredentialId = new["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(new["password"], "correct horse battery");
    let (hash, publish): (String, Vec<String>) =
        sqlx::query_as("SELECT password_hash, publish_filters FROM gateway_credential WHERE id = $1")
            .bind(id)
            .fetch_one(&server.database.owner)
            .await
            .unwrap();
    assert!(
        hash.starts_with("$argon2id$") && publish == ["boards/#"],
        "{hash}"
    );
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM gateway_credential WHERE gateway_id = $1 AND revoked_at IS NULL AND expires_at IS NULL",
    )
    .bind(plant.gateway)
    .fetch_one(&server.database.owner)
    .await
    .unwrap();
    assert_eq!(open, 1, "the others end at the moment named, the new one stays");
    for (field, value) in [
        ("password", json!("short")),
        ("publish_filters", json!(["a/#/b"])),
        ("retire_others_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let reply = server.post(&path, &token, json!({ field: value })).await;
        let problem = reply.refused(422, "invalid-body");
        assert!(problem.to_string().contains(field), "{problem}");
    }
    server.stop().await;
}
