use proptest::prelude::*;

use super::super::proto::Value;
use super::*;

const LIMITS: Limits = Limits {
    reorder: 2_000,
    ask_again: 10_000,
    max_devices: 10,
    max_aliases: 100,
};

fn topic(text: &str) -> Topic {
    Topic::parse(&format!("spBv1.0/g/{text}")).unwrap()
}

fn metric(name: &str, alias: u64) -> Metric {
    Metric {
        name: Some(name.into()),
        alias: Some(alias),
        value: Some(Value::Long(1)),
        ..Metric::default()
    }
}

fn by_alias(alias: u64) -> Metric {
    Metric {
        alias: Some(alias),
        value: Some(Value::Long(1)),
        ..Metric::default()
    }
}

fn payload(seq: u64, metrics: Vec<Metric>) -> Payload {
    Payload {
        seq: Some(seq),
        metrics,
        ..Payload::default()
    }
}

fn birth(seq: u64, bd_seq: u64) -> Payload {
    let bd = Metric {
        name: Some("bdSeq".into()),
        value: Some(Value::Long(bd_seq)),
        ..Metric::default()
    };
    payload(seq, vec![bd, metric("node metric", 1)])
}

fn death(bd_seq: u64) -> Payload {
    let mut payload = birth(0, bd_seq);
    payload.seq = None;
    payload.metrics.truncate(1);
    payload
}

/// A node that was born and has one device.
fn live() -> Node {
    let mut node = Node::default();
    node.take(&topic("NBIRTH/n"), &birth(0, 4), 0, &LIMITS);
    node.take(
        &topic("DBIRTH/n/d"),
        &payload(1, vec![metric("temp", 9)]),
        0,
        &LIMITS,
    );
    node
}

#[test]
fn births_and_deaths() {
    let mut node = Node::default();
    let step = node.take(&topic("NBIRTH/n"), &birth(0, 4), 0, &LIMITS);
    assert_eq!(step.presence, [(None, true)]);
    let step = node.take(
        &topic("DBIRTH/n/d"),
        &payload(1, vec![metric("temp", 9)]),
        0,
        &LIMITS,
    );
    assert_eq!(step.presence, [(Some("d".into()), true)]);
    assert_eq!(node.aliases(Some("d")).unwrap()[&9].name, "temp");
    let step = node.take(&topic("DDEATH/n/d"), &payload(2, vec![]), 0, &LIMITS);
    assert_eq!(step.presence, [(Some("d".into()), false)]);
    node.take(&topic("DBIRTH/n/d"), &payload(3, vec![]), 0, &LIMITS);
    let step = node.take(&topic("NDEATH/n"), &death(4), 0, &LIMITS);
    assert_eq!(step.presence, [(None, false), (Some("d".into()), false)]);
    assert!(!node.is_online());
}

#[test]
fn a_death_of_an_earlier_session_is_ignored() {
    let mut node = live();
    let step = node.take(&topic("NDEATH/n"), &death(3), 0, &LIMITS);
    assert_eq!((step.verdict, step.presence), (Verdict::Ignore, vec![]));
    assert!(node.is_online());
}

#[test]
fn a_rebirth_is_no_new_presence_and_voids_old_aliases() {
    let mut node = live();
    let step = node.take(&topic("NBIRTH/n"), &birth(0, 4), 0, &LIMITS);
    assert_eq!(step.presence, []);
    let step = node.take(&topic("DDATA/n/d"), &payload(1, vec![by_alias(9)]), 0, &LIMITS);
    assert_eq!(
        (step.verdict, step.rebirth),
        (Verdict::Read, true),
        "the device was not born again"
    );
}

#[test]
fn a_gap_that_closes_in_time_asks_for_nothing() {
    let mut node = live();
    let step = node.take(&topic("NDATA/n"), &payload(3, vec![by_alias(1)]), 100, &LIMITS);
    assert_eq!(
        (step.verdict, step.rebirth),
        (Verdict::Read, false),
        "its names are known"
    );
    assert_eq!(node.deadline(&LIMITS), Some(2_100));
    let step = node.take(&topic("NDATA/n"), &payload(2, vec![by_alias(1)]), 200, &LIMITS);
    assert!(step.release && !step.rebirth);
    assert_eq!(node.deadline(&LIMITS), None);
    assert_eq!(node.expire(99_999, &LIMITS), Step::new(Verdict::Read));
}

#[test]
fn a_gap_that_stays_open_asks_for_a_rebirth_once() {
    let mut node = live();
    node.take(&topic("NDATA/n"), &payload(5, vec![]), 100, &LIMITS);
    assert!(!node.expire(2_099, &LIMITS).rebirth);
    let step = node.expire(2_100, &LIMITS);
    assert!(step.rebirth && step.release);
    assert!(!node.expire(3_000, &LIMITS).rebirth);
    let step = node.take(&topic("NDATA/n"), &payload(6, vec![by_alias(77)]), 3_000, &LIMITS);
    assert!(!step.rebirth, "it was asked already");
    let step = node.take(
        &topic("NDATA/n"),
        &payload(7, vec![by_alias(77)]),
        12_200,
        &LIMITS,
    );
    assert!(step.rebirth, "nobody answered");
    node.take(&topic("NBIRTH/n"), &birth(0, 4), 12_300, &LIMITS);
    assert_eq!(node.deadline(&LIMITS), None);
}

#[test]
fn data_before_its_birth_waits_for_it() {
    let mut node = Node::default();
    node.take(&topic("NBIRTH/n"), &birth(0, 4), 0, &LIMITS);
    let step = node.take(&topic("DDATA/n/d"), &payload(2, vec![by_alias(9)]), 10, &LIMITS);
    assert_eq!((step.verdict, step.rebirth), (Verdict::Wait, false));
    let step = node.take(
        &topic("DBIRTH/n/d"),
        &payload(1, vec![metric("temp", 9)]),
        20,
        &LIMITS,
    );
    assert!(step.release);
    assert!(node.aliases(Some("d")).unwrap().contains_key(&9));
}

#[test]
fn data_of_an_unknown_node_asks_for_its_birth() {
    let mut node = Node::default();
    let step = node.take(&topic("DDATA/n/d"), &payload(7, vec![by_alias(9)]), 0, &LIMITS);
    assert_eq!((step.verdict, step.rebirth), (Verdict::Read, true));
    let step = Node::default().take(&topic("NDATA/n"), &payload(7, vec![metric("a", 1)]), 0, &LIMITS);
    assert!(step.rebirth, "though it can be read");
}

#[test]
fn numbers_wrap_and_births_start_anywhere() {
    let mut node = Node::default();
    node.take(&topic("NBIRTH/n"), &birth(254, 1), 0, &LIMITS);
    for seq in [255, 0, 1, 2] {
        node.take(&topic("NDATA/n"), &payload(seq, vec![]), 0, &LIMITS);
        assert_eq!(node.deadline(&LIMITS), None, "{seq}");
    }
    node.take(&topic("NDATA/n"), &payload(1, vec![]), 0, &LIMITS);
    assert_eq!(node.deadline(&LIMITS), None, "sent again");
}

#[test]
fn a_birth_larger_than_allowed_is_refused() {
    let mut node = live();
    let many = (0..200).map(|i| metric(&format!("m{i}"), i)).collect();
    let step = node.take(&topic("DBIRTH/n/e"), &payload(2, many), 0, &LIMITS);
    assert_eq!(step.verdict, Verdict::TooMuch);
    for i in 0..20 {
        node.take(
            &topic(&format!("DBIRTH/n/x{i}")),
            &payload(3 + i, vec![]),
            0,
            &LIMITS,
        );
    }
    assert_eq!(node.devices.len(), LIMITS.max_devices);
}

#[test]
fn losing_the_way_makes_everything_stale() {
    let mut node = live();
    assert_eq!(node.lost().presence, [(None, false), (Some("d".into()), false)]);
    assert_eq!(node.lost().presence, []);
}

proptest! {
    /// However the messages of one session are shuffled within a window, the gap is closed at the end
    /// and nothing was asked for.
    #[test]
    fn shuffled_within_the_timeout_asks_for_nothing(
        n in 1_usize..400,
        start: u8,
        swaps in prop::collection::vec((0_usize..400, 1_usize..60), 0..50),
    ) {
        let mut node = Node::default();
        node.take(&topic("NBIRTH/n"), &birth(start.into(), 1), 0, &LIMITS);
        let mut order: Vec<usize> = (0..n).collect();
        let mut moved = vec![false; n];
        for (i, distance) in swaps {
            let (i, j) = (i % n, (i % n + distance).min(n - 1));
            // One swap each: a message is at most 60 places from its own, well below half the circle.
            if !moved[i] && !moved[j] {
                moved[i] = true;
                moved[j] = true;
                order.swap(i, j);
            }
        }
        for i in order {
            let seq = u64::from(start.wrapping_add(1).wrapping_add(i as u8));
            let step = node.take(&topic("NDATA/n"), &payload(seq, vec![by_alias(1)]), 1, &LIMITS);
            prop_assert_eq!(step.verdict, Verdict::Read);
            prop_assert!(!step.rebirth);
        }
        prop_assert_eq!(node.deadline(&LIMITS), None);
        prop_assert!(node.ahead.is_empty());
    }

    /// A message that never comes is noticed within the timeout of the first one behind it.
    #[test]
    fn a_lost_message_is_always_noticed(n in 2_u64..100, lost in 0_u64..98, pause in 1_i64..50) {
        let lost = lost % (n - 1);
        let mut node = Node::default();
        node.take(&topic("NBIRTH/n"), &birth(0, 1), 0, &LIMITS);
        let mut asked = 0;
        let mut now = 0;
        for i in (0..n).filter(|i| *i != lost) {
            now += pause;
            asked += u32::from(node.expire(now, &LIMITS).rebirth);
            asked += u32::from(node.take(&topic("NDATA/n"), &payload(i + 1, vec![by_alias(1)]), now, &LIMITS).rebirth);
        }
        asked += u32::from(node.expire(now + LIMITS.reorder, &LIMITS).rebirth);
        prop_assert_eq!(asked, 1);
    }

    /// Any sequence of messages: no panic, presence alternates for each device, and what waits does so
    /// only while a gap is open.
    #[test]
    fn presence_alternates(events in prop::collection::vec((0_u8..7, 0_u64..260, 0_u64..3, 0_u64..5), 0..200)) {
        let mut node = Node::default();
        let mut online: BTreeMap<Option<String>, bool> = BTreeMap::new();
        for (now, (kind, seq, bd, alias)) in events.into_iter().enumerate() {
            let now = now as i64 * 500;
            let step = match kind {
                0 => node.take(&topic("NBIRTH/n"), &birth(seq, bd), now, &LIMITS),
                1 => node.take(&topic("NDEATH/n"), &death(bd), now, &LIMITS),
                2 => node.take(&topic("DBIRTH/n/d"), &payload(seq, vec![metric("m", alias)]), now, &LIMITS),
                3 => node.take(&topic("DDEATH/n/d"), &payload(seq, vec![]), now, &LIMITS),
                4 => node.take(&topic("DDATA/n/d"), &payload(seq, vec![by_alias(alias)]), now, &LIMITS),
                5 => node.take(&topic("NDATA/n"), &payload(seq, vec![by_alias(alias)]), now, &LIMITS),
                _ => node.expire(now, &LIMITS),
            };
            for (device, now_online) in step.presence {
                prop_assert_eq!(online.insert(device, now_online).unwrap_or(false), !now_online);
            }
            if step.verdict == Verdict::Wait {
                prop_assert!(node.deadline(&LIMITS).is_some());
            }
        }
    }
}
