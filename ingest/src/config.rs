//! Section `[ingest]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::front_door::hub::Bounds;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the plain MQTT listener.
    pub listen: String,
    /// Whose MQTT sessions, waiting commands and retained messages these are: different for each process
    /// on one database, the same after a restart.
    pub door: String,
    /// A second listener with TLS.
    pub tls: Option<Tls>,
    /// Lets clients without a user name in, for trying things out: only where every listener is bound
    /// to loopback. They see nothing of any tenant and can't send readings.
    pub anonymous: Option<Anonymous>,
    pub limits: Limits,
    pub writer: Writer,
    pub alarms: Alarms,
    pub sparkplug: crate::sparkplug::Settings,
    /// Brokers of others whose messages are readings.
    pub foreign: Vec<crate::foreign::Foreign>,
    /// A reading further ahead of the server's clock is refused, seconds.
    pub future_limit_s: u64,
    /// A reading before this moment is refused.
    pub ancient_limit: Timestamp,
    /// How old the register of a gateway may be when it's used, seconds: so long a change of a name,
    /// a unit or a range takes to be seen.
    pub register_max_age_s: u64,
    /// How often open connections are compared with revoked credentials, seconds.
    pub revocation_check_s: u64,
    /// How long a stop may wait for the database before it closes connections unacknowledged,
    /// seconds.
    pub shutdown_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub listen: String,
    /// Certificate chain, PEM. Read again when it changes on disk.
    pub cert_file: PathBuf,
    /// Private key, PEM.
    pub key_file: PathBuf,
    /// When set, clients must show a certificate of one of these authorities, PEM, or of their tenant's own.
    pub client_ca_file: Option<PathBuf>,
    /// With `client_ca_file`: a client may come without a certificate, by its secret.
    #[serde(default)]
    pub client_cert_optional: bool,
    /// A gateway that isn't registered and shows a certificate of the authority that names a tenant is
    /// registered at the tenant's site of this name. Unset = it is refused.
    #[serde(default)]
    pub provision_site: Option<String>,
    /// Tenants may have authorities of their own (`/v1/certificate-authorities`), each for its own gateways.
    #[serde(default = "yes")]
    pub tenant_authorities: bool,
    /// How often the files and the tenants' authorities are looked at for changes, seconds.
    #[serde(default = "five")]
    pub reload_s: u64,
}

fn yes() -> bool {
    true
}

fn five() -> u64 {
    5
}

/// What a client without a credential may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    /// Topic filters it may publish to.
    pub publish: Vec<String>,
    /// Topic filters it may subscribe to.
    pub subscribe: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub max_connections: usize,
    /// Of these, connections that have not shown a valid credential yet.
    pub max_unauthenticated: usize,
    /// Largest MQTT packet, bytes.
    pub max_packet_bytes: usize,
    /// Longest topic, bytes.
    pub max_topic_bytes: usize,
    /// Filters of one connection.
    pub max_subscriptions: usize,
    /// TLS handshake, CONNECT and the check of its credential together, seconds.
    pub connect_timeout_s: u64,
    /// Longest silence a client may ask for; 0 or more of CONNECT becomes this, seconds.
    pub max_keep_alive_s: u16,
    /// A peer that takes nothing for so long is closed, seconds.
    pub write_timeout_s: u64,
    /// Publishes of one connection that are not committed yet. More are not read from the socket.
    pub in_flight: u16,
    /// Payload bytes of all connections that are not committed yet.
    pub in_flight_bytes: usize,
    /// How long a session may outlive its connection, seconds; with MQTT 3.1.1 and clean session =
    /// false it does that long.
    pub session_expiry_s: u32,
    /// Connections accepted a second; in a storm the rest waits in the kernel's queue.
    pub accepts_per_s: u32,
    /// Topic aliases of one connection, in each direction.
    pub topic_aliases: u16,
    /// Messages that wait for one client, …
    pub queue_messages: usize,
    /// … and their bytes. What doesn't fit is refused to its publisher.
    pub queue_bytes: usize,
    /// Retained messages of one tenant, …
    pub retained_messages: usize,
    /// … and their bytes.
    pub retained_bytes: usize,
    /// Sessions without a connection of one gateway.
    pub kept_sessions: usize,
    /// Commands that wait in the persistent sessions of one tenant, in the database, bytes. What doesn't
    /// fit is refused to its publisher.
    pub kept_bytes: usize,
    /// Readings a second of one tenant, where its own row says nothing; none = no limit. Who is faster
    /// is read from more slowly.
    pub tenant_readings_per_s: Option<u32>,
    /// The same for payload bytes.
    pub tenant_bytes_per_s: Option<u32>,
    /// Passwords (argon2) that are checked at once.
    pub password_checks: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Writer {
    /// Writers working side by side. A gateway always has the same one.
    pub writers: usize,
    /// A transaction is written when it has so many readings …
    pub batch_rows: usize,
    /// … or so many payload bytes …
    pub batch_bytes: usize,
    /// … or so many payloads …
    pub batch_payloads: usize,
    /// … or its first payload is so old, milliseconds.
    pub batch_age_ms: u64,
    /// A transaction that is not over after this is run again on another connection, seconds. Longer
    /// than the database's own limit for a statement, which is 60 s.
    pub transaction_timeout_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alarms {
    /// Readings older than this when they arrive raise no limit alarm, seconds: replayed history is
    /// history.
    pub max_age_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1883".to_owned(),
            door: "main".to_owned(),
            tls: None,
            anonymous: None,
            limits: Limits::default(),
            writer: Writer::default(),
            alarms: Alarms::default(),
            sparkplug: crate::sparkplug::Settings::default(),
            foreign: Vec::new(),
            future_limit_s: 3600,
            ancient_limit: Timestamp::from_secs(631_152_000), // 1990-01-01
            register_max_age_s: 10,
            revocation_check_s: 2,
            shutdown_s: 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_unauthenticated: 1_000,
            max_packet_bytes: 4 << 20,
            max_topic_bytes: 1024,
            max_subscriptions: 32,
            connect_timeout_s: 10,
            max_keep_alive_s: 1200,
            write_timeout_s: 10,
            in_flight: 256,
            in_flight_bytes: 64 << 20,
            session_expiry_s: 3600,
            accepts_per_s: 2000,
            topic_aliases: 32,
            queue_messages: 1000,
            queue_bytes: 8 << 20,
            retained_messages: 10_000,
            retained_bytes: 16 << 20,
            kept_sessions: 64,
            kept_bytes: 64 << 20,
            tenant_readings_per_s: None,
            tenant_bytes_per_s: None,
            password_checks: 2,
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            writers: 2,
            batch_rows: 20_000,
            batch_bytes: 4 << 20,
            batch_payloads: 4096,
            batch_age_ms: 20,
            transaction_timeout_s: 120,
        }
    }
}

impl Default for Alarms {
    fn default() -> Self {
        Self { max_age_s: 600 }
    }
}

impl Config {
    /// # Errors
    /// Names the key that can't be.
    pub fn check(&self) -> anyhow::Result<()> {
        let limits = &self.limits;
        for (key, value) in [
            ("limits.max_connections", limits.max_connections),
            ("limits.max_unauthenticated", limits.max_unauthenticated),
            ("limits.in_flight", limits.in_flight.into()),
            ("limits.max_keep_alive_s", limits.max_keep_alive_s.into()),
            ("limits.connect_timeout_s", limits.connect_timeout_s as usize),
            ("limits.write_timeout_s", limits.write_timeout_s as usize),
            ("limits.accepts_per_s", limits.accepts_per_s as usize),
            ("limits.queue_messages", limits.queue_messages),
            ("limits.password_checks", limits.password_checks),
            (
                "limits.tenant_readings_per_s",
                limits.tenant_readings_per_s.unwrap_or(1) as usize,
            ),
            (
                "limits.tenant_bytes_per_s",
                limits.tenant_bytes_per_s.unwrap_or(1) as usize,
            ),
            ("writer.writers", self.writer.writers),
            ("writer.batch_rows", self.writer.batch_rows),
            ("writer.batch_bytes", self.writer.batch_bytes),
            ("writer.batch_payloads", self.writer.batch_payloads),
            (
                "writer.transaction_timeout_s",
                self.writer.transaction_timeout_s as usize,
            ),
            ("revocation_check_s", self.revocation_check_s as usize),
        ] {
            anyhow::ensure!(value > 0, "ingest.{key} must be at least 1");
        }
        anyhow::ensure!(!self.door.is_empty(), "ingest.door must have a name");
        self.sparkplug.check()?;
        for (i, foreign) in self.foreign.iter().enumerate() {
            foreign
                .check()
                .with_context(|| format!("ingest.foreign, entry {}", i + 1))?;
        }
        anyhow::ensure!(
            limits.in_flight_bytes >= limits.max_packet_bytes,
            "ingest.limits.in_flight_bytes must be at least max_packet_bytes: else the largest packet never gets in"
        );
        anyhow::ensure!(
            u32::try_from(limits.in_flight_bytes).is_ok() && limits.max_packet_bytes <= 268_435_455,
            "ingest.limits: in_flight_bytes below 4 GiB and max_packet_bytes up to 268435455, please"
        );
        anyhow::ensure!(
            limits.queue_messages < usize::from(u16::MAX),
            "ingest.limits.queue_messages must be below 65535: each message on its way has a number of its own"
        );
        if let Some(anonymous) = &self.anonymous {
            let mut listeners = vec![&self.listen];
            listeners.extend(self.tls.as_ref().map(|tls| &tls.listen));
            for address in listeners {
                anyhow::ensure!(
                    is_loopback(address),
                    "ingest.anonymous lets everybody in, so every listener must be bound to loopback: {address} is not"
                );
            }
            for filter in anonymous.publish.iter().chain(&anonymous.subscribe) {
                anyhow::ensure!(
                    crate::front_door::hub::filter::valid(filter),
                    "ingest.anonymous: `{filter}` is no topic filter"
                );
            }
        }
        Ok(())
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.limits;
        Bounds {
            queue_messages: limits.queue_messages,
            queue_bytes: limits.queue_bytes,
            retained_messages: limits.retained_messages,
            retained_bytes: limits.retained_bytes,
            kept_sessions: limits.kept_sessions,
            kept_bytes: limits.kept_bytes,
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.limits.connect_timeout_s)
    }

    /// How long what is in flight may take once the service stops.
    pub(crate) fn stop_within(&self) -> Duration {
        Duration::from_secs(self.shutdown_s)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.limits.write_timeout_s)
    }
}

/// `127.0.0.1:1883`, `[::1]:1883` or `localhost:1883`.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        Config::default().check().unwrap();
        let mut config = Config::default();
        config.writer.writers = 0;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "ingest.writer.writers must be at least 1"
        );
        config = Config::default();
        config.limits.in_flight_bytes = 10;
        assert!(config.check().is_err());
        assert!(serde_json::from_str::<Config>(r#"{"lisen":"x"}"#).is_err());
        config = Config {
            anonymous: Some(Anonymous {
                publish: vec!["#".into()],
                subscribe: vec!["#".into()],
            }),
            ..Config::default()
        };
        for (address, sound) in [
            ("127.0.0.1:1883", true),
            ("[::1]:1883", true),
            ("localhost:1883", true),
            ("0.0.0.0:1883", false),
            ("[::]:1883", false),
            ("10.0.0.7:1883", false),
            ("localhost.example.com:1883", false),
        ] {
            config.listen = address.to_owned();
            assert_eq!(config.check().is_ok(), sound, "{address}");
        }
    }
}
