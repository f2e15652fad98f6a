//! The ingest service against a real TimescaleDB, with real MQTT clients and raw sockets.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod bench;
mod broker;
mod commit;
mod connect;
mod content;
mod harness;
mod mending;
mod mqtt3;
mod mqtt5;
mod outage;
mod proxy;
mod rumqttd;
mod sequence;
mod traps;
