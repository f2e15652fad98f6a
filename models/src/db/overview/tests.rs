use sqlx::PgConnection;

use super::health_tree;
use crate::asset::{AssetStatus, Criticality};
use crate::db::fixture::Plant;
use crate::db::fixture::health::{assessed, put_below};
use crate::db::register::{NewAsset, create_asset};
use crate::db::testing::TestDatabase;
use crate::db::{Role, begin_for};
use crate::health::RollUp;
use crate::health::tree::Tree;
use crate::id::AssetId;

async fn of(connection: &mut PgConnection, asset: AssetId) -> (Tree, RollUp) {
    let tree = health_tree(connection, Some(&[asset])).await.unwrap();
    let all = tree.roll_ups()[&asset];
    (tree, all)
}

#[tokio::test]
async fn health_rolls_up_over_the_parts_of_an_asset() {
    let database = TestDatabase::new().await;
    let owner = &database.owner;
    let north = Plant::new(owner, "north").await;
    let pump = north.machine("pump").await.asset;
    let bearing = north.machine("bearing").await.asset;
    let seal = north.machine("seal").await.asset;
    let spare = north.machine("spare").await.asset;
    let new = NewAsset::named(north.tenant, north.site, north.class, "motor");
    let motor = create_asset(&mut owner.acquire().await.unwrap(), &new)
        .await
        .unwrap();
    let operational = AssetStatus::Operational;
    put_below(owner, motor, pump, Criticality::Low, operational).await;
    put_below(owner, bearing, motor, Criticality::Critical, operational).await;
    put_below(owner, seal, pump, Criticality::Low, operational).await;
    put_below(owner, spare, pump, Criticality::Critical, AssetStatus::InStorage).await;
    // An older one that must not count any more.
    assessed(owner, bearing, 70.0, 7200.0).await;
    for (asset, health, age_s) in [(pump, 92.0, 60.0), (bearing, 14.0, 300.0), (spare, 3.0, 60.0)] {
        assessed(owner, asset, health, age_s).await;
    }

    let pool = database.pool(Role::Api);
    let mut tx = begin_for(&pool, north.tenant).await.unwrap();
    let (tree, all) = of(&mut tx, pump).await;
    assert_eq!((all.health(), all.own.unwrap().health), (Some(14.0), 92.0));
    let way: Vec<&str> = tree
        .path(Some(pump), bearing)
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(way, ["motor", "bearing"]);
    // The seal has channels and was never assessed; the motor has none, its bearing speaks for it.
    assert_eq!((all.parts, all.fresh, all.coverage()), (2, 1, Some(0.5)));
    let age = crate::time::Timestamp::now().seconds_since(all.oldest.unwrap());
    assert!((295.0..400.0).contains(&age), "{age}");
    // The motor alone, which nothing measures, is as its bearing is.
    let (_, alone) = of(&mut tx, motor).await;
    assert_eq!(
        (alone.own, alone.health(), alone.coverage()),
        (None, Some(14.0), Some(1.0))
    );
    // All at once says the same as one by one.
    let whole = health_tree(&mut tx, None).await.unwrap();
    let (every, sites) = (whole.roll_ups(), whole.sites());
    assert_eq!((every[&pump], every[&motor]), (all, alone));
    assert_eq!(
        (sites[&north.site].health(), sites[&north.site].parts),
        (Some(14.0), 3)
    );
    tx.rollback().await.unwrap();

    // A repaired bearing is new at once: nothing was stored that could be old.
    assessed(owner, bearing, 98.0, 10.0).await;
    let mut tx = begin_for(&pool, north.tenant).await.unwrap();
    assert_eq!(of(&mut tx, pump).await.1.health(), Some(92.0));
    tx.rollback().await.unwrap();
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_part_that_fell_silent_keeps_its_last_health_and_covers_nothing() {
    let database = TestDatabase::new().await;
    let owner = &database.owner;
    let north = Plant::new(owner, "north").await;
    let pump = north.machine("pump").await.asset;
    let slow = north.machine("slow").await;
    let silent = north.machine("silent").await.asset;
    put_below(
        owner,
        slow.asset,
        pump,
        Criticality::Medium,
        AssetStatus::Operational,
    )
    .await;
    put_below(owner, silent, pump, Criticality::High, AssetStatus::Maintenance).await;
    // Ten minutes between its readings: an hour of age is not silence.
    sqlx::query("UPDATE channel SET cadence_s = 600 WHERE id = $1")
        .bind(slow.channel)
        .execute(owner)
        .await
        .unwrap();
    for (asset, health) in [(slow.asset, 80.0), (silent, 20.0)] {
        assessed(owner, asset, health, 3600.0).await;
    }
    let pool = database.pool(Role::Api);
    let mut tx = begin_for(&pool, north.tenant).await.unwrap();
    let (_, all) = of(&mut tx, pump).await;
    assert_eq!(
        (all.health(), all.stale(), all.coverage()),
        (Some(30.0), true, Some(0.5))
    );
    tx.rollback().await.unwrap();
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn no_tenant_sees_anothers_parts() {
    let database = TestDatabase::new().await;
    let owner = &database.owner;
    let north = Plant::new(owner, "north").await;
    let south = Plant::new(owner, "south").await;
    let (pump, theirs) = (
        north.machine("pump").await.asset,
        south.machine("pump").await.asset,
    );
    let part = north.machine("bearing").await.asset;
    put_below(owner, part, pump, Criticality::Critical, AssetStatus::Operational).await;
    assessed(owner, part, 14.0, 60.0).await;
    assessed(owner, theirs, 91.0, 60.0).await;
    let pool = database.pool(Role::Api);
    let mut tx = begin_for(&pool, south.tenant).await.unwrap();
    let wanted = [pump, part, theirs];
    for wanted in [Some(wanted.as_slice()), None] {
        let tree = health_tree(&mut tx, wanted).await.unwrap();
        let seen: Vec<AssetId> = tree.nodes().iter().map(|node| node.id).collect();
        assert_eq!(seen, [theirs]);
        assert_eq!(tree.roll_ups()[&theirs].health(), Some(91.0));
        assert_eq!(tree.sites().len(), 1);
    }
    tx.rollback().await.unwrap();
    let nobody = health_tree(&mut pool.acquire().await.unwrap(), None)
        .await
        .unwrap_err();
    let code = nobody.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("42501"));
    pool.close().await;
    database.drop_now().await;
}
