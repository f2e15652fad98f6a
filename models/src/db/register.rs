//! SQL of register.
