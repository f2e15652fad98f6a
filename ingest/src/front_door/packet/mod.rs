//! MQTT 3.1.1 and 5.0 as one set of packets, on rumqttc's codecs.
//!
//! | file | does |
//! |---|---|
//! | `frame` | cuts packets out of the stream |
//! | `strict` | refuses what the standards refuse, before a codec sees it |
//! | `read` | bytes → [`Connect`], [`FromClient`] |
//! | `write` | [`ToClient`] → bytes |
//!
//! rumqttc's codecs are a client's: they call a length that lies "more bytes needed", and after they
//! have cut the bytes off; they let doubled properties, reserved flags, NUL in text and bytes after
//! the end pass. Hence `frame` and `strict`: what reaches a codec is whole and well-formed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

mod frame;
mod read;
mod strict;
mod write;

pub use frame::next_frame;
pub use read::{read, read_connect};
pub use write::write;

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
    /// Well-formed, but not allowed (5.0, 1.2 "Protocol Error").
    #[error("protocol error: {0}")]
    Protocol(String),
    #[error("protocol level {0} is neither MQTT 3.1.1 nor 5.0")]
    UnknownVersion(u8),
    #[error("the first packet is not CONNECT")]
    NotConnect,
    #[error("topic alias 0")]
    AliasZero,
}

/// What a message carries beside its payload; 5.0 only (3.3.2.3), forwarded unaltered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// 1 = the payload is UTF-8 text.
    pub payload_format: Option<u8>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    pub user: Vec<(String, String)>,
}

impl Properties {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    /// Seconds between the end of the connection and the will; 0 in 3.1.1.
    pub delay: u32,
    pub expiry: Option<u32>,
    pub properties: Properties,
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
    /// Unacknowledged QoS 1 and 2 publishes the client takes at once.
    pub receive_max: u16,
    /// The largest packet the client takes; v5 only.
    pub max_packet: Option<u32>,
    /// Aliases the client takes; 0 = none.
    pub alias_max: u16,
    /// Whether reason strings may be sent in other packets than CONNACK and DISCONNECT.
    pub problem_info: bool,
    /// Extended authentication, of which we speak none.
    pub auth_method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Empty when an alias stands for it.
    pub topic: String,
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub packet_id: u16,
    pub retain: bool,
    pub alias: Option<u16>,
    /// Seconds.
    pub expiry: Option<u32>,
    pub properties: Properties,
}

/// When retained messages are sent to a new subscription (5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetainHandling {
    #[default]
    Send,
    SendIfNew,
    DontSend,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// What a client says after CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    Publish(Publish),
    PubAck {
        packet_id: u16,
        refused: bool,
    },
    PubRec {
        packet_id: u16,
        refused: bool,
    },
    PubRel(u16),
    PubComp(u16),
    Subscribe {
        packet_id: u16,
        filters: Vec<Filter>,
        identifier: Option<u32>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        publish_will: bool,
        /// Changes the session's expiry; v5 only.
        session_expiry: Option<u32>,
    },
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
    /// Extended authentication.
    AuthMethod,
    Malformed,
    Protocol,
}

/// The answer to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishAnswer {
    Success,
    NotAuthorized,
    /// Kept as a dead letter.
    Invalid,
    /// A subscriber's queue or the store of retained messages is full: not taken.
    QuotaExceeded,
}

/// The answer to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeAnswer {
    Granted(u8),
    NotAuthorized,
    Invalid,
    QuotaExceeded,
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
    /// More unacknowledged publishes than CONNACK allowed.
    ReceiveMax,
    QuotaExceeded,
    Error,
}

/// A message on its way down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Down {
    /// Empty when the alias stands for it.
    pub topic: String,
    pub alias: Option<u16>,
    pub payload: Bytes,
    pub qos: u8,
    /// 0 with QoS 0.
    pub packet_id: u16,
    pub dup: bool,
    pub retain: bool,
    /// Seconds that are left.
    pub expiry: Option<u32>,
    pub properties: Properties,
    pub identifiers: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    pub session_present: bool,
    pub receive_max: u16,
    pub max_packet: u32,
    pub alias_max: u16,
    /// When it isn't the client's.
    pub keep_alive: Option<u16>,
    /// When it isn't the client's.
    pub session_expiry: Option<u32>,
    /// When the client gave none.
    pub client_id: Option<String>,
    pub reason: Option<Said>,
}

/// A sentence for people, and the same as user properties for programs (5.0 only).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    pub user: Vec<(String, String)>,
}

impl<T: Into<String>> From<T> for Said {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            user: Vec::new(),
        }
    }
}

/// What we say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    Accepted(Box<Accepted>),
    Refused(ConnectRefusal, Option<String>),
    PubAck(u16, PublishAnswer, Option<Said>),
    PubRec(u16, PublishAnswer, Option<Said>),
    PubRel { packet_id: u16, known: bool },
    PubComp { packet_id: u16, known: bool },
    SubAck(u16, Vec<SubscribeAnswer>),
    UnsubAck(u16, Vec<bool>),
    Publish(Box<Down>),
    Pong,
    Goodbye(Goodbye, Option<String>),
}

fn malformed(error: impl std::fmt::Display) -> PacketError {
    PacketError::Malformed(error.to_string())
}

fn protocol(error: impl std::fmt::Display) -> PacketError {
    PacketError::Protocol(error.to_string())
}

#[cfg(test)]
mod tests;
