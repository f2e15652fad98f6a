//! What must outlive the process: sessions, what waits in them, retained messages.
//!
//! Changes are noted where they happen, under the lock of their session or space, and written by one
//! task ([`Keeper`]), all that came together in a transaction. Nobody waits for that but those who ask
//! by [`Journal::then`]: a publisher's acknowledgement, a PUBREL, a SUBACK. So a message that was
//! acknowledged is there after a restart, and one of QoS 2 is not delivered twice: its packet
//! identifier and whether its PUBREC had come are kept as well. Readings never come here.
//!
//! **While the database is away** changes wait, and with them who asked. What waits is bounded by what
//! the sessions hold ([`Changes`]).
//!
//! **Two processes under one name** (`ingest.door`) would both deliver. Whoever starts counts the
//! door's epoch up; a process that finds a newer one stops writing and acknowledges no command any more
//! that would have to be kept. Everything else goes on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::mqtt;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use sqlx::PgPool;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::changes::Changes;
use super::rows::Rows;
use super::wills::KeptWill;

/// Between two tries while the database is away.
const PAUSE: Duration = Duration::from_millis(500);

/// What comes together within this is one transaction: commands don't keep the database busy with
/// commits that readings would wait for.
const GATHER: Duration = Duration::from_millis(5);

/// Told whether everything that was noted before is committed; false = it never will be.
type Then = Box<dyn FnOnce(bool) + Send>;

#[derive(Default)]
struct Noted {
    changes: Changes,
    then: Vec<Then>,
    /// Nobody writes any more.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    noted: Mutex<Noted>,
    /// Held for reading by whoever notes several changes that belong together.
    together: RwLock<()>,
    news: Notify,
}

/// Where changes are noted; without a [`Keeper`] behind it, nowhere.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Shared>>);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Journal").field(&self.is_kept()).finish()
    }
}

impl Journal {
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Changes)) {
        let Some(shared) = &self.0 else { return };
        let mut noted = shared.noted.lock();
        if !noted.closed {
            change(&mut noted.changes);
            drop(noted);
            shared.news.notify_one();
        }
    }

    /// What is noted while this is held is committed in one transaction.
    pub(super) fn together(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.0.as_ref().map(|shared| shared.together.read())
    }

    /// Calls `done` when everything that was noted before is committed, or never will be.
    pub(super) fn then(&self, done: impl FnOnce(bool) + Send + 'static) {
        let Some(shared) = &self.0 else { return done(true) };
        let mut noted = shared.noted.lock();
        if noted.closed {
            drop(noted);
            done(false);
        } else {
            noted.then.push(Box::new(done));
            drop(noted);
            shared.news.notify_one();
        }
    }

    fn take(&self, close: bool) -> (Changes, Vec<Then>) {
        let Some(shared) = &self.0 else {
            return Default::default();
        };
        let _nobody = shared.together.write();
        let mut noted = shared.noted.lock();
        noted.closed |= close;
        (
            std::mem::take(&mut noted.changes),
            std::mem::take(&mut noted.then),
        )
    }

    async fn news(&self) {
        match &self.0 {
            Some(shared) => shared.news.notified().await,
            None => std::future::pending().await,
        }
    }

    fn close(&self) {
        for done in self.take(true).1 {
            done(false);
        }
    }
}

/// What became of a write.
enum Written {
    Yes,
    /// The database refuses what was to be written.
    Refused(sqlx::Error),
    /// It was given up: another process has the door, or the database is away at the end.
    No,
}

/// Puts back what was kept, then writes what is noted.
pub(crate) struct Keeper {
    pub hub: Hub,
    pub pool: PgPool,
    pub door: String,
    /// Told when everything is back.
    pub restored: watch::Sender<bool>,
    /// Gets the wills of those who were connected.
    pub wills: oneshot::Sender<Vec<KeptWill>>,
    pub shutdown: CancellationToken,
    /// Cancelled when the last connection is gone: nothing more will be noted.
    pub silence: CancellationToken,
    /// How long the database may be away once the service stops.
    pub patience: Duration,
    /// A transaction that is not over after this is run again.
    pub timeout: Duration,
}

impl Keeper {
    pub async fn run(mut self) -> anyhow::Result<()> {
        let journal = self.hub.journal().clone();
        let Some((epoch, wills)) = self.restore().await else {
            journal.close();
            return Ok(());
        };
        // Whoever waited for them may have stopped; then they stay for the next start.
        let to = std::mem::replace(&mut self.wills, oneshot::channel().0);
        to.send(wills).unwrap_or_default();
        loop {
            let last = tokio::select! {
                biased;
                () = journal.news() => false,
                () = self.silence.cancelled() => true,
            };
            if !last {
                tokio::time::sleep(GATHER).await;
            }
            let (changes, then) = journal.take(false);
            let written = self.write(epoch, changes).await;
            for done in then {
                done(written);
            }
            if last || !written {
                journal.close();
                break;
            }
        }
        self.shutdown.cancelled().await;
        Ok(())
    }

    /// Tries until the database answers. `None` = the service stops before.
    async fn restore(&self) -> Option<(i64, Vec<KeptWill>)> {
        loop {
            let loading = async {
                let mut transaction = self.pool.begin().await?;
                let epoch = mqtt::take_door(&mut transaction, &self.door).await?;
                mqtt::prune(&mut transaction).await?;
                let kept = mqtt::load(&mut transaction, &self.door).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>((epoch, kept))
            };
            tokio::select! {
                loaded = tokio::time::timeout(self.timeout, loading) => match loaded {
                    Ok(Ok((epoch, kept))) => {
                        tracing::info!(
                            sessions = kept.sessions.len(),
                            queued = kept.queued.len(),
                            retained = kept.retained.len(),
                            wills = kept.wills.len(),
                            "MQTT sessions are back"
                        );
                        let wills = self.hub.restore(kept);
                        self.restored.send_replace(true);
                        return Some((epoch, wills));
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "MQTT sessions can't be read: no gateway is let in yet");
                    }
                    Err(_) => tracing::warn!("MQTT sessions take too long to read: no gateway is let in yet"),
                },
                () = self.shutdown.cancelled() => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.shutdown.cancelled() => return None,
            }
        }
    }

    /// False = it was given up.
    async fn write(&self, epoch: i64, changes: Changes) -> bool {
        if changes.len() == 0 {
            return true;
        }
        let refused = match self.persist(epoch, &changes).await {
            Written::Yes => return true,
            Written::No => return false,
            Written::Refused(error) => error,
        };
        tracing::warn!(error = %refused, "the database refuses something of an MQTT session: looking for it");
        for one in changes.apart() {
            match self.persist(epoch, &one).await {
                Written::Yes => {}
                Written::No => return false,
                Written::Refused(error) => {
                    tracing::error!(%error, change = ?one, "something of an MQTT session can't be kept");
                }
            }
        }
        true
    }

    /// Tries until the database answers.
    async fn persist(&self, epoch: i64, changes: &Changes) -> Written {
        let mut stopping = None;
        loop {
            match tokio::time::timeout(self.timeout, self.transaction(epoch, changes)).await {
                Ok(Ok(true)) => return Written::Yes,
                Ok(Ok(false)) => {
                    tracing::error!(
                        door = self.door,
                        "another process keeps the MQTT sessions of this door now: give each process on one \
                         database its own ingest.door. Commands to persistent sessions are refused here"
                    );
                    return Written::No;
                }
                Ok(Err(error)) if refuses(&error) => return Written::Refused(error),
                Ok(Err(error)) => tracing::warn!(%error, "MQTT sessions can't be kept now: commands wait"),
                Err(_) => tracing::warn!("MQTT sessions take too long to keep: trying again"),
            }
            if self.shutdown.is_cancelled()
                && stopping.get_or_insert_with(Instant::now).elapsed() >= self.patience
            {
                tracing::error!("stopped while the database was away: changes of MQTT sessions are lost");
                return Written::No;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// False = another process has the door.
    async fn transaction(&self, epoch: i64, changes: &Changes) -> Result<bool, sqlx::Error> {
        let rows = Rows::of(changes);
        let mut transaction = self.pool.begin().await?;
        if !mqtt::has_door(&mut transaction, &self.door, epoch).await? {
            return Ok(false);
        }
        rows.write(&mut transaction, &self.door).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Whether the error is about what was to be written, so that trying again is no use.
fn refuses(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error)
        if error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")))
}
