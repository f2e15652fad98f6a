//! A tenant's own certificate authorities: whoever shows the front door a certificate of one is a gateway of
//! this tenant.

use axum::Json;
use axum::response::Response;
use models::db::authority::{self, AuthorityRow};
use models::id::{AuthorityId, SiteId};
use models::time::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use crate::error::{Kind, Problem};
use crate::extract::may::{IngestRead, IngestWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::page::Page;
use crate::state::App;

/// Of a certificate, DER, bytes.
const MAX_BYTES: usize = 16_384;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

#[derive(Serialize, ToSchema)]
pub struct Authority {
    id: AuthorityId,
    #[schema(example = "Plant Berlin, devices")]
    name: String,
    /// SHA-256 of the certificate, hexadecimal.
    #[schema(example = "0b7c1d…")]
    fingerprint: String,
    /// Where gateways that aren't registered are when they show a certificate of it; `null` = they are refused.
    site_id: Option<SiteId>,
    created_at: Timestamp,
    created_by: String,
    revoked_at: Option<Timestamp>,
    /// Certificates of gateways it has vouched for, that are valid now.
    credentials: i64,
}

impl From<AuthorityRow> for Authority {
    fn from(row: AuthorityRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            fingerprint: row.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            site_id: row.site_id,
            created_at: row.created_at,
            created_by: row.created_by,
            revoked_at: row.revoked_at,
            credentials: row.credentials,
        }
    }
}

/// The tenant's authorities, newest first.
#[utoipa::path(get, path = "/v1/certificate-authorities", operation_id = "list_certificate_authorities",
    tag = "ingest", responses((status = 200, body = Page<Authority>)), security(("bearer" = ["ingest:read"])))]
async fn list(mut tenant: Tenant<IngestRead>) -> Result<Json<Page<Authority>>, Problem> {
    let rows = authority::list(tenant.db()).await?;
    Ok(Json(Page::whole(rows.into_iter().map(Into::into).collect())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAuthority {
    #[schema(example = "Plant Berlin, devices")]
    name: String,
    /// One certificate, PEM.
    #[schema(example = "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n")]
    certificate: String,
    /// Where gateways that aren't registered are registered when they show a certificate of it. Left out =
    /// only gateways that are registered come in.
    #[schema(value_type = Option<SiteId>)]
    site_id: Option<SiteId>,
}

/// The one certificate of a PEM text.
fn read(pem: &str) -> Result<CertificateDer<'static>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let mut all = all.map_err(|error| format!("no PEM text: {error}"))?;
    let (Some(one), true) = (all.pop(), all.is_empty()) else {
        return Err("exactly one certificate, between BEGIN CERTIFICATE and END CERTIFICATE".to_owned());
    };
    if one.len() > MAX_BYTES {
        return Err(format!("at most {MAX_BYTES} bytes"));
    }
    RootCertStore::empty()
        .add(one.clone())
        .map_err(|error| format!("no certificate of an authority: {error}"))?;
    Ok(one)
}

/// Register an authority. From some seconds later on, gateways that show the front door a certificate that
/// chains up to it and names them come in, to this tenant only.
#[utoipa::path(post, path = "/v1/certificate-authorities", operation_id = "create_certificate_authority",
    tag = "ingest", request_body = NewAuthority, responses((status = 201, body = Authority)),
    security(("bearer" = ["ingest:write"])))]
async fn create(mut command: Command<IngestWrite, NewAuthority>) -> Result<Response, Problem> {
    let name = command.body.name.trim().to_owned();
    if name.is_empty() || name.len() > 200 {
        return Err(Problem::field("/name", "1 to 200 bytes"));
    }
    let certificate = read(&command.body.certificate).map_err(|why| Problem::field("/certificate", why))?;
    let (tenant, by) = (command.principal().tenant, command.principal().name());
    let new = authority::NewAuthority {
        tenant,
        name: &name,
        certificate: &certificate,
        site: command.body.site_id,
        by: &by,
    };
    let id = authority::create(command.db(), &new).await?.ok_or_else(|| {
        Problem::new(
            Kind::Refused,
            format!(
                "a tenant has at most {} authorities at a time: revoke one first",
                authority::MOST
            ),
        )
    })?;
    command
        .audit(
            "certificate_authority.create",
            &id.to_string(),
            &json!({ "name": name, "site": new.site }),
        )
        .await?;
    let made = authority::list(command.db())
        .await?
        .into_iter()
        .find(|row| row.id == id);
    let made: Authority = made.map(Into::into).ok_or_else(Problem::not_found)?;
    command
        .finish(Answer::created(
            format!("/v1/certificate-authorities/{id}"),
            &made,
        )?)
        .await
}

/// Revoke an authority with every certificate it vouched for; open connections are closed within a minute.
#[utoipa::path(delete, path = "/v1/certificate-authorities/{id}", operation_id = "revoke_certificate_authority",
    tag = "ingest", params(("id" = AuthorityId, Path)), responses((status = 204)),
    security(("bearer" = ["ingest:write"])))]
async fn revoke(
    Path(id): Path<AuthorityId>,
    mut command: Command<IngestWrite, Empty>,
) -> Result<Response, Problem> {
    if !authority::revoke(command.db(), id).await? {
        return Err(Problem::new(
            Kind::NotFound,
            "there is no such authority, or it is revoked",
        ));
    }
    command
        .audit("certificate_authority.revoke", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_no_certificate_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "exactly one"),
            (
                "-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n",
                "no PEM",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no certificate",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
