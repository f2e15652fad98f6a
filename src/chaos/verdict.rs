//! Whether the readings stored are the readings produced, each once.

use std::collections::{BTreeMap, HashMap};

use models::db::verify::{self, LedgerSums};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::plant::{COLUMNS, Plant, value};
use super::publisher::Said;

#[derive(Debug)]
pub struct Verdict {
    produced: i64,
    stored: i64,
    /// Produced and not stored.
    lost: i64,
    /// Stored twice, or never produced.
    duplicated: i64,
    ledger: LedgerSums,
    /// Batches that the ledger says are missing.
    missing_batches: i64,
}

impl Verdict {
    pub async fn of(owner: &mut PgConnection, plant: &Plant, said: &[Said]) -> anyhow::Result<Self> {
        let mut verdict = Self {
            produced: plant.produced() + said.len() as i64,
            stored: 0,
            lost: 0,
            duplicated: 0,
            ledger: verify::ledger_sums(owner).await?,
            missing_batches: 0,
        };
        for gateway in plant.agent_gateways() {
            let readings = verify::readings_of(owner, *gateway).await?;
            verdict.count_recorded(plant.rows(), &readings);
        }
        let readings = verify::readings_of(owner, plant.publisher_gateway()).await?;
        verdict.count_said(said, &readings);
        let (open, lost) = models::db::ledger::gap_totals(owner).await?;
        verdict.missing_batches = open + lost;
        Ok(verdict)
    }

    /// A row's readings have one time; its first column tells which row it is.
    fn count_recorded(&mut self, rows: u32, readings: &[(i64, String, f64)]) {
        let mut at: BTreeMap<i64, HashMap<&str, f64>> = BTreeMap::new();
        for (ts, channel, value) in readings {
            at.entry(*ts).or_default().insert(channel, *value);
        }
        let mut seen = vec![[false; COLUMNS.len()]; rows as usize];
        let mut good = 0;
        for values in at.values() {
            let Some(row) = values.get(COLUMNS[0]).map(|number| *number as u32) else {
                continue;
            };
            let Some(seen) = seen.get_mut(row as usize) else {
                continue;
            };
            for (column, name) in COLUMNS.iter().enumerate() {
                let right = values
                    .get(name)
                    .is_some_and(|stored| *stored == value(column, row));
                if right && !seen[column] {
                    seen[column] = true;
                    good += 1;
                }
            }
        }
        self.add(
            i64::from(rows) * COLUMNS.len() as i64,
            readings.len() as i64,
            good,
        );
    }

    fn count_said(&mut self, said: &[Said], readings: &[(i64, String, f64)]) {
        let mut expected: HashMap<i64, f64> = said.iter().copied().collect();
        let good = readings
            .iter()
            .filter(|(ts, _, value)| expected.remove(ts).as_ref() == Some(value))
            .count();
        self.add(said.len() as i64, readings.len() as i64, good as i64);
    }

    fn add(&mut self, produced: i64, stored: i64, good: i64) {
        self.stored += stored;
        self.lost += produced - good;
        self.duplicated += stored - good;
    }

    pub fn is_good(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.missing_batches == 0
            && self.ledger.closes()
            && self.ledger.stored == self.stored
    }

    pub fn json(&self) -> Value {
        json!({
            "produced": self.produced, "stored": self.stored, "lost": self.lost, "duplicated": self.duplicated,
            "ledger_stored": self.ledger.stored, "ledger_duplicate": self.ledger.duplicate,
            "ledger_closes": self.ledger.closes(), "missing_batches": self.missing_batches,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            produced: 0,
            stored: 0,
            lost: 0,
            duplicated: 0,
            ledger: LedgerSums::default(),
            missing_batches: 0,
        }
    }

    fn row(ts: i64, row: u32) -> impl Iterator<Item = (i64, String, f64)> {
        COLUMNS
            .iter()
            .enumerate()
            .map(move |(column, name)| (ts, (*name).to_owned(), value(column, row)))
    }

    #[test]
    fn it_finds_what_is_missing_twice_or_wrong() {
        let good: Vec<_> = row(10, 0).chain(row(20, 1)).collect();
        let mut all = verdict();
        all.count_recorded(2, &good);
        assert_eq!((all.stored, all.lost, all.duplicated), (10, 0, 0));
        let mut missing = verdict();
        missing.count_recorded(2, &good[..9]);
        assert_eq!((missing.lost, missing.duplicated), (1, 0));
        let mut twice = verdict();
        twice.count_recorded(2, &good.iter().cloned().chain(row(30, 1)).collect::<Vec<_>>());
        assert_eq!((twice.lost, twice.duplicated), (0, 5));
        let mut wrong = verdict();
        wrong.count_said(
            &[(1, 1.0), (2, 2.0)],
            &[(1, String::new(), 1.0), (2, String::new(), 7.0)],
        );
        assert_eq!((wrong.lost, wrong.duplicated), (1, 1));
    }
}
