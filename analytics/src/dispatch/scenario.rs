//! A seeded plant over half a simulated year, both changes of the clocks included: wearing machines in
//! three ways, failing sensors, gateways that are away for days and send what they kept, replayed
//! history, machines in maintenance, two dispatchers and two schedulers that are killed at random
//! moments. What must come out: one ticket for each fault, none missing, none without a fault, never two
//! open ones for a cause; every plan interval accounted for; no alarm from history; a decision with its
//! reason for every alarm that was raised. Printed as a ledger.
//!
//! The planner closes tickets with statements of the test, in bulk: how a ticket moves is tested with
//! the ticket.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use models::alarm::{Machine, Params, Rule, Severity};
use models::db::Role;
use models::db::alarm::{Watch, evaluate};
use models::db::fixture::Plant;
use models::db::testing::TestDatabase;
use models::id::{AlarmRuleId, AssetId, FailureModeId, TicketId};
use models::reading::Quality;
use models::ticket::Origin;
use models::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::PgPool;

use super::*;
use crate::meter;

const ASSETS: usize = 200;
const GATEWAYS: usize = 10;
const DAYS: i64 = 180;
/// Hours between two transactions of the writer, and between two readings of a channel.
const STEP_H: i64 = 6;
const SAMPLE_H: i64 = 2;
const PLAN_DAYS: i64 = 30;
/// What is older when it arrives is history.
const MAX_AGE_H: i64 = 12;
/// A value that only replays have: no alarm may ever show it.
const REPLAYED: f64 = 99.0;

/// One way in which one machine can fail, and the rules that see it.
struct Fault {
    asset: AssetId,
    gateway: usize,
    mode: FailureModeId,
    rules: Vec<Rule>,
    /// Hour in which it breaks next.
    next: i64,
    broken: bool,
    happened: u32,
}

struct World {
    database: TestDatabase,
    rng: ChaCha8Rng,
    start: Timestamp,
    faults: Vec<Fault>,
    machines: HashMap<AlarmRuleId, Machine>,
    /// Hours up to which a gateway has been heard, and until when it is away.
    heard: Vec<i64>,
    away_until: Vec<i64>,
    spiked: HashSet<AlarmRuleId>,
    seen: HashMap<TicketId, i64>,
    killed: u32,
    replayed: u32,
    outages: u32,
    bad_readings: u32,
    writer_deaths: u32,
    maintenance: u32,
}

/// Runs a future, or drops it in the middle, as a killed process would.
async fn perhaps_killed<F: Future>(rng: &mut ChaCha8Rng, future: F) -> Option<F::Output> {
    let patience = if rng.random_bool(0.6) {
        Duration::from_secs(60)
    } else {
        Duration::from_micros(rng.random_range(0..20_000))
    };
    tokio::time::timeout(patience, future).await.ok()
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "works").await;
        let mut rng = ChaCha8Rng::seed_from_u64(42);
        let modes = [
            plant.failure_mode("bearing_wear").await,
            plant.failure_mode("seal_leak").await,
            plant.failure_mode("fouling").await,
        ];
        let mut faults = Vec::new();
        for number in 0..ASSETS {
            let machine = plant.machine(&format!("P-{number:03}")).await;
            for (index, mode) in modes.into_iter().enumerate() {
                let mut rules = Vec::new();
                // Bearing wear is seen by two rules: two alarms, one cause.
                for sensor in 0..if index == 0 { 2 } else { 1 } {
                    let rule = plant
                        .rule(machine, &format!("mode {index} sensor {sensor}"), |rule| {
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
                        })
                        .await;
                    rules.push(rule);
                }
                faults.push(Fault {
                    asset: machine.asset,
                    gateway: number % GATEWAYS,
                    mode,
                    rules,
                    next: rng.random_range(24..DAYS * 24 * 2),
                    broken: false,
                    happened: 0,
                });
            }
        }
        sqlx::query(
            "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, basis, every_days, lead_days, open_instance, anchor_date)
             SELECT gen_random_uuid(), tenant_id, id, 'inspection', 'fixed', $1, 2, 'stack', '2025-10-01' FROM asset",
        )
        .bind(i32::try_from(PLAN_DAYS).unwrap())
        .execute(&database.owner)
        .await
        .unwrap();
        Self {
            database,
            rng,
            // Noon in Berlin, before the clocks go back; it ends after they have gone forward.
            start: "2025-10-01T10:00:00Z".parse().unwrap(),
            faults,
            machines: HashMap::new(),
            heard: vec![-SAMPLE_H; GATEWAYS],
            away_until: vec![0; GATEWAYS],
            spiked: HashSet::new(),
            seen: HashMap::new(),
            killed: 0,
            replayed: 0,
            outages: 0,
            bad_readings: 0,
            writer_deaths: 0,
            maintenance: 0,
        }
    }

    fn moment(&self, hour: i64) -> Timestamp {
        Timestamp::from_secs(self.start.micros() / 1_000_000 + hour * 3600)
    }

    /// What one rule's channel reads in the hours after `from` and up to `to`.
    fn readings(
        &mut self,
        fault: usize,
        rule: AlarmRuleId,
        from: i64,
        to: i64,
    ) -> Vec<(Timestamp, f64, Quality)> {
        let broken = self.faults[fault].broken;
        let mut samples = Vec::new();
        if from > 24 && self.rng.random_bool(0.01) {
            // Old readings come again, with values that would raise an alarm.
            self.replayed += 1;
            for back in [20, 18, 16] {
                samples.push((self.moment(from - back), REPLAYED, Quality::Good));
            }
        }
        let mut hour = from + SAMPLE_H;
        while hour <= to {
            let noise = self.rng.random_range(-1.0..1.0);
            // A broken machine is beyond the limit (10), and now and then between it and the dead band.
            let value = if broken { 12.0 + 2.5 * noise } else { 5.0 + noise };
            let old = hour < to - MAX_AGE_H;
            let sample = if self.rng.random_bool(0.005) {
                self.bad_readings += 1;
                (999.0, Quality::Bad)
            } else if old && self.rng.random_bool(0.2) {
                // Kept by the gateway while it was away: history that nobody is to be woken for.
                self.replayed += 1;
                (REPLAYED, Quality::Good)
            } else if !broken && self.rng.random_bool(0.003) && self.spiked.insert(rule) {
                // One spike, and a good value before the next one: shorter than the on-delay.
                (50.0, Quality::Good)
            } else {
                self.spiked.remove(&rule);
                (value, Quality::Good)
            };
            samples.push((self.moment(hour), sample.0, sample.1));
            hour += SAMPLE_H;
        }
        // The newest one is always an honest good one: what comes next is judged from here.
        if !broken && let Some(last) = samples.last_mut() {
            *last = (last.0, 5.0, Quality::Good);
            self.spiked.remove(&rule);
        }
        samples
    }

    /// The plant goes on to `hour`, and what is heard of it is written.
    async fn write(&mut self, ingest: &PgPool, hour: i64) {
        // No new faults in the last days, so that every ticket can be closed.
        let calm = hour > (DAYS - 8) * 24;
        for index in 0..GATEWAYS {
            if hour >= self.away_until[index] && !calm && self.rng.random_bool(0.01) {
                self.away_until[index] = hour + self.rng.random_range(6..72);
                self.outages += 1;
            }
        }
        let mut new = Vec::new();
        for index in 0..self.faults.len() {
            let fault = &mut self.faults[index];
            if !fault.broken && hour >= fault.next && !calm {
                fault.broken = true;
                fault.happened += 1;
            }
            let gateway = fault.gateway;
            if hour < self.away_until[gateway] {
                continue;
            }
            let ids: Vec<AlarmRuleId> = fault.rules.iter().map(|rule| rule.id).collect();
            for (place, id) in ids.into_iter().enumerate() {
                let from = self.heard[gateway];
                new.push((index, place, self.readings(index, id, from, hour)));
            }
        }
        for (index, away) in self.away_until.iter().enumerate() {
            if hour >= *away {
                self.heard[index] = hour;
            }
        }
        let dies = self.rng.random_bool(0.03);
        let judge_from = self.moment(hour - MAX_AGE_H);
        // The second time is the same batch again, after a writer that died before its commit.
        for dying in [true, false] {
            if dying && !dies {
                continue;
            }
            let mut watches: Vec<Watch<'_>> = new
                .iter()
                .map(|(fault, place, samples)| {
                    let rule = &self.faults[*fault].rules[*place];
                    Watch {
                        rule,
                        machine: self.machines.get(&rule.id).cloned().unwrap_or_default(),
                        samples: samples.clone(),
                    }
                })
                .collect();
            let mut tx = ingest.begin().await.unwrap();
            evaluate(&mut tx, &mut watches, judge_from, "ingest")
                .await
                .unwrap();
            if dying {
                self.writer_deaths += 1;
                continue;
            }
            tx.commit().await.unwrap();
            let kept: Vec<(AlarmRuleId, Machine)> = watches
                .into_iter()
                .map(|watch| (watch.rule.id, watch.machine))
                .collect();
            self.machines.extend(kept);
        }
    }

    async fn work(&mut self, workers: &[PgPool; 2], hour: i64) {
        let now = self.moment(hour);
        let config = Config::default();
        let mut other = ChaCha8Rng::seed_from_u64(self.rng.random());
        let schedule = hour % 24 == 0;
        let once = |pool: PgPool| {
            let config = config.clone();
            async move {
                if schedule {
                    meter::run_once(&pool, now).await.unwrap();
                }
                pass(&pool, &config, now).await.unwrap();
            }
        };
        let (first, second) = tokio::join!(
            perhaps_killed(&mut self.rng, once(workers[0].clone())),
            perhaps_killed(&mut other, once(workers[1].clone())),
        );
        self.killed += u32::from(first.is_none()) + u32::from(second.is_none());
    }

    /// The planner: each ticket is done a day and a half after it was seen, and its machine is well again.
    async fn plan(&mut self, hour: i64) {
        let owner = self.database.owner.clone();
        let twice: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM ticket WHERE status = 'open' AND origin <> 'plan'
                                   GROUP BY asset_id, failure_mode_id HAVING count(*) > 1) x",
        )
        .fetch_one(&owner)
        .await
        .unwrap();
        assert_eq!(twice, 0, "two open tickets for one cause in hour {hour}");
        let open: Vec<(TicketId, AssetId, Option<FailureModeId>, Origin)> = sqlx::query_as(
            "SELECT id, asset_id, failure_mode_id, origin FROM ticket WHERE status = 'open' ORDER BY number",
        )
        .fetch_all(&owner)
        .await
        .unwrap();
        let (mut done, mut begun, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for (id, asset, mode, origin) in open {
            let first_seen = *self.seen.entry(id).or_insert(hour);
            // Some work takes the machine out of operation for its last half day.
            if origin != Origin::Plan && hour >= first_seen + 24 && self.rng.random_bool(0.2) {
                begun.push(asset);
                self.maintenance += 1;
            }
            if hour < first_seen + 36 {
                continue;
            }
            done.push(id);
            ended.push(asset);
            if origin != Origin::Plan {
                let fault = self
                    .faults
                    .iter_mut()
                    .find(|fault| fault.asset == asset && Some(fault.mode) == mode);
                let fault = fault.expect("a ticket names its asset and mode");
                assert!(
                    fault.broken,
                    "a ticket for a machine that was well, in hour {hour}"
                );
                fault.broken = false;
                fault.next = hour + self.rng.random_range(5 * 24..90 * 24);
            }
        }
        let now = self.moment(hour);
        let mut tx = owner.begin().await.unwrap();
        for (assets, status) in [(&begun, "maintenance"), (&ended, "operational")] {
            sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = ANY ($1)")
                .bind(assets)
                .bind(status)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        for sql in [
            "UPDATE ticket SET status = 'closed', outcome = 'inconclusive', completed_at = $2, closed_at = $2 WHERE id = ANY ($1)",
            "UPDATE plan_occurrence SET status = 'done', done_at = $2 WHERE ticket_id = ANY ($1)",
        ] {
            sqlx::query(sql)
                .bind(&done)
                .bind(now)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.database.owner)
            .await
            .unwrap()
    }

    async fn settle(&self) -> String {
        let mut happened = 0;
        let tickets: HashMap<(AssetId, FailureModeId), i64> = sqlx::query_as::<_, (AssetId, FailureModeId, i64)>(
            "SELECT asset_id, failure_mode_id, count(*) FROM ticket WHERE failure_mode_id IS NOT NULL GROUP BY 1, 2",
        )
        .fetch_all(&self.database.owner)
        .await
        .unwrap()
        .into_iter()
        .map(|(asset, mode, count)| ((asset, mode), count))
        .collect();
        for fault in &self.faults {
            let made = tickets.get(&(fault.asset, fault.mode)).copied().unwrap_or(0);
            assert_eq!(made, i64::from(fault.happened), "one ticket for each fault");
            happened += fault.happened;
        }
        let undecided = self
            .number(
                "SELECT count(*) FROM alarm a WHERE a.active_at IS NOT NULL AND NOT EXISTS (
                     SELECT FROM dispatch_decision d WHERE d.subject = 'alm_' || replace(a.id::text, '-', '') AND d.reason <> '')",
            )
            .await;
        assert_eq!(undecided, 0, "alarms without a decision and its reason");
        let from_replay = self
            .number("SELECT count(*) FROM alarm WHERE active_at IS NOT NULL AND peak_value > 98")
            .await;
        assert_eq!(from_replay, 0, "an alarm from history");
        let occurrences = self.number("SELECT count(*) FROM plan_occurrence").await;
        let missed = self
            .number("SELECT coalesce(sum(missed), 0)::bigint FROM plan_occurrence")
            .await;
        // By the last day every interval is made, the one within the lead included.
        assert_eq!(
            occurrences + missed,
            ASSETS as i64 * ((DAYS + 2) / PLAN_DAYS),
            "an interval was lost or made twice"
        );
        let doubled = self
            .number(
                "SELECT count(*) FROM (SELECT occurrence_id FROM ticket WHERE occurrence_id IS NOT NULL
                                       GROUP BY 1 HAVING count(*) > 1) x",
            )
            .await;
        assert_eq!(doubled, 0, "an occurrence with two tickets");
        let orphans = self
            .number("SELECT count(*) FROM plan_occurrence WHERE status IN ('due', 'ticketed') AND ticket_id IS NULL")
            .await;
        assert_eq!(orphans, 0, "an occurrence without its ticket");
        let outcomes: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT outcome::text, count(*), min(reason) FROM dispatch_decision GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.database.owner)
        .await
        .unwrap();
        let raised = self
            .number("SELECT count(*) FROM alarm WHERE active_at IS NOT NULL")
            .await;
        let notices = self
            .number("SELECT count(*) FROM outbox WHERE kind = 'case.notice'")
            .await;
        let mut ledger = String::new();
        let _ = writeln!(
            ledger,
            "{DAYS} days, {ASSETS} assets, 3 failure modes, {GATEWAYS} gateways"
        );
        let _ = writeln!(
            ledger,
            "happened  {happened} faults, {} gateway outages, {} bad readings, {} readings replayed",
            self.outages, self.bad_readings, self.replayed
        );
        let _ = writeln!(
            ledger,
            "killed    {} workers, {} writers before their commit",
            self.killed, self.writer_deaths
        );
        let _ = writeln!(
            ledger,
            "alarms    {raised} raised, 0 undecided, 0 from history; {notices} notices"
        );
        let _ = writeln!(
            ledger,
            "tickets   {} for {happened} faults, 0 doubled, 0 missing",
            tickets.values().sum::<i64>()
        );
        let _ = writeln!(
            ledger,
            "plans     {occurrences} occurrences, {missed} missed in outages, 0 doubled, 0 lost"
        );
        for (outcome, count, example) in outcomes {
            let _ = writeln!(ledger, "  {outcome:20} {count:5}  such as: {example}");
        }
        println!("{ledger}");
        assert!(
            happened > 300
                && self.killed > 50
                && self.replayed > 1000
                && self.outages > 20
                && self.maintenance > 20,
            "nothing was tried:\n{ledger}"
        );
        ledger
    }
}

#[tokio::test]
async fn scenario() {
    let mut world = World::new().await;
    let ingest = world.database.pool(Role::Ingest);
    let workers = [
        world.database.pool(Role::Analytics),
        world.database.pool(Role::Analytics),
    ];
    let mut hour = 0;
    while hour < DAYS * 24 {
        world.write(&ingest, hour).await;
        world.work(&workers, hour).await;
        if hour % 12 == 0 {
            world.plan(hour).await;
        }
        hour += STEP_H;
    }
    // Everybody lives to see the last day.
    let end = world.moment(DAYS * 24);
    for pool in &workers {
        meter::run_once(pool, end).await.unwrap();
        pass(pool, &Config::default(), end).await.unwrap();
    }
    world.settle().await;
    for pool in workers {
        pool.close().await;
    }
    ingest.close().await;
    world.database.drop_now().await;
}
