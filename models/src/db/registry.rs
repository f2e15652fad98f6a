//! SQL of registry.
