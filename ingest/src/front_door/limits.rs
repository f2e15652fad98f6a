//! How many may come in, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// Places for connections, and for those of them that have not said who they are.
#[derive(Clone, Debug)]
pub struct Admission {
    connections: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
}

/// A place that was given to a connection; dropped with it.
#[derive(Debug)]
pub struct Place {
    _connection: OwnedSemaphorePermit,
    unauthenticated: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The connection has shown a valid credential: its place among the unknown ones is free.
    pub fn authenticated(&mut self) {
        self.unauthenticated = None;
    }
}

impl Admission {
    pub fn new(max_connections: usize, max_unauthenticated: usize) -> Self {
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self {
            connections: semaphore(max_connections),
            unauthenticated: semaphore(max_unauthenticated),
        }
    }

    /// A place for a connection. Where those who have not said who they are fill theirs, it waits for one
    /// of them to do so or to be closed, `most` at the longest: meanwhile the rest of a storm waits in the
    /// kernel's queue.
    ///
    /// # Errors
    /// The reason why there is no place.
    pub async fn admit(&self, most: Duration) -> Result<Place, &'static str> {
        let connection = self
            .connections
            .clone()
            .try_acquire_owned()
            .map_err(|_| "too_many_connections")?;
        let unauthenticated = match self.unauthenticated.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                metrics::paced();
                let waiting = self.unauthenticated.clone().acquire_owned();
                match tokio::time::timeout(most, waiting).await {
                    Ok(Ok(place)) => place,
                    _ => return Err("too_many_unauthenticated"),
                }
            }
        };
        Ok(Place {
            _connection: connection,
            unauthenticated: Some(unauthenticated),
        })
    }
}

/// Accepts at a rate: in a storm of connections the rest waits in the kernel's queue, which costs
/// nothing, instead of in handshakes that all time out together.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    burst: Duration,
    /// When the next one is due, were they to come evenly.
    next: Instant,
}

impl Pace {
    /// `per_second` on average, half a second's worth at once.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self {
            every: Duration::from_secs(1) / per_second.max(1),
            burst: Duration::from_millis(500),
            next: now,
        }
    }

    /// One was accepted. Returns until when the next one has to wait.
    pub fn accepted(&mut self, now: Instant) -> Option<Instant> {
        self.next = self.next.max(now) + self.every;
        let allowed = now + self.burst;
        (self.next > allowed).then(|| now + (self.next - allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_given_and_come_back() {
        const NOT: Duration = Duration::ZERO;
        let admission = Admission::new(2, 1);
        let mut first = admission.admit(NOT).await.unwrap();
        assert_eq!(
            admission.admit(NOT).await.unwrap_err(),
            "too_many_unauthenticated"
        );
        // The second waits for the first.
        let waiting = admission.admit(Duration::from_secs(60));
        let (second, ()) = tokio::join!(biased; waiting, async { first.authenticated() });
        let second = second.unwrap();
        assert_eq!(admission.admit(NOT).await.unwrap_err(), "too_many_connections");
        drop((first, second));
        admission.admit(NOT).await.unwrap();
    }

    #[test]
    fn a_storm_is_let_in_at_its_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let mut now = start;
        let mut free = 0;
        for i in 0..1000 {
            match pace.accepted(now) {
                Some(until) => now = until,
                None => free = i + 1,
            }
        }
        let took = (now - start).as_secs_f64();
        assert!((9.0..10.0).contains(&took), "{took}");
        assert_eq!(free, 50, "what comes at once is let in at once");
        assert_eq!(
            pace.accepted(now + Duration::from_secs(5)),
            None,
            "afterwards too"
        );
    }
}
