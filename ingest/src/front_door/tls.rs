//! TLS 1.2 and 1.3 by rustls; certificates are read again when their files change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use models::db::authority::{self, Vouching};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sqlx::PgPool;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authorities::Authorities;
use super::listener::Acceptor;
use crate::config::Tls;

/// How long the database may take to name the tenants' authorities.
const PATIENCE: Duration = Duration::from_secs(2);

fn load(config: &Tls, authorities: &Authorities) -> anyhow::Result<TlsAcceptor> {
    let certificates = read_certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .with_context(|| format!("private key {}", config.key_file.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match authorities.gate(config.client_cert_optional)? {
        None => builder.with_no_client_auth(),
        Some(gate) => builder.with_client_cert_verifier(gate),
    };
    let server = builder
        .with_single_cert(certificates, key)
        .context("certificate and key don't go together")?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

pub(super) fn read_certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
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

/// The acceptor, and the task that keeps it and the authorities fresh.
///
/// # Errors
/// When the files can't be used. Later, a file that can't be used leaves the old one in force and
/// is reported.
pub(crate) fn acceptor(
    config: Tls,
    authorities: Authorities,
    pool: PgPool,
    shutdown: CancellationToken,
) -> anyhow::Result<(Acceptor, impl Future<Output = anyhow::Result<()>> + Send)> {
    let ca_file = config.client_ca_file.clone();
    authorities.load(ca_file.as_deref(), &[])?;
    let current = Arc::new(RwLock::new(load(&config, &authorities)?));
    let shared = current.clone();
    let mut seen = (changed(&config), Vec::new());
    let refresh = async move {
        let mut tick = tokio::time::interval(Duration::from_secs(config.reload_s.max(1)));
        let mut away = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let vouching = tokio::select! {
                answer = vouching(&config, &pool) => answer,
                () = shutdown.cancelled() => return Ok(()),
            };
            let vouching = match vouching {
                Ok(vouching) => {
                    away = false;
                    vouching
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, "can't read the tenants' authorities: those known stay");
                    }
                    away = true;
                    seen.1.clone()
                }
            };
            let now = (changed(&config), vouching);
            if now != seen {
                let loaded = authorities
                    .load(ca_file.as_deref(), &now.1)
                    .and_then(|()| load(&config, &authorities));
                match loaded {
                    Ok(acceptor) => {
                        *current.write() = acceptor;
                        tracing::info!(
                            tenants_authorities = now.1.len(),
                            "the TLS certificates were read again"
                        );
                    }
                    Err(error) => tracing::error!(
                        error = format!("{error:#}"),
                        "the new TLS certificates can't be used, the old ones stay"
                    ),
                }
                seen = now;
            }
        }
    };
    Ok((Arc::new(move || shared.read().clone()), refresh))
}

async fn vouching(config: &Tls, pool: &PgPool) -> Result<Vec<Vouching>, sqlx::Error> {
    if !config.tenant_authorities {
        return Ok(Vec::new());
    }
    let asking = async {
        let mut connection = pool.acquire().await?;
        authority::vouching(&mut connection).await
    };
    // The files don't wait for a database that is away.
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
