//! Batches, what is remembered between passes, and computing again.

use super::*;

/// Readings of one channel at single steps after the history.
async fn more(rig: &Rig, channel: ChannelId, steps: std::ops::Range<usize>, value: impl Fn(usize) -> f64) {
    let (ts, values): (Vec<Timestamp>, Vec<f64>) = steps
        .map(|i| (start().plus_seconds(i as f64 * TEN_MINUTES), value(i)))
        .unzip();
    sqlx::query("INSERT INTO reading (channel_id, ts, value) SELECT $1, t, v FROM unnest($2::timestamptz[], $3::float8[]) AS r(t, v)")
        .bind(channel)
        .bind(ts)
        .bind(values)
        .execute(&rig.database.owner)
        .await
        .unwrap();
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

#[tokio::test]
async fn readings_that_come_late_are_noticed() {
    let rig = Rig::new().await;
    let hours = 24.0 * 3.0;
    let steps = (hours * 6.0) as usize;
    let mut machines = Vec::new();
    for name in ["a", "b"] {
        let machine = rig.plant.machine(name).await;
        let hole = if name == "a" { 380..400 } else { 427..430 };
        rig.readings(machine.channel, hours, move |i| {
            if hole.contains(&i) { f64::NAN } else { healthy(i) }
        })
        .await;
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
    more(&rig, machines[0].channel, 380..400, healthy).await;
    more(&rig, machines[1].channel, 427..430, healthy).await;
    more(&rig, machines[0].channel, steps..steps + 3, healthy).await;
    more(&rig, machines[1].channel, steps..steps + 3, healthy).await;
    for later_h in [0.5, 1.5] {
        let now = after_hours(hours + later_h);
        let found = pass_many(&rig.pool, &memory, &assets, now, &config(), None).await;
        let of = |wanted: AssetId| {
            let (_, result) = found.iter().find(|(asset, _)| *asset == wanted).unwrap();
            result.as_ref().unwrap().as_ref().unwrap().coverage
        };
        assert_eq!(
            of(assets[1]),
            1.0,
            "late by less than a short window: seen at once"
        );
        // Counted once an hour; then the window is read anew.
        assert_eq!(of(assets[0]) == 1.0, later_h > 1.0, "{later_h}");
    }
    rig.end().await;
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
