//! What brings other listeners down must not bring this one down.

use std::time::Duration;

use rumqttc::mqttbytes::v4;
use tokio::io::AsyncWriteExt;

use crate::harness::{Client, WAIT, start};

async fn works(client: &mut Client) {
    client.send(v4::Packet::PingReq).await;
    assert_eq!(client.next().await, Some(v4::Packet::PingResp));
}

/// ingestion.md 4.2, row 1: a client id with special characters, twice, ends no listener.
#[tokio::test]
async fn odd_client_ids_harm_nobody() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    for id in ["a/b", "a/b", "#", "+", "$SYS", "#", "ö", " "] {
        let mut client = Client::open(service.address).await;
        assert_eq!(client.connect("line-1", "line-1", id).await, 0, "{id}");
        works(&mut client).await;
    }
    let mut long = Client::open(service.address).await;
    assert_eq!(long.connect("line-1", "line-1", &"x".repeat(300)).await, 2);
    works(&mut service.client("line-1").await).await;
    service.stop().await;
}

/// Row 3: connections that say nothing; `tls.rs` has the same behind TLS.
#[tokio::test]
async fn idle_connections_keep_nobody_out_and_are_closed() {
    let service = start(|config| config.limits.connect_timeout_s = 1).await;
    service.gateway("line-1").await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(Client::open(service.address).await);
    }
    works(&mut service.client("line-1").await).await;
    for client in &mut idle {
        assert!(client.closed().await);
    }
    service.stop().await;
}

/// More clients at once than may be unknown: the rest waits its turn, and nobody is refused.
#[tokio::test]
async fn a_storm_waits_at_the_door_and_is_not_refused() {
    let service = start(|config| {
        config.limits.max_unauthenticated = 2;
        config.limits.connect_timeout_s = 1;
    })
    .await;
    service.gateway("line-1").await;
    // These two say nothing until they are closed.
    let mut idle = [
        Client::open(service.address).await,
        Client::open(service.address).await,
    ];
    let mut storm = tokio::task::JoinSet::new();
    let address = service.address;
    for i in 0..40 {
        storm.spawn(async move {
            let mut client = Client::open(address).await;
            client.connect("line-1", "line-1", &format!("c{i}")).await
        });
    }
    let codes = tokio::time::timeout(WAIT, storm.join_all()).await.unwrap();
    assert_eq!(codes, [0; 40]);
    for client in &mut idle {
        assert!(client.closed().await);
    }
    service.stop().await;
}

/// Row 2: the limit of connections is reached, those refused try again, a place becomes free.
#[tokio::test]
async fn a_full_house_recovers() {
    let service = start(|config| config.limits.max_connections = 3).await;
    service.gateway("line-1").await;
    let mut guests = Vec::new();
    for id in ["a", "b", "c"] {
        let mut client = Client::open(service.address).await;
        assert_eq!(client.connect("line-1", "line-1", id).await, 0);
        guests.push(client);
    }
    for _ in 0..5 {
        assert!(Client::open(service.address).await.closed().await, "one too many");
    }
    guests.pop();
    let started = std::time::Instant::now();
    loop {
        let mut client = Client::open(service.address).await;
        let mut connect = v4::Connect::new("d");
        connect.set_login("acme/line-1", "line-1");
        let mut out = bytes::BytesMut::new();
        connect.write(&mut out).unwrap();
        // The door may have closed it by now.
        drop(client.stream.write_all(&out).await);
        if let Some(v4::Packet::ConnAck(ack)) = client.next().await {
            assert_eq!(ack.code, v4::ConnectReturnCode::Success);
            break;
        }
        assert!(started.elapsed() < WAIT, "the free place was not given again");
    }
    service.stop().await;
}

#[tokio::test]
async fn silence_and_a_stopped_reader_are_closed() {
    let service = start(|config| {
        config.limits.write_timeout_s = 1;
        config.limits.max_keep_alive_s = 600;
    })
    .await;
    service.gateway("line-1").await;
    let mut connect = v4::Connect::new("quiet");
    connect.set_login("acme/line-1", "line-1");
    connect.keep_alive = 1;
    let mut quiet = Client::open(service.address).await;
    assert_eq!(quiet.connect_with(connect).await, 0);
    assert!(quiet.closed().await, "1.5 times the keep-alive");

    // Pings without ever reading the answers: the answers fill both sockets' buffers.
    let mut greedy = Client::open(service.address).await;
    assert_eq!(greedy.connect("line-1", "line-1", "greedy").await, 0);
    let pings = [0xc0, 0].repeat(64 * 1024);
    let flooding = async { while greedy.stream.write_all(&pings).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), flooding)
        .await
        .expect("a reader that takes nothing is closed");
    service.stop().await;
}

#[tokio::test]
async fn noise_is_closed_and_forgotten() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let connects: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xc0, 0],
        &[0x10, 2, 0, 0],
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
    ];
    for bytes in connects {
        let mut client = Client::open(service.address).await;
        client.stream.write_all(bytes).await.unwrap();
        assert!(client.closed().await, "{bytes:?}");
    }
    let mut old = Client::open(service.address).await;
    old.stream
        .write_all(&[
            0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 60, 0, 1, b'c',
        ])
        .await
        .unwrap();
    assert_eq!(
        old.next().await,
        Some(v4::Packet::ConnAck(v4::ConnAck::new(
            v4::ConnectReturnCode::RefusedProtocolVersion,
            false
        )))
    );
    let after: [&[u8]; 4] = [&[0x10, 0], &[0x36, 3, 0, 1, b'a'], &[0x80, 2, 0, 1], &[0x00, 0]];
    for bytes in after {
        let mut client = service.client("line-1").await;
        client.stream.write_all(bytes).await.unwrap();
        assert!(client.closed().await, "{bytes:?}");
    }
    works(&mut service.client("line-1").await).await;
    service.stop().await;
}

/// Row 7: what nobody subscribed to is not dropped behind its PUBACK.
#[tokio::test]
async fn publishing_without_a_subscriber_is_stored_all_the_same() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    for i in 0..100 {
        client
            .publish(
                "fw/v1/me/json/pump",
                1,
                format!("{{\"ts\":{},\"temp\":1}}", 1_767_225_600 + i),
            )
            .await;
    }
    for id in 1..=100 {
        assert_eq!(
            client.next().await,
            Some(v4::Packet::PubAck(v4::PubAck::new(id))),
            "in order"
        );
    }
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 100);
    service.stop().await;
}

/// ingestion.md 4.3, row 4: a packet larger than we take ends that connection, at its header; who sends
/// it in a session that is kept can't come in a loop for it, because the limit is told.
#[tokio::test]
async fn a_packet_that_is_too_large_is_refused_and_harms_nobody() {
    use crate::broker::Client5;
    use rumqttc::v5::mqttbytes::v5;
    let service = start(|config| config.limits.max_packet_bytes = 100_000).await;
    service.gateway("line-1").await;
    let mut other = service.client("line-1").await;
    // PUBLISH of 150,000 bytes.
    let header = [0x32, 0xf0, 0x93, 0x09];
    for _ in 0..3 {
        let mut connect = v4::Connect::new("old");
        connect.set_login("acme/line-1", "line-1");
        connect.clean_session = false;
        let mut old = Client::open(service.address).await;
        assert_eq!(old.connect_with(connect).await, 0);
        old.stream.write_all(&header).await.unwrap();
        assert!(old.closed().await, "without having read it");
        works(&mut other).await;
    }
    let mut new = Client5::open(service.address).await;
    let connect = v5::Connect {
        keep_alive: 600,
        client_id: "new".to_owned(),
        clean_start: true,
        properties: None,
    };
    let login = v5::Login::new("acme/line-1", "line-1");
    new.send(v5::Packet::Connect(connect, None, Some(login))).await;
    match new.next().await {
        Some(v5::Packet::ConnAck(ack)) => {
            assert_eq!(ack.properties.unwrap().max_packet_size, Some(100_000));
        }
        told => panic!("{told:?}"),
    }
    new.raw(&header).await;
    assert_eq!(new.told().await, v5::DisconnectReasonCode::PacketTooLarge);
    other.deliver("fw/v1/me/json/pump", "{\"temp\":1}").await;
    service.stop().await;
}
