//! The shipped dashboards, asked as Grafana asks: their variables first, then every panel's queries with the variables and
//! Grafana's own put in, each of which has to bring what the panel shows.

use std::collections::BTreeMap;

use models::tenant::Permission;
use models::time::Timestamp;
use serde_json::Value;

use crate::harness::Server;
use crate::plant::Plant;
use crate::prometheus::ask;

/// What is asked of this source; the other one is Prometheus itself.
const SOURCE: &str = "forewarn";

fn dashboards() -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/dashboards");
    let mut all: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// `label_values(SELECTOR, LABEL)` or `label_values(LABEL)`, as Grafana asks it.
async fn values_of(server: &Server, key: &str, query: &str) -> Vec<String> {
    let inner = query
        .strip_prefix("label_values(")
        .unwrap()
        .strip_suffix(')')
        .unwrap();
    let (selector, label) = match inner.rsplit_once(',') {
        Some((selector, label)) => (Some(selector), label.trim()),
        None => (None, inner),
    };
    let mut request = server
        .http
        .get(server.url(&format!("/api/v1/label/{label}/values")))
        .basic_auth("grafana", Some(key));
    if let Some(selector) = selector {
        request = request.query(&[("match[]", selector)]);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    let body: Value = answer.json().await.unwrap();
    serde_json::from_value(body["data"].clone()).unwrap()
}

fn put_in(query: &str, variables: &BTreeMap<String, String>) -> String {
    let mut query = query.replace("$__interval", "1m").replace("$__range", "86400s");
    for (name, value) in variables {
        query = query.replace(&format!("${name}"), value);
    }
    assert!(
        !query.contains('$'),
        "{query}: a variable that the dashboard doesn't have"
    );
    query
}

/// Each variable with its first value, or where it stands for all, with that.
async fn variables(server: &Server, key: &str, dashboard: &Value) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let query = put_in(variable["query"]["query"].as_str().unwrap(), &known);
        let values = values_of(server, key, &query).await;
        assert!(!values.is_empty(), "{query} finds nothing to choose from");
        let name = variable["name"].as_str().unwrap();
        let repeated = dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .any(|panel| panel["repeat"] == name);
        let value = match variable["allValue"].as_str() {
            // A panel for each value: it never sees more than one.
            Some(all) if !repeated => all,
            _ => values[0].as_str(),
        };
        known.insert(name.to_owned(), value.to_owned());
    }
    known
}

/// The labels that a legend names.
fn of_legend(legend: &str) -> Vec<&str> {
    legend
        .split("{{")
        .skip(1)
        .map(|rest| rest.split("}}").next().unwrap().trim())
        .collect()
}

/// Readings of the last day, one a minute.
async fn measure(server: &Server, plant: &Plant) {
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id)
         SELECT now() - make_interval(mins => i), 10 + sin(i), $1 FROM generate_series(1, 1440) i",
    )
    .bind(plant.channel)
    .execute(&server.database.owner)
    .await
    .unwrap();
}

#[tokio::test]
async fn every_panel_of_the_shipped_dashboards_shows_something() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    // Another tenant's: never among the answers.
    measure(&server, &server.plant("south").await).await;
    measure(&server, &plant).await;
    let key = plant.key(&[Permission::AssetsRead]).await;
    let now = Timestamp::now().micros() / 1_000_000;
    let (start, now) = ((now - 6 * 3600).to_string(), now.to_string());
    let mut asked = 0;
    for (file, dashboard) in dashboards() {
        let variables = variables(&server, &key, &dashboard).await;
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                if target["datasource"]["uid"] != SOURCE {
                    continue;
                }
                let query = put_in(target["expr"].as_str().unwrap(), &variables);
                let place = format!("{file}, {}: {query}", panel["title"]);
                let (path, form) = if target["instant"] == true {
                    ("/api/v1/query", vec![("query", query.as_str()), ("time", &now)])
                } else {
                    let range = vec![
                        ("query", query.as_str()),
                        ("start", &start),
                        ("end", &now),
                        ("step", "60"),
                    ];
                    ("/api/v1/query_range", range)
                };
                let (status, body) = ask(&server, &key, path, &form).await;
                assert_eq!(status, 200, "{place}: {body}");
                let series = body["data"]["result"].as_array().unwrap();
                assert!(!series.is_empty(), "{place} shows nothing");
                for label in of_legend(target["legendFormat"].as_str().unwrap_or_default()) {
                    assert!(
                        series.iter().all(|one| one["metric"][label].is_string()),
                        "{place}: its legend names `{label}`, which it doesn't have: {body}"
                    );
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 15, "only {asked} queries were asked");
    server.stop().await;
}
