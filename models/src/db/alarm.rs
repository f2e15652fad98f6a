//! SQL of alarm.
