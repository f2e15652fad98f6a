//! How fast a tenant may send. Whoever is faster is read from more slowly; nothing is refused and
//! nothing is dropped.
//!
//! A bucket for readings and one for bytes, each filled at its rate and holding two seconds of it. A
//! payload is taken even when that leaves a bucket below empty; then nothing more is read from the
//! connection until it would be full to zero again. All connections of a tenant share the buckets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::id::TenantId;
use parking_lot::Mutex;

/// What a bucket may hold, in seconds of its rate.
const BURST_S: f64 = 2.0;

/// Rates of one tenant, per second; `None` = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub readings: Option<u32>,
    pub bytes: Option<u32>,
}

/// Nothing is to be read before `until`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// `readings` or `bytes`.
    pub limit: &'static str,
    pub per_second: u32,
    pub until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: u32,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32, now: Instant) -> Self {
        Self {
            rate,
            level: f64::from(rate) * BURST_S,
            at: now,
        }
    }

    /// Takes `n`; returns when the bucket is not below empty any more.
    fn take(&mut self, n: f64, now: Instant) -> Option<Instant> {
        let rate = f64::from(self.rate);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * rate).min(rate * BURST_S) - n;
        self.at = now;
        (self.level < 0.0).then(|| now + Duration::from_secs_f64(-self.level / rate))
    }
}

#[derive(Debug, Default)]
struct Buckets {
    readings: Option<Bucket>,
    bytes: Option<Bucket>,
}

fn adjust(bucket: &mut Option<Bucket>, rate: Option<u32>, now: Instant) {
    match (&mut *bucket, rate) {
        (_, None) => *bucket = None,
        (Some(bucket), Some(rate)) => bucket.rate = rate,
        (None, Some(rate)) => *bucket = Some(Bucket::new(rate, now)),
    }
}

#[derive(Clone, Debug, Default)]
pub struct Quotas(Arc<Mutex<HashMap<TenantId, Buckets>>>);

impl Quotas {
    /// Sets what a tenant may; learned whenever one of its gateways comes in.
    pub fn set(&self, tenant: TenantId, rates: Rates, now: Instant) {
        let mut all = self.0.lock();
        if rates == Rates::default() {
            all.remove(&tenant);
            return;
        }
        let buckets = all.entry(tenant).or_default();
        adjust(&mut buckets.readings, rates.readings, now);
        adjust(&mut buckets.bytes, rates.bytes, now);
    }

    /// Takes a payload out of a tenant's buckets. Returns how long to wait before the next one, and
    /// for which of its limits.
    pub fn charge(&self, tenant: TenantId, readings: usize, bytes: usize, now: Instant) -> Option<Wait> {
        let mut all = self.0.lock();
        let buckets = all.get_mut(&tenant)?;
        let take = |bucket: &mut Option<Bucket>, n: usize, limit| {
            let bucket = bucket.as_mut()?;
            Some(Wait {
                limit,
                per_second: bucket.rate,
                until: bucket.take(n as f64, now)?,
            })
        };
        let readings = take(&mut buckets.readings, readings, "readings");
        let bytes = take(&mut buckets.bytes, bytes, "bytes");
        match (readings, bytes) {
            (Some(a), Some(b)) => Some(if a.until >= b.until { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Whether a tenant has to wait at this moment.
    pub fn state(&self, tenant: TenantId, now: Instant) -> Option<Wait> {
        self.charge(tenant, 0, 0, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_the_payloads() {
        let start = Instant::now();
        let (quotas, tenant) = (Quotas::default(), TenantId::new());
        let rates = Rates {
            readings: Some(1000),
            bytes: None,
        };
        quotas.set(tenant, rates, start);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(100) {
            let n = 1 + sent % 700;
            if let Some(wait) = quotas.charge(tenant, n, 1 << 20, now) {
                assert_eq!((wait.limit, wait.per_second), ("readings", 1000));
                now = wait.until;
            }
            sent += n;
        }
        // 100 s at the rate, the burst, and at most one payload over.
        assert!((102_000..102_701).contains(&sent), "{sent}");
        assert_eq!(
            quotas.charge(TenantId::new(), 1 << 30, 1 << 30, now),
            None,
            "without a limit"
        );
    }

    #[test]
    fn the_tighter_limit_is_named_and_a_new_rate_counts_at_once() {
        let now = Instant::now();
        let (quotas, tenant) = (Quotas::default(), TenantId::new());
        let rates = Rates {
            readings: Some(10),
            bytes: Some(100),
        };
        quotas.set(tenant, rates, now);
        let wait = quotas.charge(tenant, 21, 1200, now).unwrap();
        assert_eq!((wait.limit, wait.until), ("bytes", now + Duration::from_secs(10)));
        assert_eq!(quotas.state(tenant, now), Some(wait));
        quotas.set(
            tenant,
            Rates {
                bytes: Some(1000),
                ..rates
            },
            now,
        );
        assert_eq!(
            quotas.state(tenant, now).unwrap().until,
            now + Duration::from_secs(1)
        );
        quotas.set(tenant, Rates::default(), now);
        assert_eq!(quotas.state(tenant, now), None);
    }
}
