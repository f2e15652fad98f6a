//! The life of a model on a real database: trained, promoted, used, taken back, watched.

use models::db::Role;
use models::db::assessment::{self as db, FeatureRow, PromoteError};
use models::db::fixture::Plant;
use models::db::testing::TestDatabase;
use models::id::AssetId;
use models::time::Timestamp;
use sqlx::PgPool;

use super::super::remaining::RemainingModel;
use super::super::{FailureModel, drift, schedule, train};
use crate::config::Config;
use crate::features::NAMES;
use crate::testing::noise;

const HOURS: usize = 400;

fn now() -> Timestamp {
    Timestamp::from_secs(1_772_323_200 + HOURS as i64 * 3600)
}

/// Machines whose first channel rises for three days before they fail; the reports say when.
async fn fleet(database: &TestDatabase, pool: &PgPool, plant: &Plant, machines: usize) -> Vec<AssetId> {
    let mut assets = Vec::new();
    for machine in 0..machines {
        let asset = plant.machine(&format!("m{machine}")).await.asset;
        let failed = (machine % 2 == 0).then_some(150 + 7 * machine);
        let rows: Vec<FeatureRow> = (0..HOURS)
            .map(|hour| {
                let before = failed
                    .filter(|at| *at >= hour)
                    .map_or(1e9, |at| (at - hour) as f64);
                let level = noise(machine * HOURS + hour) + 4.0 * (1.0 - before / 72.0).max(0.0);
                let numbers: Vec<f64> = (0..NAMES.len())
                    .map(|place| {
                        if place == 0 {
                            level
                        } else {
                            noise(1_000_000 + hour * 20 + place)
                        }
                    })
                    .collect();
                let window_end = Timestamp::from_secs(1_772_323_200 + hour as i64 * 3600);
                FeatureRow {
                    tenant: plant.tenant,
                    asset,
                    window_start: window_end.plus_seconds(-86_400.0),
                    window_end,
                    features: serde_json::json!({ "vibration": numbers, "regime": 0, "errors_24h": 0 })
                        .to_string(),
                }
            })
            .collect();
        db::write_features(&mut pool.acquire().await.unwrap(), &rows, 0.0)
            .await
            .unwrap();
        if let Some(at) = failed {
            sqlx::query(
                "INSERT INTO failure_report (id, tenant_id, asset_id, failed_at, source, weight)
                 VALUES (gen_random_uuid(), $1, $2, $3, 'person', 0.9)",
            )
            .bind(plant.tenant)
            .bind(asset)
            .bind(Timestamp::from_secs(1_772_323_200 + at as i64 * 3600 + 60))
            .execute(&database.owner)
            .await
            .unwrap();
        }
        assets.push(asset);
    }
    assets
}

#[tokio::test]
async fn a_model_is_trained_promoted_taken_back_and_watched() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "works").await;
    let pool = database.pool(Role::Analytics);
    fleet(&database, &pool, &plant, 24).await;
    let args = train::Args {
        days: 100.0,
        promote: true,
    };
    let mut both = train::run(&pool, None, args, now(), |_| ()).await.unwrap();
    let life = both.remove(1);
    assert_eq!(
        (life.name, life.outcome, life.version),
        (RemainingModel::NAME, "promoted", Some(1)),
        "{life:?}"
    );
    assert_eq!(life.figures["runs"], 12, "{life:?}");
    let first = both.remove(0);
    assert_eq!((first.outcome, first.version), ("promoted", Some(1)), "{first:?}");
    assert_eq!(first.leaks, []);
    let mut connection = pool.acquire().await.unwrap();
    let model = db::model_get(&mut connection, first.model.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (model.status.as_str(), model.scope_name.as_deref()),
        ("champion", Some("pump"))
    );
    let card = &model.card.0;
    assert_eq!(card["rows"], 24 * HOURS);
    assert!(
        card["figures"]["24h"]["brier"].is_f64() && card["figures"]["labels"]["person"]["n"] == 12,
        "{card}"
    );
    assert!(
        card["limits"]
            .as_array()
            .unwrap()
            .iter()
            .any(|limit| limit.as_str().unwrap().contains("uncertain")),
        "{card}"
    );

    // The same rows again: no better than what stands.
    let mut both = train::run(&pool, Some("pump"), args, now(), |_| ())
        .await
        .unwrap();
    let life = both.remove(1);
    assert_eq!((life.outcome, life.version), ("candidate", Some(2)));
    assert!(life.why[0].contains("runs to failure are new"), "{:?}", life.why);
    let second = both.remove(0);
    assert_eq!(
        (second.outcome, second.version),
        ("candidate", Some(2)),
        "{second:?}"
    );
    assert!(
        second.why[0].contains("failures are new since the champion was learned"),
        "{:?}",
        second.why
    );
    assert!(train::run(&pool, Some("fan"), args, now(), |_| ()).await.is_err());
    let (one, two) = (first.model.unwrap(), second.model.unwrap());
    assert!(matches!(
        db::promote(&mut connection, one, "test").await,
        Err(PromoteError::IsChampion)
    ));
    assert!(matches!(
        db::roll_back(&mut connection, two, "test").await,
        Err(PromoteError::NotFound)
    ));
    assert!(matches!(
        db::roll_back(&mut connection, one, "test").await,
        Err(PromoteError::NothingBefore)
    ));
    db::promote(&mut connection, two, "test").await.unwrap();
    let statuses = |rows: Vec<db::ModelRow>| {
        rows.into_iter()
            .map(|row| (row.version, row.status))
            .collect::<Vec<_>>()
    };
    let listed = db::model_list(&mut connection, Some(FailureModel::NAME), None, 10)
        .await
        .unwrap();
    assert_eq!(
        statuses(listed),
        [(2, "champion".to_owned()), (1, "retired".to_owned())]
    );
    assert_eq!(db::roll_back(&mut connection, two, "test").await.unwrap(), one);
    let kinds: Vec<String> = db::model_events(&mut connection, two)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.kind)
        .collect();
    assert_eq!(kinds, ["trained", "promoted", "rolled_back"]);

    let look = drift::run(&pool, 100.0, now()).await.unwrap().remove(0);
    assert!(!look.retrain, "{:?}", look.reasons);
    for watched in [FailureModel::NAME, RemainingModel::NAME, "baseline"] {
        assert!(look.figures[watched].is_object(), "{watched}: {}", look.figures);
    }
    sqlx::query("UPDATE feature SET features = jsonb_set(features, '{vibration}', (SELECT jsonb_agg(v::float8 + 9) FROM jsonb_array_elements_text(features->'vibration') v))")
        .execute(&database.owner)
        .await
        .unwrap();
    let look = drift::run(&pool, 100.0, now()).await.unwrap().remove(0);
    assert!(
        look.retrain && look.reasons[0].contains("distributed otherwise"),
        "{:?}",
        look.reasons
    );
    let latest = db::drift_latest(&mut connection).await.unwrap();
    assert_eq!((latest.len(), latest[0].retrain), (1, true));
    let told: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE kind = 'model.retrain_proposed'")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(told, 1);
    // By the calendar: trained a moment ago, so nothing is due; later it is.
    let config = Config::default();
    assert_eq!(
        schedule::round(&config, &pool, Timestamp::now()).await.unwrap(),
        0
    );
    let later = Timestamp::now().plus_seconds(8.0 * 86_400.0);
    assert_eq!(schedule::round(&config, &pool, later).await.unwrap(), 1);
    drop(connection);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn too_few_failures_are_said_with_bounds() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "works").await;
    let pool = database.pool(Role::Analytics);
    fleet(&database, &pool, &plant, 3).await;
    sqlx::query("UPDATE asset SET installed_at = $1")
        .bind(now().plus_seconds(-200.0 * 86_400.0))
        .execute(&database.owner)
        .await
        .unwrap();
    let args = train::Args {
        days: 100.0,
        promote: true,
    };
    let mut both = train::run(&pool, None, args, now(), |_| ()).await.unwrap();
    let life = both.remove(1);
    assert_eq!((life.outcome, life.model), ("too_few_failures", None));
    assert!(life.why[0].contains("2 runs of 2 machines"), "{:?}", life.why);
    let trained = both.remove(0);
    assert_eq!((trained.outcome, trained.model), ("too_few_failures", None));
    assert!(
        trained.why[0].contains("2 failures of 2 machines") || trained.why[0].contains("too few failures"),
        "{:?}",
        trained.why
    );
    assert!(
        trained.why[1].contains("with 90 % confidence at least"),
        "{:?}",
        trained.why
    );
    pool.close().await;
    database.drop_now().await;
}
