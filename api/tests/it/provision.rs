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

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBjzCCATWgAwIBAgIUWqioTc6MTtFBKZNvsAhIj5cWjWswCgYIKoZIzj0EAwIw\n\
    HDEaMBgGA1UEAwwRYSBwbGFudCdzIGRldmljZXMwIBcNMjYxMTIxMTUyNjM2WhgP\n\
    MjEyNjEwMjgxNTI2MzZaMBwxGjAYBgNVBAMMEWEgcGxhbnQncyBkZXZpY2VzMFkw\n\
    EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFpvuDwxWf4xySu9SARY3Q4PONpQvPnIQ\n\
    0W7pTTFACbLhU3/LlRorInpbCYcESSAtPCwioHMP+sjGt7a+sS+3mqNTMFEwHQYD\n\
    VR0OBBYEFMywSfTVcI5QTdXBsdmq5MH2AkhbMB8GA1UdIwQYMBaAFMywSfTVcI5Q\n\
    TdXBsdmq5MH2AkhbMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIg\n\
    aaBhqWPlfMT5pn0L3rh2pJRSQHg2PAIegLFpfPFZF4cCIQCiag5kqwlsaJOmpakD\n\
    6KSC+fquWGkVL+qFBdacvGfISw==\n\
    -----END CERTIFICATE-----\n";

#[tokio::test]
async fn an_authority_is_registered_and_revoked_with_what_it_vouched_for() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = "/v1/certificate-authorities";
    let body = json!({ "name": "devices", "certificate": AUTHORITY, "site_id": plant.site });
    let new = server.post(path, &token, body.clone()).await.expect(201);
    assert_eq!(new["fingerprint"].as_str().unwrap().len(), 64);
    server
        .post(path, &token, body.clone())
        .await
        .refused(409, "duplicate");
    for (field, value, at) in [
        ("certificate", json!("nonsense"), "/certificate"),
        ("name", json!(" "), "/name"),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let refused = server
            .post(path, &token, wrong)
            .await
            .refused(422, "invalid-body");
        assert!(refused.to_string().contains(at), "{refused}");
    }
    sqlx::query(
        "INSERT INTO gateway_credential (id, tenant_id, gateway_id, certificate_sha256, authority_id)
         SELECT gen_random_uuid(), $1, $2, sha256('x'), id FROM tenant_authority WHERE site_id = $3",
    )
    .bind(plant.tenant)
    .bind(plant.gateway)
    .bind(plant.site)
    .execute(&server.database.owner)
    .await
    .unwrap();
    let shown = server.get(path, &token).await.expect(200);
    assert_eq!(
        (&shown["data"][0]["id"], &shown["data"][0]["credentials"]),
        (&new["id"], &json!(1))
    );
    let one = format!("{path}/{}", new["id"].as_str().unwrap());
    let revoke = || server.call(reqwest::Method::DELETE, &one, Some(&token), None);
    revoke().await.expect(204);
    revoke().await.refused(404, "not-found");
    let valid: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM gateway_credential WHERE authority_id IS NOT NULL AND revoked_at IS NULL",
    )
    .fetch_one(&server.database.owner)
    .await
    .unwrap();
    assert_eq!(valid, 0);
    // The same certificate again is another authority.
    server.post(path, &token, body).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn a_configuration_is_wanted_and_seen() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/gateways/{}/configuration", plant.gateway);
    let before = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&before["version"], &before["state"]),
        (&json!(null), &json!(null))
    );
    let put = |config: String| {
        let (server, path, token) = (&server, &path, &token);
        async move {
            let body = json!({ "config": config });
            server
                .send(reqwest::Method::PUT, path, Some(token), Some(&body), &[])
                .await
        }
    };
    let first = put("[batch]\nlevel = 1\n".into()).await.expect(200);
    assert_eq!(
        (&first["state"], &first["sent_at"]),
        (&json!("pending"), &json!(null))
    );
    server
        .as_owner("UPDATE gateway_configuration SET state = 'refused', reason = 'no', reported_at = now()")
        .await;
    let refused = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("refused"), &json!("no"))
    );
    let second = put("[batch]\nlevel = 2\n".into()).await.expect(200);
    assert_eq!(
        (&second["state"], &second["reason"]),
        (&json!("pending"), &json!(null))
    );
    assert_ne!(second["version"], first["version"]);
    put("x".repeat(300_000)).await.refused(422, "invalid-body");
    server.stop().await;
}
