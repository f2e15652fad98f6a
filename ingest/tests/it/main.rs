//! The ingest service against a real TimescaleDB, with real MQTT clients and raw sockets.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod bench;
mod commit;
mod connect;
mod content;
mod harness;
mod mending;
mod outage;
mod proxy;
mod sequence;
mod traps;
