//! SQL of meter.
