//! TLS 1.2 and 1.3 by rustls: whom to trust and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where distributions keep the authorities they trust.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// `[uplink.tls]`, for `mqtts://`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Authorities, PEM; default: those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain and its key, PEM, for a receiver that asks for one.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name the receiver's certificate must carry; default: the host of the address.
    pub server_name: Option<String>,
}

/// Ready to shake hands.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl Client {
    /// Reads the files; relative paths start from `base`.
    ///
    /// # Errors
    /// Names the file that is missing or wrong.
    pub fn new(settings: &Settings, base: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        match &settings.ca_file {
            Some(file) => {
                let file = base.join(file);
                for certificate in certificates(&file)? {
                    roots
                        .add(certificate)
                        .with_context(|| format!("authority {}", file.display()))?;
                }
            }
            None => {
                let file = SYSTEM_AUTHORITIES
                    .iter()
                    .map(Path::new)
                    .find(|file| file.is_file())
                    .context("this system has no list of authorities: give `uplink.tls.ca_file`")?;
                // Such a list may hold one or the other that rustls doesn't understand.
                let (added, _) = roots.add_parsable_certificates(certificates(file)?);
                ensure!(added > 0, "{} holds no usable authority", file.display());
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match (&settings.cert_file, &settings.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let (cert, key) = (base.join(cert), base.join(key));
                let chain = certificates(&cert)?;
                let key = PrivateKeyDer::from_pem_file(&key)
                    .with_context(|| format!("private key {}", key.display()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .with_context(|| format!("{} and its key don't go together", cert.display()))?
            }
            _ => anyhow::bail!("`uplink.tls.cert_file` and `uplink.tls.key_file` go together"),
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: settings.server_name.clone(),
        })
    }

    /// # Errors
    /// When the receiver's certificate is not trusted, or it doesn't trust ours.
    pub async fn handshake(&self, host: &str, tcp: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .with_context(|| format!("`{name}` can't be a certificate's name"))?;
        self.connector
            .connect(server, tcp)
            .await
            .with_context(|| format!("TLS handshake with {name}"))
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("certificates {}", file.display()))?;
    ensure!(!all.is_empty(), "{} holds no certificate", file.display());
    Ok(all)
}
