//! A small plant for tests of alarms, cases, tickets and plans.

pub mod health;
mod work;

use sqlx::PgPool;

use crate::alarm::{Kind, Params, Rule, Severity};
use crate::id::{
    AlarmRuleId, AssetClassId, AssetId, ChannelId, DeviceId, FailureModeId, GatewayId, ModelVersionId,
    SiteId, TenantId, UserId,
};

/// One tenant with a site, a class, a gateway and a device.
#[derive(Clone, Debug)]
pub struct Plant {
    pub tenant: TenantId,
    pub site: SiteId,
    pub class: AssetClassId,
    pub device: DeviceId,
    pub planner: UserId,
    pool: PgPool,
}

/// An asset with one channel.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub asset: AssetId,
    pub channel: ChannelId,
}

/// A champion that is no tenant's.
///
/// # Panics
/// When the database refuses.
pub async fn champion(owner: &PgPool) -> ModelVersionId {
    let id = ModelVersionId::new();
    sqlx::query(
        "INSERT INTO model_version (id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         VALUES ($1, 'failure_probability', 'test', 1, 'champion', '{}', '{}', 'test', now(), now())",
    )
    .bind(id)
    .execute(owner)
    .await
    .expect("model version");
    id
}

impl Plant {
    /// # Panics
    /// When the database refuses, as everything here does: a test can't go on then.
    pub async fn new(owner: &PgPool, slug: &str) -> Self {
        let plant = Self {
            tenant: TenantId::new(),
            site: SiteId::new(),
            class: AssetClassId::new(),
            device: DeviceId::new(),
            planner: UserId::new(),
            pool: owner.clone(),
        };
        let gateway = GatewayId::new();
        let mut tx = owner.begin().await.expect("begin");
        sqlx::query("INSERT INTO tenant (id, slug, name) VALUES ($1, $2, $2)")
            .bind(plant.tenant)
            .bind(slug)
            .execute(&mut *tx)
            .await
            .expect("tenant");
        sqlx::query("INSERT INTO app_user (id, email, name) VALUES ($1, $2, 'Planner')")
            .bind(plant.planner)
            .bind(format!("planner@{slug}.example"))
            .execute(&mut *tx)
            .await
            .expect("user");
        sqlx::query("INSERT INTO membership (tenant_id, user_id, role) VALUES ($1, $2, 'planner')")
            .bind(plant.tenant)
            .bind(plant.planner)
            .execute(&mut *tx)
            .await
            .expect("membership");
        sqlx::query(
            "INSERT INTO site (id, tenant_id, name, time_zone) VALUES ($1, $2, 'Works', 'Europe/Berlin')",
        )
        .bind(plant.site)
        .bind(plant.tenant)
        .execute(&mut *tx)
        .await
        .expect("site");
        sqlx::query("INSERT INTO asset_class (id, tenant_id, name) VALUES ($1, $2, 'pump')")
            .bind(plant.class)
            .bind(plant.tenant)
            .execute(&mut *tx)
            .await
            .expect("class");
        sqlx::query(
            "INSERT INTO gateway (id, tenant_id, site_id, slug, name) VALUES ($1, $2, $3, 'gw', 'gw')",
        )
        .bind(gateway)
        .bind(plant.tenant)
        .bind(plant.site)
        .execute(&mut *tx)
        .await
        .expect("gateway");
        sqlx::query("INSERT INTO device (id, tenant_id, gateway_id, name) VALUES ($1, $2, $3, 'plc')")
            .bind(plant.device)
            .bind(plant.tenant)
            .bind(gateway)
            .execute(&mut *tx)
            .await
            .expect("device");
        tx.commit().await.expect("commit");
        plant
    }

    /// # Panics
    /// When the database refuses.
    pub async fn machine(&self, name: &str) -> Machine {
        let asset = AssetId::new();
        sqlx::query(
            "INSERT INTO asset (id, tenant_id, site_id, class_id, name, qr_token) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(asset)
        .bind(self.tenant)
        .bind(self.site)
        .bind(self.class)
        .bind(name)
        .bind(asset.to_string())
        .execute(&self.pool)
        .await
        .expect("asset");
        let channel = sqlx::query_scalar(
            "INSERT INTO channel (tenant_id, device_id, asset_id, name, unit) VALUES ($1, $2, $3, $4, 'mm/s') RETURNING id",
        )
        .bind(self.tenant)
        .bind(self.device)
        .bind(asset)
        .bind(name)
        .fetch_one(&self.pool)
        .await
        .expect("channel");
        Machine { asset, channel }
    }

    /// # Panics
    /// When the database refuses.
    pub async fn failure_mode(&self, code: &str) -> FailureModeId {
        let id = FailureModeId::new();
        sqlx::query(
            "INSERT INTO failure_mode (id, tenant_id, class_id, code, name) VALUES ($1, $2, $3, $4, $4)",
        )
        .bind(id)
        .bind(self.tenant)
        .bind(self.class)
        .bind(code)
        .execute(&self.pool)
        .await
        .expect("failure mode");
        id
    }

    /// A stored high-limit rule without delays: limit 10, dead band 2, serious.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn rule(&self, machine: Machine, name: &str, change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = Rule {
            id: AlarmRuleId::new(),
            tenant: self.tenant,
            asset: machine.asset,
            channel: Some(machine.channel),
            name: name.to_owned(),
            kind: Kind::High,
            limit: 10.0,
            deadband: 2.0,
            on_delay_s: 0.0,
            off_delay_s: 0.0,
            min_samples: 1,
            severity: Severity::Serious,
            failure_mode: None,
            makes_ticket: true,
            latched: false,
            params: Params::default(),
        };
        change(&mut rule);
        sqlx::query(
            "INSERT INTO alarm_rule (id, tenant_id, asset_id, channel_id, name, kind, limit_value, deadband, on_delay_s,
                 off_delay_s, min_samples, severity, failure_mode_id, makes_ticket, latched, params)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        )
        .bind(rule.id)
        .bind(rule.tenant)
        .bind(rule.asset)
        .bind(rule.channel)
        .bind(&rule.name)
        .bind(rule.kind)
        .bind(rule.limit)
        .bind(rule.deadband)
        .bind(rule.on_delay_s)
        .bind(rule.off_delay_s)
        .bind(i32::try_from(rule.min_samples).expect("small"))
        .bind(rule.severity)
        .bind(rule.failure_mode)
        .bind(rule.makes_ticket)
        .bind(rule.latched)
        .bind(sqlx::types::Json(&rule.params))
        .execute(&self.pool)
        .await
        .expect("rule");
        rule
    }
}
