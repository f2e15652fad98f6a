use proptest::prelude::*;

use super::*;

const NAN: f64 = f64::NAN;

fn compute(value: &[f64]) -> SeriesFeatures {
    SeriesFeatures::compute(&[Input {
        value,
        z: value,
        steps_per_hour: 6.0,
        wanted: usize::MAX,
    }])
    .unwrap()
    .remove(0)
}

/// The named feature at the last step; NaN = null.
#[track_caller]
fn check(value: &[f64], name: &str, expect: f64) {
    let got = *compute(value).column(name).last().unwrap();
    let same = (got.is_nan() && expect.is_nan()) || (got - expect).abs() < 1e-9;
    assert!(same, "{name} of {value:?} is {got}, not {expect}");
}

#[test]
fn what_each_feature_is() {
    let ramp: Vec<f64> = (0..12).map(f64::from).collect();
    check(&ramp, "last", 11.0);
    check(&ramp, "mean_short", 8.5);
    check(&ramp, "median_short", 8.5);
    check(&ramp, "min_short", 6.0);
    check(&ramp, "max_short", 11.0);
    check(&ramp, "sd_short", 3.5_f64.sqrt());
    check(&ramp, "mean_long", 5.5);
    check(&ramp, "short_minus_long", 3.0);
    check(&ramp, "expanding_mean", 5.5);
    check(&ramp, "count_long", 12.0);
    check(&ramp, "missing_long", 0.0);
    check(&ramp, "z_short", 8.5);
    check(&[1.0, 2.0], "z_short", NAN);
    check(&[1.0, 2.0], "slope_long", NAN);
    check(&[7.0], "sd_short", NAN);
}

#[test]
fn gaps_are_missing_and_not_bridged() {
    let mut value = vec![1.0; 20];
    value.extend([NAN; 10]);
    check(&value, "last", NAN);
    check(&value, "mean_short", NAN);
    check(&value, "missing_long", 1.0 / 3.0);
    value.extend([5.0; 3]);
    check(&value, "mean_short", 5.0);
    // The weighted mean starts anew after the silence.
    check(&value, "z_ewma", 5.0);
}

#[test]
fn a_straight_line_has_its_slope_per_hour_and_a_spike_hardly_moves_it() {
    let mut value: Vec<f64> = (0..200).map(|i| 3.0 + 0.5 * f64::from(i)).collect();
    check(&value, "slope_long", 3.0);
    value[150] = 1e6;
    let slope = *compute(&value).column("slope_long").last().unwrap();
    assert!((slope - 3.0).abs() < 0.1, "{slope}");
}

#[test]
fn series_do_not_see_each_other() {
    let (a, b) = (vec![1.0; 30], (0..50).map(f64::from).collect::<Vec<_>>());
    let input = |value| Input {
        value,
        z: value,
        steps_per_hour: 1.0,
        wanted: usize::MAX,
    };
    let both = SeriesFeatures::compute(&[input(&a[..]), input(&b[..])]).unwrap();
    for (together, alone) in both.iter().zip([&a, &b]) {
        let alone = SeriesFeatures::compute(&[input(&alone[..])]).unwrap();
        for name in NAMES {
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(together.column(name)), bits(alone[0].column(name)), "{name}");
        }
    }
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![6 => -50.0..50.0f64, 1 => Just(NAN)], 20..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_future_does_not_change_the_past(past in values(), future in values()) {
        let mut all = past.clone();
        all.extend(&future);
        let (short, long) = (compute(&past), compute(&all));
        for name in NAMES {
            for (i, (before, after)) in short.column(name).iter().zip(long.column(name)).enumerate() {
                prop_assert!(before.to_bits() == after.to_bits() || before.is_nan() && after.is_nan(), "{name} at {i}: {before} {after}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_last_rows_alone_are_the_same_bits(value in values(), wanted in 1..20_usize) {
        let all = compute(&value);
        let some = SeriesFeatures::compute(&[Input { value: &value, z: &value, steps_per_hour: 6.0, wanted }]).unwrap().remove(0);
        for name in NAMES {
            let (all, some) = (all.column(name), some.column(name));
            let tail = &all[all.len() - some.len()..];
            prop_assert_eq!(some.len(), wanted.min(value.len()));
            prop_assert!(tail.iter().zip(some).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()), "{}", name);
        }
    }

    #[test]
    fn a_window_of_a_backtest_is_the_one_that_is_served(value in values()) {
        let served = compute(&value);
        let medians: Vec<f64> = (0..value.len()).map(|row| served.median_short(row)).collect();
        let mut expanding = rolling::Expanding::default();
        for row in 0..value.len() {
            let backtest = [
                ("mean_short", rolling::mean(&value, row, SHORT)),
                ("sd_short", rolling::deviation(&value, row, SHORT)),
                ("mean_long", rolling::mean(&value, row, LONG)),
                ("sd_long", rolling::deviation(&value, row, LONG)),
                ("slope_long", 6.0 * rolling::slope(&medians, row, LONG, 2 * SHORT)),
                ("expanding_mean", expanding.push(value[row])),
            ];
            for (name, own) in backtest {
                let there = served.column(name)[row];
                prop_assert!(own.to_bits() == there.to_bits() || own.is_nan() && there.is_nan(), "{name} at {row}: {own} {there}");
            }
        }
    }

    #[test]
    fn where_a_series_began_does_not_change_its_windows(value in values(), cut in 0..40_usize) {
        // Long enough that no window reaches the part that is cut off.
        let mut long = vec![1.0; cut];
        long.extend((0..LONG + 2 * SHORT).map(|i| (i % 13) as f64));
        long.extend(&value);
        let (whole, late) = (compute(&long), compute(&long[cut..]));
        for name in NAMES.iter().filter(|name| **name != "expanding_mean") {
            let (a, b) = (whole.column(name).last().unwrap(), late.column(name).last().unwrap());
            prop_assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{}: {} {}", name, a, b);
        }
    }
}
