//! Nobody reaches past his tenant, his role, his site: every route of the OpenAPI document.

use models::tenant::{MemberRole, Permission};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};
use crate::plant::Plant;

struct Operation {
    method: Method,
    path: String,
    scope: Option<String>,
    secured: bool,
    body: Option<String>,
}

fn operations() -> Vec<Operation> {
    let document = api::openapi_document();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                scope: operation["security"][0]["bearer"][0].as_str().map(str::to_owned),
                secured: operation.get("security").is_some(),
                body: operation
                    .pointer("/requestBody/content/application~1json/example")
                    .map(Value::to_string),
            });
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

/// Calls an operation with the ids of `plant`.
async fn call(server: &Server, operation: &Operation, plant: &Plant, token: Option<&str>) -> Reply {
    let body = operation
        .body
        .as_ref()
        .map(|body| serde_json::from_str(&plant.fill(body)).unwrap());
    let body = body.or_else(|| (operation.method != Method::GET).then(|| json!({})));
    let headers = [("if-match", "\"v1\"")];
    server
        .send(
            operation.method.clone(),
            &plant.path(&operation.path),
            token,
            body.as_ref(),
            &headers,
        )
        .await
}

/// Everything that a tenant has, as one number.
async fn fingerprint(server: &Server, plant: &Plant) -> Vec<(String, String)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped ORDER BY 1",
    )
    .fetch_all(&server.database.owner)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t WHERE t.tenant_id = $1"
        );
        let hash = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(plant.tenant)
            .fetch_one(&server.database.owner)
            .await
            .unwrap();
        all.push((table, hash));
    }
    all
}

#[tokio::test]
async fn without_a_token_nothing_is_shown() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    for operation in operations().into_iter().filter(|operation| operation.secured) {
        for token in [None, Some("nonsense"), Some("fwk_0000")] {
            let reply = call(&server, &operation, &plant, token).await;
            assert_eq!(reply.status, 401, "{} {}", operation.method, operation.path);
            reply.refused(401, "unauthenticated");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn each_operation_needs_the_permission_that_the_document_names() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    for operation in operations() {
        let Some(scope) = &operation.scope else { continue };
        let scope: Permission = scope.parse().unwrap();
        let others: Vec<Permission> = Permission::ALL
            .iter()
            .copied()
            .filter(|one| *one != scope)
            .collect();
        let reply = call(&server, &operation, &plant, Some(&plant.key(&others).await)).await;
        assert_eq!(
            reply.status, 403,
            "{} {} without {scope}",
            operation.method, operation.path
        );
        let problem = reply.refused(403, "forbidden");
        assert!(problem["detail"].as_str().unwrap().contains(scope.as_str()));
        let reply = call(&server, &operation, &plant, Some(&plant.key(&[scope]).await)).await;
        // A key can't make a key that may more than itself: that is a refusal of the content.
        if operation.path != "/v1/api-keys" || operation.method == Method::GET {
            assert!(
                ![401, 403, 500].contains(&reply.status),
                "{} {} with {scope}: {}",
                operation.method,
                operation.path,
                reply.status
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn its_own_tenant_reads_every_route() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    for operation in operations() {
        if operation.method != Method::GET || ["/v1/stream", "/metrics"].contains(&operation.path.as_str()) {
            continue;
        }
        let reply = call(&server, &operation, &plant, Some(&token)).await;
        assert_eq!(reply.status, 200, "{} {:#}", operation.path, reply.body);
        if let Some(data) = reply.body["data"].as_array() {
            assert!(
                !data.is_empty(),
                "{} shows nothing, so the leak test would prove nothing",
                operation.path
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn another_tenant_sees_and_changes_nothing() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    let token = server.sign_in(&south.email("admin")).await;
    let before = fingerprint(&server, &north).await;
    for operation in operations() {
        if !operation.secured || operation.path == "/v1/stream" {
            continue;
        }
        // South's own channel has another number; every other id is north's.
        let reply = call(&server, &operation, &north, Some(&token)).await;
        let what = format!("{} {} {:#}", operation.method, operation.path, reply.body);
        let text = reply.body.to_string();
        if operation.path.contains('{') || operation.path == "/v1/events" {
            assert_eq!(reply.status, 404, "{what}");
            assert_eq!(reply.body["type"], "/docs#problem-not-found", "{what}");
        } else if operation.method == Method::POST {
            // Orders that name nobody's things may succeed; those that name north's must not.
            let names_others = operation
                .body
                .as_ref()
                .is_some_and(|body| body.contains("0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"));
            assert!(!names_others || [403, 404, 422].contains(&reply.status), "{what}");
        } else {
            assert_eq!(reply.status, 200, "{what}");
        }
        for id in north.ids() {
            assert!(
                !text.contains(&id),
                "{} {} shows {id}",
                operation.method,
                operation.path
            );
        }
    }
    for path in [
        format!("/v1/assets?site_id={}", north.site),
        format!("/v1/channels?asset_id={}", north.asset),
        format!("/v1/alarms?state=all&asset_id={}", north.asset),
        format!("/v1/alarms?state=all&case_id={}", north.case),
        format!("/v1/alarm-rules?asset_id={}", north.asset),
        format!("/v1/cases?asset_id={}", north.asset),
        format!("/v1/predictions?asset_id={}", north.asset),
        format!("/v1/tickets?asset_id={}", north.asset),
        format!("/v1/meters?asset_id={}", north.asset),
        format!("/v1/plans?asset_id={}", north.asset),
        format!("/v1/occurrences?plan_id={}", north.plan),
        format!("/v1/decisions?case_id={}", north.case),
        format!("/v1/ledger?gateway_id={}", north.gateway),
        format!("/v1/ledger/gaps?gateway_id={}", north.gateway),
        format!("/v1/ledger/cadence-gaps?gateway_id={}", north.gateway),
        format!("/v1/dead-letters?gateway_id={}", north.gateway),
        format!("/v1/series?channel_id={}", north.channel),
        format!("/v1/series?asset_id={}", north.asset),
        format!("/v1/latest?channel_id={}", north.channel),
        format!("/v1/state?asset_id={}", north.asset),
        format!("/v1/shifts?user_id={}", north.admin),
        format!("/v1/qualifications?user_id={}", north.admin),
        format!("/v1/work-permits?ticket_id={}", north.ticket),
        format!("/v1/loto-procedures?asset_id={}", north.asset),
        format!("/v1/failures?asset_id={}", north.asset),
        format!("/v1/downtime?asset_id={}", north.asset),
    ] {
        let body = server.get(&path, &token).await.expect(200);
        assert_eq!(body["data"], json!([]), "{path}");
    }
    // Naming north's things in an order of one's own.
    for (path, body) in [
        (
            "/v1/assets",
            json!({ "name": "x", "site_id": south.site, "class": "pump", "parent_id": north.asset }),
        ),
        (
            "/v1/tickets",
            json!({ "asset_id": south.asset, "title": "x", "assignee_id": north.admin }),
        ),
    ] {
        server.post(path, &token, body).await.refused(422, "invalid-body");
    }
    let path = format!("/v1/channels/{}", south.channel);
    let body = json!({ "asset_id": north.asset });
    server
        .call(Method::PATCH, &path, Some(&token), Some(&body))
        .await
        .refused(422, "invalid-body");
    assert_eq!(fingerprint(&server, &north).await, before, "north has changed");
    server.stop().await;
}

#[tokio::test]
async fn a_member_of_one_site_sees_that_site() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let inside = plant
        .member("inside", MemberRole::TenantAdmin, Some(plant.site))
        .await;
    let outside = plant
        .member("outside", MemberRole::TenantAdmin, Some(plant.other_site))
        .await;
    let (inside, outside) = (server.sign_in(&inside).await, server.sign_in(&outside).await);
    for operation in operations() {
        if !operation.secured || operation.method != Method::GET || operation.path == "/v1/stream" {
            continue;
        }
        // Keys and authorities are the whole tenant's business; classes and models belong to no site.
        let tenants = [
            "/v1/api-keys",
            "/v1/certificate-authorities",
            "/v1/asset-classes",
            "/v1/models",
            "/v1/models/{id}",
            "/v1/drift",
            "/v1/me",
            "/v1/overview",
            "/v1/retention-policies",
            "/v1/sites",
            // The whole tenant's words and rules; members of every site are members of this one.
            "/v1/users",
            "/v1/risk-matrices",
            "/v1/workflow",
            "/v1/sla-policies",
            "/v1/parts",
            "/v1/failure-codes",
            "/v1/webhooks",
            "/v1/webhooks/{id}",
            "/v1/webhooks/{id}/deliveries",
            "/v1/notification-rules",
            "/v1/notifications",
        ];
        if tenants.contains(&operation.path.as_str()) {
            continue;
        }
        let reply = call(&server, &operation, &plant, Some(&inside)).await;
        assert_eq!(reply.status, 200, "{} from inside", operation.path);
        assert_ne!(reply.body["data"], json!([]), "{} from inside", operation.path);
        let reply = call(&server, &operation, &plant, Some(&outside)).await;
        if operation.path.contains('{') || operation.path == "/v1/events" {
            assert_eq!(reply.status, 404, "{} from outside", operation.path);
        } else {
            // Files are no JSON; what is in them is tested with them.
            assert_eq!(
                reply.expect(200)["data"],
                if operation.path == "/v1/export" {
                    Value::Null
                } else {
                    json!([])
                },
                "{} from outside",
                operation.path
            );
        }
    }
    for of_the_tenant in ["/v1/api-keys", "/v1/certificate-authorities"] {
        let seen = server.get(of_the_tenant, &inside).await.expect(200)["data"].clone();
        assert_eq!(seen, json!([]), "{of_the_tenant}");
    }
    let overview = server.get("/v1/overview", &outside).await.expect(200);
    let counts = overview["counts"].clone();
    assert!(
        counts.as_object().unwrap().values().all(|count| *count == 0),
        "{counts}"
    );
    let parts: Vec<&Value> = overview["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| &site["rolled_up"]["parts"])
        .collect();
    assert!(parts.iter().all(|parts| **parts == 0), "{overview}");
    let body = json!({ "name": "x", "scopes": ["assets:read"] });
    server
        .post("/v1/api-keys", &inside, body)
        .await
        .refused(403, "forbidden");
    let body = json!({ "asset_id": plant.asset, "title": "from outside" });
    let status = server.post("/v1/tickets", &outside, body).await.status;
    assert!([403, 404, 422].contains(&status), "{status}");
    server.stop().await;
}
