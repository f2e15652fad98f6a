use proptest::prelude::*;

use super::*;
use crate::plan::Day;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin(from: &str, to: &str, days: &[&str], holidays: &[&str]) -> Calendar {
    let holidays: Vec<Day> = holidays.iter().map(|day| day.parse().unwrap()).collect();
    Calendar::new("Europe/Berlin", &Hours { days, from, to }.week(), &holidays).unwrap()
}

const WORKDAYS: [&str; 5] = ["mon", "tue", "wed", "thu", "fri"];
const ALL: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn clock(started: &str, target_h: f64) -> Clock {
    Clock {
        started: at(started),
        stopped: None,
        pauses: Vec::new(),
        target_s: target_h * 3600.0,
    }
}

#[test]
fn a_promise_made_on_friday_evening_is_kept_on_monday() {
    // 2026-01-30 is a Friday; Berlin is an hour ahead of UTC.
    let calendar = berlin("06:00", "14:00", &WORKDAYS, &[]);
    let reading = read(
        &calendar,
        &clock("2026-01-30T12:00:00Z", 4.0),
        at("2026-01-30T20:00:00Z"),
    );
    assert_eq!(reading.elapsed_s, 3600.0, "one hour until closing time");
    assert_eq!(reading.due_at, Some(at("2026-02-02T08:00:00Z")));
    assert_eq!((reading.state, reading.reached), (State::Running, 0));
    assert_eq!(reading.next_at, Some(at("2026-02-02T06:00:00Z")), "half of it");
    let closed = berlin("06:00", "14:00", &WORKDAYS, &["2026-02-02"]);
    let reading = read(
        &closed,
        &clock("2026-01-30T12:00:00Z", 4.0),
        at("2026-01-30T20:00:00Z"),
    );
    assert_eq!(
        reading.due_at,
        Some(at("2026-02-03T08:00:00Z")),
        "a holiday is no working day"
    );
}

#[test]
fn pauses_stop_it_and_a_stop_ends_it() {
    let calendar = Calendar::always();
    let mut paused = clock("2026-01-01T00:00:00Z", 10.0);
    paused.pauses = vec![(at("2026-01-01T02:00:00Z"), None)];
    let reading = read(&calendar, &paused, at("2026-01-09T00:00:00Z"));
    assert_eq!(
        (reading.state, reading.elapsed_s, reading.due_at, reading.next_at),
        (State::Paused, 7200.0, None, None)
    );
    paused.pauses = vec![
        (at("2026-01-01T02:00:00Z"), Some(at("2026-01-01T05:00:00Z"))),
        (at("2026-01-01T04:00:00Z"), Some(at("2026-01-01T06:00:00Z"))),
    ];
    let reading = read(&calendar, &paused, at("2026-01-01T07:00:00Z"));
    assert_eq!(
        (reading.elapsed_s, reading.due_at),
        (10_800.0, Some(at("2026-01-01T14:00:00Z")))
    );
    paused.stopped = Some(at("2026-01-01T08:00:00Z"));
    let reading = read(&calendar, &paused, at("2026-03-01T00:00:00Z"));
    assert_eq!((reading.state, reading.next_at), (State::Met, None));
    paused.stopped = Some(at("2026-01-01T15:00:00Z"));
    let reading = read(&calendar, &paused, at("2026-03-01T00:00:00Z"));
    assert_eq!(
        (reading.state, reading.due_at, reading.reached),
        (State::Breached, Some(at("2026-01-01T14:00:00Z")), 100)
    );
}

#[test]
fn the_change_of_the_clocks_leaves_out_and_repeats_an_hour() {
    // 2026-03-29: 02:00 becomes 03:00; 2026-10-25: 03:00 becomes 02:00.
    let night = berlin("00:00", "06:00", &ALL, &[]);
    let day = |text: &str| {
        let start = at(text);
        night.working_seconds(Span::new(start, start.plus_seconds(86_400.0)))
    };
    assert_eq!(day("2026-03-28T12:00:00Z"), 5.0 * 3600.0);
    assert_eq!(day("2026-06-01T12:00:00Z"), 6.0 * 3600.0);
    assert_eq!(day("2026-10-24T12:00:00Z"), 7.0 * 3600.0);
    // Hours that lie in the gap: opening moves to its end, a window inside it is empty.
    let in_gap = berlin("02:15", "02:45", &ALL, &[]);
    let sunday = Span::new(at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"));
    assert_eq!(in_gap.working_seconds(sunday), 1800.0, "both move by the gap");
    // A clock over the change is due an hour later on the wall, not in truth.
    let reading = read(
        &night,
        &clock("2026-03-28T23:00:00Z", 5.0),
        at("2026-03-28T23:30:00Z"),
    );
    assert_eq!(reading.due_at, Some(at("2026-03-29T04:00:00Z")));
}

#[test]
fn hours_that_can_not_be_used_are_refused_with_the_remedy() {
    let make = |zone: &str, days: &[&str], from: &str, to: &str| {
        Calendar::new(zone, &Hours { days, from, to }.week(), &[]).unwrap_err()
    };
    let table = [
        (make("Europe/Atlantis", &ALL, "06:00", "14:00"), "IANA"),
        (make("Europe/Berlin", &["monday"], "06:00", "14:00"), "mon, tue"),
        (make("Europe/Berlin", &ALL, "25:00", "26:00"), "24:00"),
        (make("Europe/Berlin", &ALL, "six", "14:00"), "06:00"),
        (make("Europe/Berlin", &ALL, "22:00", "06:00"), "two pairs"),
        (make("Europe/Berlin", &[], "06:00", "14:00"), "at least one day"),
    ];
    for (error, remedy) in table {
        assert!(error.to_string().contains(remedy), "{error}");
    }
    assert!(
        Calendar::new(
            "Europe/Berlin",
            &Hours {
                days: &ALL,
                from: "00:00",
                to: "24:00"
            }
            .week(),
            &[]
        )
        .is_ok()
    );
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe", // half an hour of change
        "Asia/Kolkata",
        "America/Sao_Paulo",
        "UTC",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Working time adds up over any split, and `after` is its inverse, whatever the clocks do.
    #[test]
    fn working_time_is_additive_and_inverted(
        zone in zones(), from in 0..23_u32, long in 1..20_u32, days in prop::collection::btree_set(0..7_usize, 1..7),
        start in 1_760_000_000_i64..1_800_000_000, a in 0..2_000_000_i64, b in 0..2_000_000_i64, wanted in 1.0..400_000.0_f64,
    ) {
        let to = (from + long).min(24);
        let names: Vec<&str> = days.iter().map(|day| ALL[*day]).collect();
        let week = Hours { days: &names, from: &format!("{from:02}:00"), to: &format!("{to:02}:00") }.week();
        let calendar = Calendar::new(zone, &week, &[]).unwrap();
        let (x, y, z) = (Timestamp::from_secs(start), Timestamp::from_secs(start + a), Timestamp::from_secs(start + a + b));
        let whole = calendar.working_seconds(Span::new(x, z));
        let parts = calendar.working_seconds(Span::new(x, y)) + calendar.working_seconds(Span::new(y, z));
        prop_assert!((whole - parts).abs() < 1e-3, "{whole} {parts}");
        prop_assert!(whole <= (a + b) as f64 + 1e-3);
        let reached = calendar.after(x, wanted).unwrap();
        prop_assert!((calendar.working_seconds(Span::new(x, reached)) - wanted).abs() < 1e-3);
        prop_assert!(calendar.working_seconds(Span::new(x, reached.plus_seconds(-1.0))) < wanted);
    }

    /// A clock only goes forward, pausing never makes it due sooner, and the thresholds come in order.
    #[test]
    fn a_clock_goes_forward(
        start in 1_770_000_000_i64..1_790_000_000, target in 3_600.0..400_000.0_f64, later in 0..900_000_i64,
        pauses in prop::collection::vec((0..600_000_i64, 0..100_000_i64), 0..5),
    ) {
        let calendar = berlin("06:00", "22:00", &WORKDAYS, &[]);
        let started = Timestamp::from_secs(start);
        let plain = Clock { started, stopped: None, pauses: Vec::new(), target_s: target };
        let held = Clock {
            pauses: pauses.iter()
                .map(|(from, long)| (Timestamp::from_secs(start + from), Some(Timestamp::from_secs(start + from + long))))
                .collect(),
            ..plain.clone()
        };
        let now = Timestamp::from_secs(start + later);
        let (one, two) = (read(&calendar, &plain, now), read(&calendar, &held, now));
        prop_assert!(two.elapsed_s <= one.elapsed_s + 1e-3);
        prop_assert!(two.due_at.unwrap() >= one.due_at.unwrap());
        let next = read(&calendar, &held, now.plus_seconds(3600.0));
        prop_assert!(next.elapsed_s >= two.elapsed_s - 1e-3 && next.reached >= two.reached);
        // The due moment doesn't depend on when one looks.
        prop_assert!((next.due_at.unwrap().seconds_since(two.due_at.unwrap())).abs() < 1e-3);
        if let Some(at) = two.next_at {
            let there = read(&calendar, &held, at);
            prop_assert!(there.reached > two.reached, "{two:?} {there:?}");
        }
    }
}
