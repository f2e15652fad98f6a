//! Batches, what is remembered between passes, and computing again.

use models::db::history::rollup;
use models::db::reading;
use models::reading::{Quality, Reading};

use super::*;

/// Readings of one channel at single steps after the history, as the writer stores them.
async fn more(rig: &Rig, channel: ChannelId, steps: std::ops::Range<usize>, value: impl Fn(usize) -> f64) {
    let readings: Vec<Reading> = steps
        .map(|i| Reading {
            channel,
            ts: start().plus_seconds(i as f64 * TEN_MINUTES),
            value: value(i),
            quality: Quality::Good,
        })
        .collect();
    let mut transaction = rig.database.owner.begin().await.unwrap();
    reading::copy(&mut transaction, &readings).await.unwrap();
    transaction.commit().await.unwrap();
}

fn config() -> Config {
    Config {
        fill_points: 0,
        ..Config::default()
    }
}

fn bits(assessment: &Assessment) -> serde_json::Value {
    serde_json::json!([
        assessment.health,
        assessment.anomaly,
        assessment.coverage,
        assessment.p_fail,
        assessment.factors,
        assessment.notes,
        assessment.window_start,
        assessment.window_end,
        assessment.inputs,
        assessment.model
    ])
}

#[tokio::test]
async fn a_batch_finds_the_same_bits_as_each_asset_alone() {
    let rig = Rig::new().await;
    let hours = 24.0 * 4.0;
    let steps = (hours * 6.0) as usize;
    let mut machines = Vec::new();
    for i in 0..5_usize {
        let (machine, _) = rig
            .pump(&format!("p{i}"), hours, move |step| healthy(step + 1000 * i))
            .await;
        machines.push(machine);
    }
    let memory = Memory::new(64);
    for machine in &machines {
        pass(
            &rig.pool,
            &memory,
            machine.asset,
            after_hours(hours),
            &config(),
            None,
        )
        .await
        .unwrap()
        .unwrap();
    }
    for (i, machine) in machines.iter().enumerate() {
        let wear = if i == 2 { 2.0 } else { 0.0 };
        more(&rig, machine.channel, steps..steps + 6, |step| {
            healthy(step) + wear
        })
        .await;
    }
    let now = after_hours(hours + 1.0);
    let assets: Vec<AssetId> = machines.iter().map(|machine| machine.asset).collect();
    let together = pass_many(&rig.pool, &memory, &assets, now, &config(), None).await;
    assert_eq!(together.len(), 5);
    let mut worst = f64::MAX;
    for (asset, together) in together {
        let together = together.unwrap().unwrap();
        worst = worst.min(together.health);
        let alone = assess_once(&rig.pool, asset, now, &config())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(bits(&together), bits(&alone), "{asset}");
    }
    assert!(worst < 90.0, "the worn one is among them: {worst}");
    rig.end().await;
}

/// `frontier_h`: the hour up to which the rollups' frontier moved before anything was remembered.
async fn late_readings_are_noticed(frontier_h: Option<f64>) {
    let rig = Rig::new().await;
    let hours = 24.0 * 3.0;
    let steps = (hours * 6.0) as usize;
    let holes = [380..400, 427..430, 300..300];
    let mut machines = Vec::new();
    for (name, hole) in ["a", "b", "c"].into_iter().zip(holes.clone()) {
        let machine = rig.plant.machine(name).await;
        rig.readings(machine.channel, hours, move |i| {
            if hole.contains(&i) { f64::NAN } else { healthy(i) }
        })
        .await;
        machines.push(machine);
    }
    if let Some(hours) = frontier_h {
        let mut owner = rig.database.owner.acquire().await.unwrap();
        rollup::advance(&mut owner, after_hours(hours)).await.unwrap();
    }
    let assets: Vec<AssetId> = machines.iter().map(|machine| machine.asset).collect();
    let memory = Memory::new(64);
    for asset in &assets {
        pass(&rig.pool, &memory, *asset, after_hours(hours), &config(), None)
            .await
            .unwrap()
            .unwrap();
    }
    // One that is still open while the others are asked about: it is told when it ends.
    let mut transaction = rig.database.owner.begin().await.unwrap();
    let first = [Reading {
        channel: machines[0].channel,
        ts: start().plus_seconds(380.0 * TEN_MINUTES),
        value: healthy(380),
        quality: Quality::Good,
    }];
    reading::copy(&mut transaction, &first).await.unwrap();
    let mut open = Some(transaction);
    more(&rig, machines[0].channel, 381..400, healthy).await;
    more(&rig, machines[1].channel, 427..430, healthy).await;
    for (round, later_h) in [0.5, 0.7, 1.5].into_iter().enumerate() {
        let now = after_hours(hours + later_h);
        let (from, to) = (steps + 3 * round, steps + 3 * round + 3);
        for machine in &machines {
            more(&rig, machine.channel, from..to, healthy).await;
        }
        if round == 2 {
            // Another value in the place of one that stood there.
            sqlx::query("UPDATE reading SET value = 99 WHERE channel_id = $1 AND ts = $2")
                .bind(machines[2].channel)
                .bind(start().plus_seconds(425.0 * TEN_MINUTES))
                .execute(&rig.database.owner)
                .await
                .unwrap();
        }
        let together = pass_many(&rig.pool, &memory, &assets, now, &config(), None).await;
        for (asset, together) in together {
            let alone = assess_once(&rig.pool, asset, now, &config())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                bits(&together.unwrap().unwrap()),
                bits(&alone),
                "{asset} in {later_h}"
            );
            let missing = round == 0 && asset == assets[0];
            assert_eq!(alone.coverage < 1.0, missing, "{asset} in {later_h}");
        }
        if let Some(transaction) = open.take() {
            transaction.commit().await.unwrap();
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn late_readings_are_noticed_before_anything_is_declared_over() {
    late_readings_are_noticed(None).await;
}

#[tokio::test]
async fn late_readings_are_noticed_where_their_time_is_over() {
    late_readings_are_noticed(Some(72.0)).await;
}

#[tokio::test]
async fn late_readings_are_noticed_on_both_sides_of_the_frontier() {
    late_readings_are_noticed(Some(70.0)).await;
}

#[tokio::test]
async fn an_asset_that_fails_takes_no_other_with_it() {
    let rig = Rig::new().await;
    let hours = 24.0 * 3.0;
    let mut machines = Vec::new();
    for i in 0..4 {
        let machine = rig.plant.machine(&format!("m{i}")).await;
        rig.readings(machine.channel, hours, healthy).await;
        machines.push(machine);
    }
    let assets: Vec<AssetId> = machines.iter().map(|machine| machine.asset).collect();
    let memory = Memory::new(64);
    for asset in &assets {
        pass(&rig.pool, &memory, *asset, after_hours(hours), &config(), None)
            .await
            .unwrap()
            .unwrap();
    }
    for machine in &machines {
        more(&rig, machine.channel, 432..435, healthy).await;
    }
    // The database refuses what is written about one of them.
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "ALTER TABLE assessment ADD CONSTRAINT not_this_one CHECK (asset_id <> '{}') NOT VALID",
        assets[1].uuid()
    )))
    .execute(&rig.database.owner)
    .await
    .unwrap();
    let now = after_hours(hours + 0.5);
    let found = pass_many(&rig.pool, &memory, &assets, now, &config(), None).await;
    assert_eq!(found.len(), 4);
    for (asset, result) in found {
        assert_eq!(result.is_err(), asset == assets[1], "{asset}: {result:?}");
    }
    rig.end().await;
}

#[tokio::test]
async fn an_assessment_is_computed_again_to_the_same_bits() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 11.0, wearing).await;
    sqlx::query("UPDATE asset_class SET weibull_shape = 2, weibull_scale_h = 20000")
        .execute(&rig.database.owner)
        .await
        .unwrap();
    sqlx::query("UPDATE asset SET installed_at = $1::timestamptz - interval '200 days'")
        .bind(start())
        .execute(&rig.database.owner)
        .await
        .unwrap();
    rig.assess(machine, 24.0 * 10.0).await;
    let later = rig.assess(machine, 24.0 * 10.5).await;
    let mut connection = rig.pool.acquire().await.unwrap();
    for at in [None, Some(after_hours(24.0 * 10.0))] {
        let again = recompute(&mut connection, machine.asset, at).await.unwrap();
        assert!(again.same, "{again:?}");
    }
    // Facts of the register that change later don't change what was known then.
    sqlx::query("UPDATE asset SET installed_at = $1::timestamptz - interval '900 days'")
        .bind(start())
        .execute(&rig.database.owner)
        .await
        .unwrap();
    assert!(
        recompute(&mut connection, machine.asset, None)
            .await
            .unwrap()
            .same
    );
    // Readings that came late are told apart from code that changed its mind.
    sqlx::query("UPDATE reading SET value = value * 1.5 WHERE channel_id = $1 AND ts > $2::timestamptz - interval '2 hours'")
        .bind(machine.channel)
        .bind(later.window_end)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(
        !again.same && again.why.iter().any(|why| why.contains("readings")),
        "{again:?}"
    );
    let none = recompute(&mut connection, machine.asset, Some(start()))
        .await
        .unwrap_err();
    assert!(
        none.to_string()
            .contains("has no assessment whose window ended at"),
        "{none}"
    );
    drop(connection);
    rig.end().await;
}
