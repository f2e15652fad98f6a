//! The API over real HTTP on a real database.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod bad_input;
mod bucket;
mod dashboards;
mod downtime;
mod files;
mod gates;
mod harness;
mod history;
mod leak;
mod lists;
mod mappings;
mod mover;
mod openapi;
mod orders;
mod outbound;
mod pages;
mod parts;
mod planning;
mod plant;
mod problems;
mod prometheus;
mod provision;
mod rolled_up;
mod service_levels;
mod session;
mod stream;
mod tickets;
mod work;
