//! Units by their UCUM code (<https://ucum.org>): the grammar with its prefixes, products and
//! exponents over the atoms of industry. A code that is not UCUM's is kept as it is and converts
//! only to itself.

mod atoms;
mod parse;
mod spelling;

use serde::{Deserialize, Serialize};

pub use spelling::{from_senml, from_spelling};

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

    /// Whether the code is UCUM's, so that it can be converted.
    pub fn is_known(&self) -> bool {
        parse::parse(&self.0).is_some()
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
        let (Some(from), Some(into)) = (parse::parse(&self.0), parse::parse(&to.0)) else {
            return Err(refuse("one of them is not a known UCUM code"));
        };
        if from.dimension != into.dimension {
            return Err(refuse("they measure different things"));
        }
        if from == into {
            return Ok(Conversion::IDENTITY);
        }
        Ok(Conversion {
            factor: from.factor / into.factor,
            offset: (from.offset - into.offset) / into.factor,
        })
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
