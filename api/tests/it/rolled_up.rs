//! Health together with parts: on assets, in their list, of sites.

use models::asset::{AssetStatus, Criticality};
use models::db::fixture::health::{assessed, put_below};
use models::db::register::{NewAsset, NewAssetClass, create_asset, ensure_asset_class};
use models::id::AssetId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::plant::Plant;

/// A motor below P-101, whose own health is 60, with a bearing of 14.
async fn bearing(server: &Server, plant: &Plant) -> AssetId {
    let owner = &server.database.owner;
    let mut connection = owner.acquire().await.unwrap();
    let class = NewAssetClass {
        tenant: plant.tenant,
        name: "pump",
        weibull: None,
    };
    let class = ensure_asset_class(&mut connection, &class).await.unwrap();
    let mut part = plant.asset;
    for (name, criticality) in [("Motor", Criticality::Low), ("Bearing", Criticality::Critical)] {
        let new = NewAsset::named(plant.tenant, plant.site, class, name);
        let below = create_asset(&mut connection, &new).await.unwrap();
        put_below(owner, below, part, criticality, AssetStatus::Operational).await;
        part = below;
    }
    assessed(owner, part, 14.0, 60.0).await;
    part
}

fn names(page: &Value) -> Vec<&str> {
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_bearing_far_down_shows_on_its_machine_its_site_and_in_the_counts() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let other = server.plant("south").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let bearing = bearing(&server, &plant).await;

    let path = format!("/v1/assets/{}", plant.asset);
    let pump = server.get(&path, &token).await.expect(200);
    let rolled = &pump["rolled_up"];
    assert_eq!(
        (&pump["health"]["value"], &rolled["value"]),
        (&json!(60.0), &json!(14.0))
    );
    let worst = &rolled["worst_part"];
    assert_eq!(worst["id"], bearing.to_string());
    assert_eq!(
        (&worst["health"], &worst["criticality"]),
        (&json!(14.0), &json!("critical"))
    );
    assert_eq!(
        (&worst["path"][0]["name"], &worst["path"][1]["name"]),
        (&json!("Motor"), &json!("Bearing"))
    );
    assert_eq!(
        (&rolled["by_part"], &rolled["stale"]),
        (&json!(true), &json!(false))
    );
    assert_eq!((&rolled["parts"], &rolled["coverage"]), (&json!(1), &json!(1.0)));
    assert!(rolled["oldest_age_s"].as_f64().unwrap() >= 60.0, "{rolled}");
    // The list says the same of it, and of what has no health of its own.
    let listed = server.get("/v1/assets?q=P-101", &token).await.expect(200)["data"][0]["rolled_up"].clone();
    assert_eq!(listed["worst_part"], *worst);
    let motor = server.get("/v1/assets?q=Motor", &token).await.expect(200)["data"][0].clone();
    assert_eq!(
        (&motor["health"], &motor["rolled_up"]["value"]),
        (&Value::Null, &json!(14.0))
    );

    let list = async |query: &str| {
        server
            .get(&format!("/v1/assets?{query}"), &token)
            .await
            .expect(200)
    };
    assert_eq!(
        names(&list("rolled_up_below=20").await),
        ["Bearing", "Motor", "P-101"]
    );
    assert_eq!(names(&list("health_below=20").await), ["Bearing"]);
    let first = list("sort=rolled_up&limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = list(&format!("sort=rolled_up&limit=2&cursor={cursor}")).await;
    let mut all = [names(&first), names(&rest)].concat();
    all.sort_unstable();
    assert_eq!(all, ["Bearing", "Motor", "P-101"]);

    let overview = server.get("/v1/overview", &token).await.expect(200);
    let counts = &overview["counts"];
    assert_eq!(
        (&counts["assets_watch"], &counts["assets_poor"]),
        (&json!(1), &json!(1))
    );
    let with_parts = [
        "rolled_up_healthy",
        "rolled_up_watch",
        "rolled_up_poor",
        "rolled_up_by_part",
    ];
    assert_eq!(
        with_parts.map(|name| counts[name].as_i64().unwrap()),
        [0, 0, 3, 2]
    );
    let sites = &overview["sites"];
    assert_eq!(
        (&sites[0]["name"], &sites[0]["rolled_up"]["value"]),
        (&json!("Mill"), &Value::Null)
    );
    let works = &sites[1]["rolled_up"];
    assert_eq!((&works["value"], &works["parts"]), (&json!(14.0), &json!(2)));
    assert_eq!(works["worst_part"]["path"][0]["name"], "P-101");
    assert_eq!(sites[1]["areas"][0]["rolled_up"]["parts"], 0);

    // What goes to storage counts no more.
    let away = format!("/v1/assets/{bearing}");
    let headers = [("if-match", "\"v1\"")];
    let body = json!({ "status": "in_storage" });
    server
        .send(Method::PATCH, &away, Some(&token), Some(&body), &headers)
        .await
        .expect(200);
    let rolled = server.get(&path, &token).await.expect(200)["rolled_up"].clone();
    assert_eq!(
        (&rolled["value"], &rolled["worst_part"]),
        (&json!(60.0), &Value::Null)
    );
    assert_eq!((&rolled["parts"], &rolled["coverage"]), (&json!(1), &json!(0.0)));

    // Another tenant's plant, which has the same names, is as it was.
    let token = server.sign_in(&other.email("admin")).await;
    let overview = server.get("/v1/overview", &token).await.expect(200);
    // Its only machine has 60 and is of medium criticality.
    assert_eq!(overview["sites"][1]["rolled_up"]["value"], 70.0);
    server.get(&away, &token).await.refused(404, "not-found");
    server.stop().await;
}
