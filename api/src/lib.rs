//! Forewarn: api.
