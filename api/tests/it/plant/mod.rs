//! One tenant with one of everything.

use std::sync::OnceLock;

use models::alarm::{Kind, Params, Severity};
use models::asset::ChannelKind;
use models::db::alarm::NewRule;
use models::db::auth::{Secret, SecretKind};
use models::db::register::*;
use models::id::*;
use models::tenant::{MemberRole, Permission};
use models::time::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

mod rows;

pub const PASSWORD: &str = "correct horse battery staple";

/// Hashing is slow on purpose; once is enough.
fn password_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| api::auth::password::hash(PASSWORD).unwrap())
}

/// Where the servers of these tests keep files.
pub const ATTACHMENTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/attachments");
/// Begins as a PNG does.
pub const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n a lock on Q1";

pub struct Plant {
    pub slug: String,
    pub tenant: TenantId,
    pub site: SiteId,
    pub other_site: SiteId,
    pub asset: AssetId,
    pub qr_token: String,
    pub failure_mode: FailureModeId,
    pub gateway: GatewayId,
    pub credential: CredentialId,
    pub device: DeviceId,
    pub channel: ChannelId,
    pub meter: MeterId,
    pub plan: PlanId,
    pub occurrence: OccurrenceId,
    pub rule: AlarmRuleId,
    pub alarm: AlarmId,
    pub case: CaseId,
    pub prediction: PredictionId,
    pub ticket: TicketId,
    pub task: TaskId,
    pub dead_letter: DeadLetterId,
    pub model: ModelVersionId,
    pub key: ApiKeyId,
    pub admin: UserId,
    pub shift: ShiftId,
    pub requirement: RequirementId,
    pub permit: PermitId,
    pub procedure: ProcedureId,
    pub attachment: AttachmentId,
    pub lock: LockId,
    pub step: StepId,
    pub relation: RelationId,
    pub reservation: ReservationId,
    pub posting: PostingId,
    pub downtime: DowntimeId,
    pub webhook: WebhookId,
    pub delivery: DeliveryId,
    pub notification_rule: NotificationRuleId,
    owner: PgPool,
}

impl Plant {
    pub async fn new(owner: &PgPool, slug: &str) -> Self {
        let mut tx = owner.begin().await.unwrap();
        let plant = build(&mut tx, owner, slug).await;
        tx.commit().await.unwrap();
        plant
    }

    pub fn email(&self, role: &str) -> String {
        format!("{role}@{}.example", self.slug)
    }

    /// Another member.
    pub async fn member(&self, name: &str, role: MemberRole, site: Option<SiteId>) -> String {
        let mut connection = self.owner.acquire().await.unwrap();
        let email = self.email(name);
        let new = NewUser {
            email: &email,
            name,
            password_hash: Some(password_hash()),
        };
        let user = ensure_user(&mut connection, &new).await.unwrap();
        ensure_membership(&mut connection, self.tenant, user, role, site)
            .await
            .unwrap();
        email
    }

    /// A key with these permissions.
    pub async fn key(&self, scopes: &[Permission]) -> String {
        let mut connection = self.owner.acquire().await.unwrap();
        let secret = Secret::generate(SecretKind::ApiKey);
        let new = NewApiKey {
            tenant: self.tenant,
            name: "test",
            secret_hash: secret.hash(),
            scopes,
            created_by: None,
            expires_at: None,
        };
        create_api_key(&mut connection, &new).await.unwrap();
        secret.reveal().to_owned()
    }

    /// Puts this plant's ids in place of those of an example.
    pub fn fill(&self, text: &str) -> String {
        const EXAMPLE: &str = "0198c4f2a1b27c3d8e4f5a6b7c8d9e0f";
        let ids = [
            self.site.to_string(),
            self.asset.to_string(),
            self.failure_mode.to_string(),
            self.gateway.to_string(),
            self.meter.to_string(),
            self.plan.to_string(),
            self.rule.to_string(),
            self.ticket.to_string(),
            self.case.to_string(),
            self.admin.to_string(),
            self.tenant.to_string(),
        ];
        let mut text = text.replace("chn_42", &self.channel.to_string());
        for id in ids {
            text = text.replace(&format!("{}_{EXAMPLE}", &id[..3]), &id);
        }
        text
    }

    /// A path of the OpenAPI document with this plant's ids.
    pub fn path(&self, template: &str) -> String {
        let id = match template.split('/').nth(2).unwrap_or_default() {
            "api-keys" => self.key.to_string(),
            "assets" => self.asset.to_string(),
            "channels" => self.channel.to_string(),
            "alarms" => self.alarm.to_string(),
            "alarm-rules" => self.rule.to_string(),
            "cases" => self.case.to_string(),
            "predictions" => self.prediction.to_string(),
            "tickets" => self.ticket.to_string(),
            "meters" => self.meter.to_string(),
            "plans" => self.plan.to_string(),
            "gateways" => self.gateway.to_string(),
            "dead-letters" => self.dead_letter.to_string(),
            "certificate-authorities" => models::id::AuthorityId::from_uuid(self.gateway.uuid()).to_string(),
            "sites" => self.site.to_string(),
            "technicians" => self.admin.to_string(),
            "shifts" => self.shift.to_string(),
            "work-requirements" => self.requirement.to_string(),
            "work-permits" => self.permit.to_string(),
            "attachments" => self.attachment.to_string(),
            "workflow" => self.step.to_string(),
            "downtime" => self.downtime.to_string(),
            "downtime-signals" => self.rule.to_string(),
            "models" => self.model.to_string(),
            "webhooks" => self.webhook.to_string(),
            "notification-rules" => self.notification_rule.to_string(),
            _ => String::new(),
        };
        let path = template
            .replace("{id}", &id)
            .replace("{task_id}", &self.task.to_string())
            .replace("{lock_id}", &self.lock.to_string())
            .replace("{relation_id}", &self.relation.to_string())
            .replace("{reservation_id}", &self.reservation.to_string())
            .replace("{posting_id}", &self.posting.to_string())
            .replace("{credential_id}", &self.credential.to_string())
            .replace("{token}", &self.qr_token);
        let path = if path == "/v1/events" {
            format!("{path}?asset_id={}", self.asset)
        } else {
            path
        };
        assert!(
            !path.contains('{') && !path.contains("//"),
            "no id is known for {template}"
        );
        path
    }

    /// Everything that names this tenant's things.
    pub fn ids(&self) -> Vec<String> {
        vec![
            self.tenant.to_string(),
            self.site.to_string(),
            self.asset.to_string(),
            self.qr_token.clone(),
            self.gateway.to_string(),
            self.credential.to_string(),
            self.device.to_string(),
            self.meter.to_string(),
            self.plan.to_string(),
            self.occurrence.to_string(),
            self.rule.to_string(),
            self.alarm.to_string(),
            self.case.to_string(),
            self.prediction.to_string(),
            self.ticket.to_string(),
            self.task.to_string(),
            self.dead_letter.to_string(),
            self.key.to_string(),
            self.admin.to_string(),
            self.shift.to_string(),
            self.requirement.to_string(),
            self.permit.to_string(),
            self.procedure.to_string(),
            self.attachment.to_string(),
            self.lock.to_string(),
            self.step.to_string(),
            self.relation.to_string(),
            self.reservation.to_string(),
            self.posting.to_string(),
            self.downtime.to_string(),
            self.webhook.to_string(),
            self.delivery.to_string(),
            self.notification_rule.to_string(),
        ]
    }
}

async fn build(db: &mut PgConnection, owner: &PgPool, slug: &str) -> Plant {
    let tenant = create_tenant(db, &NewTenant { slug, name: slug }).await.unwrap();
    let site = create_site(
        db,
        &NewSite {
            tenant,
            name: "Works",
            time_zone: "Europe/Berlin",
        },
    )
    .await
    .unwrap();
    let other_site = create_site(
        db,
        &NewSite {
            tenant,
            name: "Mill",
            time_zone: "Europe/Oslo",
        },
    )
    .await
    .unwrap();
    let email = format!("admin@{slug}.example");
    let new = NewUser {
        email: &email,
        name: "Admin",
        password_hash: Some(password_hash()),
    };
    let admin = create_user(db, &new).await.unwrap();
    ensure_membership(db, tenant, admin, MemberRole::TenantAdmin, None)
        .await
        .unwrap();
    let class = create_asset_class(
        db,
        &NewAssetClass {
            tenant,
            name: "pump",
            weibull: None,
        },
    )
    .await
    .unwrap();
    let asset = create_asset(db, &NewAsset::named(tenant, site, class, "P-101"))
        .await
        .unwrap();
    let qr_token: String = sqlx::query_scalar("SELECT qr_token FROM asset WHERE id = $1")
        .bind(asset)
        .fetch_one(&mut *db)
        .await
        .unwrap();
    let mode = NewFailureMode {
        tenant,
        class,
        code: "bearing_wear",
        name: "Bearing wear",
        mechanism: None,
        pf_interval_days: None,
        required_skill: None,
        repair_hours: None,
        repair_cost: None,
    };
    let failure_mode = create_failure_mode(db, &mode).await.unwrap();
    let gateway = create_gateway(
        db,
        &NewGateway {
            tenant,
            site,
            slug: "gw",
            name: "GW",
        },
    )
    .await
    .unwrap();
    let secret = Secret::generate(SecretKind::Gateway);
    let credential = create_gateway_credential(db, tenant, gateway, secret.hash(), None)
        .await
        .unwrap();
    let device = ensure_device(db, tenant, gateway, "plc", Some(asset))
        .await
        .unwrap();
    let new = NewChannel {
        tenant,
        device,
        asset: Some(asset),
        name: "vibration",
        label: None,
        unit: "mm/s",
        kind: ChannelKind::Measurement,
        cadence_s: Some(10.0),
        plausible: (None, None),
    };
    let channel = ensure_channel(db, &new).await.unwrap();
    let new = NewMeter {
        tenant,
        asset,
        name: "hours",
        unit: "h",
        movement: MeterMovement::Manual,
        max_rate_per_h: None,
        total: 100.0,
    };
    let meter = create_meter(db, &new).await.unwrap();
    let new = NewPlan {
        tenant,
        asset,
        name: "Grease",
        failure_mode: None,
        enabled: true,
        basis: "floating",
        all_of: false,
        every_days: Some(90),
        every_units: Some((meter, 500.0)),
        lead_days: 0,
        lead_units: 0.0,
        open_instance: "skip",
        anchor_date: "2026-01-01",
        anchor_units: 0.0,
        priority: "medium",
        tasks: json!([{ "kind": "check", "text": "grease", "mandatory": true }]),
    };
    let plan = create_plan(db, &new).await.unwrap();
    let rule = NewRule {
        asset_id: asset,
        channel_id: Some(channel),
        name: "vibration high".into(),
        kind: Kind::High,
        limit_value: 7.1,
        deadband: 0.5,
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        severity: Severity::Serious,
        failure_mode_id: Some(failure_mode),
        makes_ticket: true,
        latched: false,
        enabled: true,
        params: Params::default(),
    };
    let rule = ensure_alarm_rule(db, tenant, &rule).await.unwrap();
    let new = NewApiKey {
        tenant,
        name: "export",
        secret_hash: Secret::generate(SecretKind::ApiKey).hash(),
        scopes: &[Permission::AssetsRead],
        created_by: Some(admin),
        expires_at: None,
    };
    let key = create_api_key(db, &new).await.unwrap();
    let mut plant = Plant {
        slug: slug.to_owned(),
        tenant,
        site,
        other_site,
        asset,
        qr_token,
        failure_mode,
        gateway,
        credential,
        device,
        channel,
        meter,
        plan,
        occurrence: OccurrenceId::new(),
        rule,
        alarm: AlarmId::new(),
        case: CaseId::new(),
        prediction: PredictionId::new(),
        ticket: TicketId::new(),
        task: TaskId::new(),
        dead_letter: DeadLetterId::new(),
        model: ModelVersionId::new(),
        key,
        admin,
        shift: ShiftId::new(),
        requirement: RequirementId::new(),
        permit: PermitId::new(),
        procedure: ProcedureId::new(),
        attachment: AttachmentId::new(),
        lock: LockId::new(),
        step: StepId::new(),
        relation: RelationId::new(),
        reservation: ReservationId::new(),
        posting: PostingId::new(),
        downtime: DowntimeId::new(),
        webhook: WebhookId::new(),
        delivery: DeliveryId::new(),
        notification_rule: NotificationRuleId::new(),
        owner: owner.clone(),
    };
    rows::happen(db, &mut plant).await;
    rows::work_around(db, &plant).await;
    plant
}
