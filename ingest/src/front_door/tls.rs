//! TLS 1.2 and 1.3 by rustls; certificates are read again when their files change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::listener::Acceptor;
use crate::config::Tls;

fn load(config: &Tls) -> anyhow::Result<TlsAcceptor> {
    let certificates = read_certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .with_context(|| format!("private key {}", config.key_file.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(file)? {
                roots
                    .add(certificate)
                    .with_context(|| format!("authority {}", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if config.client_cert_optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let server = builder
        .with_single_cert(certificates, key)
        .context("certificate and key don't go together")?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn read_certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("certificates {}", file.display()))?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate", file.display());
    Ok(all)
}

fn changed(config: &Tls) -> Vec<Option<SystemTime>> {
    [
        Some(&config.cert_file),
        Some(&config.key_file),
        config.client_ca_file.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok())
    .collect()
}

/// The acceptor, and the task that keeps it fresh.
///
/// # Errors
/// When the files can't be used. Later, a file that can't be used leaves the old one in force and
/// is reported.
pub(crate) fn acceptor(
    config: Tls,
    shutdown: CancellationToken,
) -> anyhow::Result<(Acceptor, impl Future<Output = anyhow::Result<()>> + Send)> {
    let current = Arc::new(RwLock::new(load(&config)?));
    let shared = current.clone();
    let mut seen = changed(&config);
    let refresh = async move {
        let mut tick = tokio::time::interval(Duration::from_secs(config.reload_s.max(1)));
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let now = changed(&config);
            if now != seen {
                match load(&config) {
                    Ok(acceptor) => {
                        *current.write() = acceptor;
                        tracing::info!("the TLS certificate was read again");
                    }
                    Err(error) => tracing::error!(
                        error = format!("{error:#}"),
                        "the new TLS certificate can't be used, the old one stays"
                    ),
                }
                seen = now;
            }
        }
    };
    Ok((Arc::new(move || shared.read().clone()), refresh))
}
