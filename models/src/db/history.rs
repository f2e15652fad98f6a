//! SQL of history.
