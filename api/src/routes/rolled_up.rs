//! Health of assets, areas and sites together with their parts.

use std::collections::HashMap;

use models::asset::Criticality;
use models::db::overview;
use models::health::RollUp;
use models::health::tree::Tree;
use models::id::AssetId;
use models::time::Timestamp;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::Named;

/// The part that pulls health down the most.
#[derive(Serialize, ToSchema)]
pub struct WorstPart {
    id: AssetId,
    #[schema(example = "Motor bearing")]
    name: String,
    criticality: Criticality,
    /// Its own.
    #[schema(example = 14.0)]
    health: f64,
    /// What it leaves of 100 for what it belongs to: all of its own health where it is critical.
    #[schema(example = 14.0)]
    leaves: f64,
    as_of: Timestamp,
    stale: bool,
    /// From what this is asked of down to it, itself last.
    path: Vec<Named<AssetId>>,
}

/// Health together with all parts, however far down: its own or what the worst part leaves of it, whichever is lower.
/// Parts in storage or disposed of, and what belongs to them, are left out.
#[derive(Serialize, ToSchema)]
pub struct RolledUp {
    /// `null` when neither it nor any part was ever assessed.
    #[schema(example = 14.0)]
    value: Option<f64>,
    /// What decides is old: silence is not health.
    stale: bool,
    /// The worst part decides, not its own health.
    by_part: bool,
    /// `null` when no part was ever assessed.
    worst_part: Option<WorstPart>,
    /// Parts that should be assessed: all but those that only group others.
    parts: usize,
    /// Those with an assessment that isn't stale.
    parts_fresh: usize,
    /// Share of the parts that have a fresh assessment, 0 to 1; `null` without parts.
    coverage: Option<f64>,
    /// Time of the newest reading of the oldest assessment it rests on.
    oldest_as_of: Option<Timestamp>,
    oldest_age_s: Option<f64>,
}

/// Assets with their parts, read at one moment.
pub struct RollUps {
    tree: Tree,
    all: HashMap<AssetId, RollUp>,
    now: Timestamp,
}

impl RollUps {
    /// Of these; `None` = of all that the caller may see.
    pub async fn read(db: &mut PgConnection, wanted: Option<&[AssetId]>) -> Result<Self, sqlx::Error> {
        let tree = overview::health_tree(db, wanted).await?;
        Ok(Self {
            all: tree.roll_ups(),
            tree,
            now: Timestamp::now(),
        })
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Those whose health is known.
    pub fn values(&self) -> Vec<(AssetId, f64)> {
        let known = |(id, all): (&AssetId, &RollUp)| Some((*id, all.health()?));
        self.all.iter().filter_map(known).collect()
    }

    pub fn get(&self, asset: AssetId) -> Option<&RollUp> {
        self.all.get(&asset)
    }

    pub fn of(&self, asset: AssetId) -> RolledUp {
        let nothing = RollUp::default();
        self.view(Some(asset), self.all.get(&asset).unwrap_or(&nothing))
    }

    /// `from` = `None`: of a group, with the way from the top.
    pub fn view(&self, from: Option<AssetId>, all: &RollUp) -> RolledUp {
        RolledUp {
            value: all.health(),
            stale: all.stale(),
            by_part: all.deciding().is_some(),
            worst_part: all.worst.map(|worst| {
                let path = self.tree.path(from, worst.part);
                WorstPart {
                    id: worst.part,
                    name: path.last().map(|node| node.name.clone()).unwrap_or_default(),
                    criticality: worst.criticality,
                    health: worst.assessed.health,
                    leaves: worst.leaves,
                    as_of: worst.assessed.as_of,
                    stale: worst.assessed.stale,
                    path: path
                        .into_iter()
                        .map(|node| Named::new(node.id, node.name.clone()))
                        .collect(),
                }
            }),
            parts: all.parts,
            parts_fresh: all.fresh,
            coverage: all.coverage(),
            oldest_as_of: all.oldest,
            oldest_age_s: all.oldest.map(|oldest| self.now.seconds_since(oldest).max(0.0)),
        }
    }
}
