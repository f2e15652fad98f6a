//! What people do with alarms and rules.

use super::*;
use crate::alarm::{AxisError, Kind};
use crate::db::act_for;
use crate::db::change::ChangeError;
use crate::tenant::MemberRole;

#[tokio::test]
async fn people_see_acknowledge_and_shelve_their_own_tenants_alarms() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let neighbour = Plant::new(&database.owner, "two").await;
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let (ingest, api) = (database.pool(Role::Ingest), database.pool(Role::Api));
    let mut machine = Machine::default();
    judge(&ingest, &rule, &mut machine, &[(0, 11.0)]).await;
    let id = rows(&database.owner).await[0].id;
    let now = Timestamp::now();

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert_eq!(get(&mut tx, id).await.unwrap(), None);
    assert_eq!(
        list(
            &mut tx,
            Filter {
                state: State::All,
                ..Filter::default()
            },
            None,
            10
        )
        .await
        .unwrap(),
        []
    );
    let error = acknowledge(&mut tx, id, None, "usr_x", None, now)
        .await
        .unwrap_err();
    assert!(matches!(error, ChangeError::NotFound));
    drop(tx);

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (
            seen.rule_name.as_str(),
            seen.asset_name.as_str(),
            seen.unit.as_deref()
        ),
        ("high", "P-1", Some("mm/s"))
    );
    let unacknowledged = Filter {
        state: State::Unacknowledged,
        asset: Some(rule.asset),
        ..Filter::default()
    };
    assert_eq!(list(&mut tx, unacknowledged, None, 10).await.unwrap().len(), 1);
    let stale = acknowledge(&mut tx, id, Some(99), "usr_x", None, now)
        .await
        .unwrap_err();
    assert!(matches!(stale, ChangeError::Stale { expected: 99, .. }));
    acknowledge(
        &mut tx,
        id,
        Some(seen.row_version),
        "usr_x",
        Some("on my way"),
        now,
    )
    .await
    .unwrap();
    acknowledge(&mut tx, id, None, "usr_y", None, now).await.unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(seen.acked_by.as_deref(), Some("usr_x"), "the first one stays");
    assert_eq!(list(&mut tx, unacknowledged, None, 10).await.unwrap(), []);

    let tomorrow = now.plus_seconds(86_400.0);
    let error = shelve(&mut tx, id, MemberRole::Operator, tomorrow, "noise", "usr_x", now)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChangeError::Refused(AxisError::TooLong { .. })),
        "{error}"
    );
    shelve(&mut tx, id, MemberRole::Planner, tomorrow, "noise", "usr_x", now)
        .await
        .unwrap();
    let shelved = Filter {
        state: State::Shelved,
        ..Filter::default()
    };
    assert_eq!(list(&mut tx, shelved, None, 10).await.unwrap().len(), 1);
    tx.commit().await.unwrap();

    // The next occurrence is shelved with it, until somebody says otherwise.
    judge(&ingest, &rule, &mut machine, &[(10, 1.0), (20, 11.0)]).await;
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let listed = list(&mut tx, shelved, None, 10).await.unwrap();
    assert_eq!(
        listed.len(),
        1,
        "the acknowledged one is closed, the new one shelved"
    );
    assert_ne!(listed[0].id, id);
    unshelve(&mut tx, listed[0].id, "usr_x").await.unwrap();
    assert_eq!(list(&mut tx, shelved, None, 10).await.unwrap(), []);
    let kinds: Vec<_> = events(&mut tx, id)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["activated", "acknowledged", "shelved", "cleared"]);
    tx.commit().await.unwrap();
    ingest.close().await;
    api.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn acknowledging_resets_a_latched_alarm_that_is_back() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant
        .rule(plant.machine("P-1").await, "high", |rule| rule.latched = true)
        .await;
    let ingest = database.pool(Role::Ingest);
    let mut machine = Machine::default();
    judge(&ingest, &rule, &mut machine, &[(0, 11.0), (10, 1.0), (20, 1.0)]).await;
    let row = rows(&database.owner).await.remove(0);
    assert_eq!(row.condition, Condition::Clearing);
    let api = database.pool(Role::Api);
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    acknowledge(&mut tx, row.id, None, "usr_x", None, Timestamp::now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let row = rows(&database.owner).await.remove(0);
    assert_eq!(
        (row.condition, row.cleared_at),
        (Condition::Inactive, Some(at(10)))
    );
    assert!(row.closed_at.is_some());
    // Ingest still remembers it as open; its next breach is a new one.
    judge(&ingest, &rule, &mut machine, &[(30, 12.0)]).await;
    assert_eq!(rows(&database.owner).await.len(), 2);
    api.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn rules_are_made_changed_and_removed() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let (api, ingest) = (database.pool(Role::Api), database.pool(Role::Ingest));
    let mut reader = ingest.acquire().await.unwrap();
    let empty = rules_stamp(&mut reader).await.unwrap();
    let new: NewRule = serde_json::from_value(serde_json::json!({
        "asset_id": machine.asset, "channel_id": machine.channel, "name": "vibration", "kind": "high",
        "limit_value": 7.1, "severity": "warning"
    }))
    .unwrap();
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let made = create_rule(&mut tx, plant.tenant, &new).await.unwrap();
    let health = NewRule {
        kind: Kind::HealthBelow,
        channel_id: None,
        name: "health".into(),
        ..new.clone()
    };
    let health = create_rule(&mut tx, plant.tenant, &health).await.unwrap();
    tx.commit().await.unwrap();
    let stamp = rules_stamp(&mut reader).await.unwrap();
    assert_ne!(stamp, empty);
    let limits = limit_rules(&mut reader).await.unwrap();
    assert_eq!(
        limits.iter().map(|rule| rule.id).collect::<Vec<_>>(),
        [made.id],
        "health is not a limit"
    );
    assert_eq!(
        rules_for_asset(&mut reader, machine.asset).await.unwrap()[0].id,
        health.id
    );

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let harder = NewRule {
        limit_value: 4.5,
        severity: Severity::Serious,
        ..new
    };
    let error = update_rule(&mut tx, made.id, Some(2), &harder).await.unwrap_err();
    assert!(matches!(
        error,
        ChangeError::Stale {
            expected: 2,
            current: 1
        }
    ));
    let changed = update_rule(&mut tx, made.id, Some(1), &harder).await.unwrap();
    assert_eq!((changed.limit_value, changed.row_version), (4.5, 2));
    assert_eq!(
        list_rules(&mut tx, Some(machine.asset), Some(made.id), 10)
            .await
            .unwrap(),
        std::slice::from_ref(&health)
    );
    assert!(delete_rule(&mut tx, health.id, None).await.unwrap());
    tx.commit().await.unwrap();
    assert_ne!(rules_stamp(&mut reader).await.unwrap(), stamp);

    let mut memory = Machine::default();
    let rule = Rule::from(changed);
    judge(&ingest, &rule, &mut memory, &[(0, 11.0)]).await;
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    assert!(
        !delete_rule(&mut tx, made.id, None).await.unwrap(),
        "its alarm refers to it"
    );
    assert!(!get_rule(&mut tx, made.id).await.unwrap().unwrap().enabled);
    tx.commit().await.unwrap();
    drop(reader);
    api.close().await;
    ingest.close().await;
    database.drop_now().await;
}
