//! case.
