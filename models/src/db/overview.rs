//! What people look at: lists and single things with the names of what they refer to.
//!
//! Everything here runs in a transaction that acts for one tenant ([`super::act_for`]); row-level
//! security leaves out the rest, so no statement repeats the tenant. Lists go by key, never by
//! offset: a row that is added while somebody turns pages is neither shown twice nor lost.

mod assets;
mod channels;
mod dead_letters;
mod health;
mod ingest;
mod keys;
mod numbers;
mod work;

pub use assets::*;
pub use channels::*;
pub use dead_letters::*;
pub use health::*;
pub use ingest::*;
pub use keys::*;
pub use numbers::*;
pub use work::*;

#[cfg(test)]
mod tests;
