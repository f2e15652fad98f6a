use proptest::prelude::*;

use super::*;
use crate::stats;
use crate::testing::noise;

/// A cap that nothing reaches.
const FAR: f64 = 1e9;

fn singles(n: usize) -> Vec<u64> {
    (0..n as u64).collect()
}

#[test]
fn widths_follow_the_errors() {
    let predicted: Vec<f64> = (0..2000).map(|i| f64::from(i) / 10.0).collect();
    let wave = |i: usize| ((i * 7919) % 1000) as f64 / 500.0 - 1.0;
    let actual: Vec<f64> = predicted
        .iter()
        .enumerate()
        .map(|(i, p)| p + wave(i) * (1.0 + p / 20.0))
        .collect();
    let c = Conformal::new(&predicted, &actual, &singles(2000), 0.1);
    let ends = |c: &Conformal, p: f64| c.interval80(p, FAR).unwrap();
    let width = |p: f64| ends(&c, p).1 - ends(&c, p).0;
    assert!((width(10.0) - 2.4).abs() < 0.6 && width(190.0) > 3.0 * width(10.0));
    let thin = c.clone().thinned(500);
    assert_eq!(thin.outcomes(60.0, FAR).len(), 50);
    assert!((ends(&thin, 60.0).1 - ends(&c, 60.0).1).abs() < 1.0);
    // What stood at the cap is there exactly, and not a little below it.
    let capped: Vec<f64> = actual.iter().map(|a| a.min(130.0)).collect();
    let c = Conformal::new(&predicted, &capped, &singles(2000), 0.1);
    assert_eq!(c.band(150.0, 130.0), Some([130.0; 3]));
    assert_eq!(c.interval80(150.0, 130.0), Some((130.0, 130.0)));
    let none = Conformal::new(&[], &[], &[], 0.1);
    assert!(none.outcomes(5.0, 9.0).is_empty() && none.outcomes(5.0, 9.0).quantile(0.5).is_nan());
    assert_eq!((none.band(5.0, 9.0), none.interval80(5.0, 9.0)), (None, None));
}

#[test]
fn versions_from_before_there_were_weights_are_read_and_weigh_all_the_same() {
    let predicted: Vec<f64> = (0..200).map(|i| 50.0 + noise(i)).collect();
    let actual: Vec<f64> = (0..200).map(|i| 50.0 + 9.0 * noise(i + 500)).collect();
    let now = Conformal::new(&predicted, &actual, &singles(200), 0.5);
    let mut form = serde_json::to_value(&now).unwrap();
    form.as_object_mut().unwrap().remove("weights");
    let before: Conformal = serde_json::from_value(form).unwrap();
    for p in [47.0, 50.0, 51.5] {
        assert_eq!(before.outcomes(p, FAR), now.outcomes(p, FAR));
    }
    assert_eq!(before.thinned(100).outcomes(50.0, FAR).len(), 50);
}

#[test]
fn a_machine_that_lives_long_counts_no_more_than_the_middle_one() {
    // Nine short lives with an error of 10, a long one with none.
    let machines: Vec<u64> = (0..9).chain(std::iter::repeat_n(9, 91)).collect();
    let actual: Vec<f64> = machines
        .iter()
        .map(|m| if *m < 9 { 60.0 } else { 50.0 })
        .collect();
    let outcomes = Conformal::new(&[50.0; 100], &actual, &machines, 1.0).outcomes(50.0, FAR);
    assert_eq!(outcomes.quantile(0.5), 60.0);
    assert!((outcomes.failed_within(55.0) - 0.1).abs() < 1e-6);
    let rows = Conformal::new(&[50.0; 100], &actual, &singles(100), 1.0).outcomes(50.0, FAR);
    assert_eq!(rows.quantile(0.5), 50.0);
    // And one that came last doesn't count more for its few rows.
    let mut machines: Vec<u64> = (0..90).map(|row| row / 10).collect();
    machines.push(9);
    assert_eq!(evened(&machines), [1.0; 91]);
    assert!(evened(&[]).is_empty());
}

/// Machines of 5 to 104 rows, each with a bias of its own; the longer it lives the smaller its errors are.
fn fleet(seed: usize, machines: usize) -> (Vec<f64>, Vec<f64>, Vec<u64>) {
    let (mut predicted, mut actual, mut of) = (Vec::new(), Vec::new(), Vec::new());
    for machine in 0..machines {
        let at = seed * 1_000_003 + machine * 300;
        let rows = 5 + (machine * 37) % 100;
        let spread = 30.0 / (1.0 + rows as f64 / 20.0);
        for row in 0..rows {
            predicted.push(300.0 + 100.0 * (row as f64 / rows as f64));
            let error = 0.5 * noise(at) + noise(at + 1 + row);
            actual.push(predicted[predicted.len() - 1] + spread * error);
            of.push(machine as u64);
        }
    }
    (predicted, actual, of)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn equal_weights_are_the_usual_quantiles(values in prop::collection::vec(0.0..100.0f64, 50..90), q in 0.0..=1.0f64) {
        let outcomes = Conformal::new(&vec![0.0; values.len()], &values, &singles(values.len()), 1.0).outcomes(0.0, FAR);
        let expect = stats::quantile(&stats::sorted(values), q);
        prop_assert_eq!(outcomes.quantile(q).to_bits(), expect.to_bits());
    }

    /// Closed at both ends: with rows that count one by one the long-lived ones, whose errors are small, rule.
    #[test]
    fn a_closed_interval_holds_what_it_says(seed in 0..1000usize) {
        let (p, y, m) = fleet(seed, 300);
        let folds: Vec<usize> = m.iter().map(|machine| (*machine % 2) as usize).collect();
        let found = held(&p, &y, &m, &folds, FAR);
        prop_assert!((found.coverage80 - 0.8).abs() < 0.03, "{:?}", found);
        prop_assert!((found.below_p10 - 0.1).abs() < 0.02 && (found.above_p90 - 0.1).abs() < 0.02, "{:?}", found);
        let weights = evened(&m);
        let rows = Conformal::new(&p, &y, &singles(p.len()), NEAR);
        let inside: f64 = (0..p.len())
            .filter(|i| { let (low, high) = rows.interval80(p[*i], FAR).unwrap(); low <= y[*i] && y[*i] <= high })
            .map(|i| weights[i])
            .sum();
        let by_rows = inside / weights.iter().sum::<f64>();
        prop_assert!(by_rows < found.coverage80 - 0.005, "{} {:?}", by_rows, found);
    }

    /// The higher the shift, the more stands at the cap, from none to nearly all. An interval holds 80 % whether its end is
    /// closed or open, and more only where more than that stands at the cap, about which nothing else can be said.
    #[test]
    fn an_open_interval_holds_what_it_says(seed in 0..1000usize, shift in -2.5..2.5f64) {
        const N: usize = 4000;
        let draw = |from: usize| -> Vec<f64> {
            (from..from + N).map(|i| (100.0 + 10.0 * (noise(seed * 10_007 + i) + shift)).min(100.0)).collect()
        };
        let (known, new) = (draw(0), draw(N));
        let found = Conformal::new(&[90.0; N], &known, &singles(N), 1.0);
        let ([p10, p50, p90], (low, high)) = (found.band(90.0, 100.0).unwrap(), found.interval80(90.0, 100.0).unwrap());
        prop_assert!(p10 <= low && low <= p50 && p50 <= p90 && p90 == high);
        let share = |inside: &dyn Fn(f64) -> bool| new.iter().filter(|y| inside(**y)).count() as f64 / N as f64;
        let (inside, at_cap) = (share(&|y| low <= y && y <= high), share(&|y| y >= 100.0));
        // Five standard errors of both draws.
        let error = 5.0 * (2.0 * 0.16 / N as f64).sqrt();
        prop_assert!((inside - at_cap.max(0.8)).abs() < error, "{inside} {at_cap} [{low}, {high}]");
    }
}
