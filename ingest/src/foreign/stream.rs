//! TCP or TLS to the broker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::{Address, Foreign};

/// For the connection and the TLS handshake, each.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) struct Connector {
    address: Address,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// # Errors
    /// When a file can't be used.
    pub fn new(foreign: &Foreign) -> anyhow::Result<Self> {
        let address = foreign.address()?;
        let tls = match &foreign.ca_file {
            Some(file) if address.tls => {
                let mut roots = RootCertStore::empty();
                let all: Vec<_> = CertificateDer::pem_file_iter(file)
                    .and_then(Iterator::collect)
                    .with_context(|| format!("ca_file {}", file.display()))?;
                for certificate in all {
                    roots
                        .add(certificate)
                        .with_context(|| format!("ca_file {}", file.display()))?;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let builder = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots);
                let config = match (&foreign.cert_file, &foreign.key_file) {
                    (Some(certificate), Some(key)) => {
                        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
                            .and_then(Iterator::collect)
                            .with_context(|| format!("cert_file {}", certificate.display()))?;
                        let key = PrivateKeyDer::from_pem_file(key)
                            .with_context(|| format!("key_file {}", key.display()))?;
                        builder
                            .with_client_auth_cert(chain, key)
                            .context("cert_file and key_file don't go together")?
                    }
                    _ => builder.with_no_client_auth(),
                };
                Some(TlsConnector::from(Arc::new(config)))
            }
            _ => None,
        };
        Ok(Self { address, tls })
    }

    /// # Errors
    /// When nobody answers in time, or the certificate is not good.
    pub async fn open(&self) -> anyhow::Result<Box<dyn Stream>> {
        let Address { host, port, .. } = &self.address;
        let stream = timeout(WITHIN, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_| anyhow::anyhow!("no answer within {} s", WITHIN.as_secs()))?
            .with_context(|| format!("can't connect to {host}:{port}"))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name =
            ServerName::try_from(host.clone()).with_context(|| format!("`{host}` as a name for TLS"))?;
        let stream = timeout(WITHIN, tls.connect(name, stream))
            .await
            .map_err(|_| anyhow::anyhow!("no TLS handshake within {} s", WITHIN.as_secs()))?
            .context("TLS")?;
        Ok(Box::new(stream))
    }
}
