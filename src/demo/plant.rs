//! `demo/plant.toml` as types.

use serde::Deserialize;

/// The demo plant, compiled in.
pub fn plant() -> anyhow::Result<Plant> {
    Ok(toml::from_str(include_str!("../../demo/plant.toml"))?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plant {
    pub tenant: Vec<Tenant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub slug: String,
    pub name: String,
    pub class: Vec<Class>,
    pub site: Vec<Site>,
}

/// What all assets of a class share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    pub weibull_shape: Option<f64>,
    pub weibull_scale_h: Option<f64>,
    /// Age of the class's assets when the demo begins.
    pub installed_days_ago: Option<f64>,
    #[serde(default)]
    pub mode: Vec<Mode>,
    #[serde(default)]
    pub channel: Vec<Channel>,
    #[serde(default)]
    pub rule: Vec<Rule>,
    #[serde(default)]
    pub meter: Vec<Meter>,
    #[serde(default)]
    pub plan: Vec<Plan>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    pub code: String,
    pub name: String,
    pub mechanism: String,
    pub pf_interval_days: f64,
    pub skill: String,
    pub repair_hours: f64,
    pub repair_cost: f64,
    /// Patterns of the channels by which it shows.
    pub signature: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub name: String,
    pub label: String,
    pub unit: String,
    #[serde(default)]
    pub kind: models::asset::ChannelKind,
    pub plausible: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    pub channel: Option<String>,
    pub kind: models::alarm::Kind,
    pub limit: f64,
    #[serde(default)]
    pub deadband: f64,
    #[serde(default)]
    pub on_delay_s: f64,
    #[serde(default)]
    pub off_delay_s: f64,
    pub min_samples: i32,
    pub severity: models::alarm::Severity,
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    pub name: String,
    pub unit: String,
    /// Channel that counts.
    pub counter: Option<String>,
    /// Channel whose integral over hours it is.
    pub integral: Option<String>,
    pub max_rate_per_h: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub name: String,
    pub every_days: i32,
    pub meter: String,
    pub every_units: f64,
    pub lead_units: f64,
    pub tasks: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: String,
    pub time_zone: String,
    /// Slug of the site's gateway.
    pub gateway: String,
    pub areas: Vec<String>,
    #[serde(default)]
    pub asset: Vec<Asset>,
    /// Engines that replay the turbofan data set, one unit each, and those that failed before the demo begins.
    #[serde(default)]
    pub turbofans: u32,
    #[serde(default)]
    pub failed_turbofans: Vec<FailedTurbofan>,
    /// Whether the site's gateway also replays the bearing rig.
    #[serde(default)]
    pub bearing_rig: bool,
}

/// A unit of the data set that has run to its failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedTurbofan {
    pub unit: u32,
    /// Place of its last flight among its rows in the file, from 0.
    pub last_flight: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    pub name: String,
    pub class: String,
    pub area: String,
    pub parent: Option<String>,
    #[serde(default)]
    pub status: models::asset::AssetStatus,
    pub criticality: models::asset::Criticality,
    pub downtime_cost_per_h: Option<f64>,
    pub device: Option<String>,
    /// Interval of the class's plans for this asset in the meter's unit, instead of the class's own.
    pub grease_at_h: Option<f64>,
    /// A table of the agent's configuration, handed on as it is; `device` is added.
    pub collect: Option<toml::Table>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::demo::engines::OVERHAUL;

    /// Names that refer to nothing would make a plant that looks fine and alarms nobody.
    #[test]
    fn every_name_refers_to_something() {
        let plant = plant().unwrap();
        let mut assets = 0;
        for tenant in &plant.tenant {
            for class in &tenant.class {
                let channels: HashSet<_> = class
                    .channel
                    .iter()
                    .map(|channel| channel.name.as_str())
                    .collect();
                let modes: HashSet<_> = class.mode.iter().map(|mode| mode.code.as_str()).collect();
                for rule in &class.rule {
                    assert!(
                        rule.channel.as_deref().is_none_or(|name| channels.contains(name)),
                        "{rule:?}"
                    );
                    assert!(
                        rule.mode.as_deref().is_none_or(|code| modes.contains(code)),
                        "{rule:?}"
                    );
                }
                for meter in &class.meter {
                    let channel = meter.counter.as_deref().or(meter.integral.as_deref());
                    assert!(channel.is_some_and(|name| channels.contains(name)), "{meter:?}");
                }
                for plan in &class.plan {
                    assert!(
                        class.meter.iter().any(|meter| meter.name == plan.meter),
                        "{plan:?}"
                    );
                }
            }
            for site in &tenant.site {
                assets += site.asset.len() + site.turbofans as usize + site.failed_turbofans.len();
                assert!(site.failed_turbofans.is_empty() || site.areas.iter().any(|area| area == OVERHAUL));
                for asset in &site.asset {
                    assert!(
                        tenant.class.iter().any(|class| class.name == asset.class),
                        "{asset:?}"
                    );
                    assert!(site.areas.contains(&asset.area), "{asset:?}");
                }
            }
        }
        assert!(plant.tenant.len() == 2 && assets >= 54, "{assets} assets");
    }
}
