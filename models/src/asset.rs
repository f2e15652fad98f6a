//! asset.
