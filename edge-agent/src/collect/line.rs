//! Fields of a line of text. Pure; no expressions, which nobody can read on site.
//!
//! A line is cut at `delimiter` (blanks of any length by default) and fields are taken by position,
//! `at`, counted from 0, or by what they begin with, `key`: of `T=21.5C;H=40%` with `;`, key `T=` gives
//! 21.5. A number may be followed by its unit.

use std::sync::Arc;

use anyhow::ensure;
use models::reading::Quality;
use models::time::Timestamp;
use serde::Deserialize;

use super::report::Report;
use crate::batch::{Channel, Reading};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub at: Option<usize>,
    pub key: Option<String>,
    pub channel: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub offset: f64,
    #[serde(default)]
    pub report: Option<Report>,
}

fn one() -> f64 {
    1.0
}

/// Lines of a device.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Only lines that begin so; it is cut off.
    prefix: String,
    /// Empty = blanks.
    delimiter: String,
    fields: Vec<(Field, Arc<Channel>)>,
}

impl Lines {
    /// # Errors
    /// Names the field that is wrong.
    pub fn new(device: &str, prefix: &str, delimiter: &str, fields: &[Field]) -> anyhow::Result<Self> {
        super::check_name("device", device)?;
        ensure!(
            !fields.is_empty(),
            "needs `fields`: what of a line is which channel"
        );
        for field in fields {
            super::check_name("fields.channel", &field.channel)?;
            ensure!(
                field.at.is_some() != field.key.is_some(),
                "field `{}` needs either `at` or `key`",
                field.channel
            );
            ensure!(
                field.scale.is_finite() && field.scale != 0.0 && field.offset.is_finite(),
                "field `{}`: `scale` must be a number other than 0, `offset` a number",
                field.channel
            );
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            fields: fields
                .iter()
                .map(|field| (field.clone(), super::channel(device, &field.channel, &field.unit)))
                .collect(),
        })
    }

    pub fn channels(&self) -> usize {
        self.fields.len()
    }

    /// Channels with report rules of their own.
    pub fn reports(&self) -> Vec<(Arc<Channel>, Report)> {
        self.fields
            .iter()
            .filter_map(|(field, channel)| Some((Arc::clone(channel), field.report?)))
            .collect()
    }

    /// Reads a line; what of it can't be read is in the second part. A line that is not meant gives
    /// neither.
    pub fn read(&self, line: &str, ts: Timestamp) -> (Vec<Reading>, Vec<String>) {
        let (mut readings, mut wrong) = (Vec::new(), Vec::new());
        let Some(rest) = line.trim().strip_prefix(self.prefix.as_str()) else {
            return (readings, wrong);
        };
        if rest.is_empty() {
            return (readings, wrong);
        }
        let parts: Vec<&str> = if self.delimiter.is_empty() {
            rest.split_whitespace().collect()
        } else {
            rest.split(self.delimiter.as_str()).map(str::trim).collect()
        };
        for (field, channel) in &self.fields {
            let text = match (&field.key, field.at) {
                (Some(key), _) => parts.iter().find_map(|part| part.strip_prefix(key.as_str())),
                (None, at) => at.and_then(|at| parts.get(at).copied()),
            };
            let short: String = line.trim().chars().take(60).collect();
            let Some(text) = text else {
                let place = match (&field.key, field.at) {
                    (Some(key), _) => format!("field that begins with `{key}`"),
                    (None, at) => format!("field {}", at.unwrap_or_default()),
                };
                wrong.push(format!("`{}`: no {place} in `{short}`", field.channel));
                continue;
            };
            let value = number(text).map(|value| value * field.scale + field.offset);
            match value.filter(|value| value.is_finite()) {
                Some(value) => readings.push(Reading {
                    channel: Arc::clone(channel),
                    ts,
                    value,
                    quality: Quality::Good,
                }),
                None => wrong.push(format!("`{}`: `{text}` in `{short}` is no number", field.channel)),
            }
        }
        (readings, wrong)
    }
}

/// The number that a text begins with; what follows must not look like more of it.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    // `21.5e` of `21.5eV` is no number, `21.5` is.
    let (value, rest) = (0..=end)
        .rev()
        .filter(|end| text.is_char_boundary(*end))
        .find_map(|end| Some((text[..end].parse::<f64>().ok()?, &text[end..])))?;
    let rest = rest.trim_start();
    (!rest.starts_with(|c: char| c.is_ascii_digit() || ".,:+-".contains(c))).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(text: &str) -> Field {
        use figment::providers::{Format, Toml};
        figment::Figment::from(Toml::string(text)).extract().unwrap()
    }

    fn values(lines: &Lines, line: &str) -> (Vec<f64>, Vec<String>) {
        let (readings, wrong) = lines.read(line, Timestamp::from_secs(0));
        (readings.iter().map(|reading| reading.value).collect(), wrong)
    }

    #[test]
    fn numbers_with_units() {
        for (text, value) in [
            ("21.5", 21.5),
            ("-3 mm", -3.0),
            ("40%", 40.0),
            ("1e3", 1000.0),
            ("21.5eV", 21.5),
            ("+7°C", 7.0),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "abc", "12:30", "1.2.3", "1,5", "--1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn fields_by_place_and_by_key() {
        let by_place = Lines::new(
            "d",
            "$X,",
            ",",
            &[field("at = 1\nchannel = \"a\"\nscale = 0.1\noffset = 5")],
        )
        .unwrap();
        assert_eq!(values(&by_place, "$X,9, 20 ,7\r\n"), (vec![7.0], vec![]));
        assert_eq!(values(&by_place, "$Y,9,20"), (vec![], vec![]), "another sentence");
        assert_eq!(values(&by_place, "$X,9").1.len(), 1);
        let by_key = Lines::new(
            "d",
            "",
            ";",
            &[
                field("key = \"T=\"\nchannel = \"t\""),
                field("key = \"H=\"\nchannel = \"h\""),
            ],
        )
        .unwrap();
        assert_eq!(values(&by_key, "H=40%; T=21.5C"), (vec![21.5, 40.0], vec![]));
        let (good, wrong) = values(&by_key, "T=err;H=1");
        assert_eq!(good, [1.0]);
        assert!(wrong[0].contains("`err`"), "{wrong:?}");
        let blanks = Lines::new("d", "", "", &[field("at = 2\nchannel = \"c\"")]).unwrap();
        assert_eq!(values(&blanks, "  1   2\t3 "), (vec![3.0], vec![]));
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in ".{0,80}") {
            let lines = Lines::new("d", "", ",", &[field("at = 1\nchannel = \"a\""), field("key = \"é\"\nchannel = \"b\"")]).unwrap();
            let _ = lines.read(&line, Timestamp::from_secs(0));
        }
    }
}
