//! Signing secrets: encrypted in the database, under keys that can be changed.

use secrecy::ExposeSecret;

use super::*;

#[tokio::test]
async fn signing_secrets_are_sealed_and_their_key_is_changed() {
    let (old, new) = (
        "0123456789abcdef".repeat(3),
        "another key, in one word".replace(' ', "-") + "-12345678",
    );
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let receiver = Receiver::start().await;
    let body = json!({ "name": "test", "url": receiver.url, "kinds": ["ticket.*"] });
    let made = server.post("/v1/webhooks", &token, body).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    let rule = json!({ "name": "hook", "role": "tenant_admin", "channel": "webhook", "webhook_url": receiver.url,
                       "kinds": ["alarm.*"], "time_zone": "UTC" });
    server
        .post("/v1/notification-rules", &token, rule)
        .await
        .expect(201);
    let stored = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT secret FROM webhook WHERE secret IS NOT NULL UNION ALL SELECT previous_secret FROM webhook
             WHERE previous_secret IS NOT NULL UNION ALL
             SELECT webhook_secret FROM notification_rule WHERE webhook_secret IS NOT NULL",
        )
        .fetch_all(&server.database.owner)
        .await
        .unwrap()
    };
    // Without a key they stand as they are, whose number the log tells; the fixture has one more.
    let in_clear = stored().await.len() as u64;
    let none = sender(&server, |_| ()).reseal().await.unwrap();
    assert_eq!((none.sealed, none.clear, none.closed), (0, in_clear, 0));
    assert!(stored().await.contains(&secret));

    // With a key they are sealed, once, and still sign.
    let keyed = sender(&server, |config| config.sealing_keys = old.clone().into());
    assert_eq!(keyed.reseal().await.unwrap().sealed, in_clear);
    assert_eq!(keyed.reseal().await.unwrap().sealed, 0);
    let sealed = stored().await;
    assert!(
        sealed.iter().all(|text| text.starts_with("sealed:1:")),
        "{sealed:?}"
    );
    let begun = Timestamp::now();
    let asset = plant.asset.to_string();
    let signs = async |sender: &Sender, title: &str| {
        let before = receiver.count();
        ticket(&server, &token, &asset, title, "low").await;
        until(sender, begun, title, || receiver.count() > before).await;
        let id = receiver.header(before, "webhook-id");
        let at = Timestamp::from_secs(receiver.header(before, "webhook-timestamp").parse().unwrap());
        let expected = signature(&secret, None, &id, at, &receiver.heard.lock()[before].1.clone()).unwrap();
        let said = receiver.header(before, "webhook-signature");
        assert!(said.split(' ').any(|one| one == expected), "{title}: {said}");
    };
    signs(&keyed, "sealed").await;

    // A new key in front: everything is sealed with it, and the old one can go.
    let both = sender(&server, |config| {
        config.sealing_keys = format!("{new}\n{old}").into()
    });
    assert_eq!(both.reseal().await.unwrap().sealed, in_clear);
    let fresh = sender(&server, |config| config.sealing_keys = new.clone().into());
    assert_eq!(fresh.reseal().await.unwrap(), api::outbound::Resealed::default());
    signs(&fresh, "with the new key").await;

    // A key that is missing: said at the start and in the log of every delivery; nothing is lost.
    let without = sender(&server, |_| ());
    assert_eq!(without.reseal().await.unwrap().closed, in_clear);
    let before = receiver.count();
    ticket(&server, &token, &asset, "without the key", "low").await;
    let log = format!("{path}/deliveries?status=pending");
    let waited = Instant::now();
    let pending = loop {
        without.pass(begun).await.unwrap();
        let pending = server.get(&log, &token).await.expect(200);
        if pending["data"][0]["attempts"].as_i64() >= Some(1) {
            break pending;
        }
        assert!(waited.elapsed() < PATIENCE, "no attempt is logged: {pending:#}");
    };
    let error = pending["data"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("api.outbound.sealing_keys"), "{error}");
    assert_eq!(receiver.count(), before);
    fresh.pass(begun.plus_seconds(10.0)).await.unwrap();
    assert_eq!(receiver.count(), before + 1, "the key is back");
    server.stop().await;
}

#[tokio::test]
async fn a_server_with_a_key_stores_no_secret_in_clear() {
    let key = "k".repeat(40);
    let server = Server::with(api::config::Config {
        outbound: Outbound {
            sealing_keys: key.clone().into(),
            ..Outbound::default()
        },
        ..api::config::Config::default()
    })
    .await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let body = json!({ "name": "test", "url": "https://example.com/", "kinds": ["*"] });
    let made = server.post("/v1/webhooks", &token, body).await.expect(201);
    let id = made["webhook"]["id"].as_str().unwrap().to_owned();
    let rotated = server
        .post(&format!("/v1/webhooks/{id}/rotate"), &token, json!({}))
        .await
        .expect(200);
    let rule = json!({ "name": "hook", "role": "tenant_admin", "channel": "webhook", "webhook_url": "https://example.com/",
                       "kinds": ["*"], "time_zone": "UTC" });
    server
        .post("/v1/notification-rules", &token, rule)
        .await
        .expect(201);
    let (secret, previous, of_rule): (String, String, String) = sqlx::query_as(
        "SELECT w.secret, w.previous_secret, r.webhook_secret FROM webhook w, notification_rule r
         WHERE w.name = 'test' AND r.name = 'hook'",
    )
    .fetch_one(&server.database.owner)
    .await
    .unwrap();
    let seal = api::outbound::Seal::new(&key.into()).unwrap();
    assert_eq!(
        seal.open(&id, &secret).unwrap().expose_secret(),
        rotated["secret"]
    );
    assert_eq!(seal.open(&id, &previous).unwrap().expose_secret(), made["secret"]);
    assert!(
        of_rule.starts_with("sealed:1:") && seal.open(&id, &of_rule).is_err(),
        "another row's"
    );
    server.stop().await;
}
