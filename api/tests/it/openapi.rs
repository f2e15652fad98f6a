//! The document is the one that is committed, and it is complete.

use std::collections::HashSet;
use std::path::Path;

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

/// The page for planners names addresses and tests; neither may be invented or forgotten.
#[test]
fn what_the_page_for_planners_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/work.md")).unwrap();
    let document = api::openapi_document();
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let mut addresses = 0;
    for (method, path) in quoted.iter().filter_map(|text| text.split_once(" /v1/")) {
        addresses += 1;
        let operation = &document["paths"][format!("/v1/{path}")][method.to_lowercase()];
        assert!(operation.is_object(), "{method} /v1/{path} is not served");
    }
    assert!(addresses > 40, "{addresses}");
    let mut sources = String::new();
    for folder in [
        "models",
        "analytics/src",
        "ingest/src",
        "api/src",
        "api/tests",
        "tests",
    ] {
        read_all(&root.join(folder), &mut sources);
    }
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit))
        .collect();
    assert_eq!(rows.len(), 30);
    for row in rows {
        let test = row
            .trim_end_matches(" |")
            .rsplit("| ")
            .next()
            .unwrap()
            .trim_matches('`');
        assert!(
            sources.contains(&format!("fn {test}(")),
            "there is no test {test}: {row}"
        );
    }
}

fn read_all(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
