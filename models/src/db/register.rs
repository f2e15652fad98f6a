//! The register: tenants, sites, people, assets, gateways, channels, plans and rules.
//!
//! `create_*` inserts and leaves a doubled natural key to the unique constraint; `ensure_*` returns
//! the existing one's id instead and changes nothing about it. The demo plant and the HTTP API
//! register through the same functions, so that neither knows a way the other lacks.
//!
//! Making a tenant, a user or a membership needs the schema owner's connection: the API's role may
//! not.

mod assets;
mod devices;
mod tenancy;
mod upkeep;

pub use assets::*;
pub use devices::*;
pub use tenancy::*;
pub use upkeep::*;

#[cfg(test)]
mod tests;
