//! SQL of outbox.
