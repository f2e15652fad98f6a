//! What is stored, what is refused, and where it went.

use models::db::dead_letter::Filter;

use crate::harness::{T0, batch, start};

#[tokio::test]
async fn refused_readings_are_kept_with_their_reason_and_the_gateway_is_told() {
    let service = start(|config| config.limits.max_packet_bytes = 100_000).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/me/error").await;
    client.deliver("fw/v1/me/json/pump", "{\"temp\":").await;
    let (topic, refusal) = client.message().await;
    assert_eq!(
        (topic.as_str(), refusal["reason"].as_str()),
        ("fw/v1/me/error", Some("malformed_json"))
    );
    client
        .deliver("fw/v1/me/json/pump", r#"{"ts":"2999-01-01T00:00:00Z","temp":1}"#)
        .await;
    client
        .deliver("fw/v1/me/json/pump/temp", r#"{"value":"21.5"}"#)
        .await;
    client
        .deliver("fw/v1/me/json/pump/speed", r#"{"value":1,"unit":"m/s"}"#)
        .await;
    client
        .deliver("fw/v1/me/json/pump/speed", r#"{"value":1,"unit":"Cel"}"#)
        .await;
    client.deliver("fw/v1/me/what", "x").await;
    let column = models::wire::Column {
        device: "pump".into(),
        channel: "temp".into(),
        ts_deltas: vec![T0, 1],
        values: vec![f64::NAN, 20.0],
        ..Default::default()
    };
    let nan = models::wire::Batch {
        epoch: 1,
        seq: 1,
        columns: vec![column],
        ..Default::default()
    };
    client
        .deliver("fw/v1/me/batch", nan.encode_compressed(1).unwrap())
        .await;
    let letters = service.dead_letters().await;
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.0.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "malformed_json",
            "too_far_in_future",
            "not_a_number",
            "unit_mismatch",
            "unknown_topic",
            "not_finite"
        ]
    );
    assert_eq!(
        letters[2].1,
        "/value: expected a number, true or false, got text \"21.5\""
    );
    assert_eq!(service.ledger().await, [6, 2, 0, 0, 4, 7, 2]);
    assert_eq!(
        service.number("SELECT contiguous_seq FROM gateway_cursor").await,
        1
    );

    client.publish("fw/v1/me/json/pump", 1, vec![b' '; 100_001]).await;
    assert!(client.closed().await, "a packet over the limit");
    service.stop().await;
}

#[tokio::test]
async fn duplicates_are_counted_and_conflicts_kept() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let topic = "fw/v1/me/json/pump";
    client
        .deliver(
            topic,
            r#"[{"ts":1767225600,"temp":1},{"ts":1767225601,"temp":2},{"ts":1767225600,"temp":1}]"#,
        )
        .await;
    assert_eq!(service.ledger().await, [3, 2, 1, 0, 0, 1, 0]);
    client
        .deliver(
            topic,
            r#"[{"ts":1767225600,"temp":1},{"ts":1767225601,"temp":9},{"ts":1767225602,"temp":3}]"#,
        )
        .await;
    assert_eq!(service.ledger().await, [6, 3, 2, 1, 0, 2, 0]);
    assert_eq!(
        service
            .number("SELECT value::int8 FROM reading WHERE ts = to_timestamp(1767225601)")
            .await,
        2
    );
    assert_eq!(
        service.number("SELECT value::int8 FROM reading_conflict").await,
        9
    );
    service.stop().await;
}

#[tokio::test]
async fn units_are_converted_and_implausible_values_are_suspect() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client
        .deliver(
            "fw/v1/me/json/pump/temp",
            r#"{"value":20,"unit":"Cel","ts":1767225600}"#,
        )
        .await;
    sqlx::query("UPDATE channel SET plausible_max = 100")
        .execute(&service.database.owner)
        .await
        .unwrap();
    client
        .deliver(
            "fw/v1/me/json/pump/temp",
            r#"{"value":293.15,"unit":"K","ts":1767225601}"#,
        )
        .await;
    assert_eq!(
        service
            .number("SELECT round(value)::int8 FROM reading WHERE ts = to_timestamp(1767225601)")
            .await,
        20
    );
    // The writer reads the register again after a second: from then on such a value is suspect.
    let started = std::time::Instant::now();
    for ts in 1_767_225_602_i64.. {
        client
            .deliver(
                "fw/v1/me/json/pump/temp",
                format!("{{\"value\":900,\"ts\":{ts}}}"),
            )
            .await;
        if service
            .number("SELECT count(*) FROM reading WHERE quality = 1")
            .await
            > 0
        {
            break;
        }
        assert!(
            started.elapsed() < crate::harness::WAIT,
            "the new range isn't seen"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn the_quota_of_channels_holds_and_a_replay_mends() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    sqlx::query("UPDATE gateway SET max_channels = 2 WHERE id = $1")
        .bind(gateway)
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut client = service.client("line-1").await;
    client
        .deliver("fw/v1/me/json/pump", r#"{"ts":1767225600,"a":1,"b":2,"c":3}"#)
        .await;
    assert_eq!(service.ledger().await, [3, 2, 0, 0, 1, 1, 0]);
    assert_eq!(service.number("SELECT count(*) FROM channel").await, 2);
    assert_eq!(service.dead_letters().await[0].0, "quota_exceeded");

    let config = ingest::config::Config::default();
    let early = ingest::replay::replay(&service.pool, &config, &Filter::default())
        .await
        .unwrap();
    assert_eq!((early.letters, early.still_refused.len()), (0, 1));
    sqlx::query("UPDATE gateway SET max_channels = 3")
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mended = ingest::replay::replay(&service.pool, &config, &Filter::default())
        .await
        .unwrap();
    assert_eq!((mended.letters, mended.stored), (1, 1));
    assert_eq!(service.ledger().await, [3, 3, 0, 0, 0, 1, 0]);
    assert_eq!(
        service
            .number("SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL")
            .await,
        0
    );
    let again = ingest::replay::replay(&service.pool, &config, &Filter::default())
        .await
        .unwrap();
    assert_eq!(again.letters, 0);
    service.stop().await;
}

#[tokio::test]
async fn a_reading_over_the_limit_raises_its_alarm_in_the_same_transaction() {
    use models::db::fixture::Plant;
    let service = start(|_| {}).await;
    let plant = Plant::new(&service.database.owner, "plant").await;
    let machine = plant.machine("pump").await;
    plant.rule(machine, "hot", |_| {}).await;
    let gateway = sqlx::query_scalar("SELECT gateway_id FROM device WHERE id = $1")
        .bind(plant.device)
        .fetch_one(&service.database.owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO gateway_credential (id, tenant_id, gateway_id, secret_hash) VALUES ($1, $2, $3, sha256('s'))")
        .bind(models::id::CredentialId::new())
        .bind(plant.tenant)
        .bind::<models::id::GatewayId>(gateway)
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut client = crate::harness::Client::open(service.address).await;
    let mut connect = rumqttc::mqttbytes::v4::Connect::new("c");
    connect.set_login("plant/gw", "s");
    assert_eq!(client.connect_with(connect).await, 0);
    let raised = "SELECT count(*) FROM alarm WHERE condition = 'active'";
    // History raises nothing, live does.
    client
        .deliver("fw/v1/me/json/plc/pump", r#"{"value":50,"ts":1767225600}"#)
        .await;
    assert_eq!(service.number(raised).await, 0);
    client.deliver("fw/v1/me/json/plc/pump", "50").await;
    assert_eq!(service.number(raised).await, 1);
    assert_eq!(
        service
            .number("SELECT count(*) FROM outbox WHERE kind = 'alarm.raised'")
            .await,
        1
    );
    client.deliver("fw/v1/me/json/plc/pump", "51").await;
    client.deliver("fw/v1/me/json/plc/pump", "1").await;
    assert_eq!(service.number(raised).await, 0);
    assert_eq!(
        service
            .number("SELECT count(*) FROM outbox WHERE kind = 'alarm.cleared'")
            .await,
        1
    );
    service.stop().await;
}

#[tokio::test]
async fn events_are_stored_once() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let event = models::wire::Event {
        device: "press".into(),
        ts: T0,
        code: "E42".into(),
        severity: 3,
        message: "jam".into(),
    };
    for seq in [1, 2] {
        let batch = models::wire::Batch {
            epoch: 1,
            seq,
            events: vec![event.clone()],
            ..Default::default()
        };
        client
            .deliver("fw/v1/me/batch", batch.encode_compressed(1).unwrap())
            .await;
    }
    assert_eq!(
        service
            .number("SELECT count(*) FROM discrete_event WHERE code = 'E42' AND severity = 3")
            .await,
        1
    );
    client.deliver("fw/v1/me/batch", batch(1, 1, 0, 3)).await;
    assert_eq!(
        service.number("SELECT count(*) FROM gateway_cursor").await,
        2,
        "one for each epoch"
    );
    service.stop().await;
}
