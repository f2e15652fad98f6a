//! Every table and every function of the schema, asked by the API's role for another tenant's rows.

use sqlx::AssertSqlSafe;

use super::testing::TestDatabase;
use super::{Role, act_for};
use crate::db::fixture::Plant;
use crate::id::TenantId;

/// Tables that have rows of `tenant`, with how many.
async fn filled(database: &TestDatabase, tenant: TenantId) -> Vec<(String, i64)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped ORDER BY 1",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT count(*) FROM {table} WHERE tenant_id = $1"
        )))
        .bind(tenant)
        .fetch_one(&database.owner)
        .await
        .unwrap();
        all.push((table, count));
    }
    all
}

#[tokio::test]
async fn no_table_shows_another_tenants_rows() {
    let database = TestDatabase::new().await;
    let north = Plant::new(&database.owner, "north").await;
    let south = Plant::new(&database.owner, "south").await;
    // A row in every table, whatever it needs: foreign keys and checks are off for this one session.
    let tables = filled(&database, north.tenant).await;
    let mut owner = database.owner.acquire().await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica")
        .execute(&mut *owner)
        .await
        .unwrap();
    for (table, count) in &tables {
        if *count > 0 || ["reading", "feature", "assessment", "discrete_event"].contains(&table.as_str()) {
            continue;
        }
        let columns: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT column_name::text, udt_name::text,
                    (SELECT e.enumlabel::text FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
                     WHERE t.typname = udt_name ORDER BY e.enumsortorder LIMIT 1)
             FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = $1 AND is_identity = 'NO'
               AND (column_name = 'tenant_id' OR (is_nullable = 'NO' AND column_default IS NULL))",
        )
        .bind(table)
        .fetch_all(&mut *owner)
        .await
        .unwrap();
        let checks: Vec<String> = sqlx::query_scalar(
            "SELECT conname::text FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'",
        )
        .bind(table)
        .fetch_all(&mut *owner)
        .await
        .unwrap();
        for check in checks {
            let sql = format!("ALTER TABLE {table} DROP CONSTRAINT {check}");
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut *owner)
                .await
                .unwrap();
        }
        let values: Vec<String> = columns
            .iter()
            .map(
                |(name, kind, label)| match (name.as_str(), kind.as_str(), label) {
                    ("tenant_id", ..) => format!("'{}'", north.tenant.uuid()),
                    (_, _, Some(label)) => format!("'{label}'"),
                    (_, "uuid", _) => "gen_random_uuid()".into(),
                    (_, "jsonb", _) => "'{}'".into(),
                    (_, "timestamptz" | "date", _) => "now()".into(),
                    (_, "bytea", _) => "sha256('x')".into(),
                    (_, "_text", _) => "ARRAY['x']".into(),
                    (_, kind, _) if kind.starts_with('_') => "'{}'".into(),
                    (_, "text", _) => "'x'".into(),
                    (_, "bool", _) => "true".into(),
                    _ => "1".into(),
                },
            )
            .collect();
        let names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            names.join(", "),
            values.join(", ")
        );
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut *owner)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    drop(owner);

    let pool = database.pool(Role::Api);
    for (table, count) in filled(&database, north.tenant).await {
        let hypertable = ["feature", "assessment", "discrete_event"].contains(&table.as_str());
        assert!(
            count > 0 || hypertable,
            "{table} is empty: nothing would be proved"
        );
        let readable: bool =
            sqlx::query_scalar("SELECT has_table_privilege('forewarn_api', 'public.' || $1, 'SELECT')")
                .bind(&table)
                .fetch_one(&database.owner)
                .await
                .unwrap();
        if !readable {
            continue;
        }
        let mut tx = pool.begin().await.unwrap();
        act_for(&mut tx, south.tenant).await.unwrap();
        // Built-in models, which have no tenant, are everybody's.
        let foreign = format!(
            "SELECT count(*) FROM {table} WHERE tenant_id IS NOT NULL AND tenant_id <> current_tenant()"
        );
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(foreign))
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(seen, 0, "{table} shows another tenant's rows");
        for order in [
            format!("UPDATE {table} SET tenant_id = tenant_id"),
            format!("DELETE FROM {table}"),
        ] {
            let mut attempt = pool.begin().await.unwrap();
            act_for(&mut attempt, south.tenant).await.unwrap();
            // Refused by a missing right, or done to one's own rows only: both are good.
            let _ = sqlx::raw_sql(AssertSqlSafe(order)).execute(&mut *attempt).await;
            let _ = attempt.commit().await;
        }
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT count(*) FROM {table} WHERE tenant_id = $1"
        )))
        .bind(north.tenant)
        .fetch_one(&database.owner)
        .await
        .unwrap();
        assert_eq!(left, count, "{table}: another tenant removed rows");
    }
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn no_function_shows_another_tenants_rows() {
    let database = TestDatabase::new().await;
    let north = Plant::new(&database.owner, "north").await;
    let south = Plant::new(&database.owner, "south").await;
    let machine = north.machine("P-1").await;
    sqlx::query("INSERT INTO reading VALUES (now(), 1, $1, 0)")
        .bind(machine.channel)
        .execute(&database.owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO discrete_event VALUES (now(), $1, $2, $3, 'E', 0, NULL)")
        .bind(north.tenant)
        .bind(north.device)
        .bind(machine.asset)
        .execute(&database.owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO assessment (window_end, tenant_id, asset_id, model_version_id, window_start, health, coverage,
             freshness_s, factors, code_version)
         VALUES (now(), $1, $2, gen_random_uuid(), now(), 50, 1, 0, '[]', 'test')",
    )
    .bind(north.tenant)
    .bind(machine.asset)
    .execute(&database.owner)
    .await
    .unwrap();
    sqlx::query("INSERT INTO feature VALUES (now(), $1, $2, now(), '{}')")
        .bind(north.tenant)
        .bind(machine.asset)
        .execute(&database.owner)
        .await
        .unwrap();
    sqlx::query("UPDATE channel SET cadence_s = 0.001")
        .execute(&database.owner)
        .await
        .unwrap();
    // Every function that the API may call and that runs with the owner's rights is either tried here
    // or known to serve the time before a tenant is known.
    let asset = format!("'{}'", machine.asset.uuid());
    let channel = machine.channel.0;
    let range = "now() - interval '1 day', now() + interval '1 day'";
    let calls = [
        ("history_raw", format!("history_raw({channel}, {range}, 10)")),
        ("history_sent", format!("history_sent({channel}, {range}, 10)")),
        (
            "history_buckets",
            format!("history_buckets({channel}, {range}, '1 hour')"),
        ),
        ("latest_readings", format!("latest_readings(ARRAY[{channel}])")),
        (
            "history_stats",
            format!("history_stats(ARRAY[{channel}], {range}, '1 hour', now(), 'raw')"),
        ),
        (
            "history_many",
            format!("history_many(ARRAY[{channel}], {range}, 10)"),
        ),
        (
            "history_outline",
            format!("history_outline(ARRAY[{channel}], {range}, '1 hour', now(), 'hour')"),
        ),
        (
            "history_at",
            format!("history_at(ARRAY[{channel}], ARRAY[now() + interval '1 s'], '1 day')"),
        ),
        ("own_events", format!("own_events({asset}, {range}, 10)")),
        (
            "latest_assessments",
            format!("latest_assessments(ARRAY[{asset}::uuid])"),
        ),
        ("latest_assessments", "latest_assessments(NULL)".to_owned()),
        ("latest_health", format!("latest_health(ARRAY[{asset}::uuid])")),
        ("latest_health", "latest_health(NULL)".to_owned()),
        (
            "assessment_history",
            format!("assessment_history({asset}, {range}, 10)"),
        ),
        ("latest_features", format!("latest_features({asset})")),
        (
            "cadence_gaps",
            format!("cadence_gaps(NULL, {channel}, {range}, 0, 10)"),
        ),
    ];
    let before_a_tenant = [
        "auth_user_by_email",
        "auth_record_signin",
        "auth_memberships",
        "auth_open_tenant",
        "auth_api_key",
        "schema_version",
        "claim_gateway",
        "claim_is_open",
        "outbox_horizon",
        "tenant_ids",
    ];
    let doors: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT p.proname::text FROM pg_proc p
         WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
           AND has_function_privilege('forewarn_api', p.oid, 'EXECUTE')",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    for door in &doors {
        let tried = calls.iter().any(|(name, _)| name == door) || before_a_tenant.contains(&door.as_str());
        assert!(tried, "the function {door} is not tried here");
    }
    let pool = database.pool(Role::Api);
    for (name, call) in &calls {
        assert!(
            doors.iter().any(|door| door == name),
            "the API may not call {name}"
        );
        for (tenant, expect) in [(south.tenant, 0), (north.tenant, 1)] {
            let mut tx = pool.begin().await.unwrap();
            act_for(&mut tx, tenant).await.unwrap();
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {call}")))
                .fetch_one(&mut *tx)
                .await
                .unwrap_or_else(|error| panic!("{call}: {error}"));
            assert_eq!(rows, expect, "{call}");
        }
        let error = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {call}")))
            .fetch_all(&pool)
            .await
            .unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{call} without a tenant");
    }
    pool.close().await;
    database.drop_now().await;
}
