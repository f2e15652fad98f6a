//! The part of PromQL that dashboards use, over channels: parse ([`parse`]), then evaluate ([`eval`])
//! on a grid of moments.
//!
//! Reference: <https://prometheus.io/docs/prometheus/latest/querying/basics/>. What is not here is
//! refused by name, never answered approximately: subqueries, `@`, vector matching (`on`, `ignoring`,
//! `group_left`), set operators, histograms.
//!
//! A channel is a series: its name, made fit for a metric, is `__name__`; `channel`, `channel_id`,
//! `unit`, `kind`, `device`, `gateway`, `site` and, where there is one, `area`, `asset`, `asset_id`,
//! `asset_class` are its labels. The health of each asset is `forewarn_asset_health`. Bad readings
//! don't exist here.

pub mod ast;
pub mod eval;
pub mod functions;
mod lex;
mod parse;
pub mod series;

pub(crate) use lex::duration_us;
pub use parse::{parse, selector};

/// Why a query can't be answered; shown to whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuery(pub String);

impl BadQuery {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
