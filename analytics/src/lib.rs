//! Forewarn: analytics.

pub mod boost;
pub mod detect;
pub mod features;
pub mod health;
pub mod backtest;
pub mod reliability;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;
