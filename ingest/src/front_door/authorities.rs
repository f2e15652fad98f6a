//! Who vouches for client certificates: the authority of the configuration for every tenant, a tenant's own
//! authorities for that tenant only.
//!
//! The handshake lets in whom any of them vouches for. Which gateway that is, is decided afterwards, by
//! the authority that the chain leads to: what a certificate says of its tenant counts only where the
//! authority of the configuration has signed it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use models::db::authority::Vouching;
use models::id::AuthorityId;
use parking_lot::RwLock;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::tls::read_certificates;

/// Who vouches for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voucher {
    /// The authority of the configuration: the certificate names any tenant.
    Door,
    /// One of the tenant's own.
    Tenant(AuthorityId),
}

struct OfTenant {
    id: AuthorityId,
    tenant: String,
    verifier: Arc<dyn ClientCertVerifier>,
}

struct Known {
    roots: RootCertStore,
    door: Option<Arc<dyn ClientCertVerifier>>,
    tenants: Vec<OfTenant>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            roots: RootCertStore::empty(),
            door: None,
            tenants: Vec::new(),
        }
    }
}

/// Those that are known now; shared by the listener and by who asks whose a certificate is.
#[derive(Clone, Default)]
pub(crate) struct Authorities(Arc<RwLock<Known>>);

fn verifier(roots: RootCertStore) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

impl Authorities {
    /// Takes what the file of the configuration and the register say now. An authority of the register
    /// that can't be used is reported and vouches for nobody.
    ///
    /// # Errors
    /// When the file can't be used.
    pub(super) fn load(&self, file: Option<&Path>, vouching: &[Vouching]) -> anyhow::Result<()> {
        let mut known = Known::default();
        if let Some(file) = file {
            for certificate in read_certificates(file)? {
                known
                    .roots
                    .add(certificate)
                    .with_context(|| format!("authority {}", file.display()))?;
            }
            known.door = Some(verifier(known.roots.clone())?);
        }
        for one in vouching {
            let add = |roots: &mut RootCertStore| roots.add(CertificateDer::from(one.certificate.clone()));
            let mut own = RootCertStore::empty();
            let made = add(&mut own)
                .map_err(anyhow::Error::from)
                .and_then(|()| verifier(own));
            match made {
                Ok(verifier) => {
                    add(&mut known.roots)?;
                    known.tenants.push(OfTenant {
                        id: one.id,
                        tenant: one.tenant_slug.clone(),
                        verifier,
                    });
                }
                Err(error) => {
                    tracing::error!(authority = %one.id, error = format!("{error:#}"), "can't use an authority");
                }
            }
        }
        *self.0.write() = known;
        Ok(())
    }

    /// What lets clients through the handshake; `None`: nobody vouches for any. `optional`: a client may
    /// come without a certificate. It must, where only tenants have authorities: gateways of the other
    /// tenants have none.
    ///
    /// # Errors
    /// When the authorities can't be used together.
    pub(super) fn gate(&self, optional: bool) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
        let known = self.0.read();
        if known.roots.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(known.roots.clone());
        let mut gate = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if !known.tenants.is_empty() {
            // Whoever asks would be told the names of all of them.
            gate = gate.clear_root_hint_subjects();
        }
        if optional || known.door.is_none() {
            gate = gate.allow_unauthenticated();
        }
        Ok(Some(gate.build()?))
    }

    /// Who vouches for this chain, the client's own certificate first, as one that names this tenant.
    pub(super) fn voucher(&self, chain: &[CertificateDer<'static>], tenant: &str) -> Option<Voucher> {
        let (own, between) = chain.split_first()?;
        let now = UnixTime::now();
        let good = |by: &Arc<dyn ClientCertVerifier>| by.verify_client_cert(own, between, now).is_ok();
        let known = self.0.read();
        if known.door.as_ref().is_some_and(good) {
            return Some(Voucher::Door);
        }
        known
            .tenants
            .iter()
            .find(|one| one.tenant == tenant && good(&one.verifier))
            .map(|one| Voucher::Tenant(one.id))
    }
}
