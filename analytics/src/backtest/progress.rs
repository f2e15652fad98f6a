//! What a backtest is doing, for a person who waits.

use std::fmt;
use std::sync::Arc;

type Say = dyn Fn(&str) + Send + Sync;

/// Takes a line for each step; by default nobody listens.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Say>>);

impl Progress {
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(say)))
    }

    pub fn say(&self, what: impl fmt::Display) {
        if let Some(say) = &self.0 {
            say(&what.to_string());
        }
    }

    /// Step `number` of `of`, counted from 1.
    pub fn step(&self, what: &str, number: usize, of: usize) {
        if self.0.is_some() {
            self.say(format_args!("{what} {number} of {of}"));
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Progress(heard)"
        } else {
            "Progress"
        })
    }
}
