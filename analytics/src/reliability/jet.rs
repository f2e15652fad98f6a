//! Second-order forward differentiation in a few parameters, and a damped Newton search built on it.
//!
//! Likelihoods with left, right and interval censoring have long derivatives that are easy to get wrong. A `Jet`
//! carries value, gradient and Hessian through the arithmetic instead, so that the likelihood is written once and its
//! observed information is exact.

use std::ops::{Add, Mul, Neg, Sub};

use super::error::{ReliabilityError, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Jet<const N: usize> {
    pub v: f64,
    pub g: [f64; N],
    pub h: [[f64; N]; N],
}

impl<const N: usize> Jet<N> {
    pub fn constant(v: f64) -> Self {
        Self {
            v,
            g: [0.0; N],
            h: [[0.0; N]; N],
        }
    }

    pub fn variable(v: f64, index: usize) -> Self {
        let mut jet = Self::constant(v);
        jet.g[index] = 1.0;
        jet
    }

    /// f(self) for a scalar function with value, first and second derivative given.
    fn chain(self, f: f64, d1: f64, d2: f64) -> Self {
        let mut out = Self::constant(f);
        for i in 0..N {
            out.g[i] = d1 * self.g[i];
            for j in 0..N {
                out.h[i][j] = d1 * self.h[i][j] + d2 * self.g[i] * self.g[j];
            }
        }
        out
    }

    pub fn exp(self) -> Self {
        let e = self.v.exp();
        self.chain(e, e, e)
    }

    pub fn ln(self) -> Self {
        self.chain(self.v.ln(), 1.0 / self.v, -1.0 / (self.v * self.v))
    }

    /// ln(1 - exp(-self)) for self > 0, without loss for small arguments.
    pub fn ln_1m_exp_neg(self) -> Self {
        let x = self.v;
        let m = -(-x).exp_m1();
        let d1 = (-x).exp() / m;
        self.chain(m.ln(), d1, -d1 * (1.0 + d1))
    }

    pub fn scale(self, k: f64) -> Self {
        self.chain(self.v * k, k, 0.0)
    }
}

impl<const N: usize> Add for Jet<N> {
    type Output = Self;
    fn add(mut self, o: Self) -> Self {
        self.v += o.v;
        for i in 0..N {
            self.g[i] += o.g[i];
            for j in 0..N {
                self.h[i][j] += o.h[i][j];
            }
        }
        self
    }
}

impl<const N: usize> Neg for Jet<N> {
    type Output = Self;
    fn neg(self) -> Self {
        self.scale(-1.0)
    }
}

impl<const N: usize> Sub for Jet<N> {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        self + (-o)
    }
}

impl<const N: usize> Mul for Jet<N> {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        let mut out = Self::constant(self.v * o.v);
        for i in 0..N {
            out.g[i] = self.g[i] * o.v + self.v * o.g[i];
            for j in 0..N {
                out.h[i][j] =
                    self.h[i][j] * o.v + self.v * o.h[i][j] + self.g[i] * o.g[j] + self.g[j] * o.g[i];
            }
        }
        out
    }
}

/// Where the search ended: the point, the value there and the inverse of the negative Hessian.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Optimum<const N: usize> {
    pub x: [f64; N],
    pub value: f64,
    pub covariance: [[f64; N]; N],
}

const MAX_STEPS: usize = 300;

/// Maximises `f` by Newton steps, damped until each one climbs. `limit` bounds how far a coordinate may travel from
/// the start before the search is called unbounded.
pub(crate) fn maximise<const N: usize>(
    what: &str,
    start: [f64; N],
    limit: f64,
    f: impl Fn([f64; N]) -> Jet<N>,
) -> Result<Optimum<N>> {
    let mut x = start;
    let mut at = f(x);
    if !at.v.is_finite() {
        return Err(not_converged(0, "the likelihood is not finite at the start"));
    }
    let mut damping = 0.0_f64;
    for step in 1..=MAX_STEPS {
        let mut climbed = false;
        for _ in 0..60 {
            let mut a = [[0.0; N]; N];
            for (i, row) in a.iter_mut().enumerate() {
                for (to, from) in row.iter_mut().zip(at.h[i]) {
                    *to = -from;
                }
                row[i] += damping * (1.0 + at.h[i][i].abs());
            }
            let Some(inverse) = invert(&a) else {
                damping = (damping * 4.0).max(1e-3);
                continue;
            };
            let mut next = x;
            let mut promised = 0.0;
            for i in 0..N {
                let d: f64 = (0..N).map(|j| inverse[i][j] * at.g[j]).sum();
                next[i] += d;
                promised += d * at.g[i];
            }
            if damping == 0.0 && promised.abs() < 1e-13 * (1.0 + at.v.abs()) {
                return Ok(Optimum {
                    x,
                    value: at.v,
                    covariance: inverse,
                });
            }
            let tried = f(next);
            if tried.v.is_finite() && tried.v >= at.v - 1e-12 * (1.0 + at.v.abs()) {
                x = next;
                at = tried;
                climbed = true;
                damping = if damping < 1e-6 { 0.0 } else { damping / 8.0 };
                break;
            }
            damping = (damping * 4.0).max(1e-3);
        }
        if (0..N).any(|i| (x[i] - start[i]).abs() > limit) {
            return Err(ReliabilityError::Unbounded {
                what: what.to_owned(),
            });
        }
        if !climbed {
            return Err(not_converged(step, "no step improves the fit"));
        }
    }
    Err(not_converged(MAX_STEPS, "the steps do not become small"))
}

fn not_converged(iterations: usize, reason: &str) -> ReliabilityError {
    ReliabilityError::NotConverged {
        iterations,
        reason: reason.to_owned(),
    }
}

/// Inverse of a symmetric positive definite matrix, or None if it is not one.
pub(crate) fn invert<const N: usize>(a: &[[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let mut l = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let s: f64 = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            if i == j {
                if s.is_nan() || s <= 1e-14 * a[i][i].abs() {
                    return None;
                }
                l[i][i] = s.sqrt();
            } else {
                l[i][j] = s / l[j][j];
            }
        }
    }
    // The inverse is symmetric: solved column by column, stored row by row.
    let mut out = [[0.0; N]; N];
    for (c, x) in out.iter_mut().enumerate() {
        let mut y = [0.0; N];
        for i in 0..N {
            let unit = if i == c { 1.0 } else { 0.0 };
            y[i] = (unit - (0..i).map(|k| l[i][k] * y[k]).sum::<f64>()) / l[i][i];
        }
        for i in (0..N).rev() {
            x[i] = (y[i] - (i + 1..N).map(|k| l[k][i] * x[k]).sum::<f64>()) / l[i][i];
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_match_differences() {
        let f = |x: f64, y: f64| ((x * y).exp() - x.ln(), ());
        let jet = |x: f64, y: f64| {
            let (a, b) = (Jet::<2>::variable(x, 0), Jet::<2>::variable(y, 1));
            (a * b).exp() - a.ln()
        };
        let (x, y, d) = (1.3, 0.4, 1e-4);
        let j = jet(x, y);
        assert!((j.g[0] - (f(x + d, y).0 - f(x - d, y).0) / (2.0 * d)).abs() < 1e-6);
        assert!((j.h[0][1] - (jet(x, y + d).g[0] - jet(x, y - d).g[0]) / (2.0 * d)).abs() < 1e-6);
        let s = Jet::<1>::variable(0.7, 0).ln_1m_exp_neg();
        let g = |v: f64| (1.0 - (-v).exp()).ln();
        assert!((s.g[0] - (g(0.7 + d) - g(0.7 - d)) / (2.0 * d)).abs() < 1e-6);
        assert!((s.h[0][0] - (g(0.7 + d) + g(0.7 - d) - 2.0 * g(0.7)) / (d * d)).abs() < 1e-5);
    }
}
