//! Backtests on public data sets, and the figures by which predictions are judged.

pub mod cmapss;
pub mod conformal;
pub mod isotonic;
pub mod metrics;
mod regimes;
mod table;
mod windows;
