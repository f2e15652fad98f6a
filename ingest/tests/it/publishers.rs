//! What a publisher is owed over a restart and a kill of the front door: that a message of QoS 2 is taken
//! once, and that its will is said when it doesn't come back.

use rumqttc::mqttbytes::v4;

use crate::harness::Client;
use crate::restart::{FIRST, absent, ack, back, plant};

const RECEIVED: &str = "SELECT count(*) FROM mqtt_received";
const WILLS: &str = "SELECT count(*) FROM mqtt_will";
const READINGS: &str = "SELECT count(*) FROM reading";
const READING: &str = "fw/v1/me/json/pump/temp";

fn received(id: u16) -> Option<v4::Packet> {
    Some(v4::Packet::PubRec(v4::PubRec::new(id)))
}

async fn release(client: &mut Client, id: u16) {
    client.send(v4::Packet::PubRel(v4::PubRel::new(id))).await;
    assert_eq!(
        client.next().await,
        Some(v4::Packet::PubComp(v4::PubComp::new(id)))
    );
}

/// A command and a reading without a time of its own, both sent again after a kill: taken once.
#[tokio::test]
async fn a_message_of_qos_2_is_taken_once_over_a_kill() {
    let mut service = plant(|_| {}).await;
    absent(&service).await;
    let (mut board, _) = back(&service, "board", "kept").await;
    board.publish_as(7, FIRST, 2, "go").await;
    assert_eq!(board.next().await, received(7));
    assert_eq!(service.number(RECEIVED).await, 1, "committed before PUBREC");
    board.publish_as(8, READING, 2, "21.5").await;
    assert_eq!(board.next().await, received(8));
    assert_eq!(
        (service.number(RECEIVED).await, service.number(READINGS).await),
        (2, 1)
    );

    // As after `kill -9`: nobody closed anything.
    let older = service.replace().await;
    let (mut board, present) = back(&service, "board", "kept").await;
    assert!(present);
    for (id, topic, payload) in [(7, FIRST, "go"), (8, READING, "21.5")] {
        board.publish_as(id, topic, 2, payload).await;
        assert_eq!(board.next().await, received(id));
    }
    release(&mut board, 7).await;
    release(&mut board, 8).await;
    assert_eq!(service.number(RECEIVED).await, 0, "committed before PUBCOMP");
    assert_eq!(service.number(READINGS).await, 1);
    let (mut line, _) = back(&service, "line-1", "line").await;
    let command = line.down().await;
    assert_eq!(&command.payload[..], b"go");
    line.send(v4::Packet::PubRec(v4::PubRec::new(command.pkid))).await;
    assert_eq!(
        line.next().await,
        Some(v4::Packet::PubRel(v4::PubRel::new(command.pkid)))
    );
    line.nothing().await;
    // The identifier is free again: what comes under it now is another message.
    board.publish_as(8, READING, 2, "22.5").await;
    assert_eq!(board.next().await, received(8));
    assert_eq!(service.number(READINGS).await, 2);
    older.stop().await;
    service.stop().await;
}

/// A connection that breaks between a command and its COMMIT: sent again, it is the same one.
#[tokio::test]
async fn a_message_of_qos_2_is_taken_once_over_a_connection_that_breaks_before_its_commit() {
    let service = plant(|_| {}).await;
    absent(&service).await;
    let (mut board, _) = back(&service, "board", "kept").await;
    let mut lock = service.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE mqtt_queued IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    board.publish_as(7, FIRST, 2, "go").await;
    board.send(v4::Packet::PingReq).await;
    assert_eq!(board.next().await, Some(v4::Packet::PingResp), "no PUBREC yet");
    drop(board);
    let (mut board, present) = back(&service, "board", "kept").await;
    assert!(present);
    board.publish_as(7, FIRST, 2, "go").await;
    board.send(v4::Packet::PingReq).await;
    assert_eq!(board.next().await, Some(v4::Packet::PingResp), "no PUBREC yet");
    lock.commit().await.unwrap();
    assert_eq!(board.next().await, received(7));
    release(&mut board, 7).await;
    assert_eq!(service.number("SELECT count(*) FROM mqtt_queued").await, 1);
    service.stop().await;
}

fn with_will(user: &str, client_id: &str, keep_alive: u16) -> v4::Connect {
    let mut connect = v4::Connect::new(client_id);
    connect.set_login(format!("acme/{user}"), user);
    connect.keep_alive = keep_alive;
    connect.last_will = Some(v4::LastWill::new(
        "fw/v1/me/state",
        format!("gone {client_id}"),
        rumqttc::QoS::AtLeastOnce,
        true,
    ));
    connect
}

/// Whoever doesn't come back after a kill is said to be gone; whoever does, is not.
#[tokio::test]
async fn wills_of_those_who_dont_come_back_after_a_kill_are_said() {
    let mut service = plant(|_| {}).await;
    let connect = async |address, connect| {
        let mut client = Client::open(address).await;
        assert_eq!(client.connect_with(connect).await, 0);
        client
    };
    let _gone = connect(service.address, with_will("line-1", "gone", 1)).await;
    let _back = connect(service.address, with_will("line-2", "back", 1)).await;
    let brief = connect(service.address, with_will("line-2", "brief", 600)).await;
    service.until(WILLS, 3).await;
    drop(brief);
    service.until(WILLS, 2).await;

    let older = service.replace().await;
    let (mut board, _) = back(&service, "board", "kept").await;
    board.subscribe_as(&[("fw/v1/acme/+/state", 1)]).await;
    let said = board.down().await;
    assert_eq!(&said.payload[..], b"gone brief", "retained from before");
    ack(&mut board, said.pkid).await;
    let mut again = connect(service.address, with_will("line-2", "back", 600)).await;
    let said = board.down().await;
    assert_eq!(
        (said.topic.as_str(), &said.payload[..], said.retain),
        ("fw/v1/acme/line-1/state", &b"gone gone"[..], false)
    );
    ack(&mut board, said.pkid).await;
    // The will of the new connection is kept, those of before are done with.
    service.until(WILLS, 1).await;
    again.send(v4::Packet::Disconnect).await;
    assert!(again.closed().await);
    service.until(WILLS, 0).await;
    board.nothing().await;
    older.stop().await;
    service.stop().await;
}
