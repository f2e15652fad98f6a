//! The ingest service against a real TimescaleDB, with real MQTT clients and raw sockets.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod bench;
mod broker;
mod clients;
mod codecs;
mod commit;
mod configure;
mod conformance;
mod connect;
mod content;
mod counters;
mod credentials;
mod foreign;
mod harness;
mod hostile;
mod independent;
mod mending;
mod mqtt3;
mod mqtt5;
mod mqtt5_messages;
mod mqtt_conformance;
mod outage;
mod proxy;
mod publishers;
mod restart;
mod rumqttd;
mod sequence;
mod tls;
mod traps;
