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

/// The cheapest thing to do, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Advice {
    /// `none`, `watch`, `plan` or `now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Do it before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Timestamp>,
    /// Expected cost of failing within 30 days, in the tenant's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_of_waiting: Option<f64>,
    /// Cost of doing the work at a planned time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_of_acting: Option<f64>,
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
