//! What each service process needs and no domain type does.

pub mod config;
pub mod supervisor;
pub mod telemetry;
