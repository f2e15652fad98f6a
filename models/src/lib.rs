//! The shared vocabulary of Forewarn: what ingest, analytics, the API and the edge agent must agree on.
//!
//! Domain types and pure state machines have no features and do no I/O. Feature `db` adds every SQL
//! statement of the project, feature `service` what each service process needs.

pub mod alarm;
pub mod artifact;
pub mod assessment;
pub mod asset;
pub mod case;
pub mod coding;
pub mod dead_letter;
pub mod downtime;
pub mod health;
pub mod id;
pub mod interval;
pub mod lockout;
pub mod mapping;
pub mod meter;
pub mod notification;
pub mod parts;
pub mod people;
pub mod permit;
pub mod plan;
pub mod prediction;
pub mod reading;
pub mod sla;
pub mod tenant;
pub mod ticket;
pub mod time;
pub mod unit;
pub mod vibration;
pub mod webhook;
pub mod wire;

#[cfg(feature = "db")]
pub mod db;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "service")]
pub mod service;
