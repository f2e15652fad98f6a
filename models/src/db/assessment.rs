//! SQL of assessment.
