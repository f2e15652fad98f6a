//! Clients that send raw packets and take raw ones.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, WAIT};

/// An MQTT 5.0 client that does what it is told and nothing else.
pub struct Client5 {
    pub stream: TcpStream,
    input: BytesMut,
}

pub fn message(topic: &str, qos: u8, id: u16, payload: &'static str) -> v5::Publish {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
    let mut publish = v5::Publish::new(topic, qos, Bytes::from_static(payload.as_bytes()), None);
    publish.pkid = id;
    publish
}

pub fn filter(path: &str, qos: u8) -> v5::Filter {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
    v5::Filter::new(path, qos)
}

impl Client5 {
    pub async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    pub async fn connect(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut v5::Connect, &mut Option<v5::LastWill>),
    ) -> v5::ConnAck {
        let mut connect = v5::Connect {
            keep_alive: 600,
            client_id: id.to_owned(),
            clean_start: true,
            properties: Some(v5::ConnectProperties::new()),
        };
        let mut will = None;
        change(&mut connect, &mut will);
        self.send(v5::Packet::Connect(connect, will, None)).await;
        match self.next().await {
            Some(v5::Packet::ConnAck(ack)) => ack,
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, packet: v5::Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, None).unwrap();
        self.raw(&out).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet; `None` = the connection is closed.
    pub async fn next(&mut self) -> Option<v5::Packet> {
        loop {
            // rumqttc reads no DISCONNECT that ends behind its reason code.
            if self.input.starts_with(&[0xe0, 1]) && self.input.len() >= 3 {
                let code = self.input.split_to(3)[2];
                self.input = [&[0xe0, 2, code, 0], &self.input[..]].concat().as_slice().into();
            }
            let mut attempt = self.input.clone();
            match v5::Packet::read(&mut attempt, None) {
                Ok(packet) => {
                    self.input = attempt;
                    return Some(packet);
                }
                Err(rumqttc::v5::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?} in {:?}", self.input),
            }
            let read = tokio::time::timeout(WAIT, self.stream.read_buf(&mut self.input))
                .await
                .expect("an answer in time");
            match read {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    /// Subscribes and returns the codes; retained messages come afterwards.
    pub async fn subscribe(
        &mut self,
        filters: Vec<v5::Filter>,
        identifier: Option<usize>,
    ) -> Vec<v5::SubscribeReasonCode> {
        let properties = identifier.map(|id| v5::SubscribeProperties {
            id: Some(id),
            user_properties: Vec::new(),
        });
        let mut subscribe = v5::Subscribe::new_many(filters, properties);
        subscribe.pkid = 99;
        self.send(v5::Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(v5::Packet::SubAck(ack)) => {
                assert_eq!(ack.pkid, 99);
                ack.return_codes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes; waits for the PUBACK of QoS 1, or through the handshake of QoS 2.
    pub async fn publish(&mut self, publish: v5::Publish) {
        let (qos, id) = (publish.qos, publish.pkid);
        self.send(v5::Packet::Publish(publish)).await;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => match self.next().await {
                Some(v5::Packet::PubAck(ack)) => {
                    assert_eq!((ack.pkid, ack.reason), (id, v5::PubAckReason::Success))
                }
                other => panic!("{other:?}"),
            },
            QoS::ExactlyOnce => {
                match self.next().await {
                    Some(v5::Packet::PubRec(ack)) => {
                        assert_eq!((ack.pkid, ack.reason), (id, v5::PubRecReason::Success))
                    }
                    other => panic!("{other:?}"),
                }
                self.send(v5::Packet::PubRel(v5::PubRel::new(id, None))).await;
                match self.next().await {
                    Some(v5::Packet::PubComp(done)) => assert_eq!(done.pkid, id),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The next packet, which must be a message; it is not acknowledged.
    pub async fn message(&mut self) -> v5::Publish {
        match self.next().await {
            Some(v5::Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub async fn ack(&mut self, id: u16) {
        self.send(v5::Packet::PubAck(v5::PubAck::new(id, None))).await;
    }

    /// Nothing was on its way: the answer to a ping comes next.
    pub async fn nothing(&mut self) {
        self.send(v5::Packet::PingReq(v5::PingReq)).await;
        assert_eq!(self.next().await, Some(v5::Packet::PingResp(v5::PingResp)));
    }

    /// The reason of the server's DISCONNECT, behind which the connection is closed.
    pub async fn told(&mut self) -> v5::DisconnectReasonCode {
        let reason = match self.next().await {
            Some(v5::Packet::Disconnect(bye)) => bye.reason_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.next().await, None);
        reason
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

pub fn payloads(messages: &[v4::Publish]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

impl Client {
    /// The next packet, which must be a message; it is not acknowledged.
    pub async fn down(&mut self) -> v4::Publish {
        match self.next().await {
            Some(v4::Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub async fn subscribe_as(&mut self, filters: &[(&str, u8)]) -> Vec<v4::SubscribeReasonCode> {
        let filters = filters.iter().map(|(path, qos)| {
            v4::SubscribeFilter::new((*path).to_owned(), rumqttc::mqttbytes::qos(*qos).unwrap())
        });
        let mut subscribe = v4::Subscribe::new_many(filters);
        subscribe.pkid = 78;
        self.send(v4::Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(v4::Packet::SubAck(ack)) => {
                assert_eq!(ack.pkid, 78);
                ack.return_codes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing was on its way: the answer to a ping comes next.
    pub async fn nothing(&mut self) {
        self.send(v4::Packet::PingReq).await;
        assert_eq!(self.next().await, Some(v4::Packet::PingResp));
    }

    /// Publishes and waits for the acknowledgement of QoS 1 or 2.
    pub async fn say(&mut self, topic: &str, qos: u8, retain: bool, payload: &str) {
        let mut publish = v4::Publish::new(
            topic,
            rumqttc::mqttbytes::qos(qos).unwrap(),
            payload.as_bytes().to_vec(),
        );
        publish.retain = retain;
        publish.pkid = 500;
        self.send(v4::Packet::Publish(publish)).await;
        match qos {
            0 => self.nothing().await,
            1 => assert_eq!(self.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(500)))),
            _ => {
                assert_eq!(self.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(500))));
                self.send(v4::Packet::PubRel(v4::PubRel::new(500))).await;
                assert_eq!(
                    self.next().await,
                    Some(v4::Packet::PubComp(v4::PubComp::new(500)))
                );
            }
        }
    }
}
