use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

fn config(source: Source) -> Config {
    Config {
        source,
        running_above: Some(1.0),
        rollover_at: None,
        max_rate_per_h: None,
        max_gap_s: 900.0,
        factor: 1.0,
    }
}

/// Feeds (seconds, value) and gives the total and every step.
fn feed(config: &Config, samples: &[(i64, f64)]) -> (f64, Vec<Step>) {
    let mut state = State::default();
    let steps = samples
        .iter()
        .map(|(seconds, value)| {
            let (next, step) = state.step(config, at(*seconds), *value, Quality::Good);
            state = next;
            step
        })
        .collect();
    (state.total, steps)
}

#[test]
fn counters_by_table() {
    use Step::*;
    let plain = config(Source::Counter);
    let rolls = Config {
        rollover_at: Some(1000.0),
        ..plain
    };
    let limited = Config {
        max_rate_per_h: Some(100.0),
        ..plain
    };
    let rolls_limited = Config {
        max_rate_per_h: Some(100.0),
        ..rolls
    };
    type Case<'a> = (&'a str, Config, &'a [(i64, f64)], f64, &'a [Step]);
    let cases: &[Case<'_>] = &[
        (
            "counts",
            plain,
            &[(0, 50.0), (60, 51.0), (120, 53.5)],
            3.5,
            &[Base, Counted(1.0), Counted(2.5)],
        ),
        (
            "a gap doesn't matter to a counter",
            plain,
            &[(0, 50.0), (90_000, 60.0)],
            10.0,
            &[Base, Counted(10.0)],
        ),
        (
            "late and doubled",
            plain,
            &[(60, 50.0), (60, 51.0), (0, 40.0), (120, 52.0)],
            2.0,
            &[Base, Ignored, Ignored, Counted(2.0)],
        ),
        (
            "rolls over",
            rolls,
            &[(0, 990.0), (60, 5.0), (120, 6.0)],
            16.0,
            &[Base, RolledOver(15.0), Counted(1.0)],
        ),
        (
            "falls without a rollover: exchanged",
            plain,
            &[(0, 990.0), (60, 5.0), (120, 6.0)],
            1.0,
            &[Base, Exchanged, Counted(1.0)],
        ),
        (
            "falls from the middle: exchanged",
            rolls,
            &[(0, 500.0), (60, 5.0), (120, 6.0)],
            1.0,
            &[Base, Exchanged, Counted(1.0)],
        ),
        (
            "the way over the top is too fast",
            rolls_limited,
            &[(0, 900.0), (3600, 50.0)],
            0.0,
            &[Base, Exchanged],
        ),
        (
            "the way over the top is possible",
            rolls_limited,
            &[(0, 960.0), (3600, 50.0)],
            90.0,
            &[Base, RolledOver(90.0)],
        ),
        (
            "too fast is not counted and no base",
            limited,
            &[(0, 0.0), (3600, 500.0), (7200, 150.0)],
            150.0,
            &[Base, Implausible(500.0), Counted(150.0)],
        ),
        (
            "a hair backwards is noise",
            plain,
            &[(0, 1000.0), (60, 999.5), (120, 1001.0)],
            1.0,
            &[Base, Ignored, Counted(1.0)],
        ),
    ];
    for (name, config, samples, total, steps) in cases {
        let (got, got_steps) = feed(config, samples);
        assert_eq!(got_steps, *steps, "{name}");
        assert!((got - total).abs() < 1e-9, "{name}: {got}");
    }
}

#[test]
fn running_hours_hold_the_last_word_and_stop_at_gaps() {
    let config = config(Source::RunningState);
    // Running for 600 s, stopped for 600 s, running over a gap of 2000 s, then 300 s.
    let (total, steps) = feed(
        &config,
        &[(0, 1.0), (600, 0.0), (1200, 5.0), (3200, 5.0), (3500, 5.0)],
    );
    assert_eq!(steps[3], Step::Gap(2000.0));
    assert!((total - 900.0 / 3600.0).abs() < 1e-12, "{total}");
}

#[test]
fn pulses_and_starts_are_counted() {
    let pulse = config(Source::Pulse);
    let (total, steps) = feed(&pulse, &[(0, 5.0), (60, 2.0), (120, 0.0), (50_000, 3.0)]);
    assert_eq!(total, 5.0, "{steps:?}");
    assert!(matches!(
        feed(&pulse, &[(0, 1.0), (60, -1.0)]).1[1],
        Step::Implausible(_)
    ));
    let edges = Config {
        running_above: Some(0.5),
        ..config(Source::Edges)
    };
    let (total, _) = feed(
        &edges,
        &[
            (0, 1.0),
            (60, 0.0),
            (120, 1.0),
            (180, 1.0),
            (240, 0.0),
            (300, 2.0),
        ],
    );
    assert_eq!(total, 2.0);
}

#[test]
fn checkpoints_stay_one_to_two_half_days_behind() {
    let state = |hours: i64| State {
        total: hours as f64,
        counted_to: Some(at(hours * 3600)),
        last_raw: Some(0.0),
    };
    assert_eq!(Recount::start(State::default()), None);
    let mut recount = Recount::start(state(0)).unwrap();
    for hour in 1..=100 {
        recount = recount.took(&[at(hour * 3600 - 1800), at(hour * 3600)], state(hour));
        let behind = at(hour * 3600).seconds_since(recount.older.state.counted_to.unwrap()) / 3600.0;
        assert!(
            behind <= 24.0 && (hour < 24 || behind >= 12.0),
            "{hour}: {behind}"
        );
        assert_eq!(recount.older.readings as f64, 2.0 * behind);
    }
}

#[test]
fn power_becomes_energy() {
    let factor = Config::factor_of(Source::Integral, "W", "kW.h").unwrap();
    let config = Config {
        factor,
        ..config(Source::Integral)
    };
    // 1 kW rising to 3 kW within 600 s: 2 kW on average.
    let (total, _) = feed(&config, &[(0, 1000.0), (600, 3000.0)]);
    assert!((total - 2.0 * 600.0 / 3600.0).abs() < 1e-12, "{total}");
    assert_eq!(Config::factor_of(Source::RunningState, "1", "h"), Some(1.0));
    assert_eq!(
        Config::factor_of(Source::RunningState, "A", "min").map(f64::round),
        Some(60.0)
    );
    assert_eq!(Config::factor_of(Source::Counter, "h", "h"), Some(1.0));
    assert_eq!(Config::factor_of(Source::Integral, "m3/h", "m3"), Some(1.0));
    assert_eq!(Config::factor_of(Source::Counter, "bar", "h"), None);
}

#[test]
fn bad_readings_move_nothing() {
    for source in [
        Source::Manual,
        Source::Counter,
        Source::RunningState,
        Source::Integral,
    ] {
        let config = config(source);
        let state = State {
            total: 5.0,
            counted_to: Some(at(0)),
            last_raw: Some(2.0),
        };
        for (value, quality) in [
            (3.0, Quality::Bad),
            (3.0, Quality::Suspect),
            (f64::NAN, Quality::Good),
        ] {
            assert_eq!(
                state.step(&config, at(60), value, quality),
                (state, Step::Ignored),
                "{source:?}"
            );
        }
    }
}

#[test]
fn people_enter_what_can_be() {
    let state = State {
        total: 100.0,
        counted_to: Some(at(0)),
        last_raw: Some(100.0),
    };
    let hour = at(3600);
    assert_eq!(
        enter(&state, hour, Entry::Absolute(110.0), Some(20.0), false)
            .unwrap()
            .total,
        110.0
    );
    assert_eq!(
        enter(&state, hour, Entry::Delta(10.0), None, false)
            .unwrap()
            .total,
        110.0
    );
    assert_eq!(
        enter(&state, at(0), Entry::Delta(1.0), None, false),
        Err(EntryError::NotNewer { last: at(0) })
    );
    assert_eq!(
        enter(&state, hour, Entry::Absolute(99.0), None, false),
        Err(EntryError::Backwards { total: 100.0 })
    );
    assert_eq!(
        enter(&state, hour, Entry::Absolute(f64::NAN), None, false),
        Err(EntryError::NotANumber)
    );
    let fast = enter(&state, hour, Entry::Absolute(150.0), Some(20.0), false);
    assert_eq!(
        fast,
        Err(EntryError::Implausible {
            per_h: 50.0,
            most: 20.0
        })
    );
    assert!(enter(&state, hour, Entry::Absolute(150.0), Some(20.0), true).is_ok());
}

#[test]
fn usage_is_the_median_day() {
    let week = usage(&[8.0, 8.0, 9.0, 7.0, 8.0, 0.0, 0.0], 0.0, 0.0).unwrap();
    assert_eq!((week.median, week.low, week.days), (8.0, 0.0, 7));
    assert!(week.high >= 8.0);
    let rests = usage(&[0.0, 0.0, 0.0, 0.0, 10.0], 0.0, 0.0).unwrap();
    assert_eq!(rests.median, 2.0, "one day in five");
    assert_eq!(usage(&[0.0; 10], 5.0, 100.0), None, "it stands still");
    let young = usage(&[], 2.0, 4.0).unwrap();
    assert_eq!(
        (young.median, young.low, young.high, young.days),
        (12.0, 4.0, 36.0, 0)
    );
    assert_eq!(usage(&[], 2.0, 0.5), None);
}

proptest! {
    /// Whatever comes, a meter never runs backwards, and the same readings in two passes count the same.
    #[test]
    fn totals_only_grow_and_passes_do_not_matter(
        source in prop::sample::select(vec![Source::Counter, Source::RunningState, Source::Integral]),
        samples in prop::collection::vec((0i64..5000, -10.0..100.0f64, 0i16..3), 0..100),
        cut in 0usize..100,
    ) {
        let config = Config { rollover_at: Some(100.0), max_rate_per_h: Some(5000.0), ..config(source) };
        let mut whole = State::default();
        for (seconds, value, quality) in &samples {
            let (next, _) = whole.step(&config, at(*seconds), *value, Quality::from_code(*quality));
            prop_assert!(next.total >= whole.total);
            prop_assert!(next.counted_to >= whole.counted_to);
            whole = next;
        }
        let mut sorted = samples.clone();
        sorted.sort_by_key(|(seconds, ..)| *seconds);
        sorted.dedup_by_key(|(seconds, ..)| *seconds);
        let replay = |times: usize| {
            let mut state = State::default();
            for round in 0..times {
                for (seconds, value, quality) in &sorted[..if round + 1 < times { cut.min(sorted.len()) } else { sorted.len() }] {
                    state = state.step(&config, at(*seconds), *value, Quality::from_code(*quality)).0;
                }
            }
            state
        };
        prop_assert_eq!(replay(1), replay(3));
    }
}
