//! SQL of dead_letter.
