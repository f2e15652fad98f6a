//! CONNECT: who is it, and may it come in.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Peer;
use crate::front_door::Door;
use crate::front_door::acl::Identity;
use crate::front_door::auth::{self, AuthError};
use crate::front_door::hub::Space;
use crate::front_door::packet::{self, Connect, ConnectRefusal, PacketError, ToClient, Version};
use crate::metrics;

/// The largest CONNECT: will and credential are short.
const MAX_CONNECT_BYTES: usize = 64 * 1024;
const MAX_CLIENT_ID_BYTES: usize = 256;

/// Why somebody doesn't come in.
pub(super) struct Refusal {
    /// Stable word for metric and log.
    reason: &'static str,
    answer: Option<(Version, ConnectRefusal)>,
    /// A sentence, for MQTT 5.0.
    sentence: Option<String>,
}

impl Refusal {
    pub(super) fn silent(reason: &'static str) -> Self {
        Self {
            reason,
            answer: None,
            sentence: None,
        }
    }

    /// Logs and counts it, and says it where there is a word for it.
    pub(super) async fn tell<W: AsyncWrite + Unpin>(self, door: &Door, peer: &Peer, writer: &mut W) {
        tracing::info!(peer = %peer.address, reason = self.reason, "connection refused");
        metrics::refused_connection(self.reason);
        let Some((version, why)) = self.answer else {
            return;
        };
        let mut output = BytesMut::new();
        if packet::write(version, ToClient::Refused(why, self.sentence), &mut output).is_ok() {
            // The peer may be gone by now: then nobody misses the answer.
            let saying = async {
                writer.write_all_buf(&mut output).await?;
                writer.shutdown().await
            };
            drop(timeout(door.config.write_timeout(), saying).await);
        }
    }
}

/// Reads CONNECT and finds out who it is.
pub(super) async fn open<R: AsyncRead + Unpin>(
    door: &Door,
    peer: &Peer,
    reader: &mut R,
    input: &mut BytesMut,
) -> Result<(Connect, Identity), Refusal> {
    let frame = loop {
        match packet::next_frame(input, MAX_CONNECT_BYTES) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(_) => return Err(Refusal::silent("malformed_connect")),
        }
        // [MQTT-3.1.0-1]: nothing else comes first.
        if input.first().is_some_and(|first| first >> 4 != 1) {
            return Err(Refusal::silent("not_connect"));
        }
        match reader.read_buf(input).await {
            Ok(n) if n > 0 => {}
            _ => return Err(Refusal::silent("gone_before_connect")),
        }
    };
    // The byte behind the protocol's name; a frame of less than 128 bytes or more doesn't matter here.
    let speaks_v5 = frame.windows(7).take(6).any(|window| window == b"\0\x04MQTT\x05");
    let mut connect = packet::read_connect(frame).map_err(|error| {
        let version = if speaks_v5 { Version::V5 } else { Version::V4 };
        let answer = match &error {
            PacketError::UnknownVersion(level) if *level > 5 => Some((Version::V5, ConnectRefusal::Version)),
            PacketError::UnknownVersion(_) => Some((Version::V4, ConnectRefusal::Version)),
            PacketError::Protocol(_) => Some((version, ConnectRefusal::Protocol)),
            PacketError::Malformed(_) if speaks_v5 => Some((version, ConnectRefusal::Malformed)),
            _ => None,
        };
        Refusal {
            reason: match error {
                PacketError::UnknownVersion(_) => "protocol_version",
                PacketError::NotConnect => "not_connect",
                _ => "malformed_connect",
            },
            answer,
            sentence: Some(error.to_string()),
        }
    })?;
    let version = connect.version;
    let refuse = |reason, why, sentence: &str| Refusal {
        reason,
        answer: Some((version, why)),
        sentence: Some(sentence.to_owned()),
    };
    if connect.auth_method.is_some() {
        return Err(refuse(
            "auth_method",
            ConnectRefusal::AuthMethod,
            "no extended authentication: user name and password, or a certificate",
        ));
    }
    let id = &connect.client_id;
    if id.len() > MAX_CLIENT_ID_BYTES || (id.is_empty() && version == Version::V4 && !connect.clean) {
        return Err(refuse(
            "client_id",
            ConnectRefusal::ClientId,
            "a client id of at most 256 bytes; an empty one needs a clean session",
        ));
    }
    let identity = auth::check(door, peer, connect.login.take())
        .await
        .map_err(|error| match error {
            AuthError::Anonymous => refuse(
                "anonymous",
                ConnectRefusal::NotAuthorized,
                "user name {tenant}/{gateway} and its secret, please",
            ),
            AuthError::Wrong => refuse(
                "bad_credential",
                ConnectRefusal::BadCredential,
                "unknown gateway or wrong secret",
            ),
            AuthError::Busy => refuse(
                "busy",
                ConnectRefusal::Busy,
                "too many passwords are being checked: try again in a few seconds",
            ),
            AuthError::Database(error) => {
                tracing::warn!(%error, "can't check a credential");
                refuse(
                    "database_unavailable",
                    ConnectRefusal::Unavailable,
                    "credentials can't be checked now: try again in a few seconds",
                )
            }
        })?;
    if matches!(identity.space, Space::Tenant(_))
        && door
            .restored
            .clone()
            .wait_for(|restored| *restored)
            .await
            .is_err()
    {
        return Err(refuse(
            "stopping",
            ConnectRefusal::Unavailable,
            "the server is stopping",
        ));
    }
    if let Some(gateway) = &identity.gateway {
        door.intake.enter(&door.pool, gateway.id).await.map_err(|error| {
            tracing::warn!(%error, "can't read the mapping of a gateway");
            refuse(
                "database_unavailable",
                ConnectRefusal::Unavailable,
                "what this gateway sends can't be looked up now: try again in a few seconds",
            )
        })?;
        door.intake.announce(&door.hub, identity.space);
    }
    if let Some(will) = &connect.will
        && (will.topic.len() > door.config.limits.max_topic_bytes
            || door.destination(&identity, &will.topic).is_err())
    {
        return Err(refuse(
            "will_not_allowed",
            ConnectRefusal::NotAuthorized,
            "the will's topic is not one this credential may publish to",
        ));
    }
    Ok((connect, identity))
}
