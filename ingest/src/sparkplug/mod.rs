//! Sparkplug B 3.0, as a host application.
//!
//! | file | does |
//! |---|---|
//! | `topic` | `spBv1.0/{group}/{type}/{node}[/{device}]` |
//! | `proto` | the payload, written by hand from the specification's schema |
//! | `value` | metrics and their data types → numbers and text |
//! | `read` | a payload with the names its birth gave → readings and events |
//! | `node` | the session of one edge node: pure |
//! | `host` | all sessions: what waits, what is asked for, STATE |
//!
//! **Order.** A host that keeps time series stores data whenever it can name it; the order of messages
//! matters for names only. So a message beyond a gap in `seq` is read at once if its aliases are
//! known. If they aren't, its birth may be what is missing: then it waits, unacknowledged, until the
//! gap closes or the reorder timeout is over. After the timeout a rebirth is asked for, and what
//! nobody can name is kept as a dead letter.
//!
//! **Aliases** are never guessed: those of an earlier birth are forgotten when a new one comes, since
//! the node may have given them anew.
//!
//! **Names.** The node is the device `{group}/{node}`, a device of it `{group}/{node}/{device}`; a
//! metric is a channel.
//!
//! **Stale.** A death makes an event `device_offline` of the node and its devices, a birth
//! `device_online`; `device.stale_since` mirrors them. Readings are never changed.

pub mod host;
pub mod node;
pub mod proto;
mod read;
pub mod topic;
mod value;

use models::time::Timestamp;

use crate::codec::{Decoded, Undecodable};

pub use host::{Host, Settings};
pub use read::decode;
pub use topic::{Kind, Topic};

/// A payload without its session, as a replay has it: metrics that have names.
///
/// # Errors
/// When it is no Sparkplug payload.
pub fn decode_alone(topic: &Topic, payload: &[u8], received_at: Timestamp) -> Result<Decoded, Undecodable> {
    let payload = proto::decode(payload)?;
    Ok(read::read(
        topic,
        &payload,
        &node::Aliases::default(),
        received_at,
    ))
}
