//! SQL of prediction.
