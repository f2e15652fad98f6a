use serde_json::json;

use super::*;
use crate::db::Role;
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;

/// As the ingest role, so that its rights are proved as well.
#[tokio::test]
async fn what_is_kept_comes_back_for_its_door_only() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "north").await;
    let pool = database.pool(Role::Ingest);
    let mut c = pool.acquire().await.unwrap();
    assert_eq!(take_door(&mut c, "a").await.unwrap(), 1);
    assert_eq!(take_door(&mut c, "a").await.unwrap(), 2);
    take_door(&mut c, "b").await.unwrap();
    assert!(has_door(&mut c, "a", 2).await.unwrap() && !has_door(&mut c, "a", 1).await.unwrap());
    let gateway: GatewayId = sqlx::query_scalar("SELECT id FROM gateway WHERE tenant_id = $1 LIMIT 1")
        .bind(plant.tenant)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    let future = Some(Timestamp::from_secs(4_000_000_000));
    let session = |id: i64, expires_at| SessionRow {
        id,
        tenant_id: plant.tenant,
        gateway_id: gateway,
        client_id: format!("c{id}"),
        subscriptions: json!([]),
        expiry_s: 3600,
        expires_at,
    };
    let queued = |session_id, entry| QueuedRow {
        session_id,
        entry,
        tenant_id: plant.tenant,
        topic: "t".into(),
        payload: vec![0, 255],
        qos: 2,
        about: json!({"retain": true}),
        expires_at: None,
        packet_id: 7,
        released: false,
    };
    let retained = |topic: &str, expires_at| RetainedRow {
        tenant_id: plant.tenant,
        topic: topic.into(),
        payload: vec![1],
        qos: 1,
        about: json!({}),
        expires_at,
    };
    let will = |connection| WillRow {
        connection,
        tenant_id: plant.tenant,
        gateway_id: gateway,
        client_id: "c1".into(),
        topic: "t".into(),
        payload: vec![0, 255],
        qos: 2,
        retain: true,
        about: json!({}),
        delay_s: 90,
    };
    let sessions = [session(1, future), session(2, None), session(3, future)];
    for _ in 0..2 {
        // Again is well: a commit whose answer was lost is run a second time.
        put_sessions(&mut c, "a", &sessions).await.unwrap();
        put_queued(
            &mut c,
            "a",
            &[
                queued(1, 10),
                queued(1, 4),
                queued(2, 5),
                queued(3, 6),
                queued(9, 6),
            ],
        )
        .await
        .unwrap();
        put_retained(&mut c, "a", &[retained("x", None), retained("y", None)])
            .await
            .unwrap();
    }
    for _ in 0..2 {
        let received = [1, 2, 9].map(|session_id| ReceivedRow {
            session_id,
            packet_id: 65_535,
            tenant_id: plant.tenant,
        });
        put_received(&mut c, "a", &received).await.unwrap();
        put_wills(&mut c, "a", &[will(7), will(8)]).await.unwrap();
    }
    drop_received(&mut c, "a", &[(2, 65_535), (1, 3)]).await.unwrap();
    drop_wills(&mut c, "a", &[8]).await.unwrap();
    release_queued(&mut c, "a", &[(1, 4)]).await.unwrap();
    drop_queued(&mut c, "a", &[(2, 5)]).await.unwrap();
    drop_sessions(&mut c, "a", &[3]).await.unwrap();
    drop_retained(&mut c, "a", &[(plant.tenant, "x".into())])
        .await
        .unwrap();
    assert_eq!(load(&mut c, "b").await.unwrap(), Kept::default());
    let kept = load(&mut c, "a").await.unwrap();
    assert_eq!(kept.sessions.len(), 2);
    assert!(
        kept.sessions.iter().all(|session| session.expires_at.is_some()),
        "one that was connected expires from now on"
    );
    let released = QueuedRow {
        released: true,
        ..queued(1, 4)
    };
    assert_eq!(kept.queued, [released, queued(1, 10)]);
    assert_eq!(kept.retained, [retained("y", None)]);
    assert_eq!(kept.received.len(), 1);
    assert_eq!(
        (kept.received[0].session_id, kept.received[0].packet_id),
        (1, 65_535)
    );
    assert_eq!(kept.wills, [will(7)]);

    let past = Some(Timestamp::from_secs(1));
    put_sessions(&mut c, "a", &[session(1, past)]).await.unwrap();
    put_retained(&mut c, "a", &[retained("y", past)]).await.unwrap();
    assert_eq!(prune(&mut c).await.unwrap(), 2);
    let kept = load(&mut c, "a").await.unwrap();
    assert_eq!(
        (kept.sessions.len(), kept.queued.len(), kept.retained.len()),
        (1, 0, 0)
    );
    drop(c);
    pool.close().await;
    database.drop_now().await;
}
