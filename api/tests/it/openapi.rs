//! The document is the one that is committed, and it is complete.

use std::collections::HashSet;

use crate::harness::Server;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_committed_document_is_the_codes() {
    let document = format!("{:#}\n", api::openapi_document());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(COMMITTED, &document).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == document,
        "api/openapi.json is not the code's: run this test with UPDATE_OPENAPI=1 and look at the difference"
    );
}

#[test]
fn every_operation_has_an_id_a_text_and_an_example() {
    let document = api::openapi_document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{what}: id used twice"
            );
            assert!(operation["summary"].is_string(), "{what}: no summary");
            assert!(operation["tags"][0] != "crate::routes", "{what}: no tag");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{what}: no refusals");
            for (code, response) in responses {
                for (kind, content) in response["content"].as_object().into_iter().flatten() {
                    if kind.ends_with("json") {
                        assert!(content.get("example").is_some(), "{what} {code}: no example");
                    }
                }
            }
            // A claim code is a right of its own.
            if path.starts_with("/v1/") && path != "/v1/sign-in" && path != "/v1/provision" {
                assert!(operation.get("security").is_some(), "{what} is open");
            }
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"#/components/").skip(1) {
        let (kind, name) = part.split('"').next().unwrap().split_once('/').unwrap();
        assert!(
            document["components"][kind].get(name).is_some(),
            "{kind}/{name} is not described"
        );
    }
}

#[tokio::test]
async fn it_is_served_and_readable() {
    let server = Server::start().await;
    let served = server.http.get(server.url("/openapi.json")).send().await.unwrap();
    assert_eq!(
        served.json::<serde_json::Value>().await.unwrap(),
        api::openapi_document()
    );
    let page = server.http.get(server.url("/docs")).send().await.unwrap();
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let page = page.text().await.unwrap();
    assert!(page.contains("id=\"list_assets\"") && page.contains("id=\"problem-stale-version\""));
    assert!(
        !page.contains("<script") && !page.contains("style=\""),
        "the policy forbids it"
    );
    server.stop().await;
}
