use super::testing::TestDatabase;
use super::*;

#[tokio::test]
async fn every_table_of_a_tenant_is_guarded() {
    let database = TestDatabase::new().await;
    let bare: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relrowsecurity
           AND c.relname NOT IN (SELECT hypertable_name FROM timescaledb_information.hypertables)",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(
        bare,
        Vec::<String>::new(),
        "tables with a tenant and without row-level security"
    );
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT hypertable_name::text FROM timescaledb_information.hypertables
         WHERE has_table_privilege('forewarn_api', 'public.' || hypertable_name, 'SELECT, INSERT, UPDATE, DELETE')",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(
        open,
        Vec::<String>::new(),
        "hypertables that the API can reach past its functions"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn without_a_tenant_the_api_sees_an_error_not_everything() {
    let database = TestDatabase::new().await;
    let pool = database.pool(Role::Api);
    let error = sqlx::query("SELECT * FROM asset")
        .fetch_all(&pool)
        .await
        .unwrap_err();
    assert_eq!(
        error
            .as_database_error()
            .and_then(|error| error.code())
            .as_deref(),
        Some("42501")
    );
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn an_empty_installation_has_a_status() {
    let database = TestDatabase::new().await;
    let mut connection = database.owner.acquire().await.unwrap();
    let status = status::status(&mut connection).await.unwrap();
    assert_eq!(
        (status.tenants, status.readings_stored, status.last_received_at),
        (0, 0, None)
    );
    drop(connection);
    database.drop_now().await;
}
