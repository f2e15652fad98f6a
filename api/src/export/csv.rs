//! Readings as CSV (RFC 4180).

use std::io::Write;

use models::db::history::RawPoint;
use models::db::history::tree::ChannelPlace;

use super::COLUMNS;

pub(super) struct Csv(Vec<u8>);

impl Csv {
    pub fn new() -> Self {
        Self(format!("{}\n", COLUMNS.join(",")).into_bytes())
    }

    pub fn push(&mut self, place: &ChannelPlace, rows: &[RawPoint]) {
        let mut prefix = Vec::new();
        for text in [&place.gateway, &place.device, &place.name, &place.unit] {
            field(&mut prefix, text);
            prefix.push(b',');
        }
        self.0.reserve(rows.len() * (prefix.len() + 56));
        for row in rows {
            self.0.extend_from_slice(&prefix);
            stamp(&mut self.0, row.ts.micros());
            // The shortest text that reads back as the same number. Writing to memory can't fail.
            let _ = write!(self.0, ",{},", row.value);
            self.0.extend_from_slice(match row.quality {
                0 => b"good\n",
                1 => b"suspect\n",
                _ => b"bad\n",
            });
        }
    }

    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

fn field(out: &mut Vec<u8>, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// `2026-01-31T12:00:00.000001Z`; six digits, or none when the second is full.
fn stamp(out: &mut Vec<u8>, micros: i64) {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        let _ = write!(out, "{}", models::time::Timestamp::from_micros(micros));
        return;
    }
    let mut digits = |number: i64, width: u32, after: u8| {
        for place in (0..width).rev() {
            out.push(b'0' + (number / 10_i64.pow(place) % 10) as u8);
        }
        out.push(after);
    };
    digits(year, 4, b'-');
    digits(month, 2, b'-');
    digits(day, 2, b'T');
    digits(of_day / 3600, 2, b':');
    digits(of_day / 60 % 60, 2, b':');
    if fraction == 0 {
        digits(of_day % 60, 2, b'Z');
    } else {
        digits(of_day % 60, 2, b'.');
        digits(fraction, 6, b'Z');
    }
}

/// The day of the Gregorian calendar: H. Hinnant, *chrono-compatible low-level date algorithms*,
/// `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use models::time::Timestamp;

    use super::*;

    #[test]
    fn stamps_are_the_librarys() {
        for micros in [
            0,
            1,
            -1,
            1_769_860_800_000_000,
            951_782_399_999_999,
            -62_135_596_800_000_000,
            253_402_207_199_000_001,
        ] {
            let mut out = Vec::new();
            stamp(&mut out, micros);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(
                text.parse::<Timestamp>().unwrap(),
                Timestamp::from_micros(micros),
                "{text}"
            );
        }
    }

    #[test]
    fn fields_are_quoted_when_they_must_be() {
        let mut out = Vec::new();
        field(&mut out, "a \"b\", c");
        assert_eq!(out, b"\"a \"\"b\"\", c\"");
    }
}
