//! The plant, and what the world remembers of what it did to it.

use std::collections::{HashMap, HashSet};

use models::alarm::{Machine, Params, Rule, Severity};
use models::db::fixture::{self, Plant};
use models::db::testing::TestDatabase;
use models::db::{meter as meter_sql, plan as plan_sql};
use models::id::{AlarmRuleId, AssetId, FailureModeId, PlanId, TicketId};
use models::meter::Source;
use models::plan::{Basis, Calendar, OnPrediction, OpenInstance};
use models::ticket::Priority;
use models::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::book::{Book, CatchUp, Dial, Every};
use super::episode::{Episode, Sign};
use super::{ASSETS, DAYS, GATEWAYS, PLAN_DAYS, PLAN_LEAD_DAYS, SAMPLE_H, yard};

/// One way in which one machine can fail, and the rules that see it.
pub(super) struct Fault {
    pub asset: AssetId,
    pub gateway: usize,
    pub mode: FailureModeId,
    pub rules: Vec<Rule>,
    /// Hour in which it breaks next.
    pub next: i64,
    pub broken: bool,
    pub happened: u32,
    /// Hour in which it was last well again.
    pub mended: i64,
    pub episode: Option<Episode>,
}

/// A machine in storage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub back: i64,
    /// A scheduler has been there since.
    pub looked: bool,
}

/// What happened, for the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub killed: u32,
    pub replayed: u32,
    pub outages: u32,
    pub bad_readings: u32,
    pub writer_deaths: u32,
    pub maintenance: u32,
    pub stays: u32,
    pub notes: u32,
    pub late_notes: u32,
}

pub(super) struct World {
    pub database: TestDatabase,
    pub plant: Plant,
    pub seed: u64,
    pub rng: ChaCha8Rng,
    /// What the world does on purpose is drawn apart.
    pub fate: ChaCha8Rng,
    pub start: Timestamp,
    pub faults: Vec<Fault>,
    pub names: HashMap<AssetId, String>,
    pub machines: HashMap<AlarmRuleId, Machine>,
    /// Hours up to which a gateway has been heard, and until when it is away.
    pub heard: Vec<i64>,
    pub away_until: Vec<i64>,
    pub spiked: HashSet<AlarmRuleId>,
    pub seen: HashMap<TicketId, i64>,
    /// Hours in which neither dispatchers nor schedulers run.
    pub nobody: Vec<std::ops::Range<i64>>,
    pub stays: HashMap<AssetId, Stay>,
    pub signs: Vec<Sign>,
    pub books: Vec<Book>,
    pub tally: Tally,
}

impl World {
    pub async fn new(seed: u64) -> Self {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "works").await;
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            fate: ChaCha8Rng::seed_from_u64(seed ^ 0x666f_7265_7761_726e),
            seed,
            // Noon in Berlin, before the clocks go back; it ends after they have gone forward.
            start: "2025-10-01T10:00:00Z".parse().unwrap(),
            faults: Vec::new(),
            names: HashMap::new(),
            machines: HashMap::new(),
            heard: vec![-SAMPLE_H; GATEWAYS],
            away_until: vec![0; GATEWAYS],
            spiked: HashSet::new(),
            seen: HashMap::new(),
            nobody: Vec::new(),
            stays: HashMap::new(),
            signs: Vec::new(),
            books: Vec::new(),
            tally: Tally::default(),
            plant,
            database,
        };
        world.make_machines().await;
        yard::make(&mut world).await;
        for third in 0..3 {
            let from = 24 * (25 + 45 * third + world.fate.random_range(0..10));
            let days = world.fate.random_range(12..=20);
            world.nobody.push(from..from + 24 * days);
        }
        world
    }

    async fn make_machines(&mut self) {
        let modes = [
            self.plant.failure_mode("bearing_wear").await,
            self.plant.failure_mode("seal_leak").await,
            self.plant.failure_mode("fouling").await,
        ];
        for number in 0..ASSETS {
            let name = format!("P-{number:03}");
            let machine = self.plant.machine(&name).await;
            self.names.insert(machine.asset, name);
            for (index, mode) in modes.into_iter().enumerate() {
                let mut rules = Vec::new();
                // Bearing wear is seen by two rules: two alarms, one cause.
                for sensor in 0..if index == 0 { 2 } else { 1 } {
                    let name = format!("mode {index} sensor {sensor}");
                    let change = |rule: &mut Rule| sees(rule, index, mode);
                    rules.push(self.plant.rule(machine, &name, change).await);
                }
                self.faults.push(Fault {
                    asset: machine.asset,
                    gateway: number % GATEWAYS,
                    mode,
                    rules,
                    next: self.rng.random_range(24..DAYS * 24 * 2),
                    broken: false,
                    happened: 0,
                    mended: 0,
                    episode: None,
                });
            }
            let every = Every::Days {
                every: PLAN_DAYS,
                lead: PLAN_LEAD_DAYS,
            };
            self.plan_for(machine, "inspection", CatchUp::Stack, every, None)
                .await;
        }
    }

    /// A plan, and the book that is kept of it.
    pub async fn plan_for(
        &mut self,
        machine: fixture::Machine,
        name: &str,
        rule: CatchUp,
        every: Every,
        dial: Option<Dial>,
    ) {
        let (every_days, lead_days, every_units) = match every {
            Every::Days { every, lead } => (Some(every), lead, None),
            Every::Units(every) => (None, 0, Some(every as f64)),
        };
        let small = |days: i64| i32::try_from(days).unwrap();
        let new = plan_sql::NewPlan {
            asset_id: machine.asset,
            name: name.to_owned(),
            failure_mode_id: None,
            enabled: true,
            basis: if rule == CatchUp::Floating {
                Basis::Floating
            } else {
                Basis::Fixed
            },
            all_of: false,
            every_days: every_days.map(small),
            meter_id: dial.as_ref().map(|dial| dial.meter),
            every_units,
            lead_days: small(lead_days),
            lead_units: 0.0,
            tolerance_pct: 0.0,
            open_instance: match rule {
                CatchUp::Stack => OpenInstance::Stack,
                CatchUp::Supersede => OpenInstance::Supersede,
                CatchUp::Skip | CatchUp::Floating => OpenInstance::Skip,
            },
            calendar: Calendar::default(),
            on_prediction: OnPrediction::default(),
            parent_id: None,
            absorb_days: 7,
            anchor_date: "2025-10-01".parse().unwrap(),
            anchor_units: 0.0,
            priority: Priority::default(),
            tasks: Vec::new(),
        };
        let mut tx = self.database.owner.begin().await.unwrap();
        let id: PlanId = plan_sql::create(&mut tx, self.plant.tenant, &new).await.unwrap();
        tx.commit().await.unwrap();
        let book = Book::new(id, machine.asset, rule, every, dial);
        self.books.push(book);
    }

    /// A meter whose dial people read.
    pub async fn dial_of(&mut self, machine: fixture::Machine, pace: i64) -> Dial {
        let new = meter_sql::NewMeter {
            asset_id: machine.asset,
            name: "strokes".to_owned(),
            unit: "{cycle}".to_owned(),
            source: Source::Manual,
            channel_id: None,
            running_above: None,
            rollover_at: None,
            max_rate_per_h: None,
            max_gap_s: None,
            total: 0.0,
        };
        let mut tx = self.database.owner.begin().await.unwrap();
        let meter = meter_sql::create(&mut tx, self.plant.tenant, &new).await.unwrap();
        tx.commit().await.unwrap();
        Dial {
            meter,
            pace,
            next_note: 0,
            waiting: Vec::new(),
            entered: Vec::new(),
        }
    }

    pub fn moment(&self, hour: i64) -> Timestamp {
        Timestamp::from_secs(self.start.micros() / 1_000_000 + hour * 3600)
    }

    /// Whether neither a dispatcher nor a scheduler runs in some hour of these.
    pub fn nobody_in(&self, hours: std::ops::Range<i64>) -> bool {
        self.nobody
            .iter()
            .any(|nobody| nobody.start < hours.end && hours.start < nobody.end)
    }
}

fn sees(rule: &mut Rule, index: usize, mode: FailureModeId) {
    rule.failure_mode = Some(mode);
    rule.severity = if index == 0 {
        Severity::Critical
    } else {
        Severity::Serious
    };
    rule.on_delay_s = 2.0 * 3600.0;
    rule.min_samples = 2;
    rule.off_delay_s = 4.0 * 3600.0;
    rule.params = Params {
        flap_window_s: 12.0 * 3600.0,
        ..Params::default()
    };
}
