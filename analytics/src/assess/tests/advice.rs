//! Advice by the costs and the plans that are on record.

use super::*;

#[tokio::test]
async fn the_next_stop_and_the_costs_are_read_from_the_register() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 12.0 * 24.0, wearing).await;
    let mode = rig.plant.failure_mode("bearing_wear").await;
    sqlx::query("UPDATE failure_mode SET signature = '{\"channels\": [\"vibration*\"]}', pf_interval_days = 30, repair_hours = 8, repair_cost = 2000 WHERE id = $1")
        .bind(mode).execute(&rig.database.owner).await.unwrap();
    sqlx::query("UPDATE asset_class SET weibull_shape = 2, weibull_scale_h = 20000")
        .execute(&rig.database.owner)
        .await
        .unwrap();
    sqlx::query("UPDATE asset SET installed_at = $2::timestamptz - interval '200 days', attributes = '{\"failure_cost\": 1000}' WHERE id = $1")
        .bind(machine.asset).bind(start()).execute(&rig.database.owner).await.unwrap();
    rig.assess(machine, 24.0 * 6.0).await;

    // Nobody said what standing still costs.
    let bare = rig.assess(machine, 24.0 * 11.9).await;
    assert_eq!(bare.advice.missing, ["downtime_cost_per_h of the asset"]);
    assert!(
        bare.advice.options.is_empty() && bare.advice.text.is_some(),
        "{:?}",
        bare.advice
    );

    // Two plans: one whose occurrence is open, and one that is further away by its forecast.
    for (name, forecast) in [("greasing", "2026-06-01"), ("overhaul", "2026-05-01")] {
        sqlx::query(
            "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, every_days, anchor_date, forecast)
             VALUES (gen_random_uuid(), $1, $2, $3, 90, '2026-01-01', jsonb_build_object('date', $4))",
        )
        .bind(rig.plant.tenant)
        .bind(machine.asset)
        .bind(name)
        .bind(forecast)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    }
    sqlx::query(
        "INSERT INTO plan_occurrence (id, tenant_id, plan_id, sequence, due_date, trigger, explanation)
         SELECT gen_random_uuid(), tenant_id, id, 1, '2026-03-13', 'calendar', 'due' FROM maintenance_plan WHERE name = 'greasing'",
    )
    .execute(&rig.database.owner)
    .await
    .unwrap();
    sqlx::query("UPDATE asset SET downtime_cost_per_h = 500 WHERE id = $1")
        .bind(machine.asset)
        .execute(&rig.database.owner)
        .await
        .unwrap();
    let mut connection = rig.pool.acquire().await.unwrap();
    let facts = db::asset_facts(&mut connection, machine.asset, after_hours(0.0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (facts.failure_cost, facts.next_stop.as_deref()),
        (Some(1000.0), Some("greasing"))
    );
    let days = facts.next_stop_at.unwrap().seconds_since(start()) / 86_400.0;
    assert!(
        (11.0..=13.0).contains(&days),
        "midnight in the site's zone: {days}"
    );

    // Repair 2,000 and 4,000 of downtime: planned 3,000, at a stop 2,500, a failure with its consequence 7,000.
    let late = rig.assess(machine, 24.0 * 12.0).await;
    let advice = &late.advice;
    assert_eq!(late.failure_mode, Some(mode));
    assert_eq!(advice.cost_of_acting, Some(3000.0));
    assert_eq!(
        advice.cost_of_waiting,
        Some(7000.0 * late.p_within(720).unwrap().p)
    );
    assert!(
        advice.text.as_deref().unwrap().contains("work on bearing_wear"),
        "{advice:#?}"
    );
    let actions: Vec<&str> = advice
        .options
        .iter()
        .map(|option| option.action.as_str())
        .collect();
    assert!(
        actions.contains(&"next_stop") && actions.contains(&"run_to_failure"),
        "{actions:?}"
    );
    assert_eq!(Some(actions[0]), advice.action.as_deref());
    let again = recompute(&mut connection, machine.asset, None).await.unwrap();
    assert!(again.same, "{again:?}");
    drop(connection);
    rig.end().await;
}
