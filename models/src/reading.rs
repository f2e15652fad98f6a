//! One value of a channel at a time, and the same in columns.

use serde::{Deserialize, Serialize};

use crate::id::ChannelId;
use crate::time::Timestamp;

/// How far a value can be trusted, after OPC UA's good, uncertain and bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Quality {
    #[default]
    Good = 0,
    /// Outside the plausible range, a clock that can't be right, a sensor that says so itself.
    Suspect = 1,
    /// Not to be computed with.
    Bad = 2,
}

impl Quality {
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Unknown codes are [`Quality::Bad`]: what we can't read we don't compute with.
    pub const fn from_code(code: i16) -> Self {
        match code {
            0 => Self::Good,
            1 => Self::Suspect,
            _ => Self::Bad,
        }
    }
}

/// A stored reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub channel: ChannelId,
    pub ts: Timestamp,
    pub value: f64,
    pub quality: Quality,
}

/// Readings in columns of equal length (n,n,n,n): the form that is sorted, checked and copied into
/// the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadingColumns {
    channels: Vec<ChannelId>,
    ts: Vec<Timestamp>,
    values: Vec<f64>,
    qualities: Vec<Quality>,
}

impl ReadingColumns {
    pub fn with_capacity(n: usize) -> Self {
        Self {
            channels: Vec::with_capacity(n),
            ts: Vec::with_capacity(n),
            values: Vec::with_capacity(n),
            qualities: Vec::with_capacity(n),
        }
    }

    pub fn push(&mut self, reading: Reading) {
        self.channels.push(reading.channel);
        self.ts.push(reading.ts);
        self.values.push(reading.value);
        self.qualities.push(reading.quality);
    }

    pub fn len(&self) -> usize {
        self.channels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    pub fn get(&self, i: usize) -> Reading {
        Reading {
            channel: self.channels[i],
            ts: self.ts[i],
            value: self.values[i],
            quality: self.qualities[i],
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reading> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    pub fn append(&mut self, other: &mut Self) {
        self.channels.append(&mut other.channels);
        self.ts.append(&mut other.ts);
        self.values.append(&mut other.values);
        self.qualities.append(&mut other.qualities);
    }

    pub fn clear(&mut self) {
        self.channels.clear();
        self.ts.clear();
        self.values.clear();
        self.qualities.clear();
    }

    pub fn channels(&self) -> &[ChannelId] {
        &self.channels
    }

    pub fn timestamps(&self) -> &[Timestamp] {
        &self.ts
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn qualities(&self) -> &[Quality] {
        &self.qualities
    }
}

impl FromIterator<Reading> for ReadingColumns {
    fn from_iter<I: IntoIterator<Item = Reading>>(readings: I) -> Self {
        let mut columns = Self::default();
        for reading in readings {
            columns.push(reading);
        }
        columns
    }
}
