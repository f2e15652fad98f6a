//! MQTT 3.1.1 and 5.0 as one set of packets, on rumqttc's codecs.
//!
//! Framing is our own: the codecs call a length that lies "more bytes needed", and after they have
//! cut the bytes off. Here a packet is cut out by its length first, so whatever the codec then
//! calls short is malformed. Two things the codecs don't do are done here as well: the reserved
//! flags of the fixed header are checked, and a v5 DISCONNECT without a body is read.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("a packet of {0} bytes, more than allowed")]
    TooLarge(usize),
    #[error("malformed packet: {0}")]
    Malformed(String),
    #[error("protocol level {0} is neither MQTT 3.1.1 nor 5.0")]
    UnknownVersion(u8),
    #[error("the first packet is not CONNECT")]
    NotConnect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub login: Option<(String, String)>,
    /// Seconds; v5 only.
    pub session_expiry: Option<u32>,
    /// The largest packet the client takes; v5 only.
    pub max_packet: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub packet_id: u16,
    pub retain: bool,
    /// A topic alias, which we don't offer.
    pub alias: bool,
}

/// What a client says after CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    Publish(Publish),
    PubRel(u16),
    Subscribe { packet_id: u16, filters: Vec<String> },
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    Ping,
    Disconnect { publish_will: bool },
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    Version,
    ClientId,
    BadCredential,
    NotAuthorized,
    Unavailable,
    Busy,
}

/// The answer to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishAnswer {
    Success,
    NotAuthorized,
    /// Kept as a dead letter.
    Invalid,
}

/// Why we end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    ShuttingDown,
    TakenOver,
    Withdrawn,
    KeepAlive,
    Malformed,
    TooLarge,
    Protocol,
    NotAuthorized,
    AliasInvalid,
    Error,
}

/// What we say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    Accepted {
        session_present: bool,
        receive_max: u16,
        max_packet: u32,
        keep_alive: Option<u16>,
        client_id: Option<String>,
    },
    Refused(ConnectRefusal),
    PubAck(u16, PublishAnswer),
    PubRec(u16, PublishAnswer),
    PubComp {
        packet_id: u16,
        known: bool,
    },
    /// One for each filter: granted, always with QoS 0, or refused.
    SubAck(u16, Vec<bool>),
    UnsubAck(u16, Vec<bool>),
    Publish {
        topic: String,
        payload: Bytes,
        retain: bool,
    },
    Pong,
    Goodbye(Goodbye),
}

/// Cuts the next whole packet out of `buffer`; `None` = more bytes are needed.
///
/// # Errors
/// When its length is malformed or more than `max` bytes.
pub fn next_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, PacketError> {
    let mut length = 0_usize;
    for i in 0..4 {
        let Some(byte) = buffer.get(1 + i) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let total = 2 + i + length;
            if total > max {
                return Err(PacketError::TooLarge(total));
            }
            if buffer.len() < total {
                buffer.reserve(total - buffer.len());
                return Ok(None);
            }
            return Ok(Some(buffer.split_to(total)));
        }
    }
    Err(PacketError::Malformed(
        "length of more than four bytes".to_owned(),
    ))
}

fn malformed(error: impl std::fmt::Display) -> PacketError {
    PacketError::Malformed(error.to_string())
}

fn text(bytes: &[u8]) -> Result<String, PacketError> {
    String::from_utf8(bytes.to_vec()).map_err(malformed)
}

/// Reads CONNECT, whichever version it is.
///
/// # Errors
/// When it is none.
pub fn read_connect(mut frame: BytesMut) -> Result<Connect, PacketError> {
    if frame.first() != Some(&0x10) {
        return Err(PacketError::NotConnect);
    }
    let header = 1
        + frame
            .iter()
            .skip(1)
            .position(|byte| byte & 0x80 == 0)
            .unwrap_or(0)
        + 1;
    // 00 04 M Q T T level, or 00 06 M Q I s d p 3 of MQTT 3.1.
    let body = &frame[header..];
    let level = match body {
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => *level,
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => {
            return Err(PacketError::UnknownVersion(*level));
        }
        _ => return Err(malformed("not the protocol MQTT")),
    };
    let flags = body.get(7).copied().unwrap_or(0);
    if flags & 1 != 0 {
        return Err(malformed("reserved flag of CONNECT is set"));
    }
    let max = frame.len();
    match level {
        4 => match v4::Packet::read(&mut frame, max).map_err(malformed)? {
            v4::Packet::Connect(connect) => Ok(Connect {
                version: Version::V4,
                client_id: connect.client_id,
                clean: connect.clean_session,
                keep_alive: connect.keep_alive,
                will: connect.last_will.map(|will| Will {
                    topic: will.topic,
                    payload: will.message,
                    retain: will.retain,
                }),
                login: connect.login.map(|login| (login.username, login.password)),
                session_expiry: None,
                max_packet: None,
            }),
            _ => Err(PacketError::NotConnect),
        },
        5 => match v5::Packet::read(&mut frame, None).map_err(malformed)? {
            v5::Packet::Connect(connect, will, login) => {
                let properties = connect.properties;
                Ok(Connect {
                    version: Version::V5,
                    client_id: connect.client_id,
                    clean: connect.clean_start,
                    keep_alive: connect.keep_alive,
                    will: match will {
                        Some(will) => Some(Will {
                            topic: text(&will.topic)?,
                            payload: will.message,
                            retain: will.retain,
                        }),
                        None => None,
                    },
                    login: login.map(|login| (login.username, login.password)),
                    session_expiry: properties
                        .as_ref()
                        .and_then(|properties| properties.session_expiry_interval),
                    max_packet: properties
                        .as_ref()
                        .and_then(|properties| properties.max_packet_size),
                })
            }
            _ => Err(PacketError::NotConnect),
        },
        level => Err(PacketError::UnknownVersion(level)),
    }
}

/// Reads any packet after CONNECT. `None`: one that means nothing to us.
///
/// # Errors
/// When it is malformed, or none that a client may send.
pub fn read(version: Version, mut frame: BytesMut) -> Result<Option<FromClient>, PacketError> {
    let first = frame.first().copied().unwrap_or(0);
    let (kind, flags) = (first >> 4, first & 0x0f);
    let wanted = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != wanted {
        return Err(malformed("reserved flags of the fixed header are set"));
    }
    if kind == 3 && flags & 0b110 == 0 && flags & 0b1000 != 0 {
        return Err(malformed("DUP is set on QoS 0"));
    }
    if kind == 14 && frame.len() == 2 {
        return Ok(Some(FromClient::Disconnect { publish_will: false }));
    }
    let max = frame.len();
    match version {
        Version::V4 => read_v4(v4::Packet::read(&mut frame, max).map_err(malformed)?),
        Version::V5 => read_v5(v5::Packet::read(&mut frame, None).map_err(malformed)?),
    }
}

fn id(packet_id: u16) -> Result<u16, PacketError> {
    if packet_id == 0 {
        Err(malformed("packet identifier 0"))
    } else {
        Ok(packet_id)
    }
}

fn read_v4(packet: v4::Packet) -> Result<Option<FromClient>, PacketError> {
    Ok(Some(match packet {
        v4::Packet::Publish(publish) => FromClient::Publish(Publish {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            packet_id: publish.pkid,
            retain: publish.retain,
            alias: false,
        }),
        v4::Packet::PubRel(release) => FromClient::PubRel(id(release.pkid)?),
        v4::Packet::Subscribe(subscribe) => FromClient::Subscribe {
            packet_id: id(subscribe.pkid)?,
            filters: subscribe.filters.into_iter().map(|filter| filter.path).collect(),
        },
        v4::Packet::Unsubscribe(unsubscribe) => FromClient::Unsubscribe {
            packet_id: id(unsubscribe.pkid)?,
            filters: unsubscribe.topics,
        },
        v4::Packet::PingReq => FromClient::Ping,
        v4::Packet::Disconnect => FromClient::Disconnect { publish_will: false },
        // We send QoS 0 only: an acknowledgement of something we never sent is harmless.
        v4::Packet::PubAck(_) | v4::Packet::PubRec(_) | v4::Packet::PubComp(_) => return Ok(None),
        other => return Err(malformed(format!("a client doesn't send {other:?}"))),
    }))
}

fn read_v5(packet: v5::Packet) -> Result<Option<FromClient>, PacketError> {
    Ok(Some(match packet {
        v5::Packet::Publish(publish) => FromClient::Publish(Publish {
            topic: text(&publish.topic)?,
            payload: publish.payload,
            qos: publish.qos as u8,
            packet_id: publish.pkid,
            retain: publish.retain,
            alias: publish
                .properties
                .is_some_and(|properties| properties.topic_alias.is_some()),
        }),
        v5::Packet::PubRel(release) => FromClient::PubRel(id(release.pkid)?),
        v5::Packet::Subscribe(subscribe) => FromClient::Subscribe {
            packet_id: id(subscribe.pkid)?,
            filters: subscribe.filters.into_iter().map(|filter| filter.path).collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => FromClient::Unsubscribe {
            packet_id: id(unsubscribe.pkid)?,
            filters: unsubscribe.filters,
        },
        v5::Packet::PingReq(_) => FromClient::Ping,
        v5::Packet::Disconnect(disconnect) => FromClient::Disconnect {
            publish_will: disconnect.reason_code != v5::DisconnectReasonCode::NormalDisconnection,
        },
        v5::Packet::PubAck(_) | v5::Packet::PubRec(_) | v5::Packet::PubComp(_) => return Ok(None),
        _ => return Err(malformed("a packet that a client doesn't send here")),
    }))
}

/// Writes `packet` to `out`.
///
/// # Errors
/// When it can't be written, which a packet of ours can.
pub fn write(version: Version, packet: ToClient, out: &mut BytesMut) -> Result<(), PacketError> {
    match version {
        Version::V4 => {
            if let Some(packet) = to_v4(packet) {
                packet.write(out, usize::MAX).map_err(malformed)?;
            }
        }
        Version::V5 => {
            to_v5(packet).write(out, None).map_err(malformed)?;
        }
    }
    Ok(())
}

/// `None`: MQTT 3.1.1 has no such packet.
fn to_v4(packet: ToClient) -> Option<v4::Packet> {
    use v4::{ConnAck, ConnectReturnCode as Code, Packet};
    Some(match packet {
        ToClient::Accepted { session_present, .. } => {
            Packet::ConnAck(ConnAck::new(Code::Success, session_present))
        }
        ToClient::Refused(why) => {
            let code = match why {
                ConnectRefusal::Version => Code::RefusedProtocolVersion,
                ConnectRefusal::ClientId => Code::BadClientId,
                ConnectRefusal::BadCredential => Code::BadUserNamePassword,
                ConnectRefusal::NotAuthorized => Code::NotAuthorized,
                ConnectRefusal::Unavailable | ConnectRefusal::Busy => Code::ServiceUnavailable,
            };
            Packet::ConnAck(ConnAck::new(code, false))
        }
        ToClient::PubAck(packet_id, _) => Packet::PubAck(v4::PubAck::new(packet_id)),
        ToClient::PubRec(packet_id, _) => Packet::PubRec(v4::PubRec::new(packet_id)),
        ToClient::PubComp { packet_id, .. } => Packet::PubComp(v4::PubComp::new(packet_id)),
        ToClient::SubAck(packet_id, granted) => {
            let codes = granted
                .into_iter()
                .map(|granted| match granted {
                    true => v4::SubscribeReasonCode::Success(rumqttc::QoS::AtMostOnce),
                    false => v4::SubscribeReasonCode::Failure,
                })
                .collect();
            Packet::SubAck(v4::SubAck::new(packet_id, codes))
        }
        ToClient::UnsubAck(packet_id, _) => Packet::UnsubAck(v4::UnsubAck::new(packet_id)),
        ToClient::Publish {
            topic,
            payload,
            retain,
        } => {
            let mut publish = v4::Publish::from_bytes(topic, rumqttc::QoS::AtMostOnce, payload);
            publish.retain = retain;
            Packet::Publish(publish)
        }
        ToClient::Pong => Packet::PingResp,
        ToClient::Goodbye(_) => return None,
    })
}

fn to_v5(packet: ToClient) -> v5::Packet {
    use rumqttc::v5::mqttbytes::QoS;
    use v5::{ConnAck, ConnectReturnCode as Code, DisconnectReasonCode as Bye, Packet};
    match packet {
        ToClient::Accepted {
            session_present,
            receive_max,
            max_packet,
            keep_alive,
            client_id,
        } => Packet::ConnAck(ConnAck {
            session_present,
            code: Code::Success,
            properties: Some(v5::ConnAckProperties {
                session_expiry_interval: None,
                receive_max: Some(receive_max),
                max_qos: None,
                retain_available: Some(1),
                max_packet_size: Some(max_packet),
                assigned_client_identifier: client_id,
                topic_alias_max: None,
                reason_string: None,
                user_properties: Vec::new(),
                wildcard_subscription_available: None,
                subscription_identifiers_available: Some(0),
                shared_subscription_available: Some(0),
                server_keep_alive: keep_alive,
                response_information: None,
                server_reference: None,
                authentication_method: None,
                authentication_data: None,
            }),
        }),
        ToClient::Refused(why) => {
            let code = match why {
                ConnectRefusal::Version => Code::UnsupportedProtocolVersion,
                ConnectRefusal::ClientId => Code::ClientIdentifierNotValid,
                ConnectRefusal::BadCredential => Code::BadUserNamePassword,
                ConnectRefusal::NotAuthorized => Code::NotAuthorized,
                ConnectRefusal::Unavailable => Code::ServerUnavailable,
                ConnectRefusal::Busy => Code::ServerBusy,
            };
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties: None,
            })
        }
        ToClient::PubAck(packet_id, answer) => {
            let mut ack = v5::PubAck::new(packet_id, None);
            ack.reason = match answer {
                PublishAnswer::Success => v5::PubAckReason::Success,
                PublishAnswer::NotAuthorized => v5::PubAckReason::NotAuthorized,
                PublishAnswer::Invalid => v5::PubAckReason::PayloadFormatInvalid,
            };
            Packet::PubAck(ack)
        }
        ToClient::PubRec(packet_id, answer) => {
            let mut received = v5::PubRec::new(packet_id, None);
            received.reason = match answer {
                PublishAnswer::Success => v5::PubRecReason::Success,
                PublishAnswer::NotAuthorized => v5::PubRecReason::NotAuthorized,
                PublishAnswer::Invalid => v5::PubRecReason::PayloadFormatInvalid,
            };
            Packet::PubRec(received)
        }
        ToClient::PubComp { packet_id, known } => {
            let mut complete = v5::PubComp::new(packet_id, None);
            if !known {
                complete.reason = v5::PubCompReason::PacketIdentifierNotFound;
            }
            Packet::PubComp(complete)
        }
        ToClient::SubAck(packet_id, granted) => Packet::SubAck(v5::SubAck {
            pkid: packet_id,
            return_codes: granted
                .into_iter()
                .map(|granted| match granted {
                    true => v5::SubscribeReasonCode::Success(QoS::AtMostOnce),
                    false => v5::SubscribeReasonCode::NotAuthorized,
                })
                .collect(),
            properties: None,
        }),
        ToClient::UnsubAck(packet_id, existed) => Packet::UnsubAck(v5::UnsubAck {
            pkid: packet_id,
            reasons: existed
                .into_iter()
                .map(|existed| match existed {
                    true => v5::UnsubAckReason::Success,
                    false => v5::UnsubAckReason::NoSubscriptionExisted,
                })
                .collect(),
            properties: None,
        }),
        ToClient::Publish {
            topic,
            payload,
            retain,
        } => {
            let mut publish = v5::Publish::new(topic, QoS::AtMostOnce, payload, None);
            publish.retain = retain;
            Packet::Publish(publish)
        }
        ToClient::Pong => Packet::PingResp(v5::PingResp),
        ToClient::Goodbye(why) => {
            let reason_code = match why {
                Goodbye::ShuttingDown => Bye::ServerShuttingDown,
                Goodbye::TakenOver => Bye::SessionTakenOver,
                Goodbye::Withdrawn => Bye::AdministrativeAction,
                Goodbye::KeepAlive => Bye::KeepAliveTimeout,
                Goodbye::Malformed => Bye::MalformedPacket,
                Goodbye::TooLarge => Bye::PacketTooLarge,
                Goodbye::Protocol => Bye::ProtocolError,
                Goodbye::NotAuthorized => Bye::NotAuthorized,
                Goodbye::AliasInvalid => Bye::TopicAliasInvalid,
                Goodbye::Error => Bye::UnspecifiedError,
            };
            Packet::Disconnect(v5::Disconnect {
                reason_code,
                properties: None,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect_v4() -> BytesMut {
        let mut out = BytesMut::new();
        let mut connect = v4::Connect::new("c");
        connect.set_login("t/g", "secret");
        connect.write(&mut out).unwrap();
        out
    }

    #[test]
    fn connect_is_sniffed() {
        let connect = read_connect(connect_v4()).unwrap();
        assert_eq!(
            (connect.version, connect.login.unwrap().0.as_str()),
            (Version::V4, "t/g")
        );
        let mut old = connect_v4();
        old[8] = 3;
        assert_eq!(read_connect(old), Err(PacketError::UnknownVersion(3)));
        assert_eq!(
            read_connect(BytesMut::from(&[0xc0, 0][..])),
            Err(PacketError::NotConnect)
        );
    }

    #[test]
    fn frames_are_cut_and_bounded() {
        let mut buffer = BytesMut::from(&[0xc0, 0, 0x30, 3, 0][..]);
        assert_eq!(next_frame(&mut buffer, 100).unwrap().unwrap().len(), 2);
        assert_eq!(next_frame(&mut buffer, 100), Ok(None));
        assert_eq!(next_frame(&mut buffer, 4), Err(PacketError::TooLarge(5)));
        let mut endless = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(matches!(
            next_frame(&mut endless, 100),
            Err(PacketError::Malformed(_))
        ));
    }

    #[test]
    fn reserved_flags_are_refused() {
        assert!(read(Version::V4, BytesMut::from(&[0x80, 5, 0, 1, 0, 0, 0][..])).is_err());
        let disconnect = Some(FromClient::Disconnect { publish_will: false });
        assert_eq!(read(Version::V5, BytesMut::from(&[0xe0, 0][..])), Ok(disconnect));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), v5 in any::<bool>(), kind in 1_u8..16) {
            let version = if v5 { Version::V5 } else { Version::V4 };
            let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            let mut frame = BytesMut::from(&[kind << 4 | flags, bytes.len() as u8][..]);
            frame.extend_from_slice(&bytes);
            if let Ok(Some(whole)) = next_frame(&mut frame.clone(), 1000) {
                drop(read(version, whole));
            }
            let mut body = BytesMut::from(&[0x10, bytes.len() as u8 + 7, 0, 4, b'M', b'Q', b'T', b'T', if v5 { 5 } else { 4 }][..]);
            body.extend_from_slice(&bytes);
            drop(read_connect(body));
        }
    }
}
