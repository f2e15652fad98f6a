use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use super::error::{ReliabilityError, Result};

/// Quantile of the standard normal distribution.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    // `standard` cannot fail: mean 0, deviation 1.
    polish(Normal::standard().inverse_cdf(p), p, |x| {
        Normal::standard().cdf(x)
    })
}

/// Probability of a standard normal value at or below `x`.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// Quantile of the chi-square distribution; `degrees` is above zero.
pub(crate) fn chi2_quantile(p: f64, degrees: f64) -> f64 {
    match ChiSquared::new(degrees) {
        Ok(chi) => polish(chi.inverse_cdf(p), p, |x| chi.cdf(x)),
        Err(_) => f64::NAN,
    }
}

/// Probability that a chi-square value exceeds `x`.
pub(crate) fn chi2_tail(x: f64, degrees: f64) -> f64 {
    match ChiSquared::new(degrees) {
        Ok(chi) => chi.sf(x),
        Err(_) => f64::NAN,
    }
}

/// Library quantiles stop a few digits short; two secant steps on the distribution function finish them.
fn polish(x: f64, p: f64, cdf: impl Fn(f64) -> f64) -> f64 {
    let mut x = x;
    for _ in 0..3 {
        let d = 1e-5 * x.abs().max(1e-3);
        let density = (cdf(x + d) - cdf(x - d)) / (2.0 * d);
        if density.is_nan() || density <= 0.0 {
            break;
        }
        x -= (cdf(x) - p) / density;
    }
    x
}

/// A root of `f` between `a` and `b`, where it changes sign; bisection with secant steps inside.
pub(crate) fn root(a: f64, b: f64, f: impl Fn(f64) -> f64) -> Result<f64> {
    let failed = |iterations, reason: &str| ReliabilityError::NotConverged {
        iterations,
        reason: reason.to_owned(),
    };
    let (mut a, mut b) = (a, b);
    let (mut fa, mut fb) = (f(a), f(b));
    if fa == 0.0 {
        return Ok(a);
    }
    if fb == 0.0 {
        return Ok(b);
    }
    if fa.is_nan() || fb.is_nan() || fa.signum() == fb.signum() {
        return Err(failed(0, "the bound is not between its limits"));
    }
    for step in 0..200 {
        let secant = b - fb * (b - a) / (fb - fa);
        let middle = 0.5 * (a + b);
        // A secant step that hugs one end would crawl: every third step bisects.
        let x = if step % 3 == 2 || !((a.min(b))..=(a.max(b))).contains(&secant) {
            middle
        } else {
            secant
        };
        let fx = f(x);
        if fx.is_nan() {
            return Err(failed(step, "the fit at a trial value failed"));
        }
        if fx == 0.0 || (b - a).abs() < 1e-12 * (1.0 + x.abs()) {
            return Ok(x);
        }
        if fx.signum() == fa.signum() {
            a = x;
            fa = fx;
        } else {
            b = x;
            fb = fx;
        }
    }
    Ok(0.5 * (a + b))
}
