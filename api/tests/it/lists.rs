//! Pages of lists.

use models::db::register::{NewAsset, NewAssetClass, create_asset, ensure_asset_class};
use serde_json::{Value, json};

use crate::harness::Server;
use crate::plant::Plant;

async fn add(server: &Server, plant: &Plant, names: impl Iterator<Item = String>) {
    let mut owner = server.database.owner.acquire().await.unwrap();
    let class = NewAssetClass {
        tenant: plant.tenant,
        name: "pump",
        weibull: None,
    };
    let class = ensure_asset_class(&mut owner, &class).await.unwrap();
    for name in names {
        create_asset(
            &mut owner,
            &NewAsset::named(plant.tenant, plant.site, class, &name),
        )
        .await
        .unwrap();
    }
}

fn names(page: &Value) -> Vec<String> {
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn pages_neither_repeat_nor_lose_a_row_while_others_are_added() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    add(&server, &plant, (0..23).map(|i| format!("m-{i:02}"))).await;
    for sort in ["name", "health"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        let mut round = 0;
        loop {
            let path = format!("/v1/assets?limit=5&sort={sort}&cursor={cursor}");
            let page = server.get(&path, &token).await.expect(200);
            seen.extend(names(&page));
            // A row before the place that has been reached must not push anything onto the next page.
            add(&server, &plant, std::iter::once(format!("a-{sort}-{round}"))).await;
            round += 1;
            assert_eq!(page["has_more"], page["next_cursor"].is_string());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        let old: Vec<&String> = seen.iter().filter(|name| name.starts_with("m-")).collect();
        assert_eq!(old.len(), 23, "{sort}: {seen:?}");
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "{sort}: {seen:?}");
        if sort == "name" {
            assert!(seen.is_sorted_by_key(|name| name.to_lowercase()), "{seen:?}");
        }
    }
    let path = "/v1/assets?limit=2";
    let cursor = server.get(path, &token).await.expect(200)["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    server
        .get(&format!("/v1/tickets?cursor={cursor}"), &token)
        .await
        .refused(400, "invalid-query");
    server
        .get(&format!("/v1/assets?sort=health&cursor={cursor}"), &token)
        .await
        .refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn assets_are_found_by_what_is_known_of_them() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    add(
        &server,
        &plant,
        ["50 % mixer", "x_y"].into_iter().map(str::to_owned),
    )
    .await;
    let found = async |query: &str| {
        names(
            &server
                .get(&format!("/v1/assets?{query}"), &token)
                .await
                .expect(200),
        )
    };
    assert_eq!(found("q=%25").await, ["50 % mixer"]);
    assert_eq!(found("q=_").await, ["x_y"]);
    assert_eq!(found("q=P-1").await, ["P-101"]);
    assert_eq!(found("health_below=70").await, ["P-101"]);
    assert_eq!(found("health_below=10").await, Vec::<String>::new());
    assert_eq!(found("sort=health").await[0], "P-101");
    assert_eq!(found("status=down").await, Vec::<String>::new());
    assert_eq!(
        found(&format!("site_id={}", plant.other_site)).await,
        Vec::<String>::new()
    );
    assert_eq!(found("class=pump").await.len(), 3);
    let asset = server.get("/v1/assets?q=P-1", &token).await.expect(200)["data"][0].clone();
    assert_eq!(asset["health"]["value"], 60.0);
    assert_eq!(asset["health"]["stale"], false);
    assert_eq!(asset["health"]["top_factor"]["name"], "vibration");
    assert_eq!(asset["p_fail_30d"], json!({ "p": 0.3, "low": 0.2, "high": 0.4 }));
    assert_eq!(
        (&asset["alarms_active"], &asset["tickets_open"]),
        (&json!(1), &json!(1))
    );
    let counts = server.get("/v1/overview", &token).await.expect(200)["counts"].clone();
    assert_eq!(
        (&counts["assets"], &counts["assets_watch"], &counts["plans_due"]),
        (&json!(3), &json!(1), &json!(1))
    );
    server.stop().await;
}

#[tokio::test]
async fn every_list_turns_its_pages() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = format!("/v1/assets/{}/assessments?limit=2", plant.asset);
    let mut ends = Vec::new();
    let mut page = server.get(&path, &token).await.expect(200);
    loop {
        ends.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["window_end"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        page = server
            .get(&format!("{path}&cursor={cursor}"), &token)
            .await
            .expect(200);
    }
    assert_eq!(ends.len(), 5);
    assert!(ends.windows(2).all(|pair| pair[0] > pair[1]), "{ends:?}");
    let gateways = server.get("/v1/gateways", &token).await.expect(200);
    assert_eq!(
        (&gateways["data"][0]["channels"], &gateways["data"][0]["devices"]),
        (&json!(1), &json!(1))
    );
    let ledger = server.get("/v1/ledger", &token).await.expect(200);
    assert_eq!(
        (&ledger["data"][0]["closes"], &ledger["data"][0]["received"]),
        (&json!(true), &json!(62))
    );
    server.stop().await;
}
