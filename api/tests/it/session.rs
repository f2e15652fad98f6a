//! Signing in, tokens, keys, roles.

use api::config::Config;
use models::db::auth::{Secret, SecretKind};
use models::db::register::{NewApiKey, create_api_key, ensure_membership};
use models::tenant::{MemberRole, Permission};
use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};
use crate::plant::PASSWORD;

async fn sign_in(server: &Server, email: &str, password: &str) -> Reply {
    let body = json!({ "email": email, "password": password });
    server.call(Method::POST, "/v1/sign-in", None, Some(&body)).await
}

#[tokio::test]
async fn a_person_signs_in_and_is_told_who_he_is() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let session = sign_in(&server, " Admin@North.example ", PASSWORD)
        .await
        .expect(200);
    assert_eq!(session["tenant"]["slug"], "north");
    assert_eq!(session["role"], "tenant_admin");
    assert_eq!(session["user"]["email"], "admin@north.example");
    assert_eq!(session["tenants"][0]["id"], plant.tenant.to_string());
    assert_eq!(
        session["permissions"].as_array().unwrap().len(),
        Permission::ALL.len()
    );
    let token = session["token"].as_str().unwrap();
    let me = server.get("/v1/me", token).await.expect(200);
    assert_eq!(me["user"]["id"], plant.admin.to_string());
    let fresh = server
        .call(Method::POST, "/v1/refresh", Some(token), None)
        .await
        .expect(200);
    server
        .get("/v1/me", fresh["token"].as_str().unwrap())
        .await
        .expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_person_look_the_same_to_the_end() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let strip = |mut body: Value| {
        body.as_object_mut().unwrap().remove("trace_id");
        body
    };
    for round in 0..7 {
        let known = sign_in(&server, &plant.email("admin"), "wrong").await;
        let unknown = sign_in(&server, "nobody@north.example", "wrong").await;
        assert_eq!(known.status, if round < 5 { 401 } else { 429 }, "round {round}");
        assert_eq!(known.status, unknown.status, "round {round}");
        assert_eq!(strip(known.body), strip(unknown.body), "round {round}");
    }
    // Locked: the right password doesn't help, and nothing is learnt from it.
    let reply = sign_in(&server, &plant.email("admin"), PASSWORD).await;
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 600);
    reply.refused(429, "too-many-requests");
    // The lock ends.
    sqlx::query("UPDATE app_user SET locked_until = now() - interval '1 second'")
        .execute(&server.database.owner)
        .await
        .unwrap();
    sign_in(&server, &plant.email("admin"), "wrong")
        .await
        .refused(401, "sign-in-failed");
    sign_in(&server, &plant.email("admin"), PASSWORD)
        .await
        .expect(200);
    server.stop().await;
}

#[tokio::test]
async fn one_address_tries_so_often_and_no_more() {
    let server = Server::with(Config {
        signins_per_minute: 2,
        ..Config::default()
    })
    .await;
    for _ in 0..2 {
        sign_in(&server, "a@b.example", "x")
            .await
            .refused(401, "sign-in-failed");
    }
    let reply = sign_in(&server, "c@d.example", "x").await;
    assert!(reply.header("retry-after").parse::<u64>().unwrap() <= 60);
    reply.refused(429, "too-many-requests");
    server.stop().await;
}

#[tokio::test]
async fn a_member_of_two_tenants_goes_from_one_to_the_other() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    let mut owner = server.database.owner.acquire().await.unwrap();
    ensure_membership(&mut owner, south.tenant, north.admin, MemberRole::Viewer, None)
        .await
        .unwrap();
    let session = sign_in(&server, &north.email("admin"), PASSWORD)
        .await
        .expect(200);
    assert_eq!(session["tenants"].as_array().unwrap().len(), 2);
    assert_eq!(session["tenant"]["slug"], "north", "the one joined first");
    let token = session["token"].as_str().unwrap();
    let session = server
        .post("/v1/switch-tenant", token, json!({ "tenant": "south" }))
        .await
        .expect(200);
    assert_eq!(session["role"], "viewer");
    let again = sign_in(&server, &north.email("admin"), PASSWORD)
        .await
        .expect(200);
    assert_eq!(again["tenant"]["slug"], "south", "the one opened last");
    let token = session["token"].as_str().unwrap();
    server
        .get(&format!("/v1/assets/{}", south.asset), token)
        .await
        .expect(200);
    server
        .get(&format!("/v1/assets/{}", north.asset), token)
        .await
        .refused(404, "not-found");
    server
        .post(
            "/v1/tickets",
            token,
            json!({ "asset_id": south.asset, "title": "x" }),
        )
        .await
        .refused(403, "forbidden");
    server
        .post("/v1/switch-tenant", token, json!({ "tenant": "west" }))
        .await
        .refused(403, "forbidden");
    // A membership that ends ends at once.
    sqlx::query("DELETE FROM membership WHERE tenant_id = $1 AND user_id = $2")
        .bind(south.tenant)
        .bind(north.admin)
        .execute(&mut *owner)
        .await
        .unwrap();
    server.get("/v1/me", token).await.refused(401, "unauthenticated");
    drop(owner);
    server.stop().await;
}

#[tokio::test]
async fn keys_do_what_their_scopes_say_until_they_end() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let admin = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "name": "export", "scopes": ["assets:read", "assets:read"] });
    let key = server.post("/v1/api-keys", &admin, body).await.expect(201);
    assert_eq!(key["scopes"], json!(["assets:read"]));
    let secret = key["secret"].as_str().unwrap();
    assert!(secret.starts_with("fwk_"));
    server.get("/v1/assets", secret).await.expect(200);
    server.get("/v1/tickets", secret).await.refused(403, "forbidden");
    let me = server.get("/v1/me", secret).await.expect(200);
    assert_eq!((&me["user"], &me["key_id"]), (&Value::Null, &key["id"]));
    let listed = server.get("/v1/api-keys", &admin).await.expect(200);
    assert!(!listed.to_string().contains(secret));
    assert_ne!(listed["data"][0]["last_used_at"], Value::Null);
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    server
        .call(Method::DELETE, &path, Some(&admin), None)
        .await
        .expect(204);
    server
        .get("/v1/assets", secret)
        .await
        .refused(401, "unauthenticated");

    let old = Secret::generate(SecretKind::ApiKey);
    let new = NewApiKey {
        tenant: plant.tenant,
        name: "old",
        secret_hash: old.hash(),
        scopes: &[Permission::AssetsRead],
        created_by: None,
        expires_at: Some(Timestamp::now() - std::time::Duration::from_secs(1)),
    };
    create_api_key(&mut server.database.owner.acquire().await.unwrap(), &new)
        .await
        .unwrap();
    server
        .get("/v1/assets", old.reveal())
        .await
        .refused(401, "unauthenticated");

    for (body, pointer) in [
        (json!({ "name": " ", "scopes": ["assets:read"] }), "/name"),
        (json!({ "name": "x", "scopes": [] }), "/scopes"),
        (json!({ "name": "x", "scopes": ["everything"] }), "/scopes/0"),
        (
            json!({ "name": "x", "scopes": ["assets:read"], "expires_at": "2020-01-01T00:00:00Z" }),
            "/expires_at",
        ),
    ] {
        let problem = server
            .post("/v1/api-keys", &admin, body)
            .await
            .refused(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_makes_a_key_that_may_more_than_himself() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let key = plant.key(&[Permission::KeysWrite]).await;
    let body = json!({ "name": "x", "scopes": ["assets:read"] });
    server
        .post("/v1/api-keys", &key, body)
        .await
        .refused(403, "forbidden");
    server.stop().await;
}
