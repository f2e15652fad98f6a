//! SQL of ledger.
