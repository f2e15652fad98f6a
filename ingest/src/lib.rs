//! Forewarn: ingest.
