//! The result of one pass over an asset, as everybody reads it.

use serde::{Deserialize, Serialize};

use crate::id::{AssetId, ChannelId, FailureModeId, ModelVersionId, TenantId};
use crate::time::Timestamp;

/// One reason why health is below 100. The penalties of an assessment add up to `100 - health`
/// exactly: they are multiples of 1/64, which binary numbers add without rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Factor {
    pub name: String,
    pub penalty: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What the value is in a healthy machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// For people.
    pub text: String,
}

/// Probability of failing within a horizon, with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureProbability {
    pub horizon_h: i32,
    pub p: f64,
    pub low: f64,
    pub high: f64,
    /// What it rests on, in words.
    pub basis: String,
    /// Which ways to fail it is due to, the likeliest first; they add up to `p`. Empty where nothing is known of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<ModeProbability>,
}

/// The part of a probability that is due to one way to fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModeProbability {
    /// `null` = failures whose cause nobody recorded.
    pub failure_mode_id: Option<FailureModeId>,
    pub name: String,
    pub p: f64,
    pub low: f64,
    pub high: f64,
    /// What the part rests on, in words.
    pub basis: String,
}

/// Remaining useful life in hours. `p90 = None`: the end is open, beyond what the data can say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemainingLife {
    pub p10_h: f64,
    pub p50_h: f64,
    pub p90_h: Option<f64>,
}

/// A probability in percent, for people, without the sign. It never says 0 or 100 of something that isn't certain.
pub fn percent(p: f64) -> String {
    match p * 100.0 {
        hundred if hundred < 0.1 => "<0.1".to_owned(),
        hundred if hundred > 99.9 => ">99.9".to_owned(),
        hundred if (10.0..=99.0).contains(&hundred) => format!("{hundred:.0}"),
        hundred => {
            let text = format!("{hundred:.1}");
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        }
    }
}

/// The cheapest thing to do, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Advice {
    /// By cost: `now`, `next_stop`, `date` or `run_to_failure`. Where costs are not on record, by a rule that `text`
    /// names: `now`, `plan`, `watch` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When: the stop or the date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Do it before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Timestamp>,
    /// Expected cost of failing within 30 days, in the tenant's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_of_waiting: Option<f64>,
    /// Cost of doing the work at a planned time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_of_acting: Option<f64>,
    /// What was compared, the cheapest first: that is the choice. Empty where costs are not on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<AdviceOption>,
    /// Hours over which the costs of `options` are expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_h: Option<f64>,
    /// Action of the option that the choice's interval is measured against: the cheapest of another kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<String>,
    /// Done between these moments the choice costs less than the runner-up; without an end: however late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheapest_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheapest_to: Option<Timestamp>,
    /// The action stays the cheapest while the probability of failing within 30 days is between these; without an end:
    /// however small, or large, it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_from: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_to: Option<f64>,
    /// The action that is the cheapest at the low and at the high end of the probability's interval, where one of them
    /// is another: then the choice is uncertain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_low: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_high: Option<String>,
    /// Costs that are not on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One thing that could be done, and what it is expected to cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdviceOption {
    /// `now`, `next_stop`, `date` or `run_to_failure`.
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Expected, in the tenant's currency, and the same at the ends of the probability's interval.
    pub cost: f64,
    pub cost_low: f64,
    pub cost_high: f64,
    /// Probability of failing before it is done; none for what is done now, and for running to failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_before: Option<f64>,
}

impl Advice {
    /// Whether the ends of the probability's interval would choose otherwise.
    pub fn uncertain(&self) -> bool {
        self.action_low.is_some() || self.action_high.is_some()
    }
}

/// One pass over one asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub model: ModelVersionId,
    /// The model of the class's failures, where one was promoted.
    pub failure_model: Option<ModelVersionId>,
    pub window_start: Timestamp,
    /// Event time of the newest reading it saw.
    pub window_end: Timestamp,
    pub assessed_at: Timestamp,
    pub health: f64,
    /// 0 = like the baseline, 1 = at the alarm threshold; `None` = there is no baseline yet.
    pub anomaly: Option<f64>,
    /// Share of the expected readings that came, 0 to 1.
    pub coverage: f64,
    /// Age of the newest reading when it was assessed, seconds.
    pub freshness_s: f64,
    pub failure_mode: Option<FailureModeId>,
    pub p_fail: Vec<FailureProbability>,
    pub rul: Option<RemainingLife>,
    pub factors: Vec<Factor>,
    pub advice: Advice,
    pub notes: Vec<String>,
    pub code_version: String,
    /// What else it rests on, to compute it again: facts of the register, digests of window and class.
    pub inputs: Option<serde_json::Value>,
}

impl Assessment {
    pub fn p_within(&self, horizon_h: i32) -> Option<&FailureProbability> {
        self.p_fail.iter().find(|entry| entry.horizon_h == horizon_h)
    }

    /// The model of the class's remaining life, where one was promoted.
    pub fn life_model(&self) -> Option<ModelVersionId> {
        let id = self.inputs.as_ref()?.get("life_model")?;
        ModelVersionId::deserialize(id).ok()
    }

    /// Whether all that is known of the remaining life is that it is longer than its model looks.
    pub fn life_is_beyond(&self) -> bool {
        let cap_h = || self.inputs.as_ref()?.get("life_cap_h")?.as_f64();
        self.rul
            .zip(cap_h())
            .is_some_and(|(rul, cap_h)| rul.p90_h.is_none() && rul.p50_h >= cap_h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probability_is_said_to_be_certain() {
        for (p, text) in [
            (0.0, "<0.1"),
            (0.0004, "<0.1"),
            (0.012, "1.2"),
            (0.0999, "10"),
            (0.14, "14"),
            (0.5, "50"),
            (0.994, "99.4"),
            (0.999, "99.9"),
            (0.9996, ">99.9"),
            (1.0, ">99.9"),
        ] {
            assert_eq!(percent(p), text, "{p}");
        }
    }

    #[test]
    fn advice_of_before_options_is_read() {
        let old = r#"{"action": "plan", "text": "plan it", "cost_of_waiting": 12.5, "cost_of_acting": 3.0}"#;
        let advice: Advice = serde_json::from_str(old).unwrap();
        assert!(advice.options.is_empty() && !advice.uncertain());
        // What isn't there is not written either.
        assert_eq!(
            serde_json::to_value(&advice).unwrap(),
            serde_json::from_str::<serde_json::Value>(old).unwrap()
        );
    }
}
