//! What is watched and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::id::{AlarmRuleId, AssetId, ChannelId, FailureModeId, TenantId};
use crate::time::Timestamp;

/// What a rule compares with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "alarm_rule_kind", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmKind))]
pub enum Kind {
    /// The value is above the limit, in the channel's unit.
    High,
    /// The value is below the limit, in the channel's unit.
    Low,
    /// The value changes faster than the limit, in units per second.
    Rate,
    /// The value has not changed for longer than the limit, in seconds.
    Stuck,
    /// Nothing has come for longer than the limit, in seconds.
    NoData,
    /// The distance from the baseline is above the limit, in the baseline's own measure.
    Deviation,
    /// The health index is below the limit, in points.
    HealthBelow,
    /// The probability of failure is above the limit, 0 to 1.
    ProbabilityAbove,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::High,
        Self::Low,
        Self::Rate,
        Self::Stuck,
        Self::NoData,
        Self::Deviation,
        Self::HealthBelow,
        Self::ProbabilityAbove,
    ];

    /// Whether it is judged in the transaction that commits the readings.
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::High | Self::Low | Self::Rate | Self::Stuck)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Low => "low",
            Self::Rate => "rate",
            Self::Stuck => "stuck",
            Self::NoData => "no_data",
            Self::Deviation => "deviation",
            Self::HealthBelow => "health_below",
            Self::ProbabilityAbove => "probability_above",
        }
    }

    /// Whether small values are the bad ones.
    const fn is_low(self) -> bool {
        matches!(self, Self::Low | Self::HealthBelow)
    }
}

/// How bad it is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "severity", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Severity {
    Info,
    Warning,
    Serious,
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Serious => "serious",
            Self::Critical => "critical",
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "alarm_condition", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmCondition))]
pub enum Condition {
    #[default]
    Inactive,
    /// Beyond the limit, but not yet for the on-delay or the number of samples.
    Pending,
    Active,
    /// Back to normal, but not yet for the off-delay.
    Clearing,
}

impl Condition {
    /// Whether somebody has to know: the on-delay is over, the off-delay isn't.
    pub const fn is_raised(self) -> bool {
        matches!(self, Self::Active | Self::Clearing)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "alarm_suppression", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmSuppression))]
pub enum Suppression {
    #[default]
    None,
    /// By a person, until a moment.
    Shelved,
    /// By the plant's state: the asset is in maintenance, its parent is down.
    ByDesign,
    /// By a ticket that takes the sensor or the asset out of service.
    OutOfService,
}

/// Which changes a `rate` rule looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RateDirection))]
pub enum Direction {
    #[default]
    Both,
    Rise,
    Fall,
}

/// What only some rules need; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmRuleParams))]
pub struct Params {
    /// `rate`: which changes count.
    pub direction: Direction,
    /// `stuck`: changes up to this, in the channel's unit, are no change.
    pub tolerance: f64,
    /// Crossings (out or back) within `flap_window_s` that make an alarm a flapping one.
    pub flap_crossings: usize,
    /// Seconds.
    pub flap_window_s: f64,
    /// Judge readings of suspect quality as if they were good. Bad ones never count.
    pub accept_suspect: bool,
    /// When it may raise its alarm; always when left out.
    pub schedule: Option<Schedule>,
    /// Judge history that comes late as if it came in time. Else it is remembered and raises nothing.
    pub judge_replayed: bool,
    /// Told even while the plant's state would suppress it: for what endangers people.
    pub never_suppressed: bool,
    /// Seconds without an acknowledgement until the next level hears of it; dispatch's when left out.
    pub escalate_after_s: Option<f64>,
    /// Seconds that an acknowledgement counts while there is no ticket; dispatch's when left out.
    pub ack_lasts_s: Option<f64>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            direction: Direction::Both,
            tolerance: 0.0,
            flap_crossings: 6,
            flap_window_s: 600.0,
            accept_suspect: false,
            schedule: None,
            judge_replayed: false,
            never_suppressed: false,
            escalate_after_s: None,
            ack_lasts_s: None,
        }
    }
}

impl Params {
    /// More crossings than this are not kept, so that a machine's state stays small.
    pub const MOST_CROSSINGS: usize = 32;
}

/// One thing to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub id: AlarmRuleId,
    pub tenant: TenantId,
    pub asset: AssetId,
    pub channel: Option<ChannelId>,
    pub name: String,
    pub kind: Kind,
    pub limit: f64,
    /// Distance inside the limit at which the return to normal begins, in the limit's unit.
    pub deadband: f64,
    /// Seconds beyond the limit before the alarm is active.
    pub on_delay_s: f64,
    /// Seconds inside the dead band before it is inactive again.
    pub off_delay_s: f64,
    /// Samples beyond the limit before the alarm is active.
    pub min_samples: u32,
    pub severity: Severity,
    pub failure_mode: Option<FailureModeId>,
    pub makes_ticket: bool,
    /// Stays raised until a person resets it.
    pub latched: bool,
    pub params: Params,
}

/// Where a value stands towards a rule's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Beyond,
    /// Between the limit and the end of the dead band: neither worse nor well.
    Band,
    Normal,
}

impl Rule {
    /// Where a value stands.
    pub(super) fn side(&self, value: f64) -> Side {
        let (beyond, normal) = if self.kind.is_low() {
            (value < self.limit, value >= self.limit + self.deadband)
        } else {
            (value > self.limit, value <= self.limit - self.deadband)
        };
        if beyond {
            Side::Beyond
        } else if normal {
            Side::Normal
        } else {
            Side::Band
        }
    }

    /// Whether its schedule lets it raise an alarm at this moment.
    pub fn may_raise(&self, at: Timestamp) -> bool {
        self.params
            .schedule
            .as_ref()
            .is_none_or(|schedule| schedule.covers(at))
    }

    /// The worse of two values.
    pub(super) fn worse(&self, a: f64, b: f64) -> f64 {
        if self.kind.is_low() { a.min(b) } else { a.max(b) }
    }
}
