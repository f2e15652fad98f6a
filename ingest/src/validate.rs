//! From names to channels: what of a payload can be stored, and why the rest can't.
//!
//! Pure. After it only the database can fail. A reading outside its channel's plausible range is
//! stored as suspect, never thrown away; one slightly ahead of our clock is stored as it is.

use models::db::sent::Sent;
use models::id::{AssetId, ChannelId, DeviceId};
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use models::unit::{Conversion, Unit};

use crate::codec::json::number;
use crate::codec::{Decoded, NamedColumn, Reject};

/// A registered channel, as far as storing needs it.
#[derive(Clone, Debug)]
pub struct Channel {
    pub id: ChannelId,
    pub unit: Unit,
    pub plausible_min: f64,
    pub plausible_max: f64,
}

/// Why a name means no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    BadName,
    QuotaExceeded,
}

/// The register of one gateway.
pub trait Names {
    fn channel(&self, device: &str, channel: &str) -> Result<&Channel, Unresolved>;
    fn device(&self, device: &str) -> Option<(DeviceId, Option<AssetId>)>;
}

/// Which time stamps are believed.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    pub future_s: u64,
    pub ancient: Timestamp,
}

/// An event whose device is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidEvent {
    pub ts: Timestamp,
    pub device: DeviceId,
    pub asset: Option<AssetId>,
    pub code: String,
    pub severity: i16,
    pub message: Option<String>,
}

/// A payload after which only the database can fail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Valid {
    pub readings: Vec<Reading>,
    /// Of `readings`, those that were converted, as they were sent.
    pub sent: Vec<Sent>,
    pub events: Vec<ValidEvent>,
    pub rejects: Vec<Reject>,
    /// Events whose device could not be registered, or whose time can't be.
    pub events_refused: usize,
}

/// Whether a device or channel may be called so.
pub fn good_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
}

pub fn validate(decoded: Decoded, names: &impl Names, limits: TimeLimits, received_at: Timestamp) -> Valid {
    let latest = received_at.micros().saturating_add(
        i64::try_from(limits.future_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000),
    );
    let earliest = limits.ancient.micros();
    let mut valid = Valid {
        rejects: decoded.rejects,
        ..Valid::default()
    };
    valid
        .readings
        .reserve(decoded.columns.iter().map(|column| column.values.len()).sum());
    for column in &decoded.columns {
        let (channel, conversion) = match resolve(column, names) {
            Ok(found) => found,
            Err((reason, detail)) => {
                valid
                    .rejects
                    .extend((0..column.values.len()).map(|i| reject(column, i, reason, detail.clone())));
                continue;
            }
        };
        for i in 0..column.values.len() {
            let ts = column.ts[i];
            let sent = column.values[i];
            let value = conversion.apply(sent);
            if !value.is_finite() {
                let detail = format!(
                    "`{}`/`{}`: {sent} is not a finite number",
                    column.device, column.channel
                );
                valid.rejects.push(reject(column, i, "not_finite", detail));
            } else if ts > latest {
                let detail = format!(
                    "`{}`/`{}`: {} is more than {} s ahead of the server's clock",
                    column.device,
                    column.channel,
                    Timestamp::from_micros(ts),
                    limits.future_s
                );
                valid.rejects.push(reject(column, i, "too_far_in_future", detail));
            } else if ts < earliest {
                let detail = format!(
                    "`{}`/`{}`: {} is before {}",
                    column.device,
                    column.channel,
                    Timestamp::from_micros(ts),
                    limits.ancient
                );
                valid.rejects.push(reject(column, i, "too_ancient", detail));
            } else {
                let sent = column
                    .qualities
                    .get(i)
                    .map_or(Quality::Good, |code| Quality::from_code((*code).into()));
                let plausible = value >= channel.plausible_min && value <= channel.plausible_max;
                let quality = if plausible {
                    sent
                } else {
                    sent.max(Quality::Suspect)
                };
                if !conversion.is_identity() {
                    valid.sent.push(Sent {
                        channel: channel.id,
                        ts: Timestamp::from_micros(ts),
                        value: column.values[i],
                        unit: column.unit.clone().unwrap_or_default(),
                    });
                }
                valid.readings.push(Reading {
                    channel: channel.id,
                    ts: Timestamp::from_micros(ts),
                    value,
                    quality,
                });
            }
        }
    }
    for event in decoded.events {
        match names.device(&event.device) {
            Some((device, asset)) if event.ts <= latest && event.ts >= earliest && good_name(&event.code) => {
                valid.events.push(ValidEvent {
                    ts: Timestamp::from_micros(event.ts),
                    device,
                    asset,
                    code: event.code,
                    severity: event.severity,
                    message: event.message.map(|text| text.replace('\0', "\u{fffd}")),
                });
            }
            _ => valid.events_refused += 1,
        }
    }
    valid
}

fn resolve<'a>(
    column: &NamedColumn,
    names: &'a impl Names,
) -> Result<(&'a Channel, Conversion), (&'static str, String)> {
    let NamedColumn {
        device,
        channel,
        unit,
        ..
    } = column;
    let found = names.channel(device, channel).map_err(|why| match why {
        Unresolved::BadName => (
            "bad_name",
            format!("`{device}`/`{channel}`: names have 1 to 256 bytes and no control characters"),
        ),
        Unresolved::QuotaExceeded => (
            "quota_exceeded",
            format!(
                "`{device}`/`{channel}` is not registered and the gateway has all the channels it may have"
            ),
        ),
    })?;
    let conversion = match unit {
        None => Conversion::IDENTITY,
        Some(unit) => Unit::new(unit.as_str())
            .conversion_to(&found.unit)
            .map_err(|error| ("unit_mismatch", format!("`{device}`/`{channel}`: {error}")))?,
    };
    Ok((found, conversion))
}

fn reject(column: &NamedColumn, i: usize, reason: &'static str, detail: String) -> Reject {
    Reject {
        device: column.device.clone(),
        channel: column.channel.clone(),
        unit: column.unit.clone(),
        ts: Some(column.ts[i]),
        value: number(column.values[i]),
        quality: column.qualities.get(i).copied().unwrap_or(0),
        reason,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Channel);

    impl Names for One {
        fn channel(&self, device: &str, channel: &str) -> Result<&Channel, Unresolved> {
            match (device, channel) {
                ("pump", "temp") => Ok(&self.0),
                (_, "") => Err(Unresolved::BadName),
                _ => Err(Unresolved::QuotaExceeded),
            }
        }

        fn device(&self, _: &str) -> Option<(DeviceId, Option<AssetId>)> {
            None
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    #[track_caller]
    fn check(channel: &str, unit: Option<&str>, ts: i64, value: f64) -> Result<(f64, Quality), &'static str> {
        let names = One(Channel {
            id: ChannelId(7),
            unit: Unit::new("Cel"),
            plausible_min: -50.0,
            plausible_max: 200.0,
        });
        let column = NamedColumn {
            device: "pump".into(),
            channel: channel.into(),
            unit: unit.map(Into::into),
            ts: vec![ts],
            values: vec![value],
            qualities: Vec::new(),
        };
        let limits = TimeLimits {
            future_s: 3600,
            ancient: Timestamp::from_secs(631_152_000),
        };
        let decoded = Decoded {
            columns: vec![column],
            ..Decoded::default()
        };
        let valid = validate(decoded, &names, limits, NOW);
        assert_eq!(valid.readings.len() + valid.rejects.len(), 1);
        valid
            .readings
            .first()
            .map(|row| (row.value, row.quality))
            .ok_or_else(|| valid.rejects[0].reason)
    }

    #[test]
    fn table() {
        let now = NOW.micros();
        assert_eq!(check("temp", None, now, 20.0), Ok((20.0, Quality::Good)));
        assert_eq!(
            check("temp", Some("Cel"), now + 3_600_000_000, 20.0),
            Ok((20.0, Quality::Good))
        );
        assert_eq!(check("temp", Some("K"), now, 273.15), Ok((0.0, Quality::Good)));
        assert_eq!(check("temp", None, now, 900.0), Ok((900.0, Quality::Suspect)));
        assert_eq!(check("temp", Some("bar"), now, 1.0), Err("unit_mismatch"));
        assert_eq!(check("temp", None, now, f64::NAN), Err("not_finite"));
        assert_eq!(check("temp", None, now, f64::INFINITY), Err("not_finite"));
        assert_eq!(
            check("temp", None, now + 3_600_000_001, 1.0),
            Err("too_far_in_future")
        );
        assert_eq!(check("temp", None, i64::MAX, 1.0), Err("too_far_in_future"));
        assert_eq!(check("temp", None, 0, 1.0), Err("too_ancient"));
        assert_eq!(check("temp", None, i64::MIN, 1.0), Err("too_ancient"));
        assert_eq!(check("", None, now, 1.0), Err("bad_name"));
        assert_eq!(check("other", None, now, 1.0), Err("quota_exceeded"));
    }
}
