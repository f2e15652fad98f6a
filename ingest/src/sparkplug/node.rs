//! The session of one edge node, as a host sees it (specification, §§ 5.4 to 5.9). Pure: time comes in.
//!
//! `seq` counts the node's messages from 0 to 255 and wraps; NBIRTH starts it at whatever it says
//! (whether that must be 0 is an open question of the specification, so any number is taken). A
//! message ahead of the next number opens a gap; the gap closes when everything between has come.
//! When it is open for longer than the reorder timeout, a rebirth is asked for, once until the next
//! birth or until `ask_again`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::proto::{Metric, Payload};
use super::topic::{Kind, Topic};
use super::value;

/// What a birth says of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub datatype: u32,
    pub unit: Option<String>,
}

/// Metrics of one birth by their alias.
pub type Aliases = HashMap<u64, Arc<Known>>;

/// How long a host waits. Microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub reorder: i64,
    /// A rebirth that nobody answered is asked for again after so long.
    pub ask_again: i64,
    pub max_devices: usize,
    pub max_aliases: usize,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read it with the names known now.
    Read,
    /// Its names may be in what is missing.
    Wait,
    /// It is of a session that is over.
    Ignore,
    /// A birth with more than the host will hold.
    TooMuch,
}

/// What a message or the passing of time brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub verdict: Verdict,
    /// Ask the node for all its births.
    pub rebirth: bool,
    /// What waits can be read now, or never.
    pub release: bool,
    /// Who came (`true`) or went; `None` = the node itself.
    pub presence: Vec<(Option<String>, bool)>,
}

impl Step {
    fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            rebirth: false,
            release: false,
            presence: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Device {
    online: bool,
    aliases: Aliases,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    online: bool,
    bd_seq: Option<u64>,
    /// The number that comes next; `None` before a birth, and after a gap was given up.
    next: Option<u8>,
    /// Numbers beyond a gap that have come.
    ahead: BTreeSet<u8>,
    gap_since: Option<i64>,
    asked_at: Option<i64>,
    aliases: Aliases,
    devices: BTreeMap<String, Device>,
}

fn births(metrics: &[Metric]) -> Aliases {
    metrics
        .iter()
        .filter_map(|metric| {
            let name = metric.name.clone().filter(|name| !name.is_empty())?;
            let known = Known {
                name,
                datatype: metric.datatype.unwrap_or(0),
                unit: value::unit(metric),
            };
            Some((metric.alias?, Arc::new(known)))
        })
        .collect()
}

impl Node {
    /// The names for a message of `device`, or of the node itself.
    pub fn aliases(&self, device: Option<&str>) -> Option<&Aliases> {
        match device {
            None => Some(&self.aliases),
            Some(device) => self.devices.get(device).map(|device| &device.aliases),
        }
    }

    pub fn is_online(&self) -> bool {
        self.online
    }

    /// When something is to be done though nothing comes.
    pub fn deadline(&self, limits: &Limits) -> Option<i64> {
        self.gap_since.map(|since| since.saturating_add(limits.reorder))
    }

    pub fn take(&mut self, topic: &Topic, payload: &Payload, now: i64, limits: &Limits) -> Step {
        match topic.kind {
            Kind::NodeBirth => self.node_birth(payload, limits),
            Kind::NodeDeath => self.node_death(payload),
            _ => self.counted(topic, payload, now, limits),
        }
    }

    /// What the passing of time brings about.
    pub fn expire(&mut self, now: i64, limits: &Limits) -> Step {
        let mut step = Step::new(Verdict::Read);
        if self.deadline(limits).is_some_and(|deadline| deadline <= now) {
            self.gap_since = None;
            self.ahead.clear();
            self.next = None;
            step.release = true;
            step.rebirth = self.ask(now, limits);
        }
        step
    }

    /// The way to the node is lost: nothing of it is live.
    pub fn lost(&mut self) -> Step {
        let mut step = Step::new(Verdict::Read);
        self.go(&mut step);
        step
    }

    fn ask(&mut self, now: i64, limits: &Limits) -> bool {
        let again = self
            .asked_at
            .is_none_or(|asked| asked.saturating_add(limits.ask_again) <= now);
        if again {
            self.asked_at = Some(now);
        }
        again
    }

    fn node_birth(&mut self, payload: &Payload, limits: &Limits) -> Step {
        let aliases = births(&payload.metrics);
        if aliases.len() > limits.max_aliases {
            return Step::new(Verdict::TooMuch);
        }
        let mut step = Step::new(Verdict::Read);
        if !self.online {
            step.presence.push((None, true));
        }
        self.online = true;
        self.bd_seq = payload.bd_seq();
        self.next = payload.seq.map(|seq| (seq as u8).wrapping_add(1));
        self.ahead.clear();
        self.gap_since = None;
        self.asked_at = None;
        self.aliases = aliases;
        // Every device is born again after its node; its old names are void until then.
        for device in self.devices.values_mut() {
            device.aliases.clear();
        }
        step.release = true;
        step
    }

    fn node_death(&mut self, payload: &Payload) -> Step {
        // A will may come after the birth of the session that followed.
        let (Some(died), Some(born)) = (payload.bd_seq(), self.bd_seq) else {
            let mut step = Step::new(Verdict::Read);
            self.go(&mut step);
            return step;
        };
        if died != born {
            return Step::new(Verdict::Ignore);
        }
        let mut step = Step::new(Verdict::Read);
        self.go(&mut step);
        step
    }

    fn go(&mut self, step: &mut Step) {
        if std::mem::take(&mut self.online) {
            step.presence.push((None, false));
        }
        for (name, device) in &mut self.devices {
            if std::mem::take(&mut device.online) {
                step.presence.push((Some(name.clone()), false));
            }
        }
        self.next = None;
        self.ahead.clear();
        self.gap_since = None;
        step.release = true;
    }

    /// Everything that carries the node's running number.
    fn counted(&mut self, topic: &Topic, payload: &Payload, now: i64, limits: &Limits) -> Step {
        let mut step = Step::new(Verdict::Read);
        if let Some(device) = &topic.device {
            match topic.kind {
                Kind::DeviceBirth => {
                    let aliases = births(&payload.metrics);
                    let held: usize = self.devices.values().map(|device| device.aliases.len()).sum();
                    let room = self.devices.contains_key(device) || self.devices.len() < limits.max_devices;
                    if held + self.aliases.len() + aliases.len() > limits.max_aliases || !room {
                        step.verdict = Verdict::TooMuch;
                    } else {
                        let entry = self.devices.entry(device.clone()).or_default();
                        if !std::mem::replace(&mut entry.online, true) {
                            step.presence.push((Some(device.clone()), true));
                        }
                        entry.aliases = aliases;
                        // What waited for this birth need not wait for the rest of the gap.
                        step.release = true;
                    }
                }
                Kind::DeviceDeath => {
                    if let Some(known) = self.devices.get_mut(device)
                        && std::mem::take(&mut known.online)
                    {
                        step.presence.push((Some(device.clone()), false));
                    }
                }
                _ => {}
            }
        }
        if let Some(seq) = payload.seq {
            self.count(seq as u8, now, &mut step);
        }
        let data = matches!(topic.kind, Kind::NodeData | Kind::DeviceData);
        if data && step.verdict == Verdict::Read && self.lacks_names(topic, payload) {
            if self.gap_since.is_some() {
                step.verdict = Verdict::Wait;
            } else {
                // No birth is on its way that would explain it (specification, § 5.15).
                step.rebirth |= self.ask(now, limits);
            }
        } else if !self.online && data {
            step.rebirth |= self.ask(now, limits);
        }
        step
    }

    fn count(&mut self, seq: u8, now: i64, step: &mut Step) {
        let Some(next) = self.next else { return };
        // Up to half the circle ahead is ahead; the other half came late or twice.
        let distance = seq.wrapping_sub(next);
        if distance >= 128 {
            return;
        }
        if distance > 0 {
            self.ahead.insert(seq);
            self.gap_since.get_or_insert(now);
            return;
        }
        let mut next = next.wrapping_add(1);
        while self.ahead.remove(&next) {
            next = next.wrapping_add(1);
        }
        self.next = Some(next);
        if self.ahead.is_empty() && self.gap_since.take().is_some() {
            step.release = true;
        }
    }

    pub fn gap_is_open(&self) -> bool {
        self.gap_since.is_some()
    }

    /// Whether a metric goes by an alias that no birth has explained.
    pub fn lacks_names(&self, topic: &Topic, payload: &Payload) -> bool {
        let aliases = self.aliases(topic.device.as_deref());
        payload.metrics.iter().any(|metric| {
            metric.name.as_deref().is_none_or(str::is_empty)
                && metric
                    .alias
                    .is_some_and(|alias| aliases.is_none_or(|aliases| !aliases.contains_key(&alias)))
        })
    }
}

#[cfg(test)]
mod tests;
