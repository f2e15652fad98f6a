//! OPC UA, as a client that subscribes (OPC 10000-4, 5.13 and 5.14).
//!
//! ```toml
//! [[collect]]
//! kind = "opcua"
//! url = "opc.tcp://192.168.0.20:4840"
//! security_policy = "Basic256Sha256"  # None, Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss, …
//! security_mode = "sign_and_encrypt"  # none, sign, sign_and_encrypt
//! trust = "known"                     # known: certificates in pki/trusted; first: trust the first one seen
//! user = "forewarn"                   # or user_cert_file and user_key_file; else anonymous
//! password_file = "opcua.password"
//! device = "press-1"
//! publishing_ms = 500
//! sampling_ms = 500
//! queue = 10                          # values that the server keeps between two publishings
//! points = [
//!   { node = "ns=2;s=Press.Temp", channel = "temp", unit = "Cel" },
//!   { node = "nsu=http://vendor/press;i=1001", channel = "force", unit = "kN", device = "press-2" },
//! ]
//! ```
//!
//! A value keeps the server's source time stamp, or its server time stamp, or gets ours. Its status is
//! our quality: good, uncertain = suspect; of a bad one there is usually no value, and the point is
//! shown as faulty. Values lost in a queue that ran over are told by the server and counted.
//!
//! **Certificates.** Ours is made on first use in `pki_dir` (`own`, `private`); the server's must lie in
//! `pki_dir/trusted`, byte for byte, and an unknown one is put into `rejected`, from where you move it.
//! That is the trust; name and date in it are not looked at, because controllers rarely get them right.
//!
//! **Losing the link.** The collector begins from the start, with a new session and subscription, as
//! for every source. (The library can take a session up again; against a server that had restarted it
//! was seen to subscribe and then never to publish.)

mod session;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use opcua::client::{Client, ClientBuilder, IdentityToken};
use opcua::crypto::SecurityPolicy;
use opcua::types::{MessageSecurityMode, NodeId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::report::Report;
use super::source::{Feed, Source};
use crate::batch::Channel;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    None,
    Sign,
    SignAndEncrypt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    #[default]
    Known,
    First,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub url: String,
    #[serde(default = "default_policy")]
    pub security_policy: String,
    pub security_mode: Option<Mode>,
    #[serde(default)]
    pub trust: Trust,
    #[serde(default = "default_pki_dir")]
    pub pki_dir: PathBuf,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub password_file: Option<PathBuf>,
    pub user_cert_file: Option<PathBuf>,
    pub user_key_file: Option<PathBuf>,
    pub device: String,
    #[serde(default = "default_ms")]
    pub publishing_ms: u64,
    #[serde(default = "default_ms")]
    pub sampling_ms: u64,
    #[serde(default = "default_queue")]
    pub queue: u32,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub node: String,
    pub channel: String,
    #[serde(default)]
    pub unit: String,
    /// Instead of the collector's.
    pub device: Option<String>,
    pub report: Option<Report>,
}

fn default_policy() -> String {
    "None".to_owned()
}

fn default_pki_dir() -> PathBuf {
    PathBuf::from("pki")
}

fn default_ms() -> u64 {
    500
}

fn default_queue() -> u32 {
    10
}

/// A node, whose namespace may be known by its name only.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Known(NodeId),
    /// Namespace URI and the rest, such as `s=Temp`.
    Named(String, String),
}

impl FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parse = |text: &str| {
            NodeId::from_str(text).ok().with_context(|| {
                format!("`{text}` is no node: expected such as ns=2;s=Press.Temp or ns=3;i=1001")
            })
        };
        match text.strip_prefix("nsu=") {
            None => Ok(Self::Known(parse(text)?)),
            Some(rest) => {
                let (uri, id) = rest.split_once(';').with_context(|| {
                    format!("`{text}` is no node: expected such as nsu=http://vendor/x;s=Temp")
                })?;
                parse(&format!("ns=1;{id}"))?;
                Ok(Self::Named(uri.to_owned(), id.to_owned()))
            }
        }
    }
}

/// See the module.
pub struct OpcUa {
    config: Config,
    policy: SecurityPolicy,
    mode: MessageSecurityMode,
    identity: IdentityToken,
    pki_dir: PathBuf,
    points: Vec<(Point, Node, Arc<Channel>)>,
}

impl OpcUa {
    /// # Errors
    /// Names the setting or the point that is wrong.
    pub fn open(config: &Config, base: &Path) -> anyhow::Result<Self> {
        ensure!(
            config.url.starts_with("opc.tcp://"),
            "`url` is `{}`: expected opc.tcp://host:port",
            config.url
        );
        ensure!(
            !config.points.is_empty(),
            "needs `points`: which nodes are which channels"
        );
        ensure!(
            config.publishing_ms >= 10 && config.sampling_ms >= 1 && config.queue >= 1,
            "`publishing_ms` must be at least 10, `sampling_ms` and `queue` at least 1"
        );
        let policy = match config.security_policy.as_str() {
            "None" => SecurityPolicy::None,
            "Basic128Rsa15" => SecurityPolicy::Basic128Rsa15,
            "Basic256" => SecurityPolicy::Basic256,
            "Basic256Sha256" => SecurityPolicy::Basic256Sha256,
            "Aes128_Sha256_RsaOaep" => SecurityPolicy::Aes128Sha256RsaOaep,
            "Aes256_Sha256_RsaPss" => SecurityPolicy::Aes256Sha256RsaPss,
            other => bail!(
                "`security_policy` is `{other}`: expected None, Basic128Rsa15, Basic256, Basic256Sha256, \
                 Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss"
            ),
        };
        let secure = policy != SecurityPolicy::None;
        let mode = config
            .security_mode
            .unwrap_or(if secure { Mode::SignAndEncrypt } else { Mode::None });
        ensure!(
            secure == (mode != Mode::None),
            "`security_mode` and `security_policy` go together: both none, or neither"
        );
        let points = config
            .points
            .iter()
            .map(|point| {
                super::check_name("points.channel", &point.channel)?;
                let device = point.device.as_deref().unwrap_or(&config.device);
                super::check_name("device", device)?;
                let node = point
                    .node
                    .parse()
                    .with_context(|| format!("point `{}`", point.channel))?;
                Ok((
                    point.clone(),
                    node,
                    super::channel(device, &point.channel, &point.unit),
                ))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            policy,
            mode: match mode {
                Mode::None => MessageSecurityMode::None,
                Mode::Sign => MessageSecurityMode::Sign,
                Mode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
            },
            identity: identity(config, base)?,
            pki_dir: base.join(&config.pki_dir),
            points,
            config: config.clone(),
        })
    }

    /// Channels with report rules of their own.
    pub fn reports(&self) -> Vec<(Arc<Channel>, Report)> {
        self.points
            .iter()
            .filter_map(|(point, _, channel)| Some((Arc::clone(channel), point.report?)))
            .collect()
    }

    fn client(&self) -> anyhow::Result<Client> {
        let secure = self.policy != SecurityPolicy::None;
        let timeout = Duration::from_secs(10);
        ClientBuilder::new()
            .application_name("forewarn-edge")
            .application_uri("urn:forewarn:edge")
            .product_uri("urn:forewarn:edge")
            .session_name("forewarn-edge")
            .pki_dir(&self.pki_dir)
            .create_sample_keypair(secure)
            .trust_server_certs(!secure || self.config.trust == Trust::First)
            .verify_server_certs(false)
            .session_retry_limit(0)
            .recreate_subscriptions(false)
            .request_timeout(timeout)
            .ignore_clock_skew(true)
            .client()
            .map_err(|errors| anyhow::anyhow!("{}", errors.join("; ")))
    }
}

impl Source for OpcUa {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.follow(feed).boxed()
    }

    fn expects(&self) -> Option<usize> {
        Some(self.points.len())
    }
}

fn identity(config: &Config, base: &Path) -> anyhow::Result<IdentityToken> {
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(_)) => bail!("give either `password` or `password_file`"),
        (Some(password), None) => Some(password.clone()),
        (None, Some(file)) => Some(models::service::config::read_secret_file(&base.join(file))?),
        (None, None) => None,
    };
    match (
        &config.user,
        password,
        &config.user_cert_file,
        &config.user_key_file,
    ) {
        (None, None, None, None) => Ok(IdentityToken::new_anonymous()),
        (Some(user), Some(password), None, None) => Ok(IdentityToken::new_user_name(
            user.clone(),
            password.expose_secret().to_owned(),
        )),
        (None, None, Some(cert), Some(key)) => {
            let (cert, key) = (base.join(cert), base.join(key));
            IdentityToken::new_x509_path(&cert, &key)
                .map_err(|error| anyhow::anyhow!("{} and {}: {error}", cert.display(), key.display()))
        }
        _ => bail!("give `user` with a password, or `user_cert_file` with `user_key_file`, or none of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> anyhow::Result<OpcUa> {
        use figment::providers::{Format, Toml};
        let config: Config = figment::Figment::from(Toml::string(text)).extract()?;
        OpcUa::open(&config, Path::new("/nowhere"))
    }

    const GOOD: &str =
        "url = \"opc.tcp://h:4840\"\ndevice = \"d\"\npoints = [{ node = \"ns=2;s=A\", channel = \"a\" }]\n";

    #[test]
    fn nodes() {
        assert!(matches!("ns=2;i=7".parse::<Node>().unwrap(), Node::Known(_)));
        assert_eq!(
            "nsu=http://v/x;s=A;B".parse::<Node>().unwrap(),
            Node::Named("http://v/x".to_owned(), "s=A;B".to_owned())
        );
        for bad in ["", "A", "ns=x;s=A", "nsu=http://v", "nsu=http://v;x=1"] {
            assert!(bad.parse::<Node>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        open(GOOD).unwrap();
        for (text, said) in [
            ("security_policy = \"Basic512\"\n", "Basic512"),
            ("security_mode = \"sign\"\n", "security_mode"),
            ("user = \"u\"\n", "password"),
            ("user = \"u\"\npassword_file = \"missing\"\n", "missing"),
            ("queue = 0\n", "queue"),
        ] {
            let error = format!("{:#}", open(&format!("{text}{GOOD}")).err().unwrap());
            assert!(error.contains(said), "{error}");
        }
        let error = format!("{:#}", open(&GOOD.replace("ns=2;s=A", "Temp")).err().unwrap());
        assert!(error.contains("point `a`") && error.contains("`Temp`"), "{error}");
    }
}
