//! What a person says was wrong with a dead letter, so that it can be tried again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Applied to what the letter's codec reads, before names, units and times are checked.
///
/// A name is `device/channel`; the first `/` parts them. In `names` a device alone stands for all its
/// channels. `units` looks for the mended name, then for `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeadLetterFix))]
#[serde(deny_unknown_fields, default)]
pub struct Fix {
    /// Name as it was sent → name as it should have been.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Name → UCUM code of the unit that the values are really in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
    /// How far ahead of the server's clock at receipt a reading of this letter may be, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub future_limit_s: Option<u64>,
    /// How old a reading of this letter may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ancient_limit: Option<Timestamp>,
}

/// A fix that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixError {
    #[error("the fix says nothing: give a name, a unit or a limit")]
    Nothing,
    #[error("`{0}` → `{1}`: rename a device to a device, or device/channel to device/channel")]
    Name(String, String),
    #[error("`{0}`: a unit is for device/channel, or for * which means all")]
    Unit(String),
    #[error("`{0}`: names have 1 to 256 bytes and no control characters")]
    BadName(String),
}

impl Fix {
    /// # Errors
    /// When it says nothing, or a name can't be one.
    pub fn check(&self) -> Result<(), FixError> {
        if *self == Self::default() {
            return Err(FixError::Nothing);
        }
        let good = |name: &String| {
            let bad = name.is_empty() || name.len() > 513 || name.contains(char::is_control);
            if bad {
                Err(FixError::BadName(name.clone()))
            } else {
                Ok(())
            }
        };
        for (from, to) in &self.names {
            good(from)?;
            good(to)?;
            if from.contains('/') != to.contains('/') {
                return Err(FixError::Name(from.clone(), to.clone()));
            }
        }
        for (name, unit) in &self.units {
            good(name)?;
            good(unit)?;
            if name != "*" && !name.contains('/') {
                return Err(FixError::Unit(name.clone()));
            }
        }
        Ok(())
    }

    /// The device and channel that `device`/`channel` should have been; `None` = as they are.
    pub fn name(&self, device: &str, channel: &str) -> Option<(String, String)> {
        if let Some(to) = self.names.get(&format!("{device}/{channel}")) {
            return to
                .split_once('/')
                .map(|(device, channel)| (device.to_owned(), channel.to_owned()));
        }
        let device = self.names.get(device)?;
        Some((device.clone(), channel.to_owned()))
    }

    /// The unit that the values of `device`/`channel` (mended names) are really in.
    pub fn unit(&self, device: &str, channel: &str) -> Option<&str> {
        self.units
            .get(&format!("{device}/{channel}"))
            .or_else(|| self.units.get("*"))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn the_nearest_name_wins() {
        let fix = Fix {
            names: map(&[("pmp", "pump"), ("pmp/tmp/in", "pump/temp/inlet")]),
            units: map(&[("*", "Cel"), ("pump/p", "bar")]),
            ..Fix::default()
        };
        fix.check().unwrap();
        let name = |device, channel| fix.name(device, channel);
        assert_eq!(name("pmp", "tmp/in"), Some(("pump".into(), "temp/inlet".into())));
        assert_eq!(name("pmp", "flow"), Some(("pump".into(), "flow".into())));
        assert_eq!(name("fan", "rpm"), None);
        assert_eq!(
            (fix.unit("pump", "p"), fix.unit("pump", "t")),
            (Some("bar"), Some("Cel"))
        );
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Fix::default().check(), Err(FixError::Nothing));
        let names = |from, to| Fix {
            names: map(&[(from, to)]),
            ..Fix::default()
        };
        assert!(matches!(names("a", "b/c").check(), Err(FixError::Name(..))));
        assert!(matches!(names("", "b").check(), Err(FixError::BadName(_))));
        let unit = Fix {
            units: map(&[("pump", "Cel")]),
            ..Fix::default()
        };
        assert_eq!(unit.check(), Err(FixError::Unit("pump".into())));
        assert!(serde_json::from_str::<Fix>(r#"{"nmaes":{}}"#).is_err());
    }
}
