//! The plant's register, written by the functions the API uses.

use std::collections::HashMap;

use anyhow::Context;
use argon2::password_hash::{PasswordHasher, SaltString, rand_core::OsRng};
use models::alarm::Params;
use models::asset::AssetStatus;
use models::db::alarm::NewRule;
use models::db::register as db;
use models::id::{
    AreaId, AssetClassId, AssetId, ChannelId, FailureModeId, GatewayId, MeterId, SiteId, TenantId,
};
use models::tenant::MemberRole;
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::agents::Secrets;
use super::plant::{Asset, Class, Plant, Rule, Site, Tenant};
use super::{SignIn, engines};

/// A class as it stands in the register.
struct Registered<'a> {
    id: AssetClassId,
    class: &'a Class,
    modes: HashMap<&'a str, FailureModeId>,
}

/// Whoever has entered the plant's past.
pub(super) const PLANNER: &str = "Demo planner";

/// What stands in the register.
#[derive(Debug)]
pub struct Written {
    pub assets: usize,
    /// When the rows of the engines begin that failed.
    pub began: Option<Timestamp>,
}

/// Writes what is missing.
pub async fn register(
    connection: &mut PgConnection,
    plant: &Plant,
    secrets: &Secrets,
    sign_in: &SignIn,
) -> anyhow::Result<Written> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2::Argon2::default()
        .hash_password(sign_in.password.as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("can't hash the demo's password: {error}"))?
        .to_string();
    let user = db::ensure_user(
        connection,
        &db::NewUser {
            email: &sign_in.email,
            name: PLANNER,
            password_hash: Some(&hash),
        },
    )
    .await?;
    let mut written = Written {
        assets: 0,
        began: None,
    };
    for tenant in &plant.tenant {
        let id = db::ensure_tenant(
            connection,
            &db::NewTenant {
                slug: &tenant.slug,
                name: &tenant.name,
            },
        )
        .await?;
        db::ensure_membership(connection, id, user, MemberRole::TenantAdmin, None).await?;
        let classes = register_classes(connection, id, tenant).await?;
        for site in &tenant.site {
            let here = register_site(connection, id, tenant, site, &classes, secrets)
                .await
                .with_context(|| format!("site {}", site.name))?;
            written.assets += here.assets;
            written.began = written.began.or(here.began);
        }
    }
    Ok(written)
}

async fn register_classes<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    from: &'a Tenant,
) -> anyhow::Result<HashMap<&'a str, Registered<'a>>> {
    let mut classes = HashMap::new();
    for class in &from.class {
        let weibull = class.weibull_shape.zip(class.weibull_scale_h);
        let id = db::ensure_asset_class(
            connection,
            &db::NewAssetClass {
                tenant,
                name: &class.name,
                weibull,
            },
        )
        .await?;
        let mut modes = HashMap::new();
        for mode in &class.mode {
            let new = db::NewFailureMode {
                tenant,
                class: id,
                code: &mode.code,
                name: &mode.name,
                mechanism: Some(&mode.mechanism),
                pf_interval_days: Some(mode.pf_interval_days),
                required_skill: Some(&mode.skill),
                repair_hours: Some(mode.repair_hours),
                repair_cost: Some(mode.repair_cost),
            };
            let mode_id = db::ensure_failure_mode(connection, &new).await?;
            let signature = json!({ "channels": mode.signature });
            db::set_failure_mode_signature(connection, mode_id, &signature).await?;
            modes.insert(mode.code.as_str(), mode_id);
        }
        classes.insert(class.name.as_str(), Registered { id, class, modes });
    }
    Ok(classes)
}

async fn register_site(
    connection: &mut PgConnection,
    tenant: TenantId,
    owner: &Tenant,
    site: &Site,
    classes: &HashMap<&str, Registered<'_>>,
    secrets: &Secrets,
) -> anyhow::Result<Written> {
    let site_id = db::ensure_site(
        connection,
        &db::NewSite {
            tenant,
            name: &site.name,
            time_zone: &site.time_zone,
        },
    )
    .await?;
    let mut areas = HashMap::new();
    for name in &site.areas {
        let area = db::ensure_area(
            connection,
            &db::NewArea {
                tenant,
                site: site_id,
                name,
            },
        )
        .await?;
        areas.insert(name.as_str(), area);
    }
    let gateway_name = format!("{} gateway", site.name);
    let gateway = db::ensure_gateway(
        connection,
        &db::NewGateway {
            tenant,
            site: site_id,
            slug: &site.gateway,
            name: &gateway_name,
        },
    )
    .await?;
    let secret = secrets.of(&owner.slug, &site.gateway)?;
    db::ensure_gateway_credential(connection, tenant, gateway, secret.hash()).await?;

    let place = Place {
        tenant,
        site: site_id,
        gateway,
        classes,
    };
    let mut by_name = HashMap::new();
    for asset in &site.asset {
        let area = areas.get(asset.area.as_str()).copied();
        let id = place
            .asset(connection, asset, area, &by_name)
            .await
            .with_context(|| asset.name.clone())?;
        by_name.insert(asset.name.as_str(), id);
    }
    for unit in 1..=site.turbofans {
        let area = site
            .areas
            .first()
            .and_then(|name| areas.get(name.as_str()))
            .copied();
        let engine = engines::asset(unit, AssetStatus::Operational);
        place.asset(connection, &engine, area, &by_name).await?;
    }
    let overhaul = areas.get(engines::OVERHAUL).copied();
    let began = engines::register_failed(connection, &place, &site.failed_turbofans, overhaul).await?;
    Ok(Written {
        assets: site.asset.len() + site.turbofans as usize + site.failed_turbofans.len(),
        began,
    })
}

/// Where assets are put.
pub(super) struct Place<'a> {
    pub(super) tenant: TenantId,
    site: SiteId,
    gateway: GatewayId,
    classes: &'a HashMap<&'a str, Registered<'a>>,
}

impl Place<'_> {
    /// The failure mode of a class that has it.
    pub(super) fn mode(&self, class: &str, code: &str) -> Option<FailureModeId> {
        self.classes.get(class)?.modes.get(code).copied()
    }

    pub(super) async fn asset(
        &self,
        connection: &mut PgConnection,
        asset: &Asset,
        area: Option<AreaId>,
        by_name: &HashMap<&str, AssetId>,
    ) -> anyhow::Result<AssetId> {
        let class = self
            .classes
            .get(asset.class.as_str())
            .with_context(|| format!("no class {}", asset.class))?;
        let parent = match &asset.parent {
            Some(name) => Some(
                *by_name
                    .get(name.as_str())
                    .with_context(|| format!("no parent {name}"))?,
            ),
            None => None,
        };
        let new = db::NewAsset {
            area,
            parent,
            status: asset.status,
            criticality: asset.criticality,
            downtime_cost_per_h: asset.downtime_cost_per_h,
            installed_at: class
                .class
                .installed_days_ago
                .map(|days| Timestamp::now().plus_seconds(-86_400.0 * days)),
            ..db::NewAsset::named(self.tenant, self.site, class.id, &asset.name)
        };
        let id = db::ensure_asset(connection, &new).await?;
        let mut channels = HashMap::new();
        if let Some(name) = &asset.device {
            let device = db::ensure_device(connection, self.tenant, self.gateway, name, Some(id)).await?;
            for channel in &class.class.channel {
                let [low, high] = channel.plausible.map_or([None; 2], |range| range.map(Some));
                let new = db::NewChannel {
                    tenant: self.tenant,
                    device,
                    asset: Some(id),
                    name: &channel.name,
                    label: Some(&channel.label),
                    unit: &channel.unit,
                    kind: channel.kind,
                    cadence_s: None,
                    plausible: (low, high),
                };
                channels.insert(channel.name.as_str(), db::ensure_channel(connection, &new).await?);
            }
        }
        self.upkeep(connection, asset, id, class, &channels).await?;
        Ok(id)
    }

    /// Rules, meters and plans of the asset's class.
    async fn upkeep(
        &self,
        connection: &mut PgConnection,
        asset: &Asset,
        id: AssetId,
        class: &Registered<'_>,
        channels: &HashMap<&str, ChannelId>,
    ) -> anyhow::Result<()> {
        // What is in overhaul is watched by nobody until it flies again.
        let watched = asset.status == AssetStatus::Operational;
        for rule in class.class.rule.iter().filter(|_| watched) {
            self.rule(connection, id, rule, class, channels).await?;
        }
        let mut meters: HashMap<&str, MeterId> = HashMap::new();
        for meter in &class.class.meter {
            let find = |name: &String| channels.get(name.as_str()).copied();
            let movement = if let Some(channel) = meter.counter.as_ref().and_then(find) {
                db::MeterMovement::Counter {
                    channel,
                    rollover_at: None,
                }
            } else if let Some(channel) = meter.integral.as_ref().and_then(find) {
                db::MeterMovement::Integral { channel }
            } else {
                db::MeterMovement::Manual
            };
            let new = db::NewMeter {
                tenant: self.tenant,
                asset: id,
                name: &meter.name,
                unit: &meter.unit,
                movement,
                max_rate_per_h: meter.max_rate_per_h,
                total: 0.0,
            };
            meters.insert(meter.name.as_str(), db::ensure_meter(connection, &new).await?);
        }
        for plan in &class.class.plan {
            let meter = *meters
                .get(plan.meter.as_str())
                .with_context(|| format!("no meter {}", plan.meter))?;
            let every_units = asset.grease_at_h.unwrap_or(plan.every_units);
            let tasks: Vec<_> = plan
                .tasks
                .iter()
                .map(|text| json!({ "kind": "check", "text": text, "mandatory": true }))
                .collect();
            let today = Timestamp::now().to_jiff().strftime("%Y-%m-%d").to_string();
            let new = db::NewPlan {
                tenant: self.tenant,
                asset: id,
                name: &plan.name,
                failure_mode: None,
                enabled: true,
                basis: "floating",
                all_of: false,
                every_days: Some(plan.every_days),
                every_units: Some((meter, every_units)),
                lead_days: 0,
                lead_units: plan.lead_units,
                open_instance: "skip",
                anchor_date: &today,
                anchor_units: 0.0,
                priority: "medium",
                tasks: json!(tasks),
            };
            db::ensure_plan(connection, &new).await?;
        }
        Ok(())
    }

    async fn rule(
        &self,
        connection: &mut PgConnection,
        asset: AssetId,
        rule: &Rule,
        class: &Registered<'_>,
        channels: &HashMap<&str, ChannelId>,
    ) -> anyhow::Result<()> {
        let channel = match &rule.channel {
            Some(name) => Some(
                *channels
                    .get(name.as_str())
                    .with_context(|| format!("no channel {name}"))?,
            ),
            None => None,
        };
        let new = NewRule {
            asset_id: asset,
            channel_id: channel,
            name: rule.name.clone(),
            kind: rule.kind,
            limit_value: rule.limit,
            deadband: rule.deadband,
            on_delay_s: rule.on_delay_s,
            off_delay_s: rule.off_delay_s,
            min_samples: rule.min_samples,
            severity: rule.severity,
            failure_mode_id: rule
                .mode
                .as_deref()
                .and_then(|code| class.modes.get(code))
                .copied(),
            makes_ticket: true,
            latched: false,
            enabled: true,
            params: Params::default(),
        };
        db::ensure_alarm_rule(connection, self.tenant, &new).await?;
        Ok(())
    }
}
