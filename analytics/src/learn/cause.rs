//! Which way to fail a probability is due to.
//!
//! The ways to fail compete: the first that comes ends the life. Each has a hazard of its own over a horizon, from the
//! best that is there:
//!
//! 1. a model of its own, where enough failures of it were reported ([`super::modes`]);
//! 2. its Weibull, in which failures of other causes are suspensions, at the asset's age;
//! 3. its share of the failures on record, where the age isn't known.
//!
//! What the condition adds to life data goes to the way whose channels deviate, unless that one has a model, which has
//! seen the condition. Hazards are brought to the sum that the asset's probability says, so that the parts add up to
//! it: over one horizon the parts of a hazard are the parts of the probability. Failures whose cause nobody recorded
//! are a cause of their own, by that name.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use models::assessment::{FailureProbability, ModeProbability};
use models::db::assessment::{ClassLife, ModeFacts};
use models::id::FailureModeId;

use super::Foreseen;
use crate::prognosis::LifeFacts;
use crate::reliability::{DEFAULT_SHAPE, Life, LifeModel, fit_life};

/// z of the 10 % and 90 % quantiles.
const Z80: f64 = 1.281_551_565_544_6;
/// No hazard is read off certainty.
const MOST_SURE: f64 = 1.0 - 1e-12;

type Mode = Option<FailureModeId>;

/// Lives as the statistics take them; those that didn't last are left out.
pub fn lives(rows: &[ClassLife]) -> Vec<Life> {
    of(rows, |life| life.failed)
}

fn of(rows: &[ClassLife], failed: impl Fn(&ClassLife) -> bool) -> Vec<Life> {
    rows.iter()
        .filter(|life| life.age_h > 0.0)
        .map(|life| {
            if failed(life) {
                Life::Failed(life.age_h)
            } else {
                Life::Suspended(life.age_h)
            }
        })
        .collect()
}

/// The lives of a class by what ended them.
#[derive(Debug, Default)]
pub struct Causes {
    rows: Vec<ClassLife>,
    /// Failures of each cause.
    counts: BTreeMap<Mode, usize>,
    fitted: OnceLock<BTreeMap<Mode, LifeModel>>,
}

impl Causes {
    pub fn new(rows: Vec<ClassLife>) -> Self {
        let mut counts = BTreeMap::new();
        for life in rows.iter().filter(|life| life.failed && life.age_h > 0.0) {
            *counts.entry(life.failure_mode_id).or_default() += 1;
        }
        Self {
            rows,
            counts,
            fitted: OnceLock::new(),
        }
    }

    /// The cause of each failure, in the order of the lives.
    pub fn modes(&self) -> impl Iterator<Item = Mode> {
        self.rows
            .iter()
            .filter(|life| life.failed)
            .map(|life| life.failure_mode_id)
    }

    /// The shape assumed is the class's, hence the same in every call.
    fn fitted(&self, assumed_shape: f64) -> &BTreeMap<Mode, LifeModel> {
        self.fitted.get_or_init(|| {
            let fit = |mode: &Mode| {
                let own = of(&self.rows, |life| life.failed && life.failure_mode_id == *mode);
                fit_life(&own, assumed_shape).ok()
            };
            self.counts
                .keys()
                .filter_map(|mode| Some((*mode, fit(mode)?)))
                .collect()
        })
    }
}

/// What the parts of one asset's probabilities rest on.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub causes: &'a Causes,
    pub life: &'a LifeFacts,
    pub modes: &'a [ModeFacts],
    /// Place of the mode whose channels deviate.
    pub likeliest: Option<usize>,
    pub foreseen: Option<&'a Foreseen>,
}

struct Part {
    mode: Mode,
    hazard: f64,
    /// On record.
    failures: usize,
    basis: String,
    /// From a model that has seen the condition.
    learned: bool,
}

fn hazard(p: f64) -> f64 {
    -(-p.clamp(0.0, MOST_SURE)).ln_1p()
}

/// Says of each probability which way to fail it is due to; the parts add up to it. Nothing where neither a failure
/// was recorded nor a mode is seen.
pub fn split(p_fail: &mut [FailureProbability], known: Known<'_>) {
    for entry in p_fail {
        entry.modes = parts(entry, known);
    }
}

fn parts(entry: &FailureProbability, known: Known<'_>) -> Vec<ModeProbability> {
    let Known { causes, life, .. } = known;
    let hours = f64::from(entry.horizon_h);
    let all: usize = causes.counts.values().sum();
    let total = hazard(entry.p);
    let seen = known.likeliest.map(|place| known.modes[place].id);
    let fitted = life
        .age
        .map(|(age, _)| (age, causes.fitted(life.shape.unwrap_or(DEFAULT_SHAPE))));
    let mut modes: Vec<Mode> = causes.counts.keys().copied().collect();
    modes.extend(Some(seen).filter(|seen| seen.is_some() && !causes.counts.contains_key(seen)));
    let mut parts: Vec<Part> = modes
        .into_iter()
        .map(|mode| {
            let n = causes.counts.get(&mode).copied().unwrap_or(0);
            let learned = known.foreseen.and_then(|foreseen| {
                let of = |part: &&super::ModeForeseen| {
                    part.horizon_h == entry.horizon_h && Some(part.mode) == mode
                };
                foreseen.modes.iter().find(of)
            });
            let by_life = || {
                let (age, fitted) = fitted.as_ref()?;
                let model = fitted.get(&mode)?.distribution();
                let ahead = age + hours * life.in_use;
                let words = format!("Weibull of {n} failures of it, those of other causes as suspensions");
                Some((
                    model.cumulative_hazard(ahead) - model.cumulative_hazard(*age),
                    words,
                ))
            };
            let (own, basis) = match learned {
                Some(part) => (
                    hazard(part.p),
                    format!("model of {} failures of it", part.failures),
                ),
                None => by_life().unwrap_or_else(|| {
                    let share = n as f64 / all.max(1) as f64;
                    (share * total, format!("{n} of {all} failures on record"))
                }),
            };
            Part {
                mode,
                hazard: own,
                failures: n,
                basis,
                learned: learned.is_some(),
            }
        })
        .collect();
    by_condition(&mut parts, seen, total, life, hours);
    let sum: f64 = parts.iter().map(|part| part.hazard).sum();
    if sum <= 0.0 {
        return Vec::new();
    }
    let mut parts: Vec<ModeProbability> = parts
        .into_iter()
        .map(|part| {
            let share = part.hazard / sum;
            let (low, high) = wilson(share, all.max(1) as f64);
            let p = entry.p * share;
            ModeProbability {
                failure_mode_id: part.mode,
                name: name(part.mode, known.modes),
                p,
                low: (entry.low * low).min(p),
                high: (entry.high * high).max(p),
                basis: part.basis,
            }
        })
        .collect();
    parts.sort_by(|a, b| b.p.total_cmp(&a.p).then_with(|| a.name.cmp(&b.name)));
    parts
}

/// Gives what the condition adds to life data to the mode whose channels deviate.
fn by_condition(parts: &mut [Part], seen: Mode, total: f64, life: &LifeFacts, hours: f64) {
    let Some(place) = parts
        .iter()
        .position(|part| seen.is_some() && part.mode == seen && !part.learned)
    else {
        return;
    };
    let base = life.model().ok().and_then(|model| model.hazard(hours));
    let base = base.map_or(0.0, |base| base.value).min(total);
    let sum: f64 = parts.iter().map(|part| part.hazard).sum();
    if parts.iter().all(|part| !part.learned) && sum > 0.0 {
        parts.iter_mut().for_each(|part| part.hazard *= base / sum);
    }
    if total > base {
        let part = &mut parts[place];
        part.hazard += total - base;
        part.basis = if part.failures == 0 {
            "the channels that deviate; it is not on record as a failure".to_owned()
        } else {
            format!("the channels that deviate, and {}", part.basis)
        };
    }
}

fn name(mode: Mode, modes: &[ModeFacts]) -> String {
    match mode {
        None => "cause not recorded".to_owned(),
        Some(id) => (modes.iter().find(|mode| mode.id == id))
            .map_or_else(|| "a mode of another class".to_owned(), |mode| mode.name.clone()),
    }
}

/// 80 % interval of a share that `n` failures tell of, by Wilson: a cause that was never seen alone is never certain.
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let z2 = Z80 * Z80;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z80 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use sqlx::types::Json;

    use super::*;
    use crate::learn::ModeForeseen;

    fn mode(name: &str) -> ModeFacts {
        ModeFacts {
            id: FailureModeId::new(),
            code: name.to_lowercase(),
            name: name.to_owned(),
            signature: Json(Default::default()),
            pf_interval_days: None,
            repair_hours: None,
            repair_cost: None,
        }
    }

    fn lived(age_h: f64, failed: bool, mode: Option<&ModeFacts>) -> ClassLife {
        ClassLife {
            age_h,
            failed,
            failure_mode_id: mode.map(|mode| mode.id),
        }
    }

    fn facts(rows: &[ClassLife], age: Option<f64>) -> LifeFacts {
        LifeFacts {
            class: "pump".to_owned(),
            shape: Some(2.0),
            scale_h: None,
            lives: Arc::new(lives(rows).into()),
            age: age.map(|age| (age, "hour meter")),
            in_use: 1.0,
        }
    }

    fn month(p: f64) -> FailureProbability {
        FailureProbability {
            horizon_h: 720,
            p,
            low: p / 2.0,
            high: (2.0 * p).min(1.0),
            basis: String::new(),
            modes: Vec::new(),
        }
    }

    /// Wear that comes with age, and blockages that come at any time.
    fn rows(wear: &ModeFacts, block: &ModeFacts) -> Vec<ClassLife> {
        let worn = (0..8).map(|i| lived(9_000.0 + 300.0 * f64::from(i), true, Some(wear)));
        let blocked = (0..8).map(|i| lived(300.0 + 1_500.0 * f64::from(i), true, Some(block)));
        worn.chain(blocked)
            .chain((0..6).map(|_| lived(5_000.0, false, None)))
            .collect()
    }

    #[test]
    fn what_fails_depends_on_the_age_and_the_parts_add_up() {
        let (wear, block) = (mode("Wear"), mode("Blockage"));
        let rows = rows(&wear, &block);
        let modes = [wear.clone(), block.clone()];
        let causes = Causes::new(rows.clone());
        let first = |age: Option<f64>| {
            let life = facts(&rows, age);
            let known = Known {
                causes: &causes,
                life: &life,
                modes: &modes,
                likeliest: None,
                foreseen: None,
            };
            let mut p = [month(0.3)];
            split(&mut p, known);
            let sum: f64 = p[0].modes.iter().map(|part| part.p).sum();
            assert!((sum - 0.3).abs() < 1e-12, "{p:?}");
            p[0].modes[0].clone()
        };
        let (young, old, unknown) = (first(Some(500.0)), first(Some(11_000.0)), first(None));
        assert_eq!((young.name.as_str(), old.name.as_str()), ("Blockage", "Wear"));
        assert!(young.p > 0.28 && old.p > 0.2, "{young:?} {old:?}");
        assert!(
            old.basis.contains("8 failures of it, those of other causes"),
            "{old:?}"
        );
        // Nobody knows how old it is: halves, and it is said what they are.
        assert!((unknown.p - 0.15).abs() < 1e-12 && unknown.basis == "8 of 16 failures on record");
        assert!(unknown.low < 0.075 && unknown.high > 0.3, "{unknown:?}");
    }

    #[test]
    fn a_deviation_belongs_to_the_mode_it_looks_like_unless_a_model_knows_better() {
        let (wear, block) = (mode("Wear"), mode("Blockage"));
        let rows = rows(&wear, &block);
        let modes = [wear.clone(), block.clone(), mode("Leak")];
        let (causes, life) = (Causes::new(rows.clone()), facts(&rows, Some(500.0)));
        let known = |likeliest, foreseen| Known {
            causes: &causes,
            life: &life,
            modes: &modes,
            likeliest,
            foreseen,
        };
        let mut p = [month(0.7)];
        split(&mut p, known(Some(0), None));
        assert_eq!(p[0].modes[0].name, "Wear");
        assert!(
            p[0].modes[0].p > 0.5 && p[0].modes[0].basis.starts_with("the channels that deviate"),
            "{p:?}"
        );
        // One that never failed before is named too.
        split(&mut p, known(Some(2), None));
        assert_eq!((p[0].modes[0].name.as_str(), p[0].modes.len()), ("Leak", 3));
        let foreseen = Foreseen {
            modes: vec![ModeForeseen {
                horizon_h: 720,
                mode: wear.id,
                p: 0.001,
                failures: 12,
            }],
            ..Foreseen::default()
        };
        split(&mut p, known(Some(0), Some(&foreseen)));
        let of_wear = p[0].modes.iter().find(|part| part.name == "Wear").unwrap();
        assert!(
            of_wear.p < 0.05 && of_wear.basis == "model of 12 failures of it",
            "{p:?}"
        );
    }

    #[test]
    fn nothing_recorded_and_nothing_seen_says_nothing() {
        let causes = Causes::new(vec![lived(100.0, false, None)]);
        let life = facts(&[], Some(100.0));
        let known = Known {
            causes: &causes,
            life: &life,
            modes: &[],
            likeliest: None,
            foreseen: None,
        };
        let mut p = [month(0.3)];
        split(&mut p, known);
        assert_eq!(p[0].modes, []);
        let causes = Causes::new(vec![lived(100.0, true, None)]);
        split(
            &mut p,
            Known {
                causes: &causes,
                ..known
            },
        );
        assert_eq!(
            (p[0].modes.len(), p[0].modes[0].name.as_str()),
            (1, "cause not recorded")
        );
        assert!(p[0].modes[0].p == 0.3 && p[0].modes[0].low < p[0].low);
    }

    proptest! {
        #[test]
        fn parts_add_up_and_lie_in_their_intervals(
            p in 0.0..1.0f64, age in prop::option::of(0.0..50_000.0f64), place in prop::option::of(0..3usize),
            ended in prop::collection::vec((1.0..20_000.0f64, any::<bool>(), prop::option::of(0..3usize)), 0..30),
        ) {
            let modes = [mode("A"), mode("B"), mode("C")];
            let rows: Vec<ClassLife> = ended.iter()
                .map(|(age, failed, of)| lived(*age, *failed, of.filter(|_| *failed).map(|of| &modes[of])))
                .collect();
            let (causes, life) = (Causes::new(rows.clone()), facts(&rows, age));
            let mut all = [month(p)];
            split(&mut all, Known { causes: &causes, life: &life, modes: &modes, likeliest: place, foreseen: None });
            let parts = &all[0].modes;
            if !parts.is_empty() {
                prop_assert!((parts.iter().map(|part| part.p).sum::<f64>() - p).abs() < 1e-9);
            }
            for part in parts {
                prop_assert!(0.0 <= part.low && part.low <= part.p && part.p <= part.high && part.high <= 1.0, "{part:?}");
            }
        }
    }
}
