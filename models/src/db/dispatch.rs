//! SQL of dispatch.
