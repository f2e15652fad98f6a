//! Health of an asset together with its parts: the rule. [`tree`] applies it to a register.
//!
//! A part pulls what it belongs to down towards its own health, as far as its criticality reaches; the one that
//! leaves least decides, unless the asset's own health is lower. How deep a part sits makes no difference:
//! criticality says what its failure costs the plant. A part that nobody has assessed pulls nothing; it is missing
//! from the coverage.

pub mod tree;

use crate::asset::Criticality;
use crate::id::AssetId;
use crate::time::Timestamp;

/// The share of what a part has lost that it takes from what it belongs to: one of low criticality alone makes
/// nothing worse than "watch". All are exact in binary.
fn reach(criticality: Criticality) -> f64 {
    match criticality {
        Criticality::Low => 0.5,
        Criticality::Medium => 0.75,
        Criticality::High => 0.875,
        Criticality::Critical => 1.0,
    }
}

/// What a part of this health leaves of 100 for what it belongs to: all of its own health where it is critical.
pub fn left_by(criticality: Criticality, health: f64) -> f64 {
    let reach = reach(criticality);
    reach * health + (1.0 - reach) * 100.0
}

/// The newest assessment of an asset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assessed {
    pub health: f64,
    /// Time of the newest reading it rests on.
    pub as_of: Timestamp,
    /// Nothing newer came for long. It counts as the last that is known, but covers nothing.
    pub stale: bool,
}

/// Something that belongs to an asset, however far down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    pub id: AssetId,
    pub criticality: Criticality,
    pub assessed: Option<Assessed>,
}

/// The part that pulls the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    pub part: AssetId,
    pub criticality: Criticality,
    pub assessed: Assessed,
    /// What it leaves of 100.
    pub leaves: f64,
}

/// An asset's own health and what its parts make of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RollUp {
    pub own: Option<Assessed>,
    pub worst: Option<Worst>,
    pub parts: usize,
    /// Those with an assessment that isn't stale.
    pub fresh: usize,
    /// Of all assessments it rests on, its own among them.
    pub oldest: Option<Timestamp>,
}

impl RollUp {
    pub fn of(own: Option<Assessed>, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut all = Self {
            own,
            oldest: own.map(|own| own.as_of),
            ..Self::default()
        };
        for part in parts {
            all.add(part);
        }
        all
    }

    /// In any order: of two that pull the same, the one in worse health is named, then the one with the lower id.
    pub fn add(&mut self, part: Part) {
        self.parts += 1;
        let Some(assessed) = part.assessed else {
            return;
        };
        self.fresh += usize::from(!assessed.stale);
        self.oldest = Some(
            self.oldest
                .map_or(assessed.as_of, |oldest| oldest.min(assessed.as_of)),
        );
        let candidate = Worst {
            part: part.id,
            criticality: part.criticality,
            assessed,
            leaves: left_by(part.criticality, assessed.health),
        };
        let worse = self.worst.is_none_or(|worst| {
            let by_health = candidate.assessed.health.total_cmp(&worst.assessed.health);
            let order = candidate.leaves.total_cmp(&worst.leaves).then(by_health);
            order.then(candidate.part.cmp(&worst.part)).is_lt()
        });
        if worse {
            self.worst = Some(candidate);
        }
    }

    /// The part that decides, where one is worse than the asset itself.
    pub fn deciding(&self) -> Option<&Worst> {
        self.worst
            .as_ref()
            .filter(|worst| self.own.is_none_or(|own| worst.leaves < own.health))
    }

    /// `None` when neither the asset nor any part was ever assessed.
    pub fn health(&self) -> Option<f64> {
        self.deciding()
            .map(|worst| worst.leaves)
            .or(self.own.map(|own| own.health))
    }

    /// Whether what decides is old.
    pub fn stale(&self) -> bool {
        let decides = self.deciding().map(|worst| worst.assessed).or(self.own);
        decides.is_some_and(|assessed| assessed.stale)
    }

    /// Share of the parts that have a fresh assessment; `None` without parts.
    pub fn coverage(&self) -> Option<f64> {
        (self.parts > 0).then(|| self.fresh as f64 / self.parts as f64)
    }
}

#[cfg(test)]
mod tests;
