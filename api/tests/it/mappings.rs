//! Mappings are tried, saved and seen; channels that came by themselves are bound later.

use reqwest::Method;
use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn a_mapping_is_tried_on_a_dead_letter_before_it_is_saved() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let at = format!("/v1/gateways/{}/mapping", plant.gateway);
    let before = server.get(&at, &token).await.expect(200);
    assert_eq!(
        (&before["mapping"], &before["updated_at"]),
        (&json!({}), &json!(null))
    );

    sqlx::query(
        "UPDATE dead_letter SET topic = 'plant/7/status', format = 'unknown', reason = 'unknown_topic', payload = $2
         WHERE id = $1",
    )
    .bind(plant.dead_letter)
    .bind(&br#"{"t":1767225600000,"temp":{"value":70.7},"note":"x","load":1}"#[..])
    .execute(&server.database.owner)
    .await
    .unwrap();
    sqlx::query("UPDATE device SET name = 'line-7' WHERE id = $1")
        .bind(plant.device)
        .execute(&server.database.owner)
        .await
        .unwrap();
    sqlx::query("UPDATE channel SET name = 'temperature', unit = 'Cel' WHERE id = $1")
        .bind(plant.channel)
        .execute(&server.database.owner)
        .await
        .unwrap();
    let mapping = json!({ "routes": [{
        "topic": "plant/+/status", "codec": "json", "device": "line-{1}",
        "time": { "pointer": "/t", "format": "unix_ms" },
        "values": [
            { "pointer": "/temp/value", "channel": "temperature", "unit": "[degF]" },
            { "pointer": "/load", "unit": "kW" },
            { "pointer": "/note" },
        ],
    }] });
    let order = json!({ "mapping": mapping, "dead_letter_id": plant.dead_letter });
    let post = |body| {
        let at = format!("{at}/try");
        let (server, token) = (&server, &token);
        async move {
            server
                .send(Method::POST, &at, Some(token), Some(&body), &[])
                .await
        }
    };
    let tried = post(order.clone()).await.expect(200);
    assert_eq!((&tried["route"], &tried["problem"]), (&json!(0), &json!(null)));
    let first = &tried["readings"][0];
    assert_eq!(first["ts"], "2026-01-01T00:00:00Z");
    assert_eq!(first["channel_id"], json!(plant.channel));
    assert!(
        (first["stored_value"].as_f64().unwrap() - 21.5).abs() < 1e-9,
        "{first}"
    );
    assert_eq!(first["stored_unit"], "Cel");
    assert_eq!(tried["readings"][1]["channel_id"], json!(null));
    assert_eq!(
        tried["misfits"][0]["detail"],
        "/note: expected a number, true or false, got text \"x\""
    );
    let mut wrong = order.clone();
    wrong["mapping"]["routes"][0]["values"][0]["unit"] = json!("bar");
    let tried = post(wrong).await.expect(200);
    assert_eq!(
        tried["readings"][0]["problem"],
        "unit_mismatch: can't convert `bar` to `Cel`: they measure different things"
    );
    let mut misses = order;
    misses["mapping"]["routes"][0]["values"][0] = json!({ "pointer": "/tmp", "required": true });
    let tried = post(misses).await.expect(200);
    assert_eq!(
        tried["problem"],
        "mapping_misses: /tmp: the payload has nothing there, and it is required"
    );
    let by_hand = json!({ "topic": "elsewhere", "payload": "1" });
    let tried = post(by_hand).await.expect(200);
    assert_eq!(tried["problem"], "no route's filter matches `elsewhere`");
    post(json!({ "topic": "only" }))
        .await
        .refused(422, "invalid-body");

    let put = |body| {
        let (at, server, token) = (&at, &server, &token);
        async move { server.send(Method::PUT, at, Some(token), Some(&body), &[]).await }
    };
    put(json!({ "routes": [{ "topic": "a/#/b", "codec": "json" }] }))
        .await
        .refused(422, "invalid-body");
    let saved = put(mapping.clone()).await.expect(200);
    assert_eq!(saved["mapping"], mapping);
    assert_eq!(server.get(&at, &token).await.expect(200)["mapping"], mapping);
    server.stop().await;
}

#[tokio::test]
async fn a_channel_that_came_by_itself_is_bound_with_its_history() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    sqlx::query("UPDATE channel SET asset_id = NULL WHERE id = $1")
        .bind(plant.channel)
        .execute(&server.database.owner)
        .await
        .unwrap();
    sqlx::query("DELETE FROM reading")
        .execute(&server.database.owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO reading (ts, value, channel_id) VALUES (now() - interval '2 hours', 21.5, $1)")
        .bind(plant.channel)
        .execute(&server.database.owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO reading_sent (ts, value, channel_id, unit) SELECT ts, 70.7, channel_id, '[degF]' FROM reading",
    )
    .execute(&server.database.owner)
    .await
    .unwrap();
    let unassigned = server
        .get("/v1/channels?unassigned=true", &token)
        .await
        .expect(200);
    assert_eq!(unassigned["data"][0]["id"], json!(plant.channel));
    let at = format!("/v1/channels/{}", plant.channel);
    let body = json!({ "asset_id": plant.asset });
    server
        .send(Method::PATCH, &at, Some(&token), Some(&body), &[])
        .await
        .expect(200);
    let of_asset = server
        .get(&format!("/v1/assets/{}/channels", plant.asset), &token)
        .await
        .expect(200);
    assert_eq!(of_asset["data"][0]["latest"]["value"], 21.5);
    let sent = server.get(&format!("{at}/sent"), &token).await.expect(200);
    assert_eq!(
        (&sent[0]["value"], &sent[0]["unit"], &sent[0]["stored"]),
        (&json!(70.7), &json!("[degF]"), &json!(21.5))
    );
    server.stop().await;
}
