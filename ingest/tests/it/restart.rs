//! Persistent sessions, waiting commands and retained messages over a restart of the front door.

use std::time::Duration;

use models::db::Role;
use models::id::{GatewayId, SiteId, TenantId};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use sha2::{Digest, Sha256};

use crate::broker::{Client5, filter, message};
use crate::credentials::grant;
use crate::harness::{Client, Service, start};

const SESSIONS: &str = "SELECT count(*) FROM mqtt_session";
const CONNECTED: &str = "SELECT count(*) FROM mqtt_session WHERE expires_at IS NULL";
const QUEUED: &str = "SELECT count(*) FROM mqtt_queued";

/// Connects with clean session = 0; returns whether there was a session.
pub async fn back(service: &Service, user: &str, id: &str) -> (Client, bool) {
    let mut connect = v4::Connect::new(id);
    connect.set_login(format!("acme/{user}"), user);
    connect.clean_session = false;
    connect.keep_alive = 600;
    back_as(service, connect).await
}

async fn back_as(service: &Service, connect: v4::Connect) -> (Client, bool) {
    let mut client = Client::open(service.address).await;
    client.send(v4::Packet::Connect(connect)).await;
    match client.next().await {
        Some(v4::Packet::ConnAck(ack)) if ack.code == v4::ConnectReturnCode::Success => {
            (client, ack.session_present)
        }
        other => panic!("{other:?}"),
    }
}

pub async fn ack(client: &mut Client, id: u16) {
    client.send(v4::Packet::PubAck(v4::PubAck::new(id))).await;
}

/// Two lines, and somebody who may send them commands.
pub async fn plant(change: impl FnOnce(&mut ingest::config::Config)) -> Service {
    let service = start(change).await;
    service.gateway("line-1").await;
    service.gateway("line-2").await;
    let board = service.gateway("board").await;
    grant(
        &service,
        board,
        &["fw/v1/acme/+/command/#", "plant/#"],
        &["fw/v1/acme/#", "plant/#"],
    )
    .await;
    service
}

/// A session of `line-1` that waits for commands, without its connection.
pub async fn absent(service: &Service) {
    let (mut line, _) = back(service, "line-1", "line").await;
    line.subscribe_as(&[("fw/v1/me/command/#", 2)]).await;
    drop(line);
    service.until(CONNECTED, 0).await;
}

pub const FIRST: &str = "fw/v1/acme/line-1/command/first";
const SECOND: &str = "fw/v1/acme/line-1/command/second";

/// A command that was acknowledged is there after a restart, one of QoS 2 once; so are subscriptions
/// and retained messages.
#[tokio::test]
async fn commands_and_retained_messages_survive_a_restart() {
    let mut service = plant(|_| {}).await;
    let (mut line, present) = back(&service, "line-1", "line").await;
    assert!(!present);
    line.subscribe_as(&[("fw/v1/me/command/#", 2)]).await;
    let mut board = service.client("board").await;
    board.say(FIRST, 2, false, "begun").await;
    let first = line.down().await;
    line.send(v4::Packet::PubRec(v4::PubRec::new(first.pkid))).await;
    let release = v4::Packet::PubRel(v4::PubRel::new(first.pkid));
    assert_eq!(line.next().await, Some(release.clone()));
    drop(line);
    board.say(SECOND, 1, false, "now").await;
    board.say("plant/a", 1, true, "here").await;
    board.say("plant/b", 1, true, "gone").await;
    board.say("plant/b", 1, true, "").await;
    board.say("plant/c", 0, true, "also").await;

    service.restart().await;
    let (mut line, present) = back(&service, "line-1", "line").await;
    assert!(present);
    assert_eq!(line.next().await, Some(release), "not the message again");
    line.send(v4::Packet::PubComp(v4::PubComp::new(first.pkid))).await;
    let second = line.down().await;
    assert_eq!(
        (second.topic.as_str(), &second.payload[..]),
        ("fw/v1/me/command/second", &b"now"[..])
    );
    assert!(second.dup, "it may have been sent before");
    ack(&mut line, second.pkid).await;
    line.nothing().await;
    let mut board = service.client("board").await;
    board.subscribe_as(&[("plant/#", 1)]).await;
    for (topic, qos) in [("plant/a", 1), ("plant/c", 0)] {
        let kept = board.down().await;
        assert_eq!(
            (kept.retain, kept.topic.as_str(), kept.qos as u8),
            (true, topic, qos)
        );
        if qos > 0 {
            ack(&mut board, kept.pkid).await;
        }
    }
    board.nothing().await;
    // The subscription is there as well, and what was acknowledged is gone.
    board.say(FIRST, 1, false, "again").await;
    let again = line.down().await;
    assert!(!again.dup && &again.payload[..] == b"again");
    ack(&mut line, again.pkid).await;
    service.until(QUEUED, 0).await;
    service.stop().await;
}

/// As after `kill -9`: nobody closed anything. A process that starts under the same name has what was
/// acknowledged; the older one acknowledges no command any more, and stores readings as before.
#[tokio::test]
async fn what_was_acknowledged_survives_a_process_that_is_not_stopped() {
    let mut service = plant(|_| {}).await;
    let (mut line, _) = back(&service, "line-1", "line").await;
    line.subscribe_as(&[("fw/v1/me/command/#", 1)]).await;
    assert_eq!(service.number(CONNECTED).await, 1, "committed before SUBACK");
    let mut board = service.client("board").await;
    let mut other = service.client("line-2").await;
    board.say(FIRST, 1, false, "x").await;
    assert_eq!(service.number(QUEUED).await, 1, "committed before PUBACK");
    let taken = line.down().await;

    let older = service.replace().await;
    let (mut line, present) = back(&service, "line-1", "line").await;
    assert!(present);
    let again = line.down().await;
    assert_eq!(
        (again.pkid, again.dup, &again.payload),
        (taken.pkid, true, &taken.payload)
    );
    ack(&mut line, again.pkid).await;
    service.until(QUEUED, 0).await;

    board.publish(SECOND, 1, "x").await;
    assert!(board.closed().await, "not acknowledged: it is not kept");
    other.deliver("fw/v1/me/json/pump", "{\"temp\":1}").await;
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 1);
    assert_eq!(service.number(QUEUED).await, 0);
    older.stop().await;
    service.stop().await;
}

/// What was connected when its process was killed has its whole expiry from then on.
#[tokio::test]
async fn a_session_that_was_connected_expires_after_a_kill() {
    let mut service = plant(|config| config.limits.session_expiry_s = 1).await;
    let (_line, _) = back(&service, "line-1", "line").await;
    service.until(CONNECTED, 1).await;
    let older = service.replace().await;
    // It was restored, and its client doesn't come back.
    service.until(SESSIONS, 0).await;
    older.stop().await;
    service.stop().await;
}

/// A PUBACK of a command waits for its COMMIT, and nothing else waits for that.
#[tokio::test]
async fn a_command_is_acknowledged_after_its_commit_and_readings_dont_wait_for_it() {
    let service = plant(|_| {}).await;
    absent(&service).await;
    let mut board = service.client("board").await;
    let mut lock = service.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE mqtt_queued IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let ids = [
        board.publish(FIRST, 1, "1").await,
        board.publish(SECOND, 1, "2").await,
    ];
    let mut line = service.client("line-2").await;
    for _ in 0..3 {
        line.deliver("fw/v1/me/json/pump", "{\"temp\":1}").await;
    }
    board.send(v4::Packet::PingReq).await;
    assert_eq!(board.next().await, Some(v4::Packet::PingResp), "no PUBACK yet");
    lock.commit().await.unwrap();
    for id in ids {
        assert_eq!(board.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    }
    assert_eq!(service.number(QUEUED).await, 2);
    service.stop().await;
}

/// Readings are in the database; what is told of them to a subscriber never costs a second commit.
#[tokio::test]
async fn what_is_told_of_readings_is_not_kept() {
    let service = plant(|_| {}).await;
    let (mut board, _) = back(&service, "board", "board").await;
    board.subscribe_as(&[("fw/v1/acme/+/json/#", 1)]).await;
    drop(board);
    service.until(CONNECTED, 0).await;
    let mut line = service.client("line-1").await;
    let mut publish = v4::Publish::new("fw/v1/me/json/pump", rumqttc::QoS::AtLeastOnce, "{\"temp\":1}");
    publish.pkid = 7;
    publish.retain = true;
    line.send(v4::Packet::Publish(publish)).await;
    assert_eq!(line.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(7))));
    // What is noted after it is committed after it.
    absent(&service).await;
    assert_eq!(
        service
            .number("SELECT (SELECT count(*) FROM mqtt_queued) + (SELECT count(*) FROM mqtt_retained)")
            .await,
        0
    );
    let (mut board, present) = back(&service, "board", "board").await;
    assert!(present);
    assert_eq!(
        &board.down().await.payload[..],
        b"{\"temp\":1}",
        "told all the same"
    );
    service.stop().await;
}

/// A session that ended is deleted, with what waited in it: by its time, by a clean session, at a start.
#[tokio::test]
async fn sessions_that_are_over_are_deleted() {
    let mut service = plant(|_| {}).await;
    let mut brief = Client5::open(service.address).await;
    let mut properties = v5::ConnectProperties::new();
    properties.session_expiry_interval = Some(1);
    let connect = v5::Connect {
        keep_alive: 600,
        client_id: "brief".to_owned(),
        clean_start: true,
        properties: Some(properties),
    };
    let login = v5::Login::new("acme/line-1", "line-1");
    brief.send(v5::Packet::Connect(connect, None, Some(login))).await;
    assert!(matches!(brief.next().await, Some(v5::Packet::ConnAck(_))));
    brief
        .subscribe(vec![filter("fw/v1/me/command/#", 1)], Some(3))
        .await;
    assert_eq!(service.number(SESSIONS).await, 1);
    drop(brief);
    service.until(SESSIONS, 0).await;

    absent(&service).await;
    let mut board = service.client("board").await;
    board.say(FIRST, 1, false, "x").await;
    let mut clean = Client::open(service.address).await;
    assert_eq!(clean.connect("line-1", "line-1", "line").await, 0);
    service.until(SESSIONS, 0).await;
    assert_eq!(service.number(QUEUED).await, 0);

    absent(&service).await;
    board.say(FIRST, 1, false, "x").await;
    sqlx::query("UPDATE mqtt_session SET expires_at = now() - interval '1 second'")
        .execute(&service.database.owner)
        .await
        .unwrap();
    service.restart().await;
    let (mut line, present) = back(&service, "line-1", "line").await;
    assert!(!present);
    line.nothing().await;
    assert_eq!(service.number(QUEUED).await, 0);
    service.stop().await;
}

/// Tenants with gateways and client ids of the same names get nothing of each other after a restart.
#[tokio::test]
async fn tenants_stay_apart_over_a_restart() {
    let mut service = plant(|_| {}).await;
    let (tenant, site, gateway) = (TenantId::new(), SiteId::new(), GatewayId::new());
    let owner = &service.database.owner;
    sqlx::query("INSERT INTO tenant (id, slug, name) VALUES ($1, 'beta', 'Beta')")
        .bind(tenant)
        .execute(owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO site (id, tenant_id, name, time_zone) VALUES ($1, $2, 'Works', 'UTC')")
        .bind(site)
        .bind(tenant)
        .execute(owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO gateway (id, tenant_id, site_id, slug, name) VALUES ($1, $2, $3, 'line-1', 'line-1')",
    )
    .bind(gateway)
    .bind(tenant)
    .bind(site)
    .execute(owner)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO gateway_credential (id, tenant_id, gateway_id, secret_hash, subscribe_filters)
         VALUES (gen_random_uuid(), $1, $2, $3, '{plant/#}')",
    )
    .bind(tenant)
    .bind(gateway)
    .bind(&Sha256::digest(b"line-1")[..])
    .execute(owner)
    .await
    .unwrap();
    let mut connect = v4::Connect::new("line");
    connect.set_login("beta/line-1", "line-1");
    connect.clean_session = false;
    let (mut foreign, _) = back_as(&service, connect.clone()).await;
    foreign
        .subscribe_as(&[("fw/v1/me/command/#", 1), ("plant/#", 1)])
        .await;
    drop(foreign);
    absent(&service).await;
    let mut board = service.client("board").await;
    board.say(FIRST, 1, false, "x").await;
    board.say("plant/a", 1, true, "x").await;

    service.restart().await;
    let (mut foreign, present) = back_as(&service, connect).await;
    assert!(present);
    foreign.subscribe_as(&[("plant/#", 1)]).await;
    foreign.nothing().await;
    let (mut line, _) = back(&service, "line-1", "line").await;
    assert_eq!(line.down().await.topic, "fw/v1/me/command/first");
    // The API has no business here at all.
    let api = service.database.pool(Role::Api);
    for table in ["mqtt_session", "mqtt_queued", "mqtt_retained", "mqtt_door"] {
        let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        assert!(sqlx::query(query).execute(&api).await.is_err(), "{table}");
    }
    api.close().await;
    service.stop().await;
}

/// What waits for a tenant is bounded; what doesn't fit is refused, and fits when there is room again.
#[tokio::test]
async fn what_waits_for_a_tenant_is_bounded() {
    let mut service = plant(|config| config.limits.kept_bytes = 1000).await;
    absent(&service).await;
    service.restart().await;
    let mut board = Client5::open(service.address).await;
    let connect = v5::Connect {
        keep_alive: 600,
        client_id: "board".to_owned(),
        clean_start: true,
        properties: None,
    };
    let login = v5::Login::new("acme/board", "board");
    board.send(v5::Packet::Connect(connect, None, Some(login))).await;
    assert!(matches!(board.next().await, Some(v5::Packet::ConnAck(_))));
    let mut taken = 0;
    let refused = loop {
        board.send(v5::Packet::Publish(message(FIRST, 1, 1, "x"))).await;
        match board.next().await {
            Some(v5::Packet::PubAck(ack)) if ack.reason == v5::PubAckReason::Success => taken += 1,
            Some(v5::Packet::PubAck(ack)) => break ack,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (taken, refused.reason),
        (7, v5::PubAckReason::QuotaExceeded),
        "132 bytes each"
    );
    assert_eq!(service.number(QUEUED).await, 7);
    let (mut line, _) = back(&service, "line-1", "line").await;
    for _ in 0..taken {
        let id = line.down().await.pkid;
        ack(&mut line, id).await;
    }
    line.nothing().await;
    service.until(QUEUED, 0).await;
    board.publish(message(FIRST, 1, 2, "x")).await;
    tokio::time::timeout(Duration::from_secs(30), line.down())
        .await
        .unwrap();
    service.stop().await;
}

/// A subscription that outlived its right, over a restart or not, ends with the next connection.
#[tokio::test]
async fn a_kept_subscription_needs_its_right_anew() {
    let service = plant(|_| {}).await;
    let (mut board, _) = back(&service, "board", "kept").await;
    board
        .subscribe_as(&[("plant/#", 1), ("fw/v1/me/command/#", 1)])
        .await;
    drop(board);
    sqlx::query(
        "UPDATE gateway_credential SET subscribe_filters = '{}'
         WHERE gateway_id = (SELECT id FROM gateway WHERE slug = 'board')",
    )
    .execute(&service.database.owner)
    .await
    .unwrap();
    let (mut board, present) = back(&service, "board", "kept").await;
    assert!(present);
    let mut other = service.client("board").await;
    other.say("plant/a", 1, false, "x").await;
    board.nothing().await;
    service
        .until(
            "SELECT jsonb_array_length(subscriptions)::int8 FROM mqtt_session",
            1,
        )
        .await;
    service.stop().await;
}
