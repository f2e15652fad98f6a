//! Readings one by one → columns.
//!
//! Payloads repeat their names in the same order (rows of a table, lines of one measurement), so the
//! column after the last one is tried first; else it is looked up by the hash of its names.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::NamedColumn;

/// Below so many columns looking at each is faster than hashing.
const FEW: usize = 8;

#[derive(Debug, Default)]
pub struct Columns {
    columns: Vec<NamedColumn>,
    next: usize,
    index: HashMap<u64, usize>,
    state: RandomState,
    readings: usize,
}

fn is(column: &NamedColumn, device: &str, channel: &str, unit: Option<&str>) -> bool {
    column.channel == channel && column.device == device && column.unit.as_deref() == unit
}

impl Columns {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn readings(&self) -> usize {
        self.readings
    }

    pub fn push(
        &mut self,
        device: &str,
        channel: &str,
        unit: Option<&str>,
        ts: i64,
        value: f64,
        quality: u8,
    ) {
        self.readings += 1;
        let at = self.find(device, channel, unit);
        self.next = at + 1;
        let column = &mut self.columns[at];
        if quality != 0 || !column.qualities.is_empty() {
            // Those before were all good.
            column.qualities.resize(column.values.len(), 0);
            column.qualities.push(quality);
        }
        column.ts.push(ts);
        column.values.push(value);
    }

    fn find(&mut self, device: &str, channel: &str, unit: Option<&str>) -> usize {
        if self.next >= self.columns.len() {
            self.next = 0;
        }
        if self
            .columns
            .get(self.next)
            .is_some_and(|column| is(column, device, channel, unit))
        {
            return self.next;
        }
        if self.columns.len() <= FEW {
            if let Some(at) = self
                .columns
                .iter()
                .position(|column| is(column, device, channel, unit))
            {
                return at;
            }
        } else {
            if self.index.is_empty() {
                for (at, column) in self.columns.iter().enumerate() {
                    let key = (
                        column.device.as_str(),
                        column.channel.as_str(),
                        column.unit.as_deref(),
                    );
                    self.index.insert(self.state.hash_one(key), at);
                }
            }
            let hash = self.state.hash_one((device, channel, unit));
            if let Some(&at) = self.index.get(&hash)
                && is(&self.columns[at], device, channel, unit)
            {
                return at;
            }
            // Two names with one hash: the later gets columns of its own, which is allowed.
            self.index.insert(hash, self.columns.len());
        }
        self.columns.push(NamedColumn {
            device: device.to_owned(),
            channel: channel.to_owned(),
            unit: unit.map(str::to_owned),
            ..NamedColumn::default()
        });
        self.columns.len() - 1
    }

    pub fn finish(self) -> Vec<NamedColumn> {
        self.columns
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_reading_is_in_its_column(rows in prop::collection::vec((0..4_u8, 0..20_u8, 0..3_u8, any::<i64>()), 0..300)) {
            let mut columns = Columns::new();
            let mut expect: BTreeMap<(String, String), Vec<(i64, u8)>> = BTreeMap::new();
            for (device, channel, quality, ts) in &rows {
                let (device, channel) = (format!("d{device}"), format!("c{channel}"));
                columns.push(&device, &channel, None, *ts, 1.0, *quality);
                expect.entry((device, channel)).or_default().push((*ts, *quality));
            }
            prop_assert_eq!(columns.readings(), rows.len());
            let mut got: BTreeMap<(String, String), Vec<(i64, u8)>> = BTreeMap::new();
            for column in columns.finish() {
                let rows: Vec<_> = column.ts.iter().enumerate()
                    .map(|(i, ts)| (*ts, column.qualities.get(i).copied().unwrap_or(0)))
                    .collect();
                prop_assert_eq!(rows.len(), column.values.len());
                got.entry((column.device, column.channel)).or_default().extend(rows);
            }
            prop_assert_eq!(got, expect);
        }
    }
}
