//! The one who asks, and what he may.

use models::db::auth::{self, Secret, SecretKind};
use models::id::{ApiKeyId, SiteId, TenantId, UserId};
use models::tenant::{MemberRole, Permission};
use models::time::Timestamp;
use sqlx::{Postgres, Transaction};

use crate::error::{Kind, Problem};
use crate::state::App;

#[derive(Clone, Debug)]
pub enum Actor {
    Person {
        id: UserId,
        role: MemberRole,
        site: Option<SiteId>,
        auth_time: i64,
        expires: Timestamp,
    },
    Key {
        id: ApiKeyId,
        scopes: Vec<Permission>,
    },
}

/// Somebody who proved who he is, in one tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    pub tenant: TenantId,
    pub actor: Actor,
}

impl Principal {
    /// How records name him: `usr_…` or `key_…`.
    pub fn name(&self) -> String {
        match &self.actor {
            Actor::Person { id, .. } => id.to_string(),
            Actor::Key { id, .. } => id.to_string(),
        }
    }

    pub fn user(&self) -> Option<UserId> {
        match self.actor {
            Actor::Person { id, .. } => Some(id),
            Actor::Key { .. } => None,
        }
    }

    /// The role that decides how far he may go. A program acts as an operator: its scopes say what
    /// it may do at all.
    pub fn role(&self) -> MemberRole {
        match self.actor {
            Actor::Person { role, .. } => role,
            Actor::Key { .. } => MemberRole::Operator,
        }
    }

    pub fn may(&self, permission: Permission) -> bool {
        match &self.actor {
            Actor::Person { role, .. } => role.may(permission),
            Actor::Key { scopes, .. } => scopes.contains(&permission),
        }
    }

    pub fn permissions(&self) -> Vec<Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(|permission| self.may(*permission))
            .collect()
    }

    /// # Errors
    /// 403 that names the missing permission.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(Problem::new(
                Kind::Forbidden,
                format!("it needs the permission {permission}"),
            ))
        }
    }
}

/// Who holds this token, and a transaction that sees what he may see.
///
/// # Errors
/// 401 when the token is not good (any more).
pub async fn enter(app: &App, token: &str) -> Result<(Principal, Transaction<'static, Postgres>), Problem> {
    let refuse = || {
        Problem::new(
            Kind::Unauthenticated,
            "the token or key is unknown, expired or revoked",
        )
    };
    if token.starts_with(SecretKind::ApiKey.prefix()) {
        let mut connection = app.pool().acquire().await?;
        // In a transaction of its own: it notes the use, and must not hold the row.
        let key = auth::api_key(&mut connection, Secret::given(token).hash())
            .await?
            .ok_or_else(refuse)?;
        drop(connection);
        // A scope that this version doesn't know allows nothing.
        let scopes = key.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
        let tx = models::db::begin_for(app.pool(), key.tenant_id).await?;
        return Ok((
            Principal {
                tenant: key.tenant_id,
                actor: Actor::Key { id: key.id, scopes },
            },
            tx,
        ));
    }
    let claims = app.tokens().read(token).ok_or_else(refuse)?;
    let mut tx = models::db::begin_for(app.pool(), claims.ten).await?;
    let (role, site) = auth::current_membership(&mut tx, claims.sub)
        .await?
        .ok_or_else(refuse)?;
    if site.is_some() {
        auth::act_within(&mut tx, site).await?;
    }
    let actor = Actor::Person {
        id: claims.sub,
        role,
        site,
        auth_time: claims.auth_time,
        expires: Timestamp::from_secs(claims.exp),
    };
    Ok((
        Principal {
            tenant: claims.ten,
            actor,
        },
        tx,
    ))
}
