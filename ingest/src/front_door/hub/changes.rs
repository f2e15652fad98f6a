//! What is to be written to the journal. Pure: what takes itself back before it was written is never
//! written, so this is no larger than what the sessions themselves hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::id::TenantId;

use super::Message;
use super::outbox::Queued;
use super::session::Session;
use super::wills::KeptWill;

/// A message that waits in a session.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    Put {
        tenant: TenantId,
        queued: Box<Queued>,
        /// Its PUBREC has come.
        released: bool,
    },
    /// Its PUBREC came.
    Release,
    Drop,
}

/// By session and entry.
pub(super) type Entry = (i64, i64);

/// `None` = to be taken away.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub sessions: BTreeMap<i64, Option<Arc<Session>>>,
    pub queued: BTreeMap<Entry, Waiting>,
    pub retained: BTreeMap<(TenantId, String), Option<Arc<Message>>>,
    /// Packet identifiers of publishers, by session.
    pub received: BTreeMap<(i64, u16), Option<TenantId>>,
    /// By connection.
    pub wills: BTreeMap<i64, Option<Arc<KeptWill>>>,
}

impl Changes {
    pub fn len(&self) -> usize {
        self.sessions.len() + self.queued.len() + self.retained.len() + self.received.len() + self.wills.len()
    }

    pub fn put_session(&mut self, session: Arc<Session>) {
        self.sessions.insert(session.id as i64, Some(session));
    }

    /// What waits for it goes with it.
    pub fn drop_session(&mut self, id: i64) {
        self.sessions.insert(id, None);
        let its: Vec<Entry> = self
            .queued
            .range((id, i64::MIN)..=(id, i64::MAX))
            .map(|(entry, _)| *entry)
            .collect();
        for entry in its {
            self.queued.remove(&entry);
        }
        let its: Vec<(i64, u16)> = self
            .received
            .range((id, 0)..=(id, u16::MAX))
            .map(|(received, _)| *received)
            .collect();
        for received in its {
            self.received.remove(&received);
        }
    }

    pub fn put_queued(&mut self, session: i64, tenant: TenantId, queued: Queued) {
        self.queued.insert(
            (session, queued.entry),
            Waiting::Put {
                tenant,
                queued: Box::new(queued),
                released: false,
            },
        );
    }

    pub fn release(&mut self, entry: Entry) {
        match self.queued.get_mut(&entry) {
            Some(Waiting::Put { released, .. }) => *released = true,
            Some(_) => {}
            None => {
                self.queued.insert(entry, Waiting::Release);
            }
        }
    }

    pub fn drop_queued(&mut self, entry: Entry) {
        if !matches!(self.queued.remove(&entry), Some(Waiting::Put { .. })) {
            self.queued.insert(entry, Waiting::Drop);
        }
    }

    pub fn put_will(&mut self, connection: i64, will: Arc<KeptWill>) {
        self.wills.insert(connection, Some(will));
    }

    /// Of a connection that is never there again: one that was not written needs no taking away.
    pub fn drop_will(&mut self, connection: i64) {
        if !matches!(self.wills.remove(&connection), Some(Some(_))) {
            self.wills.insert(connection, None);
        }
    }

    /// Each change alone, in the order in which they can be written.
    pub fn apart(self) -> Vec<Self> {
        let (drops, puts): (Vec<_>, Vec<_>) = self
            .sessions
            .into_iter()
            .partition(|(_, session)| session.is_none());
        let sessions = drops.into_iter().chain(puts).map(|one| Self {
            sessions: BTreeMap::from([one]),
            ..Self::default()
        });
        let queued = self.queued.into_iter().map(|one| Self {
            queued: BTreeMap::from([one]),
            ..Self::default()
        });
        let retained = self.retained.into_iter().map(|one| Self {
            retained: BTreeMap::from([one]),
            ..Self::default()
        });
        let received = self.received.into_iter().map(|one| Self {
            received: BTreeMap::from([one]),
            ..Self::default()
        });
        let wills = self.wills.into_iter().map(|one| Self {
            wills: BTreeMap::from([one]),
            ..Self::default()
        });
        sessions
            .chain(queued)
            .chain(retained)
            .chain(received)
            .chain(wills)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(changes: &mut Changes, session: i64, entry: i64) {
        let queued = Queued {
            entry,
            ..Queued::default()
        };
        changes.put_queued(session, TenantId::new(), queued);
    }

    #[test]
    fn what_takes_itself_back_is_not_written() {
        let mut changes = Changes::default();
        for entry in 1..=3 {
            put(&mut changes, 7, entry);
        }
        changes.drop_queued((7, 1));
        changes.release((7, 2));
        changes.release((7, 9));
        changes.drop_queued((7, 8));
        let seen: Vec<(i64, &str)> = changes
            .queued
            .iter()
            .map(|((_, entry), waiting)| {
                let word = match waiting {
                    Waiting::Put { released: true, .. } => "put, released",
                    Waiting::Put { .. } => "put",
                    Waiting::Release => "release",
                    Waiting::Drop => "drop",
                };
                (*entry, word)
            })
            .collect();
        assert_eq!(
            seen,
            [(2, "put, released"), (3, "put"), (8, "drop"), (9, "release")],
            "the first one was never there"
        );
        changes.drop_queued((7, 9));
        assert!(matches!(changes.queued[&(7, 9)], Waiting::Drop));
    }

    #[test]
    fn a_session_that_ends_takes_with_it_what_waits() {
        let mut changes = Changes::default();
        put(&mut changes, 6, 1);
        put(&mut changes, 7, 2);
        put(&mut changes, 7, 3);
        put(&mut changes, 8, 4);
        changes.drop_session(7);
        assert_eq!(changes.queued.keys().collect::<Vec<_>>(), [&(6, 1), &(8, 4)]);
        assert!(changes.sessions[&7].is_none());
        assert_eq!(changes.len(), 3);
        assert_eq!(changes.apart().len(), 3);
    }
}
