//! Late readings: which of the remembered windows are no longer whole, and from when on.
//!
//! Before the frontier of the rollups the database tells what changes (`models::db::history::late`). A
//! process asks once in a batch; each answer is an epoch. A window bears the epoch that was the newest
//! before its readings were read, so that a change is either in it or found in a later epoch, whichever of
//! several workers asked.

use std::collections::HashMap;

use models::db::history::late;
use models::id::AssetId;
use models::time::Timestamp;
use parking_lot::Mutex;
use sqlx::PgConnection;

/// Changes of one asset that are kept apart; more are joined, which makes more be read.
const MOST_APART: usize = 16;

/// What a reader knew before it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    epoch: u64,
    /// Changes of readings before this moment are told later; `None`: none are.
    pub frontier: Option<Timestamp>,
}

/// Shared by the workers of a process.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// Held while the database is asked: epochs come in the order of their snapshots.
    asked: tokio::sync::Mutex<Option<Asked>>,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Asked {
    snapshot: String,
    at: Timestamp,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Changes {
    /// Windows of before this epoch are worth nothing.
    all: u64,
    /// In which epoch what changed was found, and from when on it changed.
    of: HashMap<AssetId, Vec<(u64, Timestamp)>>,
}

impl Late {
    /// Asks what changed. What is read afterwards may be remembered with the answer.
    ///
    /// # Errors
    /// When the database does; then nothing is lost: the next question asks for the same.
    pub async fn ask(&self, connection: &mut PgConnection) -> Result<Seen, sqlx::Error> {
        let mut asked = self.asked.lock().await;
        let before = asked.as_ref().map(|asked| asked.snapshot.as_str());
        let news = late::news(connection, before).await?;
        let (epoch, since) = asked
            .as_ref()
            .map_or((1, None), |asked| (asked.epoch + 1, Some(asked.at)));
        let forgotten = since.is_some_and(|since| news.at.seconds_since(since) > late::KEPT_H * 1800.0);
        self.changes
            .lock()
            .take(epoch, news.restored || forgotten, &news.changed);
        *asked = Some(Asked {
            snapshot: news.snapshot,
            at: news.at,
            epoch,
        });
        Ok(Seen {
            epoch,
            frontier: news.frontier,
        })
    }

    /// From when on readings changed that a window which was read after `seen` may lack.
    pub fn changed(&self, asset: AssetId, seen: Seen) -> Option<Timestamp> {
        self.changes.lock().since(asset, seen.epoch)
    }

    /// A window that was read after `seen` has what was found until then.
    pub fn has(&self, asset: AssetId, seen: Seen) {
        self.changes.lock().forget(asset, seen.epoch);
    }
}

impl Changes {
    fn take(&mut self, epoch: u64, all: bool, changed: &[(AssetId, Timestamp)]) {
        if all {
            self.all = epoch;
            self.of.clear();
            return;
        }
        for (asset, from) in changed {
            let own = self.of.entry(*asset).or_default();
            if own.len() >= MOST_APART {
                let joined = own.drain(..).reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)));
                own.extend(joined);
            }
            own.push((epoch, *from));
        }
    }

    fn since(&self, asset: AssetId, epoch: u64) -> Option<Timestamp> {
        if epoch < self.all {
            return Some(Timestamp::MIN);
        }
        let own = self.of.get(&asset)?;
        own.iter()
            .filter(|(found, _)| *found > epoch)
            .map(|(_, from)| *from)
            .min()
    }

    fn forget(&mut self, asset: AssetId, epoch: u64) {
        if let Some(own) = self.of.get_mut(&asset) {
            own.retain(|(found, _)| *found > epoch);
            if own.is_empty() {
                self.of.remove(&asset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_lacks_what_was_found_after_it_was_read() {
        let at = Timestamp::from_secs;
        let (a, b) = (AssetId::new(), AssetId::new());
        let mut changes = Changes::default();
        changes.take(2, false, &[(a, at(500))]);
        changes.take(3, false, &[(a, at(900)), (b, at(100))]);
        assert_eq!(changes.since(a, 1), Some(at(500)));
        assert_eq!(changes.since(a, 2), Some(at(900)));
        assert_eq!(changes.since(a, 3), None);
        changes.forget(a, 2);
        assert_eq!(changes.since(a, 1), Some(at(900)), "its reader had epoch 2");
        changes.forget(a, 3);
        assert_eq!(changes.since(a, 1), None);
        assert_eq!(changes.since(b, 2), Some(at(100)));
        changes.take(7, true, &[]);
        assert_eq!(changes.since(a, 6), Some(Timestamp::MIN));
        assert_eq!(changes.since(b, 7), None);
    }

    #[test]
    fn many_changes_of_an_asset_are_joined_and_none_is_lost() {
        let asset = AssetId::new();
        let mut changes = Changes::default();
        for epoch in 1..=100 {
            changes.take(
                epoch,
                false,
                &[(asset, Timestamp::from_secs(10_000 - epoch as i64))],
            );
        }
        assert!(changes.of[&asset].len() <= MOST_APART);
        for epoch in 0..100 {
            let since = changes.since(asset, epoch).unwrap();
            assert_eq!(since, Timestamp::from_secs(10_000 - 100), "{epoch}");
        }
        assert_eq!(changes.since(asset, 100), None);
    }
}
