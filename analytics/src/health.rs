//! The health index: 100 minus penalties that add up exactly.
//!
//! Each reason has a *severity*: what it would cost if it were the only one, 0 to 100, saturating, so
//! that one channel far gone doesn't need to be ten times as far. Reasons of one kind often have one
//! cause (a worn bearing shows in four channels), so within a kind the worst counts whole, the next
//! a third, the next a ninth. Kinds add up. Two consequences, both tested: making anything worse never
//! makes health better, and health is never better than the worst single reason allows (the floor).
//!
//! Penalties are multiples of 1/64: binary numbers add those without rounding, in any order.
//! Coverage and freshness stand beside the index and never lower it: a dead sensor is not a sick
//! machine. They are what tells a good score from an unfounded one.

use models::assessment::Factor;
use models::id::ChannelId;

use crate::detect::{Detection, WORTH_A_WORD, short};

/// Groups within which severities share a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deviation,
    Pattern,
    Trend,
    Probability,
    RemainingLife,
    Usage,
    Alarm,
    Errors,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Deviation,
        Self::Pattern,
        Self::Trend,
        Self::Probability,
        Self::RemainingLife,
        Self::Usage,
        Self::Alarm,
        Self::Errors,
    ];

    /// The most a reason of this kind can cost.
    const fn most(self) -> f64 {
        match self {
            Self::Deviation => 55.0,
            Self::Pattern => 15.0,
            Self::Trend => 15.0,
            Self::Probability | Self::RemainingLife => 25.0,
            Self::Usage | Self::Alarm => 15.0,
            Self::Errors => 10.0,
        }
    }
}

/// A reason before it is weighed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub kind: Kind,
    pub name: String,
    /// 0 to 100, see [`severity`].
    pub severity: f64,
    pub value: Option<f64>,
    pub expected: Option<f64>,
    pub channel: Option<ChannelId>,
    pub text: String,
}

/// `x` past `from` as a severity that reaches two thirds of its kind's most one `scale` further.
pub fn severity(kind: Kind, x: f64, from: f64, scale: f64) -> f64 {
    if x > from {
        kind.most() * (1.0 - (-(x - from) / scale).exp())
    } else {
        0.0
    }
}

/// The index and the factors that make it, worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub value: f64,
    pub factors: Vec<Factor>,
}

const QUANTA: f64 = 64.0;
/// A penalty below a quarter of a point is not worth a line.
const LEAST: f64 = 0.25;

/// Weighs the reasons.
pub fn index(mut reasons: Vec<Reason>) -> Health {
    // An order that doesn't depend on how the reasons came in; ties by name.
    reasons.sort_by(|a, b| {
        b.severity
            .total_cmp(&a.severity)
            .then_with(|| (a.kind, &a.name).cmp(&(b.kind, &b.name)))
    });
    let mut weighted: Vec<(f64, Reason)> = Vec::with_capacity(reasons.len());
    let mut weights = [1.0; Kind::ALL.len()];
    for reason in reasons {
        let severity = if reason.severity.is_finite() {
            reason.severity.clamp(0.0, 100.0)
        } else {
            0.0
        };
        let weight = &mut weights[reason.kind as usize];
        weighted.push((severity * *weight, reason));
        *weight /= 3.0;
    }
    let sum: f64 = weighted.iter().map(|(penalty, _)| penalty).sum();
    let scale = if sum > 100.0 { 100.0 / sum } else { 1.0 };
    let mut health = 100.0;
    let mut factors: Vec<Factor> = weighted
        .into_iter()
        .filter_map(|(penalty, reason)| {
            let penalty = (penalty * scale * QUANTA).floor() / QUANTA;
            (penalty >= LEAST).then(|| {
                health -= penalty;
                Factor {
                    name: reason.name,
                    penalty,
                    value: reason.value,
                    expected: reason.expected,
                    channel_id: reason.channel,
                    text: reason.text,
                }
            })
        })
        .collect();
    factors.sort_by(|a, b| b.penalty.total_cmp(&a.penalty).then_with(|| a.name.cmp(&b.name)));
    Health {
        value: health,
        factors,
    }
}

/// A length of time for people.
pub fn duration(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} min", (h * 60.0).max(1.0)),
        h if h < 72.0 => format!("{h:.0} h"),
        h if h < 24.0 * 90.0 => format!("{:.0} d", h / 24.0),
        h => format!("{:.0} months", h / 24.0 / 30.4),
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "1" | "" => short(value),
        // UCUM spells degrees Celsius so; people don't.
        "Cel" => format!("{} °C", short(value)),
        unit => format!("{} {unit}", short(value)),
    }
}

/// What detection found, as reasons.
pub fn reasons(detection: &Detection) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = detection
        .channels
        .iter()
        .filter(|verdict| verdict.anomaly > WORTH_A_WORD)
        .map(|verdict| {
            let side = if verdict.above { "above" } else { "below" };
            let trend = match verdict.slope_per_h {
                Some(slope)
                    if (slope > 0.0) == verdict.above
                        && slope.abs() * 24.0 > 0.05 * (verdict.value - verdict.expected).abs() =>
                {
                    format!(
                        ", {} {} a day",
                        if slope > 0.0 { "rising" } else { "falling" },
                        with_unit(slope.abs() * 24.0, &verdict.unit)
                    )
                }
                _ => String::new(),
            };
            Reason {
                kind: Kind::Deviation,
                name: verdict.title.clone(),
                severity: severity(Kind::Deviation, verdict.anomaly, WORTH_A_WORD, 1.6),
                value: Some(verdict.value),
                expected: Some(verdict.expected),
                channel: Some(verdict.channel),
                text: format!(
                    "{} {}, {side} the expected {} to {}, for {}{}{trend}",
                    verdict.title,
                    with_unit(verdict.value, &verdict.unit),
                    short(verdict.expected_low),
                    short(verdict.expected_high),
                    if verdict.longer { "more than " } else { "" },
                    duration(verdict.for_h),
                ),
            }
        })
        .collect();
    if let Some((anomaly, shares)) = &detection.pattern
        && *anomaly > WORTH_A_WORD
    {
        let mut shares: Vec<_> = shares.iter().filter(|(_, share)| *share > 0.1).collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let title = |channel: &ChannelId| {
            detection
                .channels
                .iter()
                .find(|verdict| verdict.channel == *channel)
                .map_or_else(|| channel.to_string(), |v| v.title.clone())
        };
        let names: Vec<String> = shares
            .iter()
            .take(3)
            .map(|(channel, share)| format!("{} {:.0} %", title(channel), share * 100.0))
            .collect();
        reasons.push(Reason {
            kind: Kind::Pattern,
            name: "joint pattern".to_owned(),
            severity: severity(Kind::Pattern, *anomaly, WORTH_A_WORD, 1.6),
            value: Some(*anomaly),
            expected: Some(1.0),
            channel: shares.first().map(|(channel, _)| *channel),
            text: format!(
                "the channels together are {} times as far from usual as allowed: {}",
                short(*anomaly),
                names.join(", ")
            ),
        });
    }
    reasons
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(kind: usize, severity: f64, name: usize) -> Reason {
        Reason {
            kind: Kind::ALL[kind],
            name: format!("reason {name}"),
            severity,
            value: None,
            expected: None,
            channel: None,
            text: String::new(),
        }
    }

    fn reasons() -> impl Strategy<Value = Vec<Reason>> {
        prop::collection::vec((0..Kind::ALL.len(), 0.0..100.0f64), 0..25).prop_map(|list| {
            list.into_iter()
                .enumerate()
                .map(|(i, (kind, severity))| reason(kind, severity, i))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn penalties_add_up_exactly_in_any_order(reasons in reasons()) {
            let health = index(reasons);
            let forwards: f64 = health.factors.iter().map(|factor| factor.penalty).sum();
            let backwards: f64 = health.factors.iter().rev().map(|factor| factor.penalty).sum();
            prop_assert_eq!(100.0 - forwards, health.value);
            prop_assert_eq!(forwards, backwards);
            prop_assert!((0.0..=100.0).contains(&health.value));
        }

        #[test]
        fn worse_is_never_better(reasons in reasons(), which in any::<prop::sample::Index>(), by in 0.0..50.0f64) {
            prop_assume!(!reasons.is_empty());
            let mut worse = reasons.clone();
            let i = which.index(worse.len());
            worse[i].severity = (worse[i].severity + by).min(100.0);
            // Rounding down to 1/64 and leaving out crumbs below a quarter of a point for each reason.
            let slack = reasons.len() as f64 * (LEAST + 1.0 / QUANTA);
            prop_assert!(index(worse).value <= index(reasons).value + slack);
        }

        #[test]
        fn health_is_never_better_than_the_worst_reason_allows(reasons in reasons()) {
            let worst = reasons.iter().map(|reason| reason.severity).fold(0.0, f64::max);
            let slack = reasons.len() as f64 * (LEAST + 1.0 / QUANTA) + LEAST;
            prop_assert!(index(reasons).value <= 100.0 - worst + slack);
        }
    }

    #[test]
    fn the_second_reason_of_a_kind_counts_a_third() {
        let health = index(vec![reason(0, 40.0, 0), reason(0, 30.0, 1), reason(3, 8.0, 2)]);
        assert_eq!(health.value, 100.0 - 40.0 - 10.0 - 8.0);
        assert_eq!(index(Vec::new()).value, 100.0);
        assert_eq!(index(vec![reason(0, f64::NAN, 0)]).value, 100.0);
    }

    #[test]
    fn severities_saturate() {
        assert_eq!(severity(Kind::Deviation, 0.7, 0.7, 1.2), 0.0);
        let at = |x| severity(Kind::Deviation, x, 0.7, 1.6);
        assert!(at(1.0) > 5.0 && at(1.0) < 15.0 && at(100.0) <= 55.0 && at(3.0) > 40.0);
    }

    #[test]
    fn times_for_people() {
        for (hours, text) in [
            (0.5, "30 min"),
            (36.0, "36 h"),
            (96.0, "4 d"),
            (24.0 * 365.0, "12 months"),
        ] {
            assert_eq!(duration(hours), text);
        }
    }
}
