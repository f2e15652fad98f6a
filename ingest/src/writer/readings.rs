//! Sorted into the hypertable, by COPY as long as nothing is there twice.

use std::collections::HashMap;

use models::db::ledger::Entry;
use models::db::reading::{self, Conflict};
use models::id::ChannelId;
use models::reading::Reading;
use models::time::Timestamp;
use sqlx::{Connection, PgConnection};

use super::Prepared;

/// Sorts `rows` and stores them. Afterwards `rows` holds those that are new.
pub(super) async fn store(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    rows: &mut Vec<(Reading, u32)>,
    entries: &mut [Entry],
) -> Result<(), sqlx::Error> {
    // Stable: of two at the same place, the one that came first stays.
    rows.sort_by_key(|(row, _)| (row.channel, row.ts));
    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut clash = |entries: &mut [Entry], kept: (f64, i16), row: &Reading, i: u32| {
        let entry = &mut entries[i as usize];
        if kept == (row.value, row.quality.code()) {
            entry.duplicate += 1;
        } else {
            entry.conflict += 1;
            let gateway = payloads[i as usize].gateway();
            conflicts.push(Conflict {
                reading: *row,
                gateway: gateway.id,
                tenant: gateway.tenant,
            });
        }
    };
    let mut last: Option<Reading> = None;
    rows.retain(|(row, i)| match last {
        Some(kept) if kept.channel == row.channel && kept.ts == row.ts => {
            clash(entries, (kept.value, kept.quality.code()), row, *i);
            false
        }
        _ => {
            last = Some(*row);
            true
        }
    });
    if !rows.is_empty() {
        let readings: Vec<Reading> = rows.iter().map(|(row, _)| *row).collect();
        let mut savepoint = connection.begin().await?;
        match reading::copy(&mut savepoint, &readings).await {
            Ok(_) => savepoint.commit().await?,
            Err(error) if is_unique_violation(&error) => {
                savepoint.rollback().await?;
                let stored = reading::insert_new(connection, &readings).await?;
                let stored: HashMap<(ChannelId, Timestamp), (f64, i16)> = stored
                    .into_iter()
                    .map(|row| ((row.channel, row.ts), (row.value, row.quality.code())))
                    .collect();
                rows.retain(|(row, i)| match stored.get(&(row.channel, row.ts)) {
                    Some(kept) => {
                        clash(entries, *kept, row, *i);
                        false
                    }
                    None => true,
                });
            }
            Err(error) => return Err(error),
        }
    }
    for (_, i) in rows.iter() {
        entries[*i as usize].stored += 1;
    }
    if !conflicts.is_empty() {
        tracing::warn!(
            conflicts = conflicts.len(),
            "readings differ from those stored for the same channel and time"
        );
        reading::keep_conflicts(connection, &conflicts).await?;
    }
    Ok(())
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|database| database.code())
        .as_deref()
        == Some("23505")
}
