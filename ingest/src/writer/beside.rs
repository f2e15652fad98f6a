//! What is written beside the readings: values as they were sent, and which devices are live.

use models::db::reading::DiscreteEvent;
use models::db::sent::{self, Presence, Sent};
use models::reading::Reading;
use sqlx::PgConnection;

use super::Prepared;
use crate::codec::{DEVICE_OFFLINE, DEVICE_ONLINE};

/// Keeps what was sent, of the readings in `rows` that were converted. `rows` holds what is new,
/// sorted by channel and time, each pair of them once, with the index of its payload.
pub(super) async fn keep_sent(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    rows: &[(Reading, u32)],
) -> Result<(), sqlx::Error> {
    let mut kept: Vec<Sent> = Vec::new();
    for (i, payload) in payloads.iter().enumerate() {
        let new = payload.sent.iter().filter(|sent| {
            rows.binary_search_by_key(&(sent.channel, sent.ts), |(row, _)| (row.channel, row.ts))
                .is_ok_and(|at| rows[at].1 as usize == i)
        });
        kept.extend(new.cloned());
    }
    if kept.is_empty() {
        return Ok(());
    }
    sent::keep(connection, &kept).await
}

/// Mirrors births and deaths into the devices.
pub(super) async fn mark_presence(
    connection: &mut PgConnection,
    events: &[DiscreteEvent],
) -> Result<(), sqlx::Error> {
    let presence: Vec<Presence> = events.iter().filter_map(presence).collect();
    if presence.is_empty() {
        return Ok(());
    }
    sent::set_presence(connection, &presence).await
}

fn presence(event: &DiscreteEvent) -> Option<Presence> {
    let online = match event.code.as_str() {
        DEVICE_ONLINE => true,
        DEVICE_OFFLINE => false,
        _ => return None,
    };
    Some(Presence {
        device: event.device,
        online,
        at: event.ts,
    })
}
