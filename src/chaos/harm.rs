//! What happens in a round.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::sleep;

use super::World;
use super::proxy::Link;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    KillAgent,
    KillIngest,
    KillDatabase,
    KillIngestAndDatabase,
    RestartDatabase,
    CutGateways,
    CutDatabase,
    HoldDatabase,
    SlowLink,
    FullDisk,
    ClockJump,
}

const ALL: [Harm; 11] = [
    Harm::KillAgent,
    Harm::KillIngest,
    Harm::KillDatabase,
    Harm::KillIngestAndDatabase,
    Harm::RestartDatabase,
    Harm::CutGateways,
    Harm::CutDatabase,
    Harm::HoldDatabase,
    Harm::SlowLink,
    Harm::FullDisk,
    Harm::ClockJump,
];

impl Harm {
    fn key(self) -> &'static str {
        match self {
            Self::KillAgent => "kill_agent",
            Self::KillIngest => "kill_ingest",
            Self::KillDatabase => "kill_database",
            Self::KillIngestAndDatabase => "kill_ingest_and_database",
            Self::RestartDatabase => "restart_database",
            Self::CutGateways => "cut_gateways",
            Self::CutDatabase => "cut_database",
            Self::HoldDatabase => "hold_database",
            Self::SlowLink => "slow_link",
            Self::FullDisk => "full_disk",
            Self::ClockJump => "clock_jump",
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillAgent => "kill -9 of a gateway's agent",
            Self::KillIngest => "kill -9 of ingest",
            Self::KillDatabase => "kill -9 of the database and all its backends",
            Self::KillIngestAndDatabase => "kill -9 of ingest and database together",
            Self::RestartDatabase => "restart of the database",
            Self::CutGateways => "the gateways' connections are cut",
            Self::CutDatabase => "ingest's connections to the database are cut",
            Self::HoldDatabase => "the database falls silent",
            Self::SlowLink => "the gateways' link is slow",
            Self::FullDisk => "a gateway's disk is full",
            Self::ClockJump => "a gateway's clock jumps",
        })
    }
}

/// Harms in shuffled turns.
#[derive(Default)]
pub struct Harms {
    turn: Vec<Harm>,
    done: BTreeMap<Harm, u32>,
}

impl Harms {
    pub fn next(&mut self, random: &mut StdRng) -> Harm {
        if self.turn.is_empty() {
            self.turn = ALL.to_vec();
            self.turn.shuffle(random);
        }
        let harm = self.turn.pop().unwrap_or(Harm::KillAgent);
        *self.done.entry(harm).or_default() += 1;
        harm
    }

    pub fn counted(&self) -> BTreeMap<&'static str, u32> {
        self.done.iter().map(|(harm, n)| (harm.key(), *n)).collect()
    }
}

impl World {
    /// Does a harm, lets it last, and takes it back.
    pub(super) async fn suffer(&mut self, harm: Harm, random: &mut StdRng) -> anyhow::Result<()> {
        let lasts = Duration::from_millis(random.random_range(200..1500));
        match harm {
            Harm::KillAgent => {
                let i = random.random_range(0..self.agents.len());
                self.agents[i].kill().await?;
                self.kills += 1;
            }
            Harm::KillIngest => {
                self.server.kill().await?;
                self.kills += 1;
            }
            Harm::KillDatabase => {
                self.cluster.kill().await?;
                self.kills += 1;
                sleep(lasts).await;
                self.cluster.start_again().await?;
            }
            Harm::KillIngestAndDatabase => {
                self.cluster.kill().await?;
                self.server.kill().await?;
                self.kills += 2;
                self.cluster.start_again().await?;
            }
            Harm::RestartDatabase => {
                self.cluster.stop().await?;
                sleep(lasts).await;
                self.cluster.start_again().await?;
            }
            Harm::CutGateways => {
                self.gateways_link.set(Link::Cut);
                sleep(lasts).await;
                self.gateways_link.set(Link::Open);
            }
            Harm::CutDatabase => {
                self.database_link.set(Link::Cut);
                sleep(lasts).await;
                self.database_link.set(Link::Open);
            }
            Harm::HoldDatabase => {
                self.database_link.set(Link::Held);
                sleep(lasts).await;
                self.database_link.set(Link::Open);
            }
            Harm::SlowLink => {
                self.gateways_link.set(Link::Slow(20_000));
                sleep(lasts * 2).await;
                self.gateways_link.set(Link::Open);
            }
            Harm::FullDisk => {
                // What the agents make must stay with them for the disk to matter.
                self.gateways_link.set(Link::Cut);
                self.plant.fill_disk()?;
                sleep(lasts * 2).await;
                self.plant.free_disk()?;
                self.gateways_link.set(Link::Open);
            }
            Harm::ClockJump => {
                let seconds = random.random_range(60..1500_i64);
                self.publisher
                    .jump(if random.random() { seconds } else { -seconds });
            }
        }
        Ok(())
    }
}
