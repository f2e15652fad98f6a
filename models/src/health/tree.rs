//! The rule applied to a register: which assets are parts of which, which of them count, and what is in a site.

use std::collections::HashMap;
use std::iter::successors;

use super::{Assessed, Part, RollUp};
use crate::asset::{AssetStatus, Criticality};
use crate::id::{AreaId, AssetId, SiteId};
use crate::time::Timestamp;

/// How many levels of parts are looked at.
pub const DEEPEST: usize = 16;

/// An asset of the register with its newest health.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "db", derive(sqlx::FromRow))]
pub struct Node {
    pub id: AssetId,
    pub name: String,
    pub parent_id: Option<AssetId>,
    pub site_id: SiteId,
    pub area_id: Option<AreaId>,
    pub status: AssetStatus,
    pub criticality: Criticality,
    /// Has channels, so that it should be assessed.
    pub monitored: bool,
    pub health: Option<f64>,
    pub as_of: Option<Timestamp>,
    pub stale: Option<bool>,
}

impl Node {
    fn assessed(&self) -> Option<Assessed> {
        Some(Assessed {
            health: self.health?,
            as_of: self.as_of?,
            stale: self.stale.unwrap_or(true),
        })
    }
}

/// Assets with all that stands below them.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    at: HashMap<AssetId, usize>,
    parents: Vec<Option<usize>>,
    /// Not a mere grouping: one without channels is spoken for by its parts.
    counts: Vec<bool>,
}

impl Tree {
    pub fn new(nodes: Vec<Node>) -> Self {
        let at: HashMap<AssetId, usize> = (0..).zip(&nodes).map(|(i, node)| (node.id, i)).collect();
        let parent = |node: &Node| at.get(&node.parent_id?).copied();
        let parents: Vec<Option<usize>> = nodes.iter().map(parent).collect();
        let mut counts = vec![true; nodes.len()];
        for (node, parent) in nodes.iter().zip(&parents) {
            if let Some(parent) = *parent
                && node.status.in_service()
                && !nodes[parent].monitored
                && nodes[parent].health.is_none()
            {
                counts[parent] = false;
            }
        }
        Self {
            nodes,
            at,
            parents,
            counts,
        }
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn get(&self, id: AssetId) -> Option<&Node> {
        self.at.get(&id).map(|i| &self.nodes[*i])
    }

    /// Each asset with its parts. What is in storage or disposed of is no part of anything, nor is what belongs to it.
    pub fn roll_ups(&self) -> HashMap<AssetId, RollUp> {
        let own = |node: &Node| RollUp::of(node.assessed(), []);
        let mut all: Vec<RollUp> = self.nodes.iter().map(own).collect();
        for (i, part) in self.parts() {
            let above = self.up(i).skip(1).take_while(|up| *up != i);
            let mut in_service = true;
            for holder in above {
                if !in_service {
                    break;
                }
                all[holder].add(part);
                in_service = self.nodes[holder].status.in_service();
            }
        }
        self.nodes.iter().map(|node| node.id).zip(all).collect()
    }

    /// Each site with all its assets as parts.
    pub fn sites(&self) -> HashMap<SiteId, RollUp> {
        self.grouped(|i| Some(self.nodes[i].site_id))
    }

    /// Each area likewise. A part without an area of its own is where what it belongs to is.
    pub fn areas(&self) -> HashMap<AreaId, RollUp> {
        self.grouped(|i| {
            let site = self.nodes[i].site_id;
            let mut places = self.up(i).map(|up| &self.nodes[up]);
            places.find_map(|place| place.area_id.filter(|_| place.site_id == site))
        })
    }

    /// From below `from` (from the top, when it isn't given) down to `to`.
    pub fn path(&self, from: Option<AssetId>, to: AssetId) -> Vec<&Node> {
        let Some(start) = self.at.get(&to) else {
            return Vec::new();
        };
        let up = self.up(*start).map(|up| &self.nodes[up]);
        let mut path: Vec<&Node> = up.take_while(|node| Some(node.id) != from).collect();
        path.reverse();
        path
    }

    fn grouped<K: Eq + std::hash::Hash>(&self, key: impl Fn(usize) -> Option<K>) -> HashMap<K, RollUp> {
        let mut all: HashMap<K, RollUp> = HashMap::new();
        for (i, part) in self.parts() {
            if self.up(i).all(|up| self.nodes[up].status.in_service())
                && let Some(key) = key(i)
            {
                all.entry(key).or_default().add(part);
            }
        }
        all
    }

    fn parts(&self) -> impl Iterator<Item = (usize, Part)> + '_ {
        let all = self.nodes.iter().zip(&self.counts).enumerate();
        let counted = all.filter(|(_, (node, counts))| **counts && node.status.in_service());
        counted.map(|(i, (node, _))| {
            let part = Part {
                id: node.id,
                criticality: node.criticality,
                assessed: node.assessed(),
            };
            (i, part)
        })
    }

    /// It, and what it belongs to. Bounded, should a register ever have a circle.
    fn up(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        successors(Some(start), |i| self.parents[*i]).take(DEEPEST + 1)
    }
}

#[cfg(test)]
mod tests;
