//! What the world does to a fault on purpose, and what must come of each alarm that it raises so.

use models::id::{AlarmRuleId, TicketId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It comes back after its ticket was closed in that hour.
    Relapse { closed: i64, ticket: TicketId },
    /// Its machine is in storage up to that hour.
    Storage { back: i64 },
}

/// While there is one, the fault's sensors are good and their values exact, so that the hour in which the
/// alarm is raised is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Episode {
    pub why: Why,
    pub begin: i64,
    /// How many hours it lasts when it goes away by itself; then it needs no ticket.
    pub lasts: Option<i64>,
    pub began: bool,
}

impl Episode {
    /// Whether its gateway has to be there.
    pub fn needs_hearing(&self) -> bool {
        match self.why {
            Why::Relapse { .. } => !self.began || self.lasts.is_some(),
            Why::Storage { .. } => self.began && self.lasts.is_some(),
        }
    }

    pub fn is_over(&self, hour: i64) -> bool {
        self.began && self.lasts.is_some_and(|lasts| hour >= self.begin + lasts)
    }
}

/// An alarm that an episode raised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub rule: AlarmRuleId,
    pub why: Why,
    /// In that hour.
    pub raised: i64,
    /// Hour in which it went away by itself.
    pub over: Option<i64>,
    /// Hour in which a dispatcher first saw it.
    pub seen: Option<i64>,
}

impl Sign {
    /// Whether the cool-down of the ticket before was the answer: to one that was seen in it, or was over in it,
    /// whenever that was seen.
    pub fn cooled_down(&self, cool_down_h: i64) -> bool {
        match self.why {
            Why::Relapse { closed, .. } => {
                self.raised < closed + cool_down_h
                    && (self.over.is_some() || self.seen.is_some_and(|seen| seen < closed + cool_down_h))
            }
            Why::Storage { .. } => false,
        }
    }

    /// Hour in which a dispatcher has to look once more: it is over, or its cool-down is.
    pub fn ends(&self, cool_down_h: i64) -> Option<i64> {
        match (self.over, self.why) {
            (Some(over), _) => Some(over),
            (None, Why::Relapse { closed, .. }) => Some(closed + cool_down_h),
            (None, Why::Storage { .. }) => None,
        }
    }

    /// Whether it was seen while its machine was in storage.
    pub fn stored(&self) -> bool {
        match self.why {
            Why::Relapse { .. } => false,
            Why::Storage { back } => self.seen.is_some_and(|seen| seen <= back),
        }
    }
}
