//! How many may come in.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

    /// # Errors
    /// The reason why there is no place.
    pub fn admit(&self) -> Result<Place, &'static str> {
        let connection = self
            .connections
            .clone()
            .try_acquire_owned()
            .map_err(|_| "too_many_connections")?;
        let unauthenticated = self
            .unauthenticated
            .clone()
            .try_acquire_owned()
            .map_err(|_| "too_many_unauthenticated")?;
        Ok(Place {
            _connection: connection,
            unauthenticated: Some(unauthenticated),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_and_come_back() {
        let admission = Admission::new(2, 1);
        let mut first = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), "too_many_unauthenticated");
        first.authenticated();
        let second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), "too_many_connections");
        drop((first, second));
        admission.admit().unwrap();
    }
}
