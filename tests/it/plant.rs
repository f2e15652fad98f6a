//! A small plant in the register, and the agent that feeds it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use models::alarm::{Kind, Params, Severity};
use models::db::alarm::NewRule;
use models::db::auth::{Secret, SecretKind};
use models::db::register as db;
use models::db::testing::TestDatabase;
use models::id::{AssetId, ChannelId};
use models::tenant::MemberRole;

pub const TENANT: &str = "acme";
pub const GATEWAY: &str = "line-1";
pub const EMAIL: &str = "planner@acme.example";
pub const PASSWORD: &str = "correct horse battery staple";

/// Channels of the recorded run that [`Plant::agent_config`] replays.
const COLUMNS: [&str; 5] = ["a", "b", "c", "d", "e"];

pub struct Plant {
    pub asset: AssetId,
    pub temperature: ChannelId,
    pub secret: Secret,
}

impl Plant {
    /// One tenant, one pump with a temperature that alarms above 90 °C, one gateway, one planner.
    pub async fn register(database: &TestDatabase) -> Self {
        let mut transaction = database.owner.begin().await.unwrap();
        let connection = &mut *transaction;
        let tenant = db::ensure_tenant(
            connection,
            &db::NewTenant {
                slug: TENANT,
                name: "Acme",
            },
        )
        .await
        .unwrap();
        let site = db::ensure_site(
            connection,
            &db::NewSite {
                tenant,
                name: "Main",
                time_zone: "Europe/Berlin",
            },
        )
        .await
        .unwrap();
        let class = db::ensure_asset_class(
            connection,
            &db::NewAssetClass {
                tenant,
                name: "Pump",
                weibull: Some((2.0, 20_000.0)),
            },
        )
        .await
        .unwrap();
        let mode = db::NewFailureMode {
            tenant,
            class,
            code: "bearing_wear",
            name: "Bearing wear",
            mechanism: None,
            pf_interval_days: Some(20.0),
            required_skill: None,
            repair_hours: Some(4.0),
            repair_cost: Some(500.0),
        };
        let mode = db::ensure_failure_mode(connection, &mode).await.unwrap();
        let asset = db::ensure_asset(
            connection,
            &db::NewAsset::named(tenant, site, class, "P-1 feed pump"),
        )
        .await
        .unwrap();
        let gateway = db::NewGateway {
            tenant,
            site,
            slug: GATEWAY,
            name: "Line 1",
        };
        let gateway = db::ensure_gateway(connection, &gateway).await.unwrap();
        let secret = Secret::generate(SecretKind::Gateway);
        db::ensure_gateway_credential(connection, tenant, gateway, secret.hash())
            .await
            .unwrap();
        let device = db::ensure_device(connection, tenant, gateway, "pump-1", Some(asset))
            .await
            .unwrap();
        let channel = db::NewChannel {
            tenant,
            device,
            asset: Some(asset),
            name: "temperature",
            label: None,
            unit: "Cel",
            kind: models::asset::ChannelKind::Measurement,
            cadence_s: None,
            plausible: (None, None),
        };
        let temperature = db::ensure_channel(connection, &channel).await.unwrap();
        let rule = NewRule {
            asset_id: asset,
            channel_id: Some(temperature),
            name: "Too hot".into(),
            kind: Kind::High,
            limit_value: 90.0,
            deadband: 2.0,
            on_delay_s: 0.0,
            off_delay_s: 0.0,
            min_samples: 2,
            severity: Severity::Critical,
            failure_mode_id: Some(mode),
            makes_ticket: true,
            latched: false,
            enabled: true,
            params: Params::default(),
        };
        db::ensure_alarm_rule(connection, tenant, &rule).await.unwrap();
        let hash = models_password_hash();
        let user = db::NewUser {
            email: EMAIL,
            name: "Planner",
            password_hash: Some(&hash),
        };
        let user = db::ensure_user(connection, &user).await.unwrap();
        db::ensure_membership(connection, tenant, user, MemberRole::TenantAdmin, None)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        Self {
            asset,
            temperature,
            secret,
        }
    }

    /// An agent that replays `rows` rows of five channels, one a minute and ending now, as fast as it can.
    pub fn agent_config(&self, dir: &Path, port: u16, rows: usize) -> PathBuf {
        let mut recorded = String::from("a,b,c,d,e\n");
        for row in 0..rows {
            let x = row as f64;
            writeln!(
                recorded,
                "{row},{:.2},{:.1},{},{:.3}",
                x.sin() * 50.0,
                x % 97.0,
                row % 2,
                (x / 1000.0).cos()
            )
            .unwrap();
        }
        std::fs::write(dir.join("run.csv"), recorded).unwrap();
        let columns: String = COLUMNS
            .iter()
            .map(|name| format!("{name} = {{ channel = \"{name}\", unit = \"1\" }}\n"))
            .collect();
        let path = dir.join("edge.toml");
        let text = format!(
            "[uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\ntenant = \"{TENANT}\"\ngateway = \"{GATEWAY}\"\n\
             secret = \"{}\"\nretry_max_s = 0.5\n[spool]\ndir = \"spool\"\n[batch]\nmax_readings = 2000\n\
             [[collect]]\nkind = \"replay\"\nformat = \"csv\"\nfile = \"run.csv\"\ndevice = \"recorder\"\n\
             step_s = 60.0\nhistory = 1.0\non_end = \"stop\"\n[collect.columns]\n{columns}",
            self.secret.reveal()
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Readings that an agent with this many rows produces.
pub fn produced(rows: usize) -> i64 {
    i64::try_from(rows * COLUMNS.len()).unwrap()
}

/// Argon2id of [`PASSWORD`] with the least work the format allows: this is not the place to be slow.
fn models_password_hash() -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let salt = SaltString::from_b64("c29tZXNhbHRzb21l").unwrap();
    let params = argon2::Params::new(argon2::Params::MIN_M_COST, 1, 1, None).unwrap();
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password(PASSWORD.as_bytes(), &salt)
        .unwrap()
        .to_string()
}
