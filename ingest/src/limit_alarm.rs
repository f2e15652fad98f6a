//! Limit alarms, evaluated in the transaction that stores the readings: no reading is committed
//! without its alarm, and none alarms twice.
//!
//! The machines are kept in memory between transactions. What a transaction makes of them is kept
//! only when it commits; after one that failed they are read from the database again. A channel has
//! one gateway and a gateway one writer; should two processes judge the same rule all the same,
//! the lock on the rule's open alarm and the state stored with it decide.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use models::alarm::{Machine, Rule};
use models::db::alarm::{self, Watch};
use models::id::{AlarmRuleId, ChannelId};
use models::reading::Reading;
use sqlx::PgConnection;

use crate::writer::Prepared;

#[derive(Debug)]
pub(crate) struct LimitAlarms {
    rules_max_age: Duration,
    max_age: Duration,
    /// When the rules were last known to be those of the database.
    looked_at: Option<Instant>,
    /// Of the rules in memory (`alarm::rules_stamp`).
    stamp: Option<i64>,
    rules: HashMap<ChannelId, Vec<Rule>>,
    machines: HashMap<AlarmRuleId, Machine>,
    /// Of the transaction that is not committed yet.
    staged: Vec<(AlarmRuleId, Machine)>,
}

impl LimitAlarms {
    /// Rules are compared with the database's when they are older than `rules_max_age`. Readings that are
    /// older than `max_age` when they arrive are remembered and raise nothing.
    pub fn new(rules_max_age: Duration, max_age: Duration) -> Self {
        Self {
            rules_max_age,
            max_age,
            looked_at: None,
            stamp: None,
            rules: HashMap::new(),
            machines: HashMap::new(),
            staged: Vec::new(),
        }
    }

    /// The transaction was committed.
    pub fn keep(&mut self) {
        self.machines.extend(self.staged.drain(..));
    }

    /// The transaction failed, or nobody knows: the database does.
    pub fn forget(&mut self) {
        self.staged.clear();
        self.machines.clear();
        self.looked_at = None;
    }

    /// Judges the new readings among `rows`, which are sorted by channel and time. Returns how many
    /// alarms changed.
    pub async fn evaluate(
        &mut self,
        connection: &mut PgConnection,
        payloads: &[Prepared],
        rows: &[(Reading, u32)],
    ) -> Result<u64, sqlx::Error> {
        self.staged.clear();
        if self.looked_at.is_none_or(|at| at.elapsed() > self.rules_max_age) {
            // Reading thousands of rules takes longer than everything else in this transaction.
            let stamp = alarm::rules_stamp(connection).await?;
            if self.stamp != Some(stamp) {
                self.load_rules(connection).await?;
                self.stamp = Some(stamp);
            }
            self.looked_at = Some(Instant::now());
        }
        let Some(received_at) = payloads.iter().map(Prepared::received_at).min() else {
            return Ok(0);
        };
        if self.rules.is_empty() {
            return Ok(0);
        }
        let watched: Vec<&[(Reading, u32)]> = rows
            .chunk_by(|(a, _), (b, _)| a.channel == b.channel)
            .filter(|chunk| self.rules.contains_key(&chunk[0].0.channel))
            .collect();
        if watched.is_empty() {
            return Ok(0);
        }
        let rules = |chunk: &[(Reading, u32)]| self.rules.get(&chunk[0].0.channel).into_iter().flatten();
        let unknown: Vec<AlarmRuleId> = watched
            .iter()
            .flat_map(|chunk| rules(chunk))
            .map(|rule| rule.id)
            .filter(|id| !self.machines.contains_key(id))
            .collect();
        if !unknown.is_empty() {
            let mut stored = alarm::latest_machines(connection, &unknown).await?;
            for id in unknown {
                self.machines.insert(id, stored.remove(&id).unwrap_or_default());
            }
        }
        let mut watches: Vec<Watch<'_>> = watched
            .iter()
            .flat_map(|chunk| rules(chunk).map(move |rule| (rule, chunk)))
            .map(|(rule, chunk)| Watch {
                rule,
                machine: self.machines.get(&rule.id).cloned().unwrap_or_default(),
                samples: chunk
                    .iter()
                    .map(|(row, _)| (row.ts, row.value, row.quality))
                    .collect(),
            })
            .collect();
        let evaluated =
            alarm::evaluate(connection, &mut watches, received_at - self.max_age, "ingest").await?;
        self.staged = watches
            .into_iter()
            .map(|watch| (watch.rule.id, watch.machine))
            .collect();
        Ok(u64::from(evaluated.raised + evaluated.cleared))
    }

    async fn load_rules(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.rules.clear();
        let mut known = HashSet::new();
        for rule in alarm::limit_rules(connection).await? {
            known.insert(rule.id);
            if let Some(channel) = rule.channel {
                self.rules.entry(channel).or_default().push(rule);
            }
        }
        self.machines.retain(|id, _| known.contains(id));
        Ok(())
    }
}
