//! The front door: the only thing a gateway ever talks to.
//!
//! | file | does |
//! |---|---|
//! | `listener` | accepts; TLS, WebSocket |
//! | `limits` | how many may come in, how fast |
//! | `clock` | how far gateways' clocks are off |
//! | `quota` | how fast a tenant may send |
//! | `packet` | MQTT 3.1.1 and 5.0 as one set of packets |
//! | `auth` | who is it |
//! | `certificate` | whom a certificate names |
//! | `authorities` | who vouches for certificates |
//! | `configure` | which configuration gateways are wanted to run |
//! | `acl` | what may it do |
//! | `session` | one connection |
//! | `hub` | the broker: who subscribed to what, and what is said to whom |
//!
//! PUBACK and PUBREC are sent after the database's COMMIT, in the order of the publishes. A
//! connection with its fill of publishes in flight is not read from until one is committed: that is
//! the whole of back-pressure.

use std::sync::Arc;

use acl::{Denied, Destination, Identity};
use models::id::GatewayId;
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::codec::intake::Intake;
use crate::config::Config;
use crate::writer::Payload;

pub mod acl;
pub mod auth;
pub(crate) mod authorities;
mod certificate;
pub mod clock;
pub(crate) mod configure;
pub mod hub;
pub mod limits;
pub(crate) mod listener;
pub mod packet;
pub mod quota;
pub(crate) mod session;
pub mod tls;
pub(crate) mod ws;

/// What every connection needs. The writers end when the last connection lets go of it.
pub(crate) struct Door {
    pub config: Arc<Config>,
    pub pool: PgPool,
    pub hub: hub::Hub,
    pub intake: Arc<Intake>,
    pub writers: Vec<mpsc::Sender<Payload>>,
    /// Payload bytes that may be in flight.
    pub bytes: Arc<Semaphore>,
    pub quotas: quota::Quotas,
    pub passwords: auth::Passwords,
    pub clocks: clock::Clocks,
    pub authorities: authorities::Authorities,
    pub configurations: configure::Configurations,
    /// Whether the kept sessions are back: nobody of a tenant comes in before.
    pub restored: watch::Receiver<bool>,
    /// The journal ends when the last connection lets go of this.
    pub _silence: DropGuard,
    pub stop: CancellationToken,
}

impl Door {
    /// Where a publish goes: to the codec that the gateway's mapping or the standard topics of the
    /// protocols name, else where the rights of the client let it.
    ///
    /// # Errors
    /// When the client may not publish there.
    pub fn destination(&self, identity: &Identity, topic: &str) -> Result<Destination, Denied> {
        if let Some(gateway) = &identity.gateway
            && let Some(format) = self.intake.route(gateway, topic)
        {
            return Ok(Destination::Writer(gateway.clone(), format));
        }
        acl::publish(identity, topic)
    }

    /// The writer of a gateway, always the same one.
    pub fn writer(&self, gateway: GatewayId) -> &mpsc::Sender<Payload> {
        // The last bits of a UUIDv7 are random.
        let number = gateway.uuid().as_u128() as usize;
        &self.writers[number % self.writers.len()]
    }
}
