//! Alarms: a condition that needs somebody's awareness, on three independent axes (ISA-18.2, OPC UA
//! Part 9).
//!
//! | axis | values | moved by |
//! |---|---|---|
//! | condition | inactive, pending, active, clearing | [`Machine`], fed with samples |
//! | acknowledgement | not acked, acked | a person ([`acknowledge`]) |
//! | suppression | none, shelved, by design, out of service | a person ([`shelve`]), the dispatcher, a ticket |
//!
//! The condition is computed by one pure machine for every kind of rule, in the transaction that
//! commits the readings (limit kinds) or an assessment (the others). Its promises, each a test:
//!
//! * one occurrence is open at a time, and its start is never overwritten;
//! * start <= active <= cleared, in event time;
//! * a sample that is not newer than the last one, not good, or not a number changes nothing;
//! * silence is never a return to normal: without samples nothing clears (`no_data` is a rule of its
//!   own kind, whose sample is the length of the silence);
//! * history that is replayed is remembered, not judged ([`Machine::remember`]).

mod axes;
pub mod backtest;
mod machine;
mod rule;
mod schedule;

pub use axes::{
    AxisError, Display, Escalation, Patience, Shelf, acknowledge, acknowledgement_lapsed, display,
    escalation, is_closed, is_suppressed, max_shelving, shelve,
};
pub use machine::{Change, Machine, Occurrence, Run, Transition};
pub use rule::{Condition, Direction, Kind, Params, Rule, Severity, Suppression};
pub use schedule::{ClockTime, DayOfWeek, Schedule, ScheduleError, Window};

#[cfg(test)]
mod tests;
