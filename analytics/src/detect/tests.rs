use super::*;
use crate::testing::{Machine, noise};

const HEALTHY: usize = 288;

fn vibration(i: usize) -> f64 {
    2.0 + 0.05 * noise(i)
}

fn temperature(i: usize) -> f64 {
    60.0 + (i as f64 / 144.0 * std::f64::consts::TAU).sin() + 0.2 * noise(i + 10_000)
}

fn run(machine: Machine) -> (Baseline, Detection) {
    let window = machine.window();
    let baseline = Baseline::learn(&window.head(HEALTHY)).unwrap();
    let detection = detect(&baseline, &window).unwrap();
    (baseline, detection)
}

#[test]
fn a_healthy_machine_stays_below_the_threshold() {
    for shift in 0..20 {
        let (_, detection) = run(Machine::new(600)
            .measurement("vibration", |i| vibration(i + 997 * shift))
            .measurement("temperature", |i| temperature(i + 144 * shift)));
        assert!(detection.anomaly < 0.95, "{shift}: {}", detection.anomaly);
        assert_eq!(detection.notes, Vec::<String>::new());
    }
}

#[test]
fn a_worn_bearing_is_named_with_its_time() {
    let (_, detection) = run(Machine::new(600)
        .measurement("vibration", |i| vibration(i) + if i > 500 { 1.5 } else { 0.0 })
        .measurement("temperature", temperature));
    let worst = detection.worst().unwrap();
    assert_eq!(worst.title, "vibration");
    assert!(
        worst.anomaly > 2.0 && worst.above && worst.new_extreme,
        "{worst:?}"
    );
    assert!((worst.for_h - 98.0 / 6.0).abs() < 1.0, "{}", worst.for_h);
    assert!(worst.expected_low < 2.0 && worst.expected_high > 2.0 && worst.value > 3.0);
    let shares = detection.shares();
    assert!(
        shares
            .iter()
            .any(|(channel, share)| *channel == ChannelId(1) && *share > 0.99),
        "{shares:?}"
    );
}

#[test]
fn one_spike_is_no_deviation() {
    let (_, detection) = run(Machine::new(400)
        .measurement("vibration", |i| if i == 398 { 500.0 } else { vibration(i) })
        .measurement("temperature", temperature));
    assert!(detection.anomaly < 1.0, "{}", detection.anomaly);
}

#[track_caller]
fn check_guard(broken: impl Fn(usize) -> f64, expect: &str) {
    let (_, detection) = run(Machine::new(400)
        .measurement("flow", broken)
        .measurement("vibration", vibration)
        .measurement("temperature", temperature));
    assert!(
        detection.notes.iter().any(|note| note.contains(expect)),
        "{:?} lacks `{expect}`",
        detection.notes
    );
    assert!(
        detection.anomaly < 1.0,
        "{} with {:?}",
        detection.anomaly,
        detection.notes
    );
    assert!(detection.channels.iter().all(|verdict| verdict.title != "flow"));
}

#[test]
fn bad_channels_are_said_and_not_judged() {
    check_guard(|_| 7.0, "flow is not judged: constant in the baseline window");
    check_guard(
        |_| f64::NAN,
        "flow is not judged: no readings in the baseline window",
    );
    check_guard(
        |i| if i < 5 { 1.0 } else { f64::NAN },
        "flow is not judged: only 5 steps",
    );
    check_guard(
        |i| if i < 350 { 5.0 + noise(i) } else { 5.0 },
        "flow: stuck at 5 for 50 steps",
    );
    check_guard(
        |i| if i < 350 { 5.0 + noise(i) } else { f64::NAN },
        "flow: no current readings",
    );
    check_guard(
        |i| {
            if i > 300 && i % 4 == 0 {
                900.0
            } else {
                5.0 + noise(i)
            }
        },
        "flow: spikes in",
    );
    // Two channels that are not sampled together: the rarer one is said, the other judged.
    check_guard(
        |i| {
            if i < 320 || i % 5 == 2 {
                5.0 + noise(i)
            } else {
                f64::NAN
            }
        },
        "flow: readings in fewer than 3 of the last 6 steps",
    );
    // A counter that was reset twice, once in the baseline.
    check_guard(
        |i| f64::from(u16::try_from(i % 250).unwrap()) * 1.5 + 10.0,
        "flow is not judged: it only counts up",
    );
}

#[test]
fn what_a_machine_does_at_another_speed_is_no_deviation() {
    let speed = |i: usize| if (i / 48).is_multiple_of(2) { 50.0 } else { 90.0 };
    let machine = Machine::new(600)
        .setting("speed", move |i| speed(i) + 0.1 * noise(i))
        .measurement("vibration", move |i| speed(i) / 20.0 + 0.05 * noise(i + 7));
    let (baseline, detection) = run(machine);
    assert_eq!(baseline.regimes.len(), 2);
    assert!(detection.anomaly < 1.0, "{}", detection.anomaly);
    // The vibration of the fast regime at the slow speed is one.
    let (_, detection) = run(Machine::new(600)
        .setting("speed", move |i| speed(i) + 0.1 * noise(i))
        .measurement(
            "vibration",
            move |i| if i > 576 { 4.5 } else { speed(i) / 20.0 } + 0.05 * noise(i + 7),
        ));
    assert!(
        detection.channels.is_empty() || detection.anomaly > 1.0 || speed(599) > 60.0,
        "{detection:?}"
    );
}

#[test]
fn an_unknown_way_to_run_is_said() {
    let (_, detection) = run(Machine::new(400)
        .state("mode", |i| {
            if i > 380 {
                9.0
            } else {
                f64::from(u8::from(i % 60 < 30))
            }
        })
        .measurement("vibration", vibration));
    assert_eq!(detection.regime, None);
    assert!(
        detection.notes[0].contains("has not seen"),
        "{:?}",
        detection.notes
    );
    assert_eq!(detection.anomaly, 0.0);
}

#[test]
fn too_little_history_is_said() {
    let window = Machine::new(20).measurement("vibration", vibration).window();
    assert_eq!(Baseline::learn(&window), Err(NoBaseline::TooShort { have: 20 }));
    let window = Machine::new(200).measurement("vibration", |_| 3.0).window();
    assert_eq!(Baseline::learn(&window), Err(NoBaseline::NoChannel));
}

#[test]
fn the_same_window_gives_the_same_bits_and_the_artifact_keeps_them() {
    let window = Machine::new(500)
        .measurement("vibration", vibration)
        .measurement("temperature", temperature)
        .window();
    let one = Baseline::learn(&window.head(HEALTHY)).unwrap();
    assert_eq!(one, Baseline::learn(&window.head(HEALTHY)).unwrap());
    let text = serde_json::to_string(&one).unwrap();
    let read: Baseline = serde_json::from_str(&text).unwrap();
    assert_eq!(read, one);
    let anomaly = |baseline: &Baseline| detect(baseline, &window).unwrap().anomaly.to_bits();
    assert_eq!(anomaly(&one), anomaly(&read));
}

#[test]
fn numbers_for_people() {
    for (value, text) in [
        (0.0, "0"),
        (4.2, "4.2"),
        (1589.7012, "1590"),
        (0.076_543_2, "0.07654"),
        (-2.5, "-2.5"),
        (100.0, "100"),
    ] {
        assert_eq!(short(value), text);
    }
}
