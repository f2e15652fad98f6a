//! Forewarn: analytics.

pub mod boost;
pub mod reliability;
