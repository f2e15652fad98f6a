//! What a transaction adds to the ledger.

use std::collections::BTreeMap;

use models::db::ledger::{self, DayEntry, Entry};
use models::id::GatewayId;
use sqlx::PgConnection;

use super::Prepared;

pub(super) async fn write(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    entries: &[Entry],
) -> Result<(), sqlx::Error> {
    const DAY: i64 = 86_400_000_000;
    let mut days: BTreeMap<(GatewayId, i64), DayEntry> = BTreeMap::new();
    for (payload, entry) in payloads.iter().zip(entries) {
        let gateway = payload.gateway();
        let at = payload.received_at();
        let day = days
            .entry((gateway.id, at.micros().div_euclid(DAY)))
            .or_insert_with(|| DayEntry {
                gateway: gateway.id,
                tenant: gateway.tenant,
                at,
                entry: Entry::default(),
            });
        day.at = day.at.max(at);
        add(&mut day.entry, entry);
    }
    ledger::add(connection, &days.into_values().collect::<Vec<_>>()).await
}

pub(super) fn add(sum: &mut Entry, entry: &Entry) {
    sum.received += entry.received;
    sum.stored += entry.stored;
    sum.duplicate += entry.duplicate;
    sum.conflict += entry.conflict;
    sum.rejected += entry.rejected;
    sum.payloads += entry.payloads;
    sum.payloads_dead += entry.payloads_dead;
}
