//! Counts attempts in a window by key, in bounded memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When there are so many keys, those whose window is over go; if none is, the map is emptied: better
/// to forget attempts than to run out of memory or to lock out strangers.
const MOST_KEYS: usize = 65_536;

/// At most `most` attempts of a key within `window` of its first one.
#[derive(Debug)]
pub struct Limiter {
    most: u32,
    window: Duration,
    seen: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Limiter {
    pub fn new(most: u32, window: Duration) -> Self {
        Self {
            most,
            window,
            seen: Mutex::new(HashMap::new()),
        }
    }

    /// Counts an attempt; `Err` = too many, with the seconds until the next one is welcome.
    ///
    /// # Errors
    /// When the key has used up its attempts.
    pub fn attempt(&self, key: &str, now: Instant) -> Result<(), u64> {
        let mut seen = self.seen.lock();
        if seen.len() >= MOST_KEYS && !seen.contains_key(key) {
            seen.retain(|_, (since, _)| now.duration_since(*since) < self.window);
            if seen.len() >= MOST_KEYS {
                seen.clear();
            }
        }
        let (since, count) = seen.entry(key.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= self.window {
            (*since, *count) = (now, 0);
        }
        if *count >= self.most {
            return Err((self.window - now.duration_since(*since)).as_secs().max(1));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_attempts_and_gets_them_back() {
        let limiter = Limiter::new(2, Duration::from_secs(60));
        let start = Instant::now();
        assert!(limiter.attempt("a", start).is_ok());
        assert!(limiter.attempt("a", start).is_ok());
        assert_eq!(limiter.attempt("a", start + Duration::from_secs(20)), Err(40));
        assert!(limiter.attempt("b", start).is_ok());
        assert!(limiter.attempt("a", start + Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::new(2, Duration::from_secs(60));
        let now = Instant::now();
        for key in 0..MOST_KEYS + 10 {
            assert!(limiter.attempt(&key.to_string(), now).is_ok());
        }
        assert!(limiter.seen.lock().len() <= MOST_KEYS);
    }
}
