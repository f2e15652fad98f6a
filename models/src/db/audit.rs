//! SQL of audit.
