use super::*;

// NIST/SEMATECH e-Handbook 8.4.1.3: published eta 606.528, beta 1.7208, log-likelihood -75.135.
fn nist() -> Vec<Life> {
    Life::from_lists(
        &[54., 187., 216., 240., 244., 335., 361., 373., 375., 386.],
        &[500.; 10],
    )
}

#[test]
fn nist_example() {
    let fit = fit(&nist()).unwrap();
    assert!((fit.distribution.eta - 606.528).abs() < 1e-3);
    assert!((fit.distribution.beta - 1.7208).abs() < 1e-4);
    assert!((fit.log_likelihood + 75.135).abs() < 1e-3);
    let bounds = fit.likelihood_ratio_bounds(&nist(), 0.95).unwrap();
    assert!(bounds.shape.contains(fit.distribution.beta) && bounds.scale.contains(fit.distribution.eta));
    // The likelihood is skewed towards long lives, which the symmetric bound misses.
    assert!(bounds.scale.high > fit.eta_bounds(0.95).unwrap().high);
}

#[test]
fn narrow_intervals_agree_with_exact_ages() {
    let exact = nist();
    let narrow: Vec<Life> = exact
        .iter()
        .map(|l| match *l {
            Life::Failed(t) => Life::FailedBetween(t - 0.01, t + 0.01),
            other => other,
        })
        .collect();
    let (a, b) = (
        fit(&exact).unwrap().distribution,
        fit(&narrow).unwrap().distribution,
    );
    assert!(
        (a.beta - b.beta).abs() < 1e-3 && (a.eta - b.eta).abs() < 0.05,
        "{a:?} {b:?}"
    );
}

#[test]
fn left_censoring_shortens_the_life() {
    let mut lives = nist();
    let before = fit(&lives).unwrap().distribution;
    lives.extend([Life::FailedBefore(100.0); 5]);
    let after = fit(&lives).unwrap().distribution;
    assert!(after.eta < before.eta && after.beta < before.beta);
}

#[test]
fn scale_moves_with_the_unit() {
    let hours = fit(&nist()).unwrap();
    let seconds: Vec<Life> = nist()
        .iter()
        .map(|l| match *l {
            Life::Failed(t) => Life::Failed(t * 3600.0),
            Life::Suspended(t) => Life::Suspended(t * 3600.0),
            other => other,
        })
        .collect();
    let seconds = fit(&seconds).unwrap();
    assert!((seconds.distribution.eta / hours.distribution.eta - 3600.0).abs() < 1e-3);
    assert!((seconds.distribution.beta - hours.distribution.beta).abs() < 1e-6);
}

#[test]
fn few_failures_among_many_suspensions() {
    let lives = Life::from_lists(&[100., 220., 350., 400., 480.], &[500.0; 100]);
    let fit = fit(&lives).unwrap();
    assert!(fit.distribution.eta > 500.0);
    let p = fit.conditional_failure_bounds(500.0, 100.0, 0.9).unwrap();
    let point = fit.distribution.conditional_failure(500.0, 100.0);
    assert!(0.0 < p.low && p.low < point && point < p.high && p.high < 1.0);
}

#[test]
fn plain_refusals() {
    assert_eq!(fit(&[]), Err(ReliabilityError::NoData));
    assert_eq!(fit(&[Life::Suspended(5.0); 3]), Err(ReliabilityError::NoFailures));
    assert_eq!(fit(&[Life::Failed(5.0); 4]), Err(ReliabilityError::NoSpread));
    assert!(matches!(
        fit(&[Life::Failed(5.0), Life::Suspended(9.0)]),
        Err(ReliabilityError::TooFewFailures { found: 1, .. })
    ));
    // As many as Weibayes takes over for: what is said is what is done.
    let two = fit(&[Life::Failed(5.0), Life::Failed(9.0)]).unwrap_err();
    assert_eq!(two.to_string(), "2 failures are too few, 3 are needed");
    let bad = [Life::Failed(5.0), Life::Failed(f64::NAN)];
    assert!(matches!(
        fit(&bad),
        Err(ReliabilityError::InvalidValue { index: 1, .. })
    ));
}
