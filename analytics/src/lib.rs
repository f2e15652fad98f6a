//! Forewarn: analytics.

pub mod reliability;
