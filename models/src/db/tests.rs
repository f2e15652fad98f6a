use std::future::poll_fn;
use std::task::Poll;

use sqlx::Row;

use super::testing::TestDatabase;
use super::*;
use crate::alarm::Suppression;
use crate::asset::AssetStatus;
use crate::time::Timestamp;

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

#[tokio::test]
async fn a_transaction_acts_for_its_tenant_and_leaves_nothing_behind() {
    let database = TestDatabase::new().await;
    // One connection: whoever comes next gets the same.
    let pool = connect(&database.url(), Role::Api, 1).unwrap();
    for end in ["dropped", "rolled back", "committed"] {
        let tenant = TenantId::new();
        let mut tx = begin_for(&pool, tenant).await.unwrap();
        let acting: TenantId = sqlx::query_scalar("SELECT current_tenant()")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(acting, tenant);
        match end {
            "committed" => tx.commit().await.unwrap(),
            "rolled back" => tx.rollback().await.unwrap(),
            _ => drop(tx),
        }
        let error = sqlx::query("SELECT current_tenant()").execute(&pool).await;
        let error = error.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{end}");
    }
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_connection_that_died_while_it_waited_is_replaced() {
    let database = TestDatabase::new().await;
    let pool = connect(&database.url(), Role::Api, 1).unwrap();
    let mut tx = begin_for(&pool, TenantId::new()).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    drop(tx);
    sqlx::query("SELECT pg_terminate_backend($1, 10000)")
        .bind(pid)
        .execute(&database.owner)
        .await
        .unwrap();
    // The trust in it ends; until then a question may fail, and afterwards none does.
    let given_up = std::time::Instant::now() + Duration::from_secs(20);
    let answered = async {
        loop {
            match begin_for(&pool, TenantId::new()).await {
                Ok(_) => return true,
                Err(error) => assert!(
                    is_retryable(&error) && std::time::Instant::now() < given_up,
                    "{error}"
                ),
            }
        }
    };
    assert!(answered.await);
    pool.close().await;
    database.drop_now().await;
}

/// As when somebody's browser goes away while the request's transaction begins.
#[tokio::test]
async fn a_transaction_that_began_for_nobody_ends_with_its_connection() {
    let database = TestDatabase::new().await;
    let pool = connect(&database.url(), Role::Api, 1).unwrap();
    let is_left = async || -> bool {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                              AND application_name = 'forewarn-api' AND state = 'idle in transaction')",
        )
        .fetch_one(&database.owner)
        .await
        .unwrap()
    };
    let tenant = TenantId::new();
    let mut left = false;
    // Until one is dropped after the database has begun it and before sqlx has heard so.
    for _ in 0..1000 {
        drop(pool.acquire().await.unwrap());
        assert!(!is_left().await);
        let mut begin = Box::pin(begin_for(&pool, tenant));
        while poll_fn(|context| Poll::Ready(begin.as_mut().poll(context).is_pending())).await {
            left = is_left().await;
            if left {
                break;
            }
        }
        if left {
            break;
        }
    }
    assert!(left, "no transaction was left behind");
    let mut connection = pool.acquire().await.unwrap();
    let question =
        "SELECT now() = statement_timestamp(), coalesce(current_setting('forewarn.tenant_id', true), '')";
    let row = sqlx::raw_sql(question).fetch_one(&mut *connection).await.unwrap();
    let (alone, acts_for): (bool, String) = (row.get(0), row.get(1));
    assert!(alone, "in the transaction of somebody who is gone");
    assert_eq!(acts_for, "", "for the tenant of somebody who is gone");
    drop(connection);
    pool.close().await;
    database.drop_now().await;
}

/// As when the dispatcher that was about to let it speak again was killed, and another is faster than the next.
#[tokio::test]
async fn an_alarm_of_what_is_back_in_service_is_judged_as_such() {
    let database = TestDatabase::new().await;
    let plant = fixture::Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let rule = plant.rule(machine, "hot", |_| ()).await;
    let (ingest, pool) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let at = Timestamp::from_secs(1_750_000_000);
    let mut watches = [alarm::Watch {
        rule: &rule,
        machine: crate::alarm::Machine::default(),
        samples: vec![(at, 11.0, crate::reading::Quality::Good)],
    }];
    let mut tx = ingest.begin().await.unwrap();
    alarm::evaluate(&mut tx, &mut watches, Timestamp::MIN, "ingest")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let judged = async |status: AssetStatus, looks: bool| {
        let mut connection = database.owner.acquire().await.unwrap();
        fixture_scenario::set_status(&mut connection, &[machine.asset], status)
            .await
            .unwrap();
        drop(connection);
        let mut tx = pool.begin().await.unwrap();
        if looks {
            alarm::suppress_by_plant(&mut tx, at, 300.0).await.unwrap();
        }
        let (_, id) = dispatch::waiting_alarms(&mut tx, None, 1).await.unwrap()[0];
        let sign = dispatch::take_alarm(&mut tx, id).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        sign.suppression
    };
    assert_eq!(
        judged(AssetStatus::InStorage, true).await,
        Suppression::OutOfService
    );
    assert_eq!(
        judged(AssetStatus::InStorage, false).await,
        Suppression::OutOfService
    );
    assert_eq!(judged(AssetStatus::Operational, false).await, Suppression::None);
    assert_eq!(judged(AssetStatus::Operational, true).await, Suppression::None);
    ingest.close().await;
    pool.close().await;
    database.drop_now().await;
}
