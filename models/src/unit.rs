//! Units by their UCUM code (<https://ucum.org>). The few hundred codes of industry that convert by
//! a factor and an offset; anything else keeps its code and converts only to itself.

use serde::{Deserialize, Serialize};

/// A UCUM code as it was given. `1` is dimensionless.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(String);

/// Two units that measure different things, or one we don't know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't convert `{from}` to `{to}`: {why}")]
pub struct UnitError {
    from: String,
    to: String,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    One,
    Temperature,
    Pressure,
    Length,
    Speed,
    Acceleration,
    Time,
    Frequency,
    Power,
    Energy,
    Voltage,
    Current,
    Flow,
    Mass,
    Torque,
    Volume,
}

/// `base = value * factor + offset`, base being the SI unit of the dimension.
const TABLE: &[(&str, Dimension, f64, f64)] = {
    use Dimension::*;
    &[
        ("1", One, 1.0, 0.0),
        ("%", One, 0.01, 0.0),
        ("[ppm]", One, 1e-6, 0.0),
        ("K", Temperature, 1.0, 0.0),
        ("Cel", Temperature, 1.0, 273.15),
        ("[degF]", Temperature, 5.0 / 9.0, 459.67 * 5.0 / 9.0),
        ("[degR]", Temperature, 5.0 / 9.0, 0.0),
        ("Pa", Pressure, 1.0, 0.0),
        ("hPa", Pressure, 1e2, 0.0),
        ("kPa", Pressure, 1e3, 0.0),
        ("MPa", Pressure, 1e6, 0.0),
        ("mbar", Pressure, 1e2, 0.0),
        ("bar", Pressure, 1e5, 0.0),
        ("[psi]", Pressure, 6_894.757_293_168, 0.0),
        ("m", Length, 1.0, 0.0),
        ("mm", Length, 1e-3, 0.0),
        ("um", Length, 1e-6, 0.0),
        ("cm", Length, 1e-2, 0.0),
        ("km", Length, 1e3, 0.0),
        ("m/s", Speed, 1.0, 0.0),
        ("mm/s", Speed, 1e-3, 0.0),
        ("[in_i]/s", Speed, 0.0254, 0.0),
        ("m/s2", Acceleration, 1.0, 0.0),
        ("[g]", Acceleration, 9.806_65, 0.0),
        ("s", Time, 1.0, 0.0),
        ("ms", Time, 1e-3, 0.0),
        ("min", Time, 60.0, 0.0),
        ("h", Time, 3600.0, 0.0),
        ("d", Time, 86_400.0, 0.0),
        ("Hz", Frequency, 1.0, 0.0),
        ("kHz", Frequency, 1e3, 0.0),
        ("{rpm}", Frequency, 1.0 / 60.0, 0.0),
        ("/min", Frequency, 1.0 / 60.0, 0.0),
        ("W", Power, 1.0, 0.0),
        ("kW", Power, 1e3, 0.0),
        ("MW", Power, 1e6, 0.0),
        ("J", Energy, 1.0, 0.0),
        ("kJ", Energy, 1e3, 0.0),
        ("MJ", Energy, 1e6, 0.0),
        ("W.h", Energy, 3600.0, 0.0),
        ("kW.h", Energy, 3.6e6, 0.0),
        ("MW.h", Energy, 3.6e9, 0.0),
        ("V", Voltage, 1.0, 0.0),
        ("mV", Voltage, 1e-3, 0.0),
        ("kV", Voltage, 1e3, 0.0),
        ("A", Current, 1.0, 0.0),
        ("mA", Current, 1e-3, 0.0),
        ("m3/s", Flow, 1.0, 0.0),
        ("m3/h", Flow, 1.0 / 3600.0, 0.0),
        ("L/s", Flow, 1e-3, 0.0),
        ("L/min", Flow, 1e-3 / 60.0, 0.0),
        ("kg", Mass, 1.0, 0.0),
        ("g", Mass, 1e-3, 0.0),
        ("t", Mass, 1e3, 0.0),
        ("N.m", Torque, 1.0, 0.0),
        ("m3", Volume, 1.0, 0.0),
        ("L", Volume, 1e-3, 0.0),
    ]
};

/// How to get from one unit to another: `value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    factor: f64,
    offset: f64,
}

impl Conversion {
    pub const IDENTITY: Self = Self {
        factor: 1.0,
        offset: 0.0,
    };

    pub fn apply(self, value: f64) -> f64 {
        value * self.factor + self.offset
    }

    pub fn is_identity(self) -> bool {
        self == Self::IDENTITY
    }
}

impl Unit {
    pub fn new(code: impl Into<String>) -> Self {
        Self(code.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn row(&self) -> Option<&'static (&'static str, Dimension, f64, f64)> {
        TABLE.iter().find(|(code, ..)| *code == self.0)
    }

    /// # Errors
    /// When the two measure different things, or one of them is unknown and they differ.
    pub fn conversion_to(&self, to: &Self) -> Result<Conversion, UnitError> {
        if self == to {
            return Ok(Conversion::IDENTITY);
        }
        let refuse = |why| UnitError {
            from: self.0.clone(),
            to: to.0.clone(),
            why,
        };
        let (Some((_, from_dim, from_factor, from_offset)), Some((_, to_dim, to_factor, to_offset))) =
            (self.row(), to.row())
        else {
            return Err(refuse("one of them is not a known UCUM code"));
        };
        if from_dim != to_dim {
            return Err(refuse("they measure different things"));
        }
        Ok(Conversion {
            factor: from_factor / to_factor,
            offset: (from_offset - to_offset) / to_factor,
        })
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, from: &str, to: &str, expect: f64) {
        let got = Unit::new(from)
            .conversion_to(&Unit::new(to))
            .unwrap()
            .apply(value);
        assert!(
            (got - expect).abs() < 1e-9 * expect.abs().max(1.0),
            "{value} {from} = {got} {to}, not {expect}"
        );
    }

    #[test]
    fn converts() {
        check(100.0, "Cel", "[degF]", 212.0);
        check(32.0, "[degF]", "Cel", 0.0);
        check(1.0, "bar", "kPa", 100.0);
        check(3000.0, "{rpm}", "Hz", 50.0);
        check(1.0, "kW.h", "MJ", 3.6);
        check(7.0, "no-such-unit", "no-such-unit", 7.0);
    }

    #[test]
    fn refuses_what_can_not_be() {
        let error = Unit::new("bar").conversion_to(&Unit::new("Cel")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "can't convert `bar` to `Cel`: they measure different things"
        );
        assert!(Unit::new("furlong").conversion_to(&Unit::new("m")).is_err());
    }
}
