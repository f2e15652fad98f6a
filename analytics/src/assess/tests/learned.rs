//! Models that the class learned, at work in a pass.

use models::artifact::{Card, Envelope};
use models::db::assessment::NewModel;
use models::id::ModelVersionId;

use super::*;
use crate::learn::data::tests::fleet;
use crate::learn::remaining::{RemainingModel, candidate};

/// A model of machines whose vibration rises to 4 in the three days before they fail.
fn model() -> RemainingModel {
    let rows = fleet(40, 500, |machine| (machine % 2 == 0).then_some(150 + 5 * machine));
    candidate(&rows, None).unwrap().model
}

async fn promote(rig: &Rig, model: &RemainingModel) -> ModelVersionId {
    let class: models::id::AssetClassId = sqlx::query_scalar("SELECT id FROM asset_class")
        .fetch_one(&rig.database.owner)
        .await
        .unwrap();
    let card = Card {
        summary: "made up".to_owned(),
        data_from: start(),
        data_to: start(),
        rows: 1,
        features: Vec::new(),
        figures: serde_json::Map::new(),
        limits: Vec::new(),
    };
    let new = NewModel {
        tenant: rig.plant.tenant,
        name: RemainingModel::NAME,
        scope: &class.to_string(),
        artifact: &Envelope::seal(model).unwrap(),
        card: &card,
        code_version: CODE_VERSION,
    };
    let mut connection = rig.pool.acquire().await.unwrap();
    db::insert_champion(&mut connection, &new).await.unwrap().0
}

#[tokio::test]
async fn remaining_life_comes_from_the_runs_of_the_class_and_can_be_computed_again() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 12.0, wearing).await;
    sqlx::query("UPDATE channel SET name = 'vibration' WHERE id = $1")
        .bind(machine.channel)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let mut model = model();
    let before = rig.assess(machine, 24.0 * 6.0).await;
    assert_eq!((before.life_model(), before.rul), (None, None));
    let first = promote(&rig, &model).await;

    let late = rig.assess(machine, 24.0 * 12.0).await;
    assert_eq!(late.life_model(), Some(first));
    let rul = late.rul.unwrap();
    assert!(
        rul.p10_h <= rul.p50_h && rul.p50_h < 40.0 && !late.life_is_beyond(),
        "{rul:?}"
    );
    let words = late
        .factors
        .iter()
        .find(|factor| factor.name == "remaining life")
        .unwrap();
    assert!(
        words.text.contains("by 20 runs to failure of its class"),
        "{}",
        words.text
    );
    let week = late.p_within(168).unwrap();
    assert!(
        week.p > 0.7 && week.basis.contains("20 runs to failure"),
        "{week:?}"
    );

    // Another version is promoted: the old row is computed by the version that it names.
    model.cap_h = 12.0;
    let second = promote(&rig, &model).await;
    let mut connection = rig.pool.acquire().await.unwrap();
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(again.same, "{again:?}");
    let newer = rig.assess(machine, 24.0 * 12.0).await;
    assert_eq!(newer.life_model(), Some(second));
    assert!(newer.rul.is_some_and(|rul| rul.p50_h <= 12.0), "{newer:?}");
    drop(connection);
    rig.end().await;
}

/// Three seals and a bearing have failed; the bearing's channel rises.
#[tokio::test]
async fn which_way_it_fails_is_said_and_can_be_computed_again() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 12.0, wearing).await;
    let (seal, bearing) = (
        rig.plant.failure_mode("seal").await,
        rig.plant.failure_mode("bearing").await,
    );
    sqlx::query("UPDATE failure_mode SET signature = '{\"channels\": [\"vibration*\"]}' WHERE id = $1")
        .bind(bearing)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    for (place, (mode, age)) in [(seal, 500.0), (seal, 1500.0), (bearing, 2600.0), (seal, 2900.0)]
        .into_iter()
        .enumerate()
    {
        let other = rig.plant.machine(&format!("other {place}")).await.asset;
        sqlx::query(
            "INSERT INTO failure_report (id, tenant_id, asset_id, failed_at, source, failure_mode_id)
             VALUES (gen_random_uuid(), $1, $2, $3, 'person', $4)",
        )
        .bind(rig.plant.tenant)
        .bind(other)
        .bind(after_hours(age - 3000.0))
        .bind(mode)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    }
    sqlx::query("UPDATE asset SET installed_at = $1")
        .bind(after_hours(-3000.0))
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let calm = rig.assess(machine, 24.0 * 6.0).await;
    let worn = rig.assess(machine, 24.0 * 12.0).await;
    for seen in [&calm, &worn] {
        assert_eq!(seen.p_fail.len(), 3);
        for entry in &seen.p_fail {
            let sum: f64 = entry.modes.iter().map(|part| part.p).sum();
            assert!(
                (sum - entry.p).abs() < 1e-12 && entry.modes.len() == 2,
                "{entry:?}"
            );
        }
    }
    let first = |seen: &Assessment| seen.p_within(720).unwrap().modes[0].failure_mode_id;
    assert_eq!(
        (first(&calm), first(&worn)),
        (Some(seal), Some(bearing)),
        "{:?} {:?}",
        calm.p_fail,
        worn.p_fail
    );
    let mut connection = rig.pool.acquire().await.unwrap();
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(again.same, "{again:?}");
    // A row of before the parts were kept is read as it was.
    sqlx::query(
        "UPDATE assessment SET p_fail = (SELECT jsonb_agg(e - 'modes') FROM jsonb_array_elements(p_fail) e)",
    )
    .execute(&rig.database.owner)
    .await
    .unwrap();
    let old = db::stored_assessment(&mut connection, machine.asset, None)
        .await
        .unwrap()
        .unwrap();
    assert!(old.p_fail.iter().all(|entry| entry.modes.is_empty()), "{old:?}");
    // The cause of one is recorded later: the row says why it can't be the same.
    sqlx::query("UPDATE failure_report SET failure_mode_id = $1")
        .bind(bearing)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(
        again
            .why
            .iter()
            .any(|why| why.contains("failures or failure modes")),
        "{again:?}"
    );
    drop(connection);
    rig.end().await;
}

#[tokio::test]
async fn a_life_beyond_the_cap_is_an_open_end_and_costs_nothing() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 6.0, |i| healthy(i) - 2.0).await;
    sqlx::query("UPDATE channel SET name = 'vibration' WHERE id = $1")
        .bind(machine.channel)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let model = model();
    promote(&rig, &model).await;
    let calm = rig.assess(machine, 24.0 * 6.0).await;
    let rul = calm.rul.unwrap();
    assert_eq!((rul.p50_h, rul.p90_h), (model.cap_h, None));
    assert!(calm.life_is_beyond());
    assert!(
        calm.notes
            .iter()
            .any(|note| note.starts_with("more than 6 d left")),
        "{:?}",
        calm.notes
    );
    assert!(
        calm.factors.iter().all(|factor| factor.name != "remaining life"),
        "{:?}",
        calm.factors
    );
    // A life of six days would be published if it ended there.
    assert_eq!(rig.count("SELECT count(*) FROM prediction").await, 0);
    let mut connection = rig.pool.acquire().await.unwrap();
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(again.same, "{again:?}");
    drop(connection);
    rig.end().await;
}
