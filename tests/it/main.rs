//! The whole of Forewarn on a real TimescaleDB: all services in one process, and the real
//! executables with their kills.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod chaos;
mod commands;
mod dispatch;
mod engines;
mod files;
mod kill;
mod path;
mod planning;
mod plant;
mod processes;
mod stack;
mod story;
