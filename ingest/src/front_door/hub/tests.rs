use models::wire::Committed;

use super::*;
use crate::front_door::packet::Goodbye;
use crate::registry::Gateway;

fn key(owner: u128, client_id: &str) -> Key {
    Key {
        space: Space::Anonymous,
        owner: Uuid::from_u128(owner),
        client_id: client_id.to_owned(),
    }
}

fn subscription(filter: &str, qos: u8) -> Subscription {
    Subscription {
        given: filter.to_owned(),
        filter: filter.to_owned(),
        qos,
        ..Subscription::default()
    }
}

fn message(topic: &str, payload: &'static str, qos: u8) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.to_owned(),
        payload: payload.into(),
        qos,
        ..Message::default()
    })
}

fn got(session: &Session) -> Vec<(String, u8, bool)> {
    session.with(|state| {
        std::iter::from_fn(|| state.outbox.next(100, Timestamp::now(), &mut Vec::new()))
            .map(|down| (down.topic, down.qos, down.retain))
            .collect()
    })
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
const NOT: Duration = Duration::ZERO;

#[test]
fn a_client_is_taken_over_by_its_own_gateway_only() {
    let hub = Hub::default();
    let first = hub.register(key(1, "c"), None, true);
    let neighbour = hub.register(key(2, "c"), None, true);
    let second = hub.register(key(1, "c"), None, true);
    assert_eq!(first.session.goodbye(first.number), Some(Goodbye::TakenOver));
    assert_eq!(neighbour.session.goodbye(neighbour.number), None);
    hub.unregister(&first, None, NOT);
    assert_eq!(
        second.session.goodbye(second.number),
        None,
        "the newer one is still there"
    );
    hub.subscribe(&second.session, subscription("t", 0));
    assert_eq!(
        hub.publish(Space::Anonymous, &message("t", "x", 0), true)
            .unwrap()
            .sessions,
        1
    );
}

#[test]
fn spaces_see_nothing_of_each_other() {
    let hub = Hub::default();
    let one = hub.register(key(1, "c"), None, true);
    hub.subscribe(&one.session, subscription("#", 1));
    let mut kept = message("t", "x", 1);
    Arc::make_mut(&mut kept).retain = true;
    let other = Space::Tenant(models::id::TenantId::new());
    assert_eq!(hub.publish(other, &kept, true).unwrap().sessions, 0);
    hub.send_retained(&one.session, &subscription("#", 1));
    assert_eq!(got(&one.session), []);
}

#[test]
fn a_kept_session_remembers_what_was_committed_and_what_it_subscribed_to() {
    let hub = Hub::default();
    let first = hub.register(key(1, "c"), None, false);
    hub.subscribe(&first.session, subscription("t", 1));
    first.session.with(|state| {
        let ids = [(1, Received::Done), (2, Received::Writing), (3, Received::Noting)];
        state.unreleased.extend(ids);
    });
    hub.unregister(&first, MINUTE, NOT);
    hub.publish(Space::Anonymous, &message("t", "1", 1), true)
        .unwrap();
    hub.publish(Space::Anonymous, &message("t", "0", 0), true)
        .unwrap();
    let second = hub.register(key(1, "c"), None, false);
    assert!(second.session_present);
    assert_eq!(
        second.session.with(|state| state.unreleased.clone()),
        HashMap::from([(1, Received::Done), (3, Received::Noting)])
    );
    assert_eq!(got(&second.session), [("t".to_owned(), 1, false)]);
    let clean = hub.register(key(1, "c"), None, true);
    assert!(!clean.session_present);
    assert_eq!(
        hub.publish(Space::Anonymous, &message("t", "1", 1), true)
            .unwrap()
            .sessions,
        0
    );
}

#[test]
fn each_session_gets_a_message_once_with_the_best_of_its_subscriptions() {
    let hub = Hub::default();
    let one = hub.register(key(1, "c"), None, true);
    for (filter, qos, identifier) in [("a/#", 0, Some(1)), ("a/+", 2, Some(2)), ("a/b", 1, None)] {
        let mut new = subscription(filter, qos);
        new.identifier = identifier;
        assert!(hub.subscribe(&one.session, new));
    }
    assert!(
        !hub.subscribe(&one.session, subscription("a/b", 1)),
        "it replaces the older one"
    );
    assert_eq!(
        hub.publish(Space::Anonymous, &message("a/b", "x", 2), true)
            .unwrap()
            .sessions,
        1
    );
    let down = one
        .session
        .with(|state| state.outbox.next(9, Timestamp::now(), &mut Vec::new()));
    let mut down = down.unwrap();
    down.identifiers.sort_unstable();
    assert_eq!((down.qos, down.identifiers), (2, vec![1, 2]));
    assert!(hub.unsubscribe(&one.session, "a/+") && !hub.unsubscribe(&one.session, "a/+"));
}

#[test]
fn a_full_queue_refuses_the_whole_message() {
    let hub = Hub::new(Bounds {
        queue_messages: 1,
        ..Bounds::default()
    });
    let (one, two) = (
        hub.register(key(1, "c"), None, true),
        hub.register(key(2, "c"), None, true),
    );
    for registered in [&one, &two] {
        hub.subscribe(&registered.session, subscription("t", 1));
    }
    hub.publish(Space::Anonymous, &message("t", "1", 1), true)
        .unwrap();
    got(&two.session);
    two.session.with(|state| state.outbox.acknowledged(1, 1)).unwrap();
    let refused = hub.publish(Space::Anonymous, &message("t", "2", 1), true);
    assert!(matches!(refused, Err(NotTaken::Queue(session)) if session.id == one.session.id));
    assert_eq!(got(&two.session), [], "not to anybody");
    hub.publish(Space::Anonymous, &message("t", "3", 1), false)
        .unwrap();
    assert_eq!(got(&two.session).len(), 1, "history is told where there is room");
}

#[test]
fn sessions_end_when_their_time_is_over_and_there_are_not_too_many() {
    let hub = Hub::new(Bounds {
        kept_sessions: 2,
        ..Bounds::default()
    });
    let gone = hub.register(key(1, "gone"), None, false);
    hub.subscribe(&gone.session, subscription("t", 1));
    hub.unregister(&gone, Some(Duration::ZERO), NOT);
    hub.expire();
    assert!(!hub.register(key(1, "gone"), None, false).session_present);
    for (i, id) in ["a", "b", "c"].iter().enumerate() {
        let one = hub.register(key(7, id), None, false);
        hub.unregister(&one, Some(Duration::from_secs(60 + i as u64)), NOT);
    }
    assert!(
        !hub.register(key(7, "a"), None, false).session_present,
        "it would have ended first"
    );
    assert!(hub.register(key(7, "b"), None, false).session_present);
}

#[test]
fn wills_wait_as_long_as_they_say_and_no_longer_than_the_session() {
    let hub = Hub::default();
    let second = Duration::from_secs(1);
    let one = hub.register(key(1, "c"), None, false);
    assert_eq!(hub.unregister(&one, MINUTE, second), WillFate::After(second));
    let one = hub.register(key(1, "c"), None, false);
    assert_eq!(
        hub.unregister(&one, Some(second), second * 9),
        WillFate::After(second)
    );
    let one = hub.register(key(1, "c"), None, false);
    let two = hub.register(key(1, "c"), None, false);
    assert_eq!(
        hub.unregister(&one, MINUTE, second),
        WillFate::Never,
        "it is back"
    );
    let three = hub.register(key(1, "c"), None, true);
    assert_eq!(
        hub.unregister(&two, MINUTE, second),
        WillFate::Now,
        "its session ended"
    );
    assert_eq!(hub.unregister(&three, None, second), WillFate::Now);
}

#[test]
fn a_message_that_a_member_of_a_group_left_goes_to_another_one() {
    let hub = Hub::default();
    let shared = |filter: &str| Subscription {
        group: Some("g".to_owned()),
        ..subscription(filter, 1)
    };
    let one = hub.register(key(1, "c"), None, true);
    hub.subscribe(&one.session, shared("t"));
    hub.publish(Space::Anonymous, &message("t", "x", 1), true)
        .unwrap();
    assert_eq!(got(&one.session).len(), 1);
    let two = hub.register(key(2, "c"), None, true);
    hub.subscribe(&two.session, shared("t"));
    hub.unregister(&one, None, NOT);
    assert_eq!(got(&two.session), [("t".to_owned(), 1, false)]);
}

#[test]
fn watermarks_run_together_and_never_backwards() {
    let hub = Hub::default();
    let gateway = Arc::new(Gateway {
        id: models::id::GatewayId::new(),
        tenant: models::id::TenantId::new(),
        tenant_slug: "acme".into(),
        slug: "line-1".into(),
        max_channels: 1,
    });
    let one = hub.register(
        Key {
            space: Space::Tenant(gateway.tenant),
            ..key(1, "c")
        },
        None,
        true,
    );
    hub.subscribe(&one.session, subscription("fw/v1/acme/line-1/committed", 0));
    for seq in [3, 9, 5] {
        hub.committed(gateway.clone(), Committed { epoch: 1, seq });
    }
    let said = one.session.with(|state| std::mem::take(&mut state.watermarks));
    assert_eq!(
        said,
        BTreeMap::from([(("fw/v1/acme/line-1/committed".to_owned(), 1), 9)])
    );
}

/// ingestion.md 4.2, row 8: what was delivered is freed, and topics that were published to leave
/// nothing behind, however many they are.
#[test]
fn what_was_delivered_is_freed_and_topics_leave_nothing() {
    let hub = Hub::default();
    let one = hub.register(key(1, "c"), None, true);
    hub.subscribe(&one.session, subscription("flood/#", 1));
    let mut published = Vec::new();
    for i in 0..10_000_u32 {
        let message = message(&format!("flood/{i}"), "x", (i % 2) as u8);
        published.push(Arc::downgrade(&message));
        hub.publish(Space::Anonymous, &message, true).unwrap();
        one.session.with(|state| {
            let down = state.outbox.next(9, Timestamp::now(), &mut Vec::new()).unwrap();
            let done = state.outbox.acknowledged(down.packet_id, 1);
            assert_eq!(done.is_some(), down.qos == 1);
        });
    }
    assert!(one.session.with(|state| state.outbox.is_empty()));
    assert!(published.iter().all(|message| message.upgrade().is_none()));
    assert!(hub.unsubscribe(&one.session, "flood/#"));
    let space = hub.space(Space::Anonymous);
    let inner = space.lock();
    assert!(inner.tree.is_empty(), "publishing makes no nodes");
    assert!(inner.retained.find("#", Timestamp::now()).is_empty());
}
