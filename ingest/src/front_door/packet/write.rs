//! Packets of ours → bytes.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{QoS, v5};

use super::{
    Accepted, ConnectRefusal, Down, Goodbye, PacketError, PublishAnswer, SubscribeAnswer, ToClient, Version,
    malformed,
};

/// Writes `packet` to `out`. MQTT 3.1.1 has no DISCONNECT of a server: nothing is written then.
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
        // rumqttc 0.25.1 writes a DISCONNECT without properties as one without a reason.
        Version::V5 => match packet {
            ToClient::Goodbye(why, None) => out.extend_from_slice(&[0xe0, 1, goodbye(why) as u8]),
            packet => {
                to_v5(packet).write(out, None).map_err(malformed)?;
            }
        },
    }
    Ok(())
}

fn qos_v4(qos: u8) -> rumqttc::QoS {
    match qos {
        0 => rumqttc::QoS::AtMostOnce,
        1 => rumqttc::QoS::AtLeastOnce,
        _ => rumqttc::QoS::ExactlyOnce,
    }
}

fn qos_v5(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn to_v4(packet: ToClient) -> Option<v4::Packet> {
    use v4::{ConnAck, ConnectReturnCode as Code, Packet};
    Some(match packet {
        ToClient::Accepted(accepted) => {
            Packet::ConnAck(ConnAck::new(Code::Success, accepted.session_present))
        }
        ToClient::Refused(why, _) => {
            let code = match why {
                ConnectRefusal::Version => Code::RefusedProtocolVersion,
                ConnectRefusal::ClientId => Code::BadClientId,
                ConnectRefusal::BadCredential => Code::BadUserNamePassword,
                ConnectRefusal::NotAuthorized => Code::NotAuthorized,
                ConnectRefusal::Unavailable | ConnectRefusal::Busy => Code::ServiceUnavailable,
                // 3.1.1 has no code for these: the connection is closed, [MQTT-4.8.0-1].
                ConnectRefusal::AuthMethod | ConnectRefusal::Malformed | ConnectRefusal::Protocol => {
                    return None;
                }
            };
            Packet::ConnAck(ConnAck::new(code, false))
        }
        ToClient::PubAck(packet_id, ..) => Packet::PubAck(v4::PubAck::new(packet_id)),
        ToClient::PubRec(packet_id, ..) => Packet::PubRec(v4::PubRec::new(packet_id)),
        ToClient::PubRel { packet_id, .. } => Packet::PubRel(v4::PubRel::new(packet_id)),
        ToClient::PubComp { packet_id, .. } => Packet::PubComp(v4::PubComp::new(packet_id)),
        ToClient::SubAck(packet_id, answers) => {
            let codes = answers
                .into_iter()
                .map(|answer| match answer {
                    SubscribeAnswer::Granted(qos) => v4::SubscribeReasonCode::Success(qos_v4(qos)),
                    _ => v4::SubscribeReasonCode::Failure,
                })
                .collect();
            Packet::SubAck(v4::SubAck::new(packet_id, codes))
        }
        ToClient::UnsubAck(packet_id, _) => Packet::UnsubAck(v4::UnsubAck::new(packet_id)),
        ToClient::Publish(down) => {
            let mut publish = v4::Publish::from_bytes(down.topic, qos_v4(down.qos), down.payload);
            publish.pkid = down.packet_id;
            publish.dup = down.dup;
            publish.retain = down.retain;
            Packet::Publish(publish)
        }
        ToClient::Pong => Packet::PingResp,
        ToClient::Goodbye(..) => return None,
    })
}

fn accepted_v5(accepted: Accepted) -> v5::ConnAckProperties {
    let (reason_string, user_properties) = match accepted.reason {
        Some(said) => (Some(said.text), said.user),
        None => (None, Vec::new()),
    };
    v5::ConnAckProperties {
        session_expiry_interval: accepted.session_expiry,
        receive_max: Some(accepted.receive_max),
        max_qos: None,
        retain_available: None,
        max_packet_size: Some(accepted.max_packet),
        assigned_client_identifier: accepted.client_id,
        topic_alias_max: Some(accepted.alias_max),
        reason_string,
        user_properties,
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: accepted.keep_alive,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn reason_only(reason: String) -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        receive_max: None,
        max_packet_size: None,
        topic_alias_max: None,
        ..accepted_v5(Accepted {
            reason: Some(reason.into()),
            ..Accepted::default()
        })
    }
}

fn down_v5(down: Down) -> v5::Publish {
    let properties = down.properties;
    let properties = v5::PublishProperties {
        payload_format_indicator: properties.payload_format,
        message_expiry_interval: down.expiry,
        topic_alias: down.alias,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation.map(Bytes::from),
        user_properties: properties.user,
        subscription_identifiers: down.identifiers.into_iter().map(|id| id as usize).collect(),
        content_type: properties.content_type,
    };
    let properties = (properties != v5::PublishProperties::default()).then_some(properties);
    let mut publish = v5::Publish::new(down.topic, qos_v5(down.qos), down.payload, properties);
    publish.pkid = down.packet_id;
    publish.dup = down.dup;
    publish.retain = down.retain;
    publish
}

fn to_v5(packet: ToClient) -> v5::Packet {
    use v5::{ConnAck, ConnectReturnCode as Code, Packet};
    match packet {
        ToClient::Accepted(accepted) => Packet::ConnAck(ConnAck {
            session_present: accepted.session_present,
            code: Code::Success,
            properties: Some(accepted_v5(*accepted)),
        }),
        ToClient::Refused(why, reason) => {
            let code = match why {
                ConnectRefusal::Version => Code::UnsupportedProtocolVersion,
                ConnectRefusal::ClientId => Code::ClientIdentifierNotValid,
                ConnectRefusal::BadCredential => Code::BadUserNamePassword,
                ConnectRefusal::NotAuthorized => Code::NotAuthorized,
                ConnectRefusal::Unavailable => Code::ServerUnavailable,
                ConnectRefusal::Busy => Code::ServerBusy,
                ConnectRefusal::AuthMethod => Code::BadAuthenticationMethod,
                ConnectRefusal::Malformed => Code::MalformedPacket,
                ConnectRefusal::Protocol => Code::ProtocolError,
            };
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties: reason.map(reason_only),
            })
        }
        ToClient::PubAck(packet_id, answer, reason) => {
            let properties = reason.map(|said| v5::PubAckProperties {
                reason_string: Some(said.text),
                user_properties: said.user,
            });
            let mut ack = v5::PubAck::new(packet_id, properties);
            ack.reason = match answer {
                PublishAnswer::Success => v5::PubAckReason::Success,
                PublishAnswer::NotAuthorized => v5::PubAckReason::NotAuthorized,
                PublishAnswer::Invalid => v5::PubAckReason::PayloadFormatInvalid,
                PublishAnswer::QuotaExceeded => v5::PubAckReason::QuotaExceeded,
            };
            Packet::PubAck(ack)
        }
        ToClient::PubRec(packet_id, answer, reason) => {
            let properties = reason.map(|said| v5::PubRecProperties {
                reason_string: Some(said.text),
                user_properties: said.user,
            });
            let mut received = v5::PubRec::new(packet_id, properties);
            received.reason = match answer {
                PublishAnswer::Success => v5::PubRecReason::Success,
                PublishAnswer::NotAuthorized => v5::PubRecReason::NotAuthorized,
                PublishAnswer::Invalid => v5::PubRecReason::PayloadFormatInvalid,
                PublishAnswer::QuotaExceeded => v5::PubRecReason::QuotaExceeded,
            };
            Packet::PubRec(received)
        }
        ToClient::PubRel { packet_id, known } => {
            let mut release = v5::PubRel::new(packet_id, None);
            if !known {
                release.reason = v5::PubRelReason::PacketIdentifierNotFound;
            }
            Packet::PubRel(release)
        }
        ToClient::PubComp { packet_id, known } => {
            let mut complete = v5::PubComp::new(packet_id, None);
            if !known {
                complete.reason = v5::PubCompReason::PacketIdentifierNotFound;
            }
            Packet::PubComp(complete)
        }
        ToClient::SubAck(packet_id, answers) => Packet::SubAck(v5::SubAck {
            pkid: packet_id,
            return_codes: answers
                .into_iter()
                .map(|answer| match answer {
                    SubscribeAnswer::Granted(qos) => v5::SubscribeReasonCode::Success(qos_v5(qos)),
                    SubscribeAnswer::NotAuthorized => v5::SubscribeReasonCode::NotAuthorized,
                    SubscribeAnswer::Invalid => v5::SubscribeReasonCode::TopicFilterInvalid,
                    SubscribeAnswer::QuotaExceeded => v5::SubscribeReasonCode::QuotaExceeded,
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
        ToClient::Publish(down) => Packet::Publish(down_v5(*down)),
        ToClient::Pong => Packet::PingResp(v5::PingResp),
        ToClient::Goodbye(why, reason) => Packet::Disconnect(v5::Disconnect {
            reason_code: goodbye(why),
            properties: reason.map(|reason| v5::DisconnectProperties {
                session_expiry_interval: None,
                reason_string: Some(reason),
                user_properties: Vec::new(),
                server_reference: None,
            }),
        }),
    }
}

fn goodbye(why: Goodbye) -> v5::DisconnectReasonCode {
    use v5::DisconnectReasonCode as Bye;
    match why {
        Goodbye::ShuttingDown => Bye::ServerShuttingDown,
        Goodbye::TakenOver => Bye::SessionTakenOver,
        Goodbye::Withdrawn => Bye::AdministrativeAction,
        Goodbye::KeepAlive => Bye::KeepAliveTimeout,
        Goodbye::Malformed => Bye::MalformedPacket,
        Goodbye::TooLarge => Bye::PacketTooLarge,
        Goodbye::Protocol => Bye::ProtocolError,
        Goodbye::NotAuthorized => Bye::NotAuthorized,
        Goodbye::AliasInvalid => Bye::TopicAliasInvalid,
        Goodbye::ReceiveMax => Bye::ReceiveMaximumExceeded,
        Goodbye::QuotaExceeded => Bye::QuotaExceeded,
        Goodbye::Error => Bye::UnspecifiedError,
    }
}

impl ToClient {
    /// The same without its sentence, where it has one: for a client that takes small packets only.
    pub fn without_reason(&self) -> Option<Self> {
        Some(match self {
            Self::Accepted(accepted) if accepted.reason.is_some() => Self::Accepted(Box::new(Accepted {
                reason: None,
                ..(**accepted).clone()
            })),
            Self::PubAck(id, answer, Some(_)) => Self::PubAck(*id, *answer, None),
            Self::PubRec(id, answer, Some(_)) => Self::PubRec(*id, *answer, None),
            Self::Goodbye(why, Some(_)) => Self::Goodbye(*why, None),
            _ => return None,
        })
    }
}
