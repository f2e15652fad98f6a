//! The ingest service against a real TimescaleDB, with real MQTT clients and raw sockets.

mod bench;
mod commit;
mod connect;
mod content;
mod harness;
mod sequence;
mod traps;
