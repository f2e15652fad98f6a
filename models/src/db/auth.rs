//! SQL of auth.
