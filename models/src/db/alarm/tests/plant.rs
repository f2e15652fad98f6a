//! What the plant's state and time do to alarms.

use super::*;
use crate::alarm::{Kind, Suppression};

#[tokio::test]
async fn the_plants_state_silences_alarms_and_lets_them_speak_again() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let (line, pump) = (plant.machine("line").await, plant.machine("pump").await);
    let (motor, gas) = (plant.machine("motor").await, plant.machine("gas").await);
    for (child, parent) in [(pump, line), (motor, pump), (gas, line)] {
        sqlx::query("UPDATE asset SET parent_id = $2 WHERE id = $1")
            .bind(child.asset)
            .bind(parent.asset)
            .execute(&database.owner)
            .await
            .unwrap();
    }
    let motor_rule = plant.rule(motor, "motor hot", |_| {}).await;
    let gas_rule = plant
        .rule(gas, "gas leak", |rule| rule.params.never_suppressed = true)
        .await;
    let silent = plant
        .rule(pump, "pump silent", |rule| {
            rule.kind = Kind::NoData;
            rule.limit = 60.0;
        })
        .await;
    for rule in [&motor_rule, &gas_rule] {
        judge(&database.owner, rule, &mut Machine::default(), &[(0, 12.0)]).await;
    }
    judge(&database.owner, &silent, &mut Machine::default(), &[(0, 120.0)]).await;
    let look = async || {
        let mut tx = pool.begin().await.unwrap();
        let done = suppress_by_plant(&mut tx, at(1000), 300.0).await.unwrap();
        tx.commit().await.unwrap();
        let rows: Vec<(crate::id::AlarmRuleId, Option<String>)> = sqlx::query_as(
            "SELECT rule_id, suppression_reason FROM alarm WHERE suppression = 'by_design' ORDER BY id",
        )
        .fetch_all(&database.owner)
        .await
        .unwrap();
        (done.suppressed, done.ended, rows)
    };
    assert_eq!(look().await, (0, 0, vec![]));
    let set = async |status: &str| {
        sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = $1")
            .bind(line.asset)
            .bind(status)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    // Two levels up the line is down: the motor's alarm is expected, the gas alarm speaks all the same.
    set("down").await;
    let (suppressed, _, rows) = look().await;
    assert_eq!(suppressed, 2, "the motor's and the pump's");
    assert!(rows.iter().all(|(rule, _)| *rule != gas_rule.id));
    let reason = rows
        .iter()
        .find(|(rule, _)| *rule == motor_rule.id)
        .unwrap()
        .1
        .clone()
        .unwrap();
    assert!(reason.starts_with("line is down"), "{reason}");
    assert_eq!(look().await.0, 0, "a second look changes nothing");
    set("operational").await;
    assert_eq!(look().await, (0, 2, vec![]));
    // A lock on the line: whoever works there has made the alarms. Only the lock matters here, not what
    // it hangs on.
    let mut owner = database.owner.acquire().await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica")
        .execute(&mut *owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO loto_lock (id, tenant_id, ticket_id, asset_id, procedure_id, point, tag, applied_by, applied_at, photo_id)
         VALUES (gen_random_uuid(), $1, gen_random_uuid(), $2, gen_random_uuid(), 'Q1', '17', 'usr_x', now(), gen_random_uuid())",
    )
    .bind(plant.tenant)
    .bind(line.asset)
    .execute(&mut *owner)
    .await
    .unwrap();
    drop(owner);
    let (suppressed, _, rows) = look().await;
    assert_eq!(suppressed, 2);
    assert!(
        rows[0].1.as_ref().unwrap().contains("line is locked out, tag 17"),
        "{rows:?}"
    );
    sqlx::query("UPDATE loto_lock SET removed_at = now()")
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(look().await, (0, 2, vec![]));
    // The gateway has not been heard for longer than 300 s: the silence is its own.
    sqlx::query(
        "INSERT INTO ledger (gateway_id, tenant_id, day, last_at) SELECT g.id, g.tenant_id, '2025-06-15', $1 FROM gateway g",
    )
    .bind(at(600))
    .execute(&database.owner)
    .await
    .unwrap();
    let (suppressed, _, rows) = look().await;
    assert_eq!((suppressed, rows[0].0), (1, silent.id));
    assert!(
        rows[0].1.as_ref().unwrap().contains("gateway gw is offline"),
        "{rows:?}"
    );
    sqlx::query("UPDATE ledger SET last_at = $1")
        .bind(at(900))
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(look().await, (0, 1, vec![]));
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn what_is_out_of_service_is_silent_until_it_is_back() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let (skid, pump) = (plant.machine("skid").await, plant.machine("pump").await);
    sqlx::query("UPDATE asset SET parent_id = $2 WHERE id = $1")
        .bind(pump.asset)
        .bind(skid.asset)
        .execute(&database.owner)
        .await
        .unwrap();
    let hot = plant.rule(pump, "hot", |_| {}).await;
    let gas = plant
        .rule(pump, "gas leak", |rule| rule.params.never_suppressed = true)
        .await;
    let mut memory = Machine::default();
    judge(&database.owner, &hot, &mut memory, &[(0, 12.0)]).await;
    judge(&database.owner, &gas, &mut Machine::default(), &[(1, 12.0)]).await;
    let set = async |asset, status: &str| {
        sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = $1")
            .bind(asset)
            .bind(status)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    let look = async || {
        let mut tx = pool.begin().await.unwrap();
        let done = suppress_by_plant(&mut tx, at(1000), 300.0).await.unwrap();
        tx.commit().await.unwrap();
        let shown: Vec<(Suppression, Option<String>)> = rows(&database.owner)
            .await
            .into_iter()
            .map(|row| (row.suppression, row.suppression_reason))
            .collect();
        (done.suppressed, done.ended, shown)
    };
    let both = |suppression, why: &str| vec![(suppression, Some(why.to_owned())); 2];
    for (status, why) in [
        ("in_storage", "pump is in storage"),
        ("disposed", "pump has been disposed of"),
    ] {
        set(pump.asset, status).await;
        let expect = both(Suppression::OutOfService, why);
        assert_eq!(
            look().await,
            (2, 0, expect.clone()),
            "the gas alarm, too: nobody is near it"
        );
        assert_eq!(look().await, (0, 0, expect), "a second look changes nothing");
    }
    // Out of service, whatever it is part of: the nearer cause doesn't hide it.
    set(pump.asset, "maintenance").await;
    set(skid.asset, "in_storage").await;
    let why = "skid is in storage (this asset is part of it)";
    assert_eq!(look().await, (2, 0, both(Suppression::OutOfService, why)));
    // The skid is back: what is left is the maintenance, which the gas alarm doesn't mind.
    set(skid.asset, "operational").await;
    let (suppressed, ended, shown) = look().await;
    assert_eq!((suppressed, ended, shown[0].0), (1, 1, Suppression::ByDesign));
    assert_eq!(shown[1], (Suppression::None, None));
    // The condition ends meanwhile, unacknowledged: the suppression ends with its cause all the same.
    judge(&database.owner, &hot, &mut memory, &[(2000, 5.0)]).await;
    assert_eq!(look().await.0, 0);
    set(pump.asset, "operational").await;
    let (_, ended, shown) = look().await;
    assert_eq!((ended, shown[0].clone()), (1, (Suppression::None, None)));
    let events: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT e.kind, e.detail->>'suppression' FROM alarm_event e JOIN alarm a ON a.id = e.alarm_id
         WHERE a.rule_id = $1 AND e.kind LIKE '%suppressed' ORDER BY e.id",
    )
    .bind(gas.id)
    .fetch_all(&database.owner)
    .await
    .unwrap();
    let said: Vec<(&str, &str)> = events
        .iter()
        .map(|(kind, what)| (kind.as_str(), what.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        said,
        [
            ("suppressed", "out_of_service"),
            ("suppressed", "out_of_service"),
            ("suppressed", "out_of_service"),
            ("unsuppressed", "none"),
        ],
        "in storage, disposed of, part of what is in storage, and told again"
    );
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn what_nobody_sees_to_is_told_to_the_next_level() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let quick = plant
        .rule(plant.machine("quick").await, "quick", |rule| {
            rule.params.escalate_after_s = Some(60.0)
        })
        .await;
    let usual = plant.rule(plant.machine("usual").await, "usual", |_| {}).await;
    for rule in [&quick, &usual] {
        judge(&database.owner, rule, &mut Machine::default(), &[(0, 12.0)]).await;
    }
    let patience = crate::alarm::Patience {
        escalate_after: std::time::Duration::from_secs(600),
        ack_lasts: std::time::Duration::from_secs(3600),
        levels: 2,
    };
    let look = async |seconds: i64| {
        let mut tx = pool.begin().await.unwrap();
        let done = escalate(&mut tx, &patience, at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        (done.next_level, done.ask_again)
    };
    assert_eq!(look(59).await, (0, 0));
    assert_eq!(look(60).await, (1, 0));
    assert_eq!(look(61).await, (0, 0), "the patience begins anew");
    assert_eq!(
        look(600).await,
        (2, 0),
        "the second level of one, the first of the other"
    );
    assert_eq!(
        look(1100).await,
        (0, 0),
        "the quick one has no level left, the other has time"
    );
    let alarm: crate::id::AlarmId = sqlx::query_scalar("SELECT id FROM alarm WHERE rule_id = $1")
        .bind(quick.id)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    let mut tx = database.owner.begin().await.unwrap();
    acknowledge(&mut tx, alarm, None, "usr_x", None, at(1150))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // An acknowledgement without a ticket counts for an hour.
    assert_eq!(look(4749).await, (1, 0));
    assert_eq!(look(4750).await, (0, 1));
    let acked: Option<Timestamp> = sqlx::query_scalar("SELECT acked_at FROM alarm WHERE id = $1")
        .bind(alarm)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(acked, None);
    pool.close().await;
    database.drop_now().await;
}
