//! The words of the register: what state an asset is in, how much it matters, what a channel is.

use serde::{Deserialize, Serialize};

/// Whether the asset does its work. Assets that are not operational make no tickets by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "asset_status", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AssetStatus {
    #[default]
    Operational,
    Maintenance,
    Down,
    InStorage,
    Disposed,
}

impl AssetStatus {
    /// Installed and meant to run: neither in storage nor disposed of.
    pub fn in_service(self) -> bool {
        !matches!(self, Self::InStorage | Self::Disposed)
    }
}

/// How much a failure of the asset matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "asset_criticality", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Criticality {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// What the values of a channel mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "channel_kind", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChannelKind {
    /// A quantity that goes up and down.
    #[default]
    Measurement,
    /// On or off, or a small number of states.
    State,
    /// A number that only grows, until it rolls over.
    Counter,
    /// An operating point that somebody chose; not a symptom.
    Setting,
}

/// The grade of a health index, for counts and filters: at least 80, at least 50, below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthGrade {
    Healthy,
    Watch,
    Poor,
}

impl HealthGrade {
    pub const HEALTHY_FROM: f64 = 80.0;
    pub const WATCH_FROM: f64 = 50.0;

    pub fn of(health: f64) -> Self {
        if health >= Self::HEALTHY_FROM {
            Self::Healthy
        } else if health >= Self::WATCH_FROM {
            Self::Watch
        } else {
            Self::Poor
        }
    }
}
