//! Gateways as people name them on the command line.

use anyhow::{Context, bail};
use models::db::registry::{self, NamedGateway};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};

/// A connection for a command, as the database's owner.
///
/// # Errors
/// When the database can't be reached.
pub async fn connect(url: &str, name: &str) -> anyhow::Result<PgConnection> {
    url.parse::<PgConnectOptions>()?
        .application_name(name)
        .options([("timezone", "UTC")])
        .connect()
        .await
        .context("can't reach the database")
}

/// The gateway that `name` means: `tenant/gateway`, its slug where only one tenant has it, or its id.
///
/// # Errors
/// When there is none, or more than one.
pub async fn one(connection: &mut PgConnection, name: &str) -> anyhow::Result<NamedGateway> {
    let mut found = registry::gateways_named(connection, Some(name)).await?;
    match found.len() {
        0 => bail!("there is no gateway `{name}`: say tenant/gateway, such as acme/line-1"),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<_> = found
                .iter()
                .map(|gateway| format!("{}/{}", gateway.tenant_slug, gateway.slug))
                .collect();
            bail!("`{name}` can be {}: say which", names.join(" or "))
        }
    }
}
