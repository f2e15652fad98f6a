//! Age replacement: when a planned replacement is cheaper than waiting for the failure (Barlow and Proschan).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::function::gamma::{gamma, gamma_lr};

use super::error::{Result, positive};
use super::numeric::{normal_quantile, root};
use super::weibull::{Interval, Weibull, WeibullFit};

/// Costs in one currency; a failure includes its consequences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    pub planned: f64,
    pub failure: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Policy {
    /// Replace at this age.
    ReplaceAt { age: f64 },
    /// Waiting is cheapest: the part does not wear out, or a failure costs no more than a replacement.
    RunToFailure,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Replacement {
    pub policy: Policy,
    /// Long-run cost per unit of age under the policy.
    pub cost_rate: f64,
    pub run_to_failure_cost_rate: f64,
}

/// Long-run cost per unit of age when replacing at `age`.
pub fn cost_rate(life: &Weibull, costs: Costs, age: f64) -> f64 {
    let survives = life.survival(age);
    (costs.planned * survives + costs.failure * (1.0 - survives)) / mean_use(life, age)
}

/// Expected use of a part that is replaced at `age` or at its failure.
fn mean_use(life: &Weibull, age: f64) -> f64 {
    let before = age.min(life.gamma);
    let hazard = life.cumulative_hazard(age);
    if hazard <= 0.0 {
        return before;
    }
    before + life.eta * gamma(1.0 + 1.0 / life.beta) * gamma_lr(1.0 / life.beta, hazard)
}

/// The cheapest policy.
///
/// # Errors
/// Costs that are not above zero.
pub fn optimal_replacement(life: &Weibull, costs: Costs) -> Result<Replacement> {
    positive("the planned cost", costs.planned)?;
    positive("the failure cost", costs.failure)?;
    let wait = costs.failure / life.mean();
    let run = Replacement {
        policy: Policy::RunToFailure,
        cost_rate: wait,
        run_to_failure_cost_rate: wait,
    };
    if life.beta <= 1.0 || costs.failure <= costs.planned {
        return Ok(run);
    }
    let wanted = costs.planned / (costs.failure - costs.planned);
    // Rises from below zero without end when β > 1, so that it has one root.
    let excess = |log_age: f64| {
        let age = life.gamma + log_age.exp();
        life.hazard(age) * mean_use(life, age) - (1.0 - life.survival(age)) - wanted
    };
    let start = life.eta.ln();
    let (mut low, mut high) = (start - 1.0, start + 1.0);
    for _ in 0..200 {
        if excess(low) < 0.0 {
            break;
        }
        low -= 1.0;
    }
    for _ in 0..60 {
        if excess(high) > 0.0 || life.survival(life.gamma + high.exp()) < 1e-300 {
            break;
        }
        high += 0.5;
    }
    if excess(high) <= 0.0 {
        // The optimum lies where nothing is left alive: waiting costs the same.
        return Ok(run);
    }
    let age = life.gamma + root(low, high, excess)?.exp();
    let rate = cost_rate(life, costs, age);
    if rate >= wait {
        return Ok(run);
    }
    Ok(Replacement {
        policy: Policy::ReplaceAt { age },
        cost_rate: rate,
        run_to_failure_cost_rate: wait,
    })
}

/// The optimum with the uncertainty of the fitted life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UncertainReplacement {
    pub best: Replacement,
    /// Ages whose cost stays within 5 % of the least: how exact the plan needs to be.
    pub near_optimal: Option<Interval>,
    /// Interval of the optimal age over the lives that the data allow, where one exists. It has no upper end where
    /// running to failure belongs to it.
    pub age: Option<AgeInterval>,
    /// Share of those lives for which running to failure is cheapest.
    pub run_to_failure_share: f64,
    /// The interval of the shape includes 1: wear-out is not shown by the data.
    pub wear_out_in_doubt: bool,
}

/// Ages between which the optimum lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgeInterval {
    pub low: f64,
    /// None: as far as running to failure.
    pub high: Option<f64>,
}

const DRAWS: usize = 400;

/// The optimum and how sure it is: lives are drawn around the fit, with a fixed seed.
///
/// # Errors
/// Unusable costs or confidence level.
pub fn uncertain_replacement(
    fit: &WeibullFit,
    costs: Costs,
    confidence: f64,
) -> Result<UncertainReplacement> {
    let best = optimal_replacement(&fit.distribution, costs)?;
    let c = &fit.log_covariance;
    let first = c[0][0].max(0.0).sqrt();
    let along = if first > 0.0 { c[0][1] / first } else { 0.0 };
    let across = (c[1][1] - along * along).max(0.0).sqrt();
    let mut random = ChaCha8Rng::seed_from_u64(189);
    let mut normal = || normal_quantile(random.random_range(1e-9..1.0 - 1e-9));
    let mut ages = Vec::new();
    for _ in 0..DRAWS {
        let (a, b) = (normal(), normal());
        let life = Weibull {
            eta: fit.distribution.eta * (first * a).exp(),
            beta: fit.distribution.beta * (along * a + across * b).exp(),
            gamma: 0.0,
        };
        // Never to replace is to replace at no age at all.
        ages.push(optimal_replacement(&life, costs)?.age().unwrap_or(f64::INFINITY));
    }
    ages.sort_by(f64::total_cmp);
    let waiting = ages.iter().filter(|age| age.is_infinite()).count();
    let run_to_failure_share = waiting as f64 / DRAWS as f64;
    let at =
        |q: f64| Some(ages[((ages.len() - 1) as f64 * q).round() as usize]).filter(|age| age.is_finite());
    let side = (1.0 - confidence) / 2.0;
    let age = at(side).map(|low| AgeInterval {
        low,
        high: at(1.0 - side),
    });
    Ok(UncertainReplacement {
        near_optimal: near_optimal(&fit.distribution, costs, &best)?,
        best,
        age,
        run_to_failure_share,
        wear_out_in_doubt: fit.beta_bounds(confidence)?.low <= 1.0,
    })
}

fn near_optimal(life: &Weibull, costs: Costs, best: &Replacement) -> Result<Option<Interval>> {
    let Policy::ReplaceAt { age } = best.policy else {
        return Ok(None);
    };
    let over = |log_age: f64| cost_rate(life, costs, log_age.exp()) - 1.05 * best.cost_rate;
    let low = root((age * 1e-6).ln(), age.ln(), over)?.exp();
    let far = life.quantile(1.0 - 1e-12).max(age).ln();
    // Flat to the end: any later age is as good.
    let high = if over(far) > 0.0 {
        root(age.ln(), far, over)?.exp()
    } else {
        f64::INFINITY
    };
    Ok(Some(Interval {
        low,
        high: high.min(far.exp()),
    }))
}

impl Replacement {
    /// The planned age, if there is one.
    pub fn age(&self) -> Option<f64> {
        match self.policy {
            Policy::ReplaceAt { age } => Some(age),
            Policy::RunToFailure => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Life, weibull};
    use super::*;

    #[test]
    fn the_optimum_is_the_cheapest_age() {
        for beta in [1.1, 1.5, 2.0, 3.5, 8.0] {
            let life = Weibull::new(beta, 500.0).unwrap();
            let costs = Costs {
                planned: 2.0,
                failure: 11.0,
            };
            let best = optimal_replacement(&life, costs).unwrap();
            for k in 1..400 {
                let rate = cost_rate(&life, costs, f64::from(k) * 10.0);
                assert!(rate >= best.cost_rate * (1.0 - 1e-9), "β {beta} age {}", k * 10);
            }
        }
    }

    #[test]
    fn cheap_failures_are_left_alone() {
        let life = Weibull::new(3.0, 500.0).unwrap();
        let best = optimal_replacement(
            &life,
            Costs {
                planned: 5.0,
                failure: 4.0,
            },
        )
        .unwrap();
        assert_eq!(best.policy, Policy::RunToFailure);
        assert!(
            optimal_replacement(
                &life,
                Costs {
                    planned: 0.0,
                    failure: 4.0
                }
            )
            .is_err()
        );
    }

    #[test]
    fn uncertainty_surrounds_the_optimum() {
        let ages: Vec<f64> = (1..40).map(|i| 300.0 + 20.0 * f64::from(i)).collect();
        let fit = weibull::fit(&Life::from_lists(&ages, &[900.0; 5])).unwrap();
        let costs = Costs {
            planned: 1.0,
            failure: 8.0,
        };
        let u = uncertain_replacement(&fit, costs, 0.9).unwrap();
        let age = u.best.age().unwrap();
        let ages = u.age.unwrap();
        assert!(ages.low < age && age < ages.high.unwrap() && u.near_optimal.unwrap().contains(age));
        assert!(!u.wear_out_in_doubt && u.run_to_failure_share == 0.0);
        assert_eq!(u, uncertain_replacement(&fit, costs, 0.9).unwrap());
    }

    #[test]
    fn doubtful_wear_out_is_said() {
        let lives = Life::from_lists(&[40., 100., 220., 350., 480.], &[500.0; 20]);
        let fit = weibull::fit(&lives).unwrap();
        let u = uncertain_replacement(
            &fit,
            Costs {
                planned: 1.0,
                failure: 8.0,
            },
            0.9,
        )
        .unwrap();
        assert!(u.wear_out_in_doubt);
        // Where more than a twentieth of the lives are better run to failure, the interval has no upper end.
        assert!(u.run_to_failure_share > 0.05 && u.age.is_none_or(|age| age.high.is_none()));
    }
}
