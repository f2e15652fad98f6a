//! SQL of reading.
