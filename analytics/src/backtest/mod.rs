//! Backtests on public data sets, and the figures by which predictions are judged.

pub mod isotonic;
pub mod metrics;
