//! How much of the backlog may be on the wire, pure.
//!
//! Answers come in order, so a live batch waits for all that was sent before it. The backlog's window
//! therefore grows by one while answers come within [`QUICK`], and halves when one took longer
//! (additive increase, multiplicative decrease, as TCP does it; RFC 5681), at most once for each
//! window's worth of batches. Without a backlog the whole window is used.

use std::time::Duration;

use models::time::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

/// An answer within this doesn't hold up live readings.
pub const QUICK: Duration = Duration::from_millis(500);
const FIRST: f64 = 4.0;
/// A receiver can't ask for more patience than this at once.
const LONGEST_S: f64 = 3_600.0;
/// How long to hold back when the receiver doesn't say. Short: it stops reading by itself for as long
/// as it must.
const UNSAID_S: f64 = 2.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct Pace {
    most: f64,
    window: f64,
    /// Answers to wait for before the window may halve again.
    settling: usize,
    hold_until: Option<Instant>,
    /// Time between two backlog batches, by configuration.
    gap: Duration,
    next_at: Option<Instant>,
}

impl Pace {
    /// `most` is the configured window; `per_s` bounds the backlog's batches per second, 0 = no bound.
    pub fn new(most: u16, per_s: f64) -> Self {
        Self {
            most: f64::from(most.max(1)),
            window: FIRST.min(f64::from(most.max(1))),
            settling: 0,
            hold_until: None,
            gap: if per_s > 0.0 {
                Duration::from_secs_f64(1.0 / per_s)
            } else {
                Duration::ZERO
            },
            next_at: None,
        }
    }

    /// Batches of the backlog that may be under way.
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// A batch was answered after `took`.
    pub fn answered(&mut self, took: Duration) {
        self.settling = self.settling.saturating_sub(1);
        if took <= QUICK {
            self.window = (self.window + 1.0).min(self.most);
        } else if self.settling == 0 {
            self.window = (self.window / 2.0).max(1.0);
            self.settling = self.window as usize + 1;
        }
    }

    /// The receiver asked for patience.
    pub fn slow_down(&mut self, pause: Duration, now: Instant) {
        self.window = 1.0;
        self.hold_until = Some(
            self.hold_until
                .map_or(now + pause, |until| until.max(now + pause)),
        );
    }

    /// Whether the receiver's request for patience still holds. It means every batch: a quota counts
    /// readings, not lanes, and the spool keeps them all.
    pub fn is_held(&self, now: Instant) -> bool {
        self.hold_until.is_some_and(|until| until > now)
    }

    /// When the next backlog batch may go, `None` = now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.hold_until.max(self.next_at).filter(|at| *at > now)
    }

    /// A backlog batch goes out.
    pub fn sent(&mut self, now: Instant) {
        if self.gap > Duration::ZERO {
            self.next_at = Some(self.next_at.map_or(now, |at| at.max(now)) + self.gap);
        }
    }
}

/// Whether a message of the error topic asks for patience, for how long, and in whose words.
///
/// It does when its `reason` is `slow_down`, `quota` or `throttled`. How long: `retry_after_s`, or
/// `until`, a time. (`quota_exceeded` is something else: a name too many, see the dead letters.)
pub fn patience(message: &Value, now: Timestamp) -> Option<(Duration, String)> {
    let reason = message.get("reason")?.as_str()?;
    if !["slow_down", "quota", "throttled"].contains(&reason) {
        return None;
    }
    let until = || {
        let until: Timestamp = message.get("until")?.as_str()?.parse().ok()?;
        Some(until.seconds_since(now))
    };
    let seconds = message
        .get("retry_after_s")
        .and_then(Value::as_f64)
        .or_else(until)
        .filter(|s| s.is_finite())
        .unwrap_or(UNSAID_S)
        .clamp(0.0, LONGEST_S);
    let detail = message.get("detail").and_then(Value::as_str).unwrap_or_default();
    let text = if detail.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}: {detail}")
    };
    Some((Duration::from_secs_f64(seconds), text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_receiver() {
        let mut pace = Pace::new(16, 0.0);
        for _ in 0..40 {
            pace.answered(Duration::from_millis(20));
        }
        assert_eq!(pace.window(), 16);
        pace.answered(Duration::from_secs(2));
        assert_eq!(pace.window(), 8);
        for _ in 0..8 {
            pace.answered(Duration::from_secs(2));
        }
        assert_eq!(pace.window(), 8, "those were under way already");
        pace.answered(Duration::from_secs(2));
        assert_eq!(pace.window(), 4);
        let now = Instant::now();
        assert_eq!(pace.wait_until(now), None);
        pace.slow_down(Duration::from_secs(5), now);
        assert_eq!(pace.wait_until(now), Some(now + Duration::from_secs(5)));
        assert_eq!(pace.wait_until(now + Duration::from_secs(5)), None);
        assert!(pace.is_held(now) && !pace.is_held(now + Duration::from_secs(5)));
        assert_eq!(pace.window(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let mut pace = Pace::new(4, 10.0);
        let now = Instant::now();
        pace.sent(now);
        assert_eq!(pace.wait_until(now), Some(now + Duration::from_millis(100)));
        pace.sent(now);
        assert_eq!(pace.wait_until(now), Some(now + Duration::from_millis(200)));
    }

    #[test]
    fn what_asks_for_patience() {
        let now = Timestamp::from_secs(1_800_000_000);
        let said = |message: Value| patience(&message, now).map(|(pause, _)| pause.as_secs());
        assert_eq!(said(json!({"reason": "slow_down", "retry_after_s": 7})), Some(7));
        assert_eq!(
            said(json!({"reason": "quota", "until": now.plus_seconds(30.0)})),
            Some(30)
        );
        assert_eq!(said(json!({"reason": "quota"})), Some(2));
        assert_eq!(
            said(json!({"reason": "throttled", "retry_after_s": 1e30})),
            Some(3_600)
        );
        assert_eq!(
            said(json!({"reason": "quota", "until": now.plus_seconds(-5.0)})),
            Some(0)
        );
        assert_eq!(said(json!({"reason": "quota_exceeded"})), None);
        assert_eq!(said(json!({"reason": "unit_mismatch"})), None);
        assert_eq!(said(json!([1])), None);
    }
}
