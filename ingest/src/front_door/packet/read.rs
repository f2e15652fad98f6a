//! Bytes → packets of a client.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::frame::header_len;
use super::{
    Connect, Filter, FromClient, PacketError, Properties, Publish, RetainHandling, Version, Will, malformed,
    strict,
};

fn text(bytes: &[u8]) -> Result<String, PacketError> {
    String::from_utf8(bytes.to_vec()).map_err(malformed)
}

/// Reads CONNECT, whichever version it is.
///
/// # Errors
/// When it is none.
pub fn read_connect(mut frame: BytesMut) -> Result<Connect, PacketError> {
    let first = frame.first().copied().unwrap_or(0);
    if first >> 4 != 1 {
        return Err(PacketError::NotConnect);
    }
    if first != 0x10 {
        return Err(malformed("reserved flags of the fixed header are set"));
    }
    // 00 04 M Q T T level, or 00 06 M Q I s d p 3 of MQTT 3.1.
    let (level, rest) = match frame.get(header_len(&frame)..).unwrap_or(&[]) {
        [0, 4, b'M', b'Q', b'T', b'T', level, rest @ ..] => (*level, rest),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => {
            return Err(PacketError::UnknownVersion(*level));
        }
        _ => return Err(malformed("not the protocol MQTT")),
    };
    let max = frame.len();
    match level {
        4 => {
            strict::connect(Version::V4, rest)?;
            match v4::Packet::read(&mut frame, max).map_err(malformed)? {
                v4::Packet::Connect(connect) => Ok(connect_v4(connect)),
                _ => Err(PacketError::NotConnect),
            }
        }
        5 => {
            strict::connect(Version::V5, rest)?;
            match v5::Packet::read(&mut frame, None).map_err(malformed)? {
                v5::Packet::Connect(connect, will, login) => connect_v5(connect, will, login),
                _ => Err(PacketError::NotConnect),
            }
        }
        level => Err(PacketError::UnknownVersion(level)),
    }
}

fn connect_v4(connect: v4::Connect) -> Connect {
    Connect {
        version: Version::V4,
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: connect.last_will.map(|will| Will {
            topic: will.topic,
            payload: will.message,
            qos: will.qos as u8,
            retain: will.retain,
            delay: 0,
            expiry: None,
            properties: Properties::default(),
        }),
        login: connect.login.map(|login| (login.username, login.password)),
        session_expiry: None,
        receive_max: u16::MAX,
        max_packet: None,
        alias_max: 0,
        problem_info: true,
        auth_method: None,
    }
}

fn connect_v5(
    connect: v5::Connect,
    will: Option<v5::LastWill>,
    login: Option<v5::Login>,
) -> Result<Connect, PacketError> {
    let will = match will {
        None => None,
        Some(will) => {
            let mut read = Will {
                topic: text(&will.topic)?,
                payload: will.message,
                qos: will.qos as u8,
                retain: will.retain,
                delay: 0,
                expiry: None,
                properties: Properties::default(),
            };
            if let Some(properties) = will.properties {
                read.delay = properties.delay_interval.unwrap_or(0);
                read.expiry = properties.message_expiry_interval;
                read.properties = Properties {
                    payload_format: properties.payload_format_indicator,
                    content_type: properties.content_type,
                    response_topic: properties.response_topic,
                    correlation: properties.correlation_data.map(|data| data.to_vec()),
                    user: properties.user_properties,
                };
            }
            Some(read)
        }
    };
    let properties = connect.properties.unwrap_or_default();
    Ok(Connect {
        version: Version::V5,
        client_id: connect.client_id,
        clean: connect.clean_start,
        keep_alive: connect.keep_alive,
        will,
        login: login.map(|login| (login.username, login.password)),
        session_expiry: properties.session_expiry_interval,
        receive_max: properties.receive_maximum.unwrap_or(u16::MAX),
        max_packet: properties.max_packet_size,
        alias_max: properties.topic_alias_max.unwrap_or(0),
        problem_info: properties.request_problem_info != Some(0),
        auth_method: properties.authentication_method,
    })
}

/// Reads any packet after CONNECT.
///
/// # Errors
/// When it is malformed, or none that a client may send.
pub fn read(version: Version, mut frame: BytesMut) -> Result<FromClient, PacketError> {
    let short = strict::packet(version, &frame)?;
    let packet_id = short.packet_id;
    match frame.first().copied().unwrap_or(0) >> 4 {
        4 => {
            return Ok(FromClient::PubAck {
                packet_id,
                refused: short.reason >= 0x80,
            });
        }
        5 => {
            return Ok(FromClient::PubRec {
                packet_id,
                refused: short.reason >= 0x80,
            });
        }
        6 => return Ok(FromClient::PubRel(packet_id)),
        7 => return Ok(FromClient::PubComp(packet_id)),
        12 => return Ok(FromClient::Ping),
        14 => {
            return Ok(FromClient::Disconnect {
                publish_will: short.reason != 0,
                session_expiry: short.session_expiry,
            });
        }
        _ => {}
    }
    let max = frame.len();
    match version {
        Version::V4 => read_v4(v4::Packet::read(&mut frame, max).map_err(malformed)?),
        Version::V5 => read_v5(v5::Packet::read(&mut frame, None).map_err(malformed)?),
    }
}

fn read_v4(packet: v4::Packet) -> Result<FromClient, PacketError> {
    Ok(match packet {
        v4::Packet::Publish(publish) => FromClient::Publish(Publish {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            packet_id: publish.pkid,
            retain: publish.retain,
            alias: None,
            expiry: None,
            properties: Properties::default(),
        }),
        v4::Packet::Subscribe(subscribe) => FromClient::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| Filter {
                    filter: filter.path,
                    qos: filter.qos as u8,
                    ..Filter::default()
                })
                .collect(),
            identifier: None,
        },
        v4::Packet::Unsubscribe(unsubscribe) => FromClient::Unsubscribe {
            packet_id: unsubscribe.pkid,
            filters: unsubscribe.topics,
        },
        other => return Err(malformed(format!("a client doesn't send {other:?}"))),
    })
}

fn read_v5(packet: v5::Packet) -> Result<FromClient, PacketError> {
    Ok(match packet {
        v5::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            FromClient::Publish(Publish {
                topic: text(&publish.topic)?,
                payload: publish.payload,
                qos: publish.qos as u8,
                packet_id: publish.pkid,
                retain: publish.retain,
                alias: properties.topic_alias,
                expiry: properties.message_expiry_interval,
                properties: Properties {
                    payload_format: properties.payload_format_indicator,
                    content_type: properties.content_type,
                    response_topic: properties.response_topic,
                    correlation: properties.correlation_data.map(|data| data.to_vec()),
                    user: properties.user_properties,
                },
            })
        }
        v5::Packet::Subscribe(subscribe) => FromClient::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| Filter {
                    filter: filter.path,
                    qos: filter.qos as u8,
                    no_local: filter.nolocal,
                    retain_as_published: filter.preserve_retain,
                    retain_handling: match filter.retain_forward_rule {
                        v5::RetainForwardRule::OnEverySubscribe => RetainHandling::Send,
                        v5::RetainForwardRule::OnNewSubscribe => RetainHandling::SendIfNew,
                        v5::RetainForwardRule::Never => RetainHandling::DontSend,
                    },
                })
                .collect(),
            identifier: subscribe
                .properties
                .and_then(|properties| properties.id)
                .and_then(|id| u32::try_from(id).ok()),
        },
        v5::Packet::Unsubscribe(unsubscribe) => FromClient::Unsubscribe {
            packet_id: unsubscribe.pkid,
            filters: unsubscribe.filters,
        },
        _ => return Err(malformed("a packet that a client doesn't send here")),
    })
}
