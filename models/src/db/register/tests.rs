use sqlx::PgConnection;

use super::*;
use crate::alarm::{Kind, Params, Severity};
use crate::asset::ChannelKind;
use crate::db::alarm::NewRule;
use crate::db::auth::{Secret, SecretKind};
use crate::db::testing::TestDatabase;
use crate::id::*;
use crate::tenant::{MemberRole, Permission};

/// Registers one of everything and returns all ids as text.
async fn register(connection: &mut PgConnection, secret: &Secret) -> Vec<String> {
    let tenant = ensure_tenant(
        connection,
        &NewTenant {
            slug: "north",
            name: "North",
        },
    )
    .await
    .unwrap();
    let new = NewSite {
        tenant,
        name: "Mill",
        time_zone: "Europe/Berlin",
    };
    let site = ensure_site(connection, &new).await.unwrap();
    let area = ensure_area(
        connection,
        &NewArea {
            tenant,
            site,
            name: "Hall 1",
        },
    )
    .await
    .unwrap();
    let new = NewUser {
        email: "Ada@Example.org",
        name: "Ada",
        password_hash: None,
    };
    let user = ensure_user(connection, &new).await.unwrap();
    ensure_membership(connection, tenant, user, MemberRole::Planner, None)
        .await
        .unwrap();
    let new = NewAssetClass {
        tenant,
        name: "pump",
        weibull: Some((1.8, 9000.0)),
    };
    let class = ensure_asset_class(connection, &new).await.unwrap();
    let new = NewAsset {
        area: Some(area),
        ..NewAsset::named(tenant, site, class, "P-101")
    };
    let asset = ensure_asset(connection, &new).await.unwrap();
    let mode = ensure_failure_mode(
        connection,
        &NewFailureMode {
            tenant,
            class,
            code: "bearing_wear",
            name: "Bearing wear",
            mechanism: None,
            pf_interval_days: Some(30.0),
            required_skill: None,
            repair_hours: Some(6.0),
            repair_cost: None,
        },
    )
    .await
    .unwrap();
    let bom = ensure_bom_item(
        connection,
        &NewBomItem {
            tenant,
            asset,
            failure_mode: Some(mode),
            part_number: "6308",
            description: "deep groove ball bearing",
            quantity: 2.0,
            unit: "1",
            lead_time_days: Some(4.0),
        },
    )
    .await
    .unwrap();
    let new = NewGateway {
        tenant,
        site,
        slug: "gw-1",
        name: "Gateway 1",
    };
    let gateway = ensure_gateway(connection, &new).await.unwrap();
    let credential = ensure_gateway_credential(connection, tenant, gateway, secret.hash())
        .await
        .unwrap();
    let device = ensure_device(connection, tenant, gateway, "plc", Some(asset))
        .await
        .unwrap();
    let channel = ensure_channel(
        connection,
        &NewChannel {
            tenant,
            device,
            asset: Some(asset),
            name: "power",
            label: None,
            unit: "kW",
            kind: ChannelKind::Measurement,
            cadence_s: Some(10.0),
            plausible: (Some(0.0), None),
        },
    )
    .await
    .unwrap();
    let meter = ensure_meter(
        connection,
        &NewMeter {
            tenant,
            asset,
            name: "hours",
            unit: "h",
            movement: MeterMovement::RunningState { channel, above: 1.0 },
            max_rate_per_h: Some(1.0),
            total: 120.0,
        },
    )
    .await
    .unwrap();
    let plan = ensure_plan(
        connection,
        &NewPlan {
            tenant,
            asset,
            name: "Grease",
            failure_mode: Some(mode),
            enabled: true,
            basis: "floating",
            all_of: false,
            every_days: Some(90),
            every_units: Some((meter, 500.0)),
            lead_days: 7,
            lead_units: 20.0,
            open_instance: "skip",
            anchor_date: "2026-01-01",
            anchor_units: 0.0,
            priority: "medium",
            tasks: serde_json::json!([{"kind": "check", "text": "grease both bearings", "mandatory": true}]),
        },
    )
    .await
    .unwrap();
    let rule = ensure_alarm_rule(
        connection,
        tenant,
        &NewRule {
            asset_id: asset,
            channel_id: Some(channel),
            name: "power high".into(),
            kind: Kind::High,
            limit_value: 55.0,
            deadband: 1.0,
            on_delay_s: 30.0,
            off_delay_s: 30.0,
            min_samples: 3,
            severity: Severity::Warning,
            failure_mode_id: None,
            makes_ticket: true,
            latched: false,
            enabled: true,
            params: Params::default(),
        },
    )
    .await
    .unwrap();
    vec![
        tenant.to_string(),
        site.to_string(),
        area.to_string(),
        user.to_string(),
        class.to_string(),
        asset.to_string(),
        mode.to_string(),
        bom.to_string(),
        gateway.to_string(),
        credential.to_string(),
        device.to_string(),
        channel.to_string(),
        meter.to_string(),
        plan.to_string(),
        rule.to_string(),
    ]
}

#[tokio::test]
async fn registering_twice_changes_nothing() {
    let database = TestDatabase::new().await;
    let mut connection = database.owner.acquire().await.unwrap();
    let secret = Secret::generate(SecretKind::Gateway);
    let first = register(&mut connection, &secret).await;
    let second = register(&mut connection, &secret).await;
    assert_eq!(first, second);
    let scheduled: i64 = sqlx::query_scalar("SELECT count(*) FROM assessment_schedule")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(scheduled, 1);
    let tenant: TenantId = first[0].parse().unwrap();
    let new = NewApiKey {
        tenant,
        name: "export",
        secret_hash: Secret::generate(SecretKind::ApiKey).hash(),
        scopes: &[Permission::AssetsRead],
        created_by: first[3].parse().ok(),
        expires_at: None,
    };
    create_api_key(&mut connection, &new).await.unwrap();
    drop(connection);
    database.drop_now().await;
}

#[tokio::test]
async fn a_device_that_moves_takes_its_channels_but_not_those_placed_by_hand() {
    let database = TestDatabase::new().await;
    let mut connection = database.owner.acquire().await.unwrap();
    let ids = register(&mut connection, &Secret::generate(SecretKind::Gateway)).await;
    let (tenant, site, class): (TenantId, SiteId, AssetClassId) = (
        ids[0].parse().unwrap(),
        ids[1].parse().unwrap(),
        ids[4].parse().unwrap(),
    );
    let (device, channel): (DeviceId, ChannelId) = (ids[10].parse().unwrap(), ids[11].parse().unwrap());
    let second = create_asset(&mut connection, &NewAsset::named(tenant, site, class, "P-102"))
        .await
        .unwrap();
    let third = create_asset(&mut connection, &NewAsset::named(tenant, site, class, "P-103"))
        .await
        .unwrap();
    bind_device(&mut connection, device, Some(second)).await.unwrap();
    let asset_of = "SELECT asset_id FROM channel WHERE id = $1";
    let now: AssetId = sqlx::query_scalar(asset_of)
        .bind(channel)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(now, second);
    sqlx::query("UPDATE channel SET asset_id = $2 WHERE id = $1")
        .bind(channel)
        .bind(third)
        .execute(&mut *connection)
        .await
        .unwrap();
    bind_device(&mut connection, device, None).await.unwrap();
    let now: AssetId = sqlx::query_scalar(asset_of)
        .bind(channel)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(now, third);
    drop(connection);
    database.drop_now().await;
}

#[tokio::test]
async fn a_doubled_name_breaks_a_named_constraint() {
    let database = TestDatabase::new().await;
    let mut connection = database.owner.acquire().await.unwrap();
    create_tenant(
        &mut connection,
        &NewTenant {
            slug: "north",
            name: "North",
        },
    )
    .await
    .unwrap();
    let error = create_tenant(
        &mut connection,
        &NewTenant {
            slug: "north",
            name: "Again",
        },
    )
    .await
    .unwrap_err();
    assert_eq!(crate::db::broken_constraint(&error), Some("tenant_slug_key"));
    drop(connection);
    database.drop_now().await;
}
