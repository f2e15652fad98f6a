//! The envelope of a trained model. A model is data made at run time: a row of `model_version`, not
//! code, so its form carries its kind and the version of its format.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Parameters of one model, sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    pub kind: String,
    /// Version of the body's format, not of the model.
    pub format: u32,
    pub body: serde_json::Value,
}

/// An envelope that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error(
        "the artifact is a `{found}` of format {found_format}, not a `{wanted}` of format {wanted_format}"
    )]
    Other {
        found: String,
        found_format: u32,
        wanted: &'static str,
        wanted_format: u32,
    },
    #[error("the artifact's body can't be read")]
    Body(#[from] serde_json::Error),
}

/// A model that can stand in an envelope.
pub trait Artifact: Serialize + DeserializeOwned {
    const KIND: &'static str;
    /// Raised when old bodies can no longer be read.
    const FORMAT: u32;
}

impl Envelope {
    /// # Errors
    /// When the model has a number JSON can't write.
    pub fn seal<T: Artifact>(model: &T) -> Result<Self, ArtifactError> {
        Ok(Self {
            kind: T::KIND.to_owned(),
            format: T::FORMAT,
            body: serde_json::to_value(model)?,
        })
    }

    /// # Errors
    /// When it holds another kind or format, or a body that doesn't fit.
    pub fn open<T: Artifact>(&self) -> Result<T, ArtifactError> {
        if self.kind != T::KIND || self.format != T::FORMAT {
            return Err(ArtifactError::Other {
                found: self.kind.clone(),
                found_format: self.format,
                wanted: T::KIND,
                wanted_format: T::FORMAT,
            });
        }
        Ok(T::deserialize(&self.body)?)
    }
}

/// What a person must know to trust a model version, or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub summary: String,
    pub data_from: Timestamp,
    pub data_to: Timestamp,
    /// Rows the model was learned from.
    pub rows: usize,
    pub features: Vec<String>,
    /// Named figures: thresholds, errors, sizes.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// What the model does not know or can't do.
    pub limits: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        slope: f64,
    }
    impl Artifact for Line {
        const KIND: &'static str = "line";
        const FORMAT: u32 = 2;
    }

    #[test]
    fn opens_what_it_sealed_to_the_same_bits() {
        let line = Line { slope: 0.1 + 0.2 };
        let text = serde_json::to_string(&Envelope::seal(&line).unwrap()).unwrap();
        assert_eq!(
            serde_json::from_str::<Envelope>(&text)
                .unwrap()
                .open::<Line>()
                .unwrap(),
            line
        );
    }

    #[test]
    fn another_kind_or_format_is_refused_and_named() {
        let mut envelope = Envelope::seal(&Line { slope: 1.0 }).unwrap();
        envelope.format = 1;
        let error = envelope.open::<Line>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the artifact is a `line` of format 1, not a `line` of format 2"
        );
        envelope.kind = "curve".to_owned();
        assert!(envelope.open::<Line>().is_err());
    }
}
