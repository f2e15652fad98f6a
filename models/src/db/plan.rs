//! SQL of plan.
