//! How far a gateway's clock is ahead of ours.
//!
//! A native batch says when it was made. What lies between that and its receipt is the way it took,
//! which is never negative, less how far the gateway's clock is ahead. So the largest `sent − received`
//! of some minutes is the best estimate, short of the true value by the fastest way of these minutes,
//! which on a network is milliseconds (the minimum filter of NTP, RFC 5905, section 10). Batches out of
//! a spool have taken hours; live ones beside them set the estimate. Two windows overlap, so that a
//! clock that was set back is seen after one of them.
//!
//! Other payloads don't say when they were made. Their newest reading does, nearly: it is never stamped
//! after it was sent, so the same estimate of that is a lower bound, short by the age of the freshest
//! reading of some minutes. It says which of the two it rests on; once a gateway has sent a native batch,
//! only those count. Readings that Forewarn stamps say nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::registry::{self, ClockBasis};
use models::id::{GatewayId, TenantId};
use models::time::Timestamp;
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::codec::Decoded;
use crate::registry::Gateway;

/// Of each of the two windows.
const WINDOW: Duration = Duration::from_secs(300);
/// A change that is worth writing down, microseconds.
const NOTABLE_US: u64 = 1_000;
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The estimate of one clock.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    since: Instant,
    current_us: i64,
    previous_us: i64,
}

impl Estimate {
    pub fn new(ahead_us: i64, now: Instant) -> Self {
        Self {
            since: now,
            current_us: ahead_us,
            previous_us: i64::MIN,
        }
    }

    /// Takes one observation, `sent − received` in microseconds.
    pub fn observe(&mut self, ahead_us: i64, now: Instant) {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.previous_us = self.current_us;
            self.current_us = ahead_us;
            self.since = now;
        } else {
            self.current_us = self.current_us.max(ahead_us);
        }
    }

    /// Microseconds ahead; negative = behind.
    pub fn ahead_us(&self) -> i64 {
        self.current_us.max(self.previous_us)
    }
}

#[derive(Debug)]
struct Clock {
    tenant: TenantId,
    estimate: Estimate,
    basis: ClockBasis,
    written: Option<(i64, ClockBasis)>,
}

#[derive(Clone, Debug, Default)]
pub struct Clocks(Arc<Mutex<HashMap<GatewayId, Clock>>>);

impl Clocks {
    /// What a payload tells.
    pub(crate) fn heard(&self, gateway: &Gateway, decoded: &Decoded, received_at: Timestamp) {
        let told = match decoded.sent_at {
            Some(sent_at) => Some((sent_at, ClockBasis::Sent)),
            None => {
                let stamps = decoded.columns.iter().flat_map(|column| &column.ts);
                let newest = stamps.max().filter(|newest| **newest != received_at.micros());
                newest.map(|newest| (*newest, ClockBasis::Reading))
            }
        };
        let Some((at, basis)) = told else { return };
        let ahead = at.saturating_sub(received_at.micros());
        let now = Instant::now();
        let mut all = self.0.lock();
        let clock = all.entry(gateway.id).or_insert_with(|| Clock {
            tenant: gateway.tenant,
            estimate: Estimate::new(ahead, now),
            basis,
            written: None,
        });
        match (clock.basis, basis) {
            (ClockBasis::Sent, ClockBasis::Reading) => {}
            (ClockBasis::Reading, ClockBasis::Sent) => {
                (clock.estimate, clock.basis) = (Estimate::new(ahead, now), basis);
            }
            _ => clock.estimate.observe(ahead, now),
        }
    }

    /// What changed by more than a millisecond since it was written.
    fn changed(&self) -> Vec<(TenantId, GatewayId, i64, ClockBasis)> {
        let all = self.0.lock();
        all.iter()
            .map(|(gateway, clock)| {
                let row = (clock.tenant, *gateway, clock.estimate.ahead_us(), clock.basis);
                (clock.written, row)
            })
            .filter(|(written, (_, _, ahead, basis))| {
                written.is_none_or(|(us, of)| us.abs_diff(*ahead) > NOTABLE_US || of != *basis)
            })
            .map(|(_, row)| row)
            .collect()
    }

    /// Writes the estimates down until `shutdown`.
    pub(crate) async fn keep(self, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::select! {
                done = self.write(&pool) => if let Err(error) = done {
                    tracing::warn!(%error, "can't write down how far clocks are off");
                },
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// # Errors
    /// When the database does; what was not written is written the next time.
    async fn write(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(());
        }
        let mut connection = pool.acquire().await?;
        for (tenant, gateway, ahead, basis) in changed {
            registry::set_gateway_clock(&mut connection, tenant, gateway, ahead, basis).await?;
            if let Some(clock) = self.0.lock().get_mut(&gateway) {
                clock.written = Some((ahead, basis));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::NamedColumn;

    #[test]
    fn the_fastest_way_tells_the_offset() {
        let start = Instant::now();
        // Five seconds ahead; ways of 2 ms to 900 ms, and a batch out of the spool.
        let mut estimate = Estimate::new(5_000_000 - 900_000, start);
        for (i, way_ms) in [300, 2, 40, 3_600_000, 500].into_iter().enumerate() {
            estimate.observe(5_000_000 - way_ms * 1000, start + Duration::from_secs(i as u64));
        }
        assert_eq!(estimate.ahead_us(), 5_000_000 - 2_000);
        // The clock is set: seen when both windows are new.
        for minute in 6..=12 {
            estimate.observe(-3_000, start + Duration::from_secs(minute * 60));
        }
        assert_eq!(estimate.ahead_us(), -3_000);
    }

    #[test]
    fn only_what_changed_is_written() {
        let clocks = Clocks::default();
        let gateway = Gateway {
            id: GatewayId::new(),
            tenant: TenantId::new(),
            tenant_slug: "acme".into(),
            slug: "line-1".into(),
            max_channels: 1,
        };
        let now = Timestamp::from_secs(1_767_225_600);
        let batch = |ahead| Decoded {
            sent_at: Some(now.micros() + ahead),
            ..Decoded::default()
        };
        let payload = |ahead: &[i64]| Decoded {
            columns: vec![NamedColumn {
                ts: ahead.iter().map(|ahead| now.micros() + ahead).collect(),
                ..NamedColumn::default()
            }],
            ..Decoded::default()
        };
        clocks.heard(&gateway, &Decoded::default(), now);
        clocks.heard(&gateway, &payload(&[0]), now);
        assert_eq!(clocks.changed(), [], "no time of its own");
        clocks.heard(&gateway, &payload(&[-50, 900_000, 20]), now);
        assert_eq!(
            clocks.changed(),
            [(gateway.tenant, gateway.id, 900_000, ClockBasis::Reading)]
        );
        let sent = |ahead| (gateway.tenant, gateway.id, ahead, ClockBasis::Sent);
        clocks.heard(&gateway, &batch(7_000), now);
        assert_eq!(clocks.changed(), [sent(7_000)], "what it says counts more");
        clocks.heard(&gateway, &payload(&[1_000_000]), now);
        clocks.0.lock().get_mut(&gateway.id).unwrap().written = Some((7_000, ClockBasis::Sent));
        clocks.heard(&gateway, &batch(7_900), now);
        assert_eq!(clocks.changed(), []);
        clocks.heard(&gateway, &batch(9_000), now);
        assert_eq!(clocks.changed(), [sent(9_000)]);
    }
}
