//! What can come of a change that somebody asked for.

use crate::time::Timestamp;

/// Why a change was not made. `E` is the domain's own refusal.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E: std::error::Error + 'static> {
    /// Nothing of that id, or it belongs to another tenant.
    #[error("not found")]
    NotFound,
    /// Somebody else changed it first.
    #[error(
        "it has version {current} by now, and the change was meant for version {expected}: read it again, and repeat \
         the change if it is still right"
    )]
    Stale { expected: i32, current: i32 },
    #[error("{0}")]
    Refused(#[source] E),
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

impl<E: std::error::Error + 'static> ChangeError<E> {
    /// # Errors
    /// [`ChangeError::Stale`] when the two differ. `None` = whatever it is.
    pub fn check_version(expected: Option<i32>, current: i32) -> Result<(), Self> {
        match expected {
            Some(expected) if expected != current => Err(Self::Stale { expected, current }),
            _ => Ok(()),
        }
    }
}

/// For changes that only the database or another writer can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Never {}

/// Where a page of a list ends: its last row's moment and id. Lists go from new to old.
pub type After<I> = Option<(Timestamp, I)>;
