//! Signing in, and who one is.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use models::db::auth::{self, Membership};
use models::id::{ApiKeyId, TenantId, UserId};
use models::tenant::MemberRole;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::principal::Actor;
use crate::error::{Kind, Problem};
use crate::extract::{Body, Tenant, may::SignedIn};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign_in))
        .routes(routes!(switch_tenant))
        .routes(routes!(refresh))
        .routes(routes!(me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    #[schema(example = "planner@demo.example")]
    email: String,
    #[schema(format = Password, example = "correct horse battery staple")]
    password: String,
    /// Slug or id of the tenant; the first by slug when left out.
    #[schema(example = "demo")]
    tenant: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchTenant {
    /// Slug or id.
    #[schema(example = "demo")]
    tenant: String,
}

#[derive(Serialize, ToSchema)]
pub struct UserView {
    id: UserId,
    name: String,
    email: String,
}

#[derive(Serialize, ToSchema)]
pub struct TenantView {
    pub id: TenantId,
    pub slug: String,
    pub name: String,
}

#[derive(Serialize, ToSchema)]
pub struct MembershipView {
    id: TenantId,
    slug: String,
    name: String,
    role: MemberRole,
}

#[derive(Serialize, ToSchema)]
pub struct Session {
    /// For the header `Authorization: Bearer …`.
    token: String,
    expires_at: Timestamp,
    user: UserView,
    tenant: TenantView,
    role: MemberRole,
    permissions: Vec<&'static str>,
    /// Every tenant the person is a member of.
    tenants: Vec<MembershipView>,
}

#[derive(Serialize, ToSchema)]
pub struct Me {
    /// The person, unless a key asks.
    user: Option<UserView>,
    key_id: Option<ApiKeyId>,
    tenant: TenantView,
    role: Option<MemberRole>,
    permissions: Vec<&'static str>,
    tenants: Vec<MembershipView>,
}

pub(super) fn address(app: &App, headers: &HeaderMap, peer: SocketAddr) -> String {
    let forwarded = headers
        .get("x-forwarded-for")
        .filter(|_| app.config().trust_forwarded_for)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .map(|value| value.trim().to_owned());
    forwarded.unwrap_or_else(|| peer.ip().to_string())
}

/// Sign in by mail address and password.
#[utoipa::path(post, path = "/v1/sign-in", operation_id = "sign_in", tag = "session", request_body = SignIn,
    responses((status = 200, body = Session)))]
async fn sign_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(body): Body<SignIn>,
) -> Result<Json<Session>, Problem> {
    let too_many = |detail: &str, seconds| Problem::new(Kind::TooManyRequests, detail).after(seconds);
    app.addresses()
        .attempt(&address(&app, &headers, peer), Instant::now())
        .map_err(|seconds| too_many("too many sign-ins from this address", seconds))?;
    let locked = |seconds| too_many("too many failures: the account is locked for a while", seconds);
    let email = body.email.trim().to_lowercase();
    let mut connection = app.pool().acquire().await?;
    let found = auth::user_by_email(&mut connection, &email).await?;
    drop(connection);
    let now = Timestamp::now();
    match &found {
        Some(user) => {
            if let Some(until) = user.locked_until.filter(|until| *until > now) {
                return Err(locked(until.seconds_since(now) as u64 + 1));
            }
        }
        // A mail address that nobody has is locked in the same way, so that the lock tells nothing.
        None => app.strangers().attempt(&email, Instant::now()).map_err(locked)?,
    }
    let stored = found.as_ref().and_then(|user| user.password_hash.clone());
    let good = app
        .passwords()
        .verify(body.password, stored)
        .await
        .map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "password check failed");
            Problem::new(Kind::Internal, "the password can't be checked")
        })?;
    let mut connection = app.pool().acquire().await?;
    let Some(user) = found else {
        // The same work as for a known person.
        auth::record_signin(&mut connection, UserId::new(), false).await?;
        return Err(refused());
    };
    auth::record_signin(&mut connection, user.id, good).await?;
    if !good {
        metrics::counter!("forewarn_api_signins_failed_total").increment(1);
        return Err(refused());
    }
    drop(connection);
    tracing::info!(user = %user.id, "signed in");
    session(&app, user.id, body.tenant.as_deref(), now.micros() / 1_000_000).await
}

fn refused() -> Problem {
    Problem::new(Kind::SignInFailed, "mail address or password is wrong")
}

/// A session in the tenant named, else in the one opened last.
async fn session(
    app: &App,
    user: UserId,
    wanted: Option<&str>,
    auth_time: i64,
) -> Result<Json<Session>, Problem> {
    let mut tx = app.pool().begin().await?;
    let memberships = auth::memberships(&mut tx, user).await?;
    let chosen = match wanted {
        Some(wanted) => memberships
            .iter()
            .find(|one| one.tenant_slug == wanted || one.tenant_id.to_string() == wanted)
            .ok_or_else(|| Problem::new(Kind::Forbidden, "not a member of that tenant"))?,
        None => memberships.first().ok_or_else(|| {
            Problem::new(
                Kind::Forbidden,
                "not a member of any tenant: ask an administrator",
            )
        })?,
    };
    models::db::act_for(&mut tx, chosen.tenant_id).await?;
    let (name, email) = auth::user(&mut tx, user).await?.ok_or_else(Problem::not_found)?;
    auth::open_tenant(&mut tx, user, chosen.tenant_id).await?;
    tx.commit().await?;
    let issued = app
        .tokens()
        .issue(user, chosen.tenant_id, auth_time, Timestamp::now())
        .map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "token not signed");
            Problem::new(Kind::Internal, "the token can't be signed")
        })?;
    let (token, expires_at) = issued.ok_or_else(|| {
        Problem::new(
            Kind::Unauthenticated,
            "signed in too long ago: give the password again",
        )
    })?;
    Ok(Json(Session {
        token,
        expires_at,
        user: UserView {
            id: user,
            name,
            email,
        },
        tenant: TenantView {
            id: chosen.tenant_id,
            slug: chosen.tenant_slug.clone(),
            name: chosen.tenant_name.clone(),
        },
        role: chosen.role,
        permissions: chosen
            .role
            .permissions()
            .into_iter()
            .map(|permission| permission.as_str())
            .collect(),
        tenants: memberships.into_iter().map(Into::into).collect(),
    }))
}

impl From<Membership> for MembershipView {
    fn from(one: Membership) -> Self {
        Self {
            id: one.tenant_id,
            slug: one.tenant_slug,
            name: one.tenant_name,
            role: one.role,
        }
    }
}

fn person(tenant: &Tenant<SignedIn>) -> Result<(UserId, i64), Problem> {
    match tenant.principal.actor {
        Actor::Person { id, auth_time, .. } => Ok((id, auth_time)),
        Actor::Key { .. } => Err(Problem::new(
            Kind::Forbidden,
            "a key belongs to one tenant and doesn't expire by the hour",
        )),
    }
}

/// A token for another tenant of the same person.
#[utoipa::path(post, path = "/v1/switch-tenant", operation_id = "switch_tenant", tag = "session",
    request_body = SwitchTenant, responses((status = 200, body = Session)), security(("bearer" = [])))]
async fn switch_tenant(
    State(app): State<App>,
    tenant: Tenant<SignedIn>,
    Body(body): Body<SwitchTenant>,
) -> Result<Json<Session>, Problem> {
    let (user, auth_time) = person(&tenant)?;
    drop(tenant);
    session(&app, user, Some(&body.tenant), auth_time).await
}

/// A fresh token for a valid one.
#[utoipa::path(post, path = "/v1/refresh", operation_id = "refresh_token", tag = "session",
    responses((status = 200, body = Session)), security(("bearer" = [])))]
async fn refresh(State(app): State<App>, tenant: Tenant<SignedIn>) -> Result<Json<Session>, Problem> {
    let (user, auth_time) = person(&tenant)?;
    let same = tenant.principal.tenant.to_string();
    drop(tenant);
    session(&app, user, Some(&same), auth_time).await
}

/// Who asks, in which tenant, and what he may.
#[utoipa::path(get, path = "/v1/me", operation_id = "get_me", tag = "session",
    responses((status = 200, body = Me)), security(("bearer" = [])))]
async fn me(mut tenant: Tenant<SignedIn>) -> Result<Json<Me>, Problem> {
    let permissions = tenant
        .principal
        .permissions()
        .into_iter()
        .map(|permission| permission.as_str())
        .collect();
    let (id, slug, name) = models::db::overview::current_tenant(tenant.db()).await?;
    let view = TenantView { id, slug, name };
    let actor = tenant.principal.actor.clone();
    Ok(Json(match actor {
        Actor::Person { id, role, .. } => {
            let (name, email) = auth::user(tenant.db(), id)
                .await?
                .ok_or_else(Problem::not_found)?;
            let tenants = auth::memberships(tenant.db(), id)
                .await?
                .into_iter()
                .map(Into::into)
                .collect();
            let user = Some(UserView { id, name, email });
            Me {
                user,
                key_id: None,
                tenant: view,
                role: Some(role),
                permissions,
                tenants,
            }
        }
        Actor::Key { id, .. } => Me {
            user: None,
            key_id: Some(id),
            tenant: view,
            role: None,
            permissions,
            tenants: Vec::new(),
        },
    }))
}
