//! Forewarn: analytics.
