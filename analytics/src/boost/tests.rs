use ndarray::Array2;

use super::tree::{Child, Tree};
use super::*;

fn random(seed: u64, i: usize, j: usize) -> f64 {
    mix(seed, i as u64, j as u64) as f64 / u64::MAX as f64
}

/// Rows with a nonlinear signal, missing values, a category and a constant.
fn sample(rows: usize, seed: u64) -> (Array2<f64>, Vec<f64>, Vec<Feature>) {
    let mut x = Array2::zeros((rows, 5));
    let mut y = Vec::new();
    for i in 0..rows {
        let r = |j| random(seed, i, j);
        let category = (r(2) * 6.0).floor();
        let (a, b) = (r(0) * 10.0, r(1) * 4.0 - 2.0);
        let missing = r(3) < 0.2;
        x[[i, 0]] = a;
        x[[i, 1]] = if missing { f64::NAN } else { b };
        x[[i, 2]] = category;
        x[[i, 3]] = 7.0;
        x[[i, 4]] = r(4);
        let bump = [3.0, -1.0, 0.0, 2.0, -3.0, 1.0][category as usize];
        y.push(a.sqrt() * 3.0 + if missing { 5.0 } else { b * b } + bump + (r(5) - 0.5) * 0.2);
    }
    let features = vec![
        Feature::numeric("a").monotone(Monotone::Increasing),
        Feature::numeric("b"),
        Feature::categorical("kind"),
        Feature::numeric("constant"),
        Feature::numeric("noise"),
    ];
    (x, y, features)
}

fn quick() -> Params {
    Params {
        rounds: 150,
        learning_rate: 0.1,
        leaves: 15,
        min_leaf: 10,
        row_share: 0.8,
        column_share: 0.8,
        ..Params::default()
    }
}

fn rmse(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / a.len() as f64).sqrt()
}

#[test]
fn learns_curves_categories_and_missing_values() {
    let (x, y, features) = sample(4000, 1);
    let model = Booster::fit(&quick(), &features, Training::new(x.view(), &y)).unwrap();
    let (tx, ty, _) = sample(1000, 2);
    let error = rmse(&model.predict(tx.view()).unwrap(), &ty);
    assert!(error < 0.5, "held-out error {error}");
    assert_eq!(model.importance()[3], 0.0);
}

#[test]
fn same_bits_for_any_thread_count_and_row_order() {
    let (x, y, features) = sample(1500, 3);
    let ids: Vec<u64> = (0..y.len() as u64).collect();
    let order: Vec<usize> = (0..y.len()).map(|i| (i * 7 + 3) % y.len()).collect();
    assert!(y.len() % 7 != 0);
    let (px, py): (Array2<f64>, Vec<f64>) = (
        x.select(ndarray::Axis(0), &order),
        order.iter().map(|i| y[*i]).collect(),
    );
    let pids: Vec<u64> = order.iter().map(|i| ids[*i]).collect();
    for loss in [Loss::Squared, Loss::Pinball { quantile: 0.9 }] {
        let with = |threads| Params {
            loss,
            threads,
            rounds: 40,
            ..quick()
        };
        let one = Booster::fit(&with(1), &features, Training::new(x.view(), &y)).unwrap();
        let three = Booster::fit(&with(3), &features, Training::new(x.view(), &y)).unwrap();
        assert_eq!(one, three);
        let moved = Training::new(px.view(), &py).row_ids(&pids);
        assert_eq!(one, Booster::fit(&with(2), &features, moved).unwrap());
    }
}

#[test]
fn survives_serialisation_to_the_bit() {
    let (x, y, features) = sample(500, 4);
    let model = Booster::fit(&quick(), &features, Training::new(x.view(), &y)).unwrap();
    let text = serde_json::to_string(&model).unwrap();
    let back: Booster = serde_json::from_str(&text).unwrap();
    assert_eq!(model, back);
    assert_eq!(model.predict(x.view()).unwrap(), back.predict(x.view()).unwrap());
}

#[test]
fn monotone_features_only_raise_the_prediction() {
    let (x, y, features) = sample(2000, 5);
    for loss in [Loss::Squared, Loss::Pinball { quantile: 0.3 }] {
        let model = Booster::fit(
            &Params { loss, ..quick() },
            &features,
            Training::new(x.view(), &y),
        )
        .unwrap();
        for i in 0..50 {
            let mut row = x.row(i).to_vec();
            let mut last = f64::NEG_INFINITY;
            for step in 0..100 {
                row[0] = f64::from(step) * 0.12 - 1.0;
                let p = model.raw(&row);
                assert!(p >= last - 1e-9, "falls from {last} to {p}");
                last = p;
            }
        }
    }
}

#[test]
fn pinball_covers_its_share() {
    let (x, y, features) = sample(4000, 6);
    for quantile in [0.1, 0.5, 0.9] {
        let params = Params {
            loss: Loss::Pinball { quantile },
            min_leaf: 50,
            rounds: 80,
            ..quick()
        };
        let model = Booster::fit(&params, &features, Training::new(x.view(), &y)).unwrap();
        let p = model.predict(x.view()).unwrap();
        let below = y.iter().zip(&p).filter(|(y, p)| y < p).count() as f64 / y.len() as f64;
        assert!((below - quantile).abs() < 0.06, "{quantile}: {below}");
    }
}

#[test]
fn logistic_takes_separable_labels_and_single_classes() {
    let (x, _, features) = sample(600, 7);
    let params = Params {
        loss: Loss::Logistic,
        ..quick()
    };
    let y: Vec<f64> = x
        .column(0)
        .iter()
        .map(|a| f64::from(u8::from(*a > 5.0)))
        .collect();
    let model = Booster::fit(&params, &features, Training::new(x.view(), &y)).unwrap();
    let p = model.predict(x.view()).unwrap();
    assert!(
        p.iter()
            .zip(&y)
            .all(|(p, y)| p.is_finite() && (p - y).abs() < 0.1)
    );
    let none = vec![0.0; 600];
    let model = Booster::fit(&params, &features, Training::new(x.view(), &none)).unwrap();
    assert!(model.predict(x.view()).unwrap().iter().all(|p| *p < 1e-3));
}

#[test]
fn nothing_to_split_gives_the_mean() {
    let x = Array2::from_elem((20, 1), 3.0);
    let y: Vec<f64> = (0..20).map(f64::from).collect();
    let model = Booster::fit(&quick(), &[Feature::numeric("c")], Training::new(x.view(), &y)).unwrap();
    // Rows are drawn, so each round moves the constant a little around the mean.
    assert!((model.predict_row(&[3.0]) - 9.5).abs() < 1.5);
    let missing = Array2::from_elem((20, 1), f64::NAN);
    assert!(
        Booster::fit(
            &quick(),
            &[Feature::numeric("c")],
            Training::new(missing.view(), &y)
        )
        .is_ok()
    );
}

#[test]
fn early_stopping_keeps_groups_apart() {
    let (x, y, features) = sample(1200, 8);
    let groups: Vec<u64> = (0..1200).map(|i| i / 40).collect();
    let params = Params {
        rounds: 400,
        learning_rate: 0.3,
        ..quick()
    };
    let (model, cross) =
        fit_grouped(&params, &features, Training::new(x.view(), &y), &groups, 4, 25).unwrap();
    assert_eq!(model.rounds(), cross.rounds);
    assert!(cross.rounds < 400);
    for group in 0..30 {
        let folds: Vec<usize> = (0..1200)
            .filter(|i| groups[*i] == group)
            .map(|i| cross.folds[i])
            .collect();
        assert!(folds.windows(2).all(|w| w[0] == w[1]));
    }
    assert!(rmse(&cross.predictions, &y) < 1.0);
    let two = Training::new(x.view(), &y);
    assert!(matches!(
        cross_fit(&params, &features, two, &vec![1; 1200], 2, 5),
        Err(BoostError::TooFewGroups { groups: 1, .. })
    ));
}

#[test]
fn contributions_add_up() {
    let (x, y, features) = sample(1500, 9);
    let model = Booster::fit(&quick(), &features, Training::new(x.view(), &y)).unwrap();
    let (mut unseen, _, _) = sample(50, 10);
    unseen[[0, 0]] = f64::NAN;
    unseen[[1, 2]] = 99.0;
    for row in unseen.rows() {
        let row = row.to_vec();
        let (base, phi) = model.explain(&row);
        let sum = base + phi.iter().sum::<f64>();
        assert!(
            (sum - model.raw(&row)).abs() < 1e-8,
            "{sum} is not {}",
            model.raw(&row)
        );
        assert_eq!(phi[3], 0.0);
    }
}

/// Expectation of a tree when only the features of `known` are.
fn conditional(tree: &Tree, row: &[f64], known: u32, at: Child) -> f64 {
    match at {
        Child::Leaf(l) => tree.leaves[l as usize].value,
        Child::Node(n) => {
            let node = &tree.nodes[n as usize];
            if known >> node.feature & 1 == 1 {
                let side = if node.goes_left(row[node.feature as usize]) {
                    node.left
                } else {
                    node.right
                };
                conditional(tree, row, known, side)
            } else {
                let part = |c| tree.cover(c) / node.cover * conditional(tree, row, known, c);
                part(node.left) + part(node.right)
            }
        }
    }
}

#[test]
fn contributions_are_the_shapley_values() {
    let (x, y, features) = sample(800, 11);
    let params = Params { rounds: 5, ..quick() };
    let model = Booster::fit(&params, &features, Training::new(x.view(), &y)).unwrap();
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let m = 5_u32;
    for i in 0..40 {
        let row = model.clean(&x.row(i).to_vec());
        let (_, phi) = model.explain(&row);
        for f in 0..m {
            let mut brute = 0.0;
            for set in (0..1_u32 << m).filter(|s| s >> f & 1 == 0) {
                let k = set.count_ones();
                let weight = factorial(k) * factorial(m - k - 1) / factorial(m);
                for tree in &model.trees {
                    let value = |known| conditional(tree, &row, known, tree.root());
                    brute += weight * (value(set | 1 << f) - value(set));
                }
            }
            assert!(
                (phi[f as usize] - brute).abs() < 1e-9,
                "row {i} feature {f}: {} {brute}",
                phi[f as usize]
            );
        }
    }
}

#[test]
fn bad_input_is_named() {
    let (x, y, features) = sample(50, 12);
    let fit = |p: &Params, y: &[f64]| Booster::fit(p, &features, Training::new(x.view(), y));
    assert!(matches!(
        fit(&quick(), &y[..49]),
        Err(BoostError::Length { what: "labels", .. })
    ));
    let mut bad = y.clone();
    bad[7] = f64::NAN;
    assert!(matches!(
        fit(&quick(), &bad),
        Err(BoostError::BadRow { row: 7, .. })
    ));
    let logistic = Params {
        loss: Loss::Logistic,
        ..quick()
    };
    assert!(matches!(fit(&logistic, &y), Err(BoostError::BadRow { .. })));
    assert!(matches!(
        fit(
            &Params {
                row_share: 0.0,
                ..quick()
            },
            &y
        ),
        Err(BoostError::BadSetting {
            name: "row_share",
            ..
        })
    ));
}
