//! Several workers share the work, and a failing asset stops nobody.

use super::*;

#[tokio::test]
async fn two_workers_never_take_the_same_asset() {
    let rig = Rig::new().await;
    for i in 0..12 {
        let machine = rig.plant.machine(&format!("m{i}")).await;
        rig.readings(machine.channel, 12.0, healthy).await;
    }
    let mut connection = rig.pool.acquire().await.unwrap();
    assert_eq!(db::sync_schedule(&mut connection).await.unwrap(), (12, 0));
    assert_eq!(db::sync_schedule(&mut connection).await.unwrap(), (0, 0));
    let now = Timestamp::now().plus_seconds(60.0);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let (mut a, mut b) = (rig.pool.begin().await.unwrap(), rig.pool.begin().await.unwrap());
    let first = db::claim_due(&mut a, one, now, 7, 300.0, 60.0).await.unwrap();
    // The other transaction is still open: its rows are skipped, not waited for.
    let second = db::claim_due(&mut b, two, now, 12, 300.0, 60.0).await.unwrap();
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    assert_eq!((first.len(), second.len()), (7, 5));
    assert!(
        first
            .iter()
            .all(|claim| second.iter().all(|other| other.asset_id != claim.asset_id))
    );
    assert!(
        db::claim_due(&mut connection, two, now, 12, 300.0, 60.0)
            .await
            .unwrap()
            .is_empty()
    );
    // A lease that ran out is another's, and the first one's work is refused.
    let later = now.plus_seconds(301.0);
    let taken = db::claim_due(&mut connection, two, later, 12, 300.0, 60.0)
        .await
        .unwrap();
    assert_eq!(taken.len(), 12);
    let lost = pass(
        &rig.pool,
        &Memory::new(0),
        first[0].asset_id,
        after_hours(12.0),
        &Config::default(),
        Some(one),
    )
    .await
    .unwrap();
    assert_eq!(lost, Err(Skipped::LostLease));
    assert_eq!(rig.count("SELECT count(*) FROM assessment").await, 0);
    let kept = pass(
        &rig.pool,
        &Memory::new(0),
        first[0].asset_id,
        after_hours(12.0),
        &Config::default(),
        Some(two),
    )
    .await
    .unwrap();
    assert!(kept.is_ok());
    drop(connection);
    rig.end().await;
}

#[tokio::test]
async fn a_failing_asset_is_counted_and_the_others_go_on() {
    let rig = Rig::new().await;
    let mut machines = Vec::new();
    for i in 0..4 {
        let machine = rig.plant.machine(&format!("m{i}")).await;
        rig.readings(machine.channel, 24.0, healthy).await;
        machines.push(machine);
    }
    sqlx::query(
        "INSERT INTO model_version (id, tenant_id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         VALUES (gen_random_uuid(), $1, 'baseline', $2, 1, 'champion', '{\"kind\": \"soup\", \"format\": 1, \"body\": {}}', '{}', '0', now(), now())",
    )
    .bind(rig.plant.tenant)
    .bind(machines[0].asset.to_string())
    .execute(&rig.database.owner)
    .await
    .unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(crate::run(
                Config::default(),
                rig.database.pool(Role::Analytics),
                shutdown.clone(),
            ))
        })
        .collect();
    let done = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            look.tick().await;
            let state: (i64, i64) = sqlx::query_as(
                "SELECT count(last_at), count(*) FILTER (WHERE failures = 1) FROM assessment_schedule",
            )
            .fetch_one(&rig.database.owner)
            .await
            .unwrap();
            if state == (3, 1) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), done)
        .await
        .expect("three assessed, one failed");
    let (error, wait): (String, f64) =
        sqlx::query_as("SELECT last_error, extract(epoch FROM due_at - now())::float8 FROM assessment_schedule WHERE failures > 0")
            .fetch_one(&rig.database.owner).await.unwrap();
    assert!(error.contains("`soup`"), "{error}");
    assert!(wait > 5.0 && wait < 16.0, "{wait}");

    // A limit alarm makes its asset due at once.
    let before: i64 = rig
        .count("SELECT count(*) FROM assessment_schedule WHERE due_at <= now()")
        .await;
    assert_eq!(before, 0);
    let first: Timestamp = sqlx::query_scalar("SELECT last_at FROM assessment_schedule WHERE asset_id = $1")
        .bind(machines[1].asset)
        .fetch_one(&rig.database.owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO outbox (tenant_id, kind, subject, asset_id, data) VALUES ($1, 'alarm.raised', 'alm_x', $2, '{\"kind\": \"high\"}')")
        .bind(rig.plant.tenant).bind(machines[1].asset).execute(&rig.database.owner).await.unwrap();
    let again = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            look.tick().await;
            let last: Timestamp =
                sqlx::query_scalar("SELECT last_at FROM assessment_schedule WHERE asset_id = $1")
                    .bind(machines[1].asset)
                    .fetch_one(&rig.database.owner)
                    .await
                    .unwrap();
            if last > first {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), again)
        .await
        .expect("the alarm wakes its asset");
    shutdown.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    rig.end().await;
}
