//! SQL of overview.
