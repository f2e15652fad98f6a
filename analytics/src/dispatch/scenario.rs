//! A seeded plant over simulated weeks: wearing machines, failing sensors, silent gateways, replayed
//! history, two dispatchers and two schedulers that are killed at random moments. What must come out:
//! one ticket for each fault, none missing, none without a fault; every plan interval accounted for;
//! a decision for every alarm that was raised.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use models::alarm::{Machine, Params, Rule, Severity};
use models::db::Role;
use models::db::alarm::{Watch, evaluate};
use models::db::fixture::Plant;
use models::db::testing::TestDatabase;
use models::id::{AlarmRuleId, AssetId, FailureModeId, TicketId};
use models::reading::Quality;
use models::ticket::{Origin, Outcome as Found};
use models::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::tests::work;
use super::*;
use crate::meter;

const ASSETS: usize = 20;
const DAYS: i64 = 60;
const STEP_S: i64 = 3600;
const PLAN_DAYS: i64 = 10;

/// One way in which one machine can fail, and the rules that see it.
struct Fault {
    asset: AssetId,
    mode: FailureModeId,
    rules: Vec<Rule>,
    /// Hours: when it breaks next, or since when it is broken.
    next: i64,
    broken: bool,
    happened: u32,
}

/// Runs a future, or drops it in the middle, as a killed process would.
async fn perhaps_killed<F: Future>(rng: &mut ChaCha8Rng, future: F) -> Option<F::Output> {
    let patience = if rng.random_bool(0.5) {
        Duration::from_secs(60)
    } else {
        Duration::from_micros(rng.random_range(0..20_000))
    };
    tokio::time::timeout(patience, future).await.ok()
}

#[tokio::test]
async fn scenario() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "works").await;
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    // Noon in Berlin, some weeks before the clocks change.
    let start: Timestamp = "2025-10-01T10:00:00Z".parse().unwrap();
    let mut faults = Vec::new();
    let modes = [
        plant.failure_mode("bearing_wear").await,
        plant.failure_mode("seal_leak").await,
        plant.failure_mode("fouling").await,
    ];
    for number in 0..ASSETS {
        let machine = plant.machine(&format!("P-{number:02}")).await;
        sqlx::query(
            "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, basis, every_days, lead_days, open_instance, anchor_date)
             VALUES ($1, $2, $3, 'inspection', 'fixed', $4, 2, 'stack', '2025-10-01')",
        )
        .bind(models::id::PlanId::new())
        .bind(plant.tenant)
        .bind(machine.asset)
        .bind(i32::try_from(PLAN_DAYS).unwrap())
        .execute(&database.owner)
        .await
        .unwrap();
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
                        rule.on_delay_s = 3600.0;
                        rule.min_samples = 2;
                        rule.off_delay_s = 2.0 * 3600.0;
                        rule.params = Params {
                            flap_window_s: 6.0 * 3600.0,
                            ..Params::default()
                        };
                    })
                    .await;
                rules.push(rule);
            }
            let next = rng.random_range(24..DAYS * 24);
            faults.push(Fault {
                asset: machine.asset,
                mode,
                rules,
                next,
                broken: false,
                happened: 0,
            });
        }
    }

    let ingest = database.pool(Role::Ingest);
    let workers = [database.pool(Role::Analytics), database.pool(Role::Analytics)];
    let mut machines: HashMap<AlarmRuleId, Machine> = HashMap::new();
    let mut spiked: HashSet<AlarmRuleId> = HashSet::new();
    let mut silent_until: HashMap<AssetId, i64> = HashMap::new();
    let mut seen: HashMap<TicketId, i64> = HashMap::new();
    let (mut killed, mut replayed) = (0, 0);
    let moment = |hour: i64| Timestamp::from_secs(start.micros() / 1_000_000 + hour * STEP_S);
    for hour in 0..DAYS * 24 {
        let now = moment(hour);
        // No new faults in the last days, so that every ticket can be closed.
        let calm = hour > (DAYS - 6) * 24;
        let mut watches = Vec::new();
        for fault in &mut faults {
            if !fault.broken && hour == fault.next && !calm {
                fault.broken = true;
                fault.happened += 1;
            }
            if rng.random_bool(0.002) {
                silent_until.insert(fault.asset, hour + rng.random_range(1..12));
            }
            if silent_until.get(&fault.asset).is_some_and(|until| hour < *until) {
                continue;
            }
            for rule in &fault.rules {
                let noise = rng.random_range(-1.0..1.0);
                // A broken machine is beyond the limit (10), and now and then between it and the dead band.
                let value = if fault.broken {
                    12.0 + 2.5 * noise
                } else {
                    5.0 + noise
                };
                let mut samples = vec![(now, value, Quality::Good)];
                if rng.random_bool(0.01) {
                    // A sensor that shouts nonsense and says so.
                    samples[0] = (now, 999.0, Quality::Bad);
                }
                if !fault.broken && rng.random_bool(0.01) && spiked.insert(rule.id) {
                    // One spike, and a good value before the next one: shorter than the on-delay.
                    samples[0] = (now, 50.0, Quality::Good);
                } else if samples[0].2 == Quality::Good {
                    spiked.remove(&rule.id);
                }
                if hour > 24 && rng.random_bool(0.02) {
                    // Old readings come again, with values that would raise an alarm.
                    replayed += 1;
                    samples.insert(0, (moment(hour - 20), 50.0, Quality::Good));
                    samples.insert(1, (moment(hour - 19), 50.0, Quality::Good));
                    samples.insert(2, (moment(hour - 18), 50.0, Quality::Good));
                }
                let machine = machines.get(&rule.id).cloned().unwrap_or_default();
                watches.push(Watch {
                    rule,
                    machine,
                    samples,
                });
            }
        }
        let mut tx = ingest.begin().await.unwrap();
        evaluate(&mut tx, &mut watches, moment(hour - 12), "ingest")
            .await
            .unwrap();
        if rng.random_bool(0.02) {
            // The writer dies before its commit; it gets the batch again.
            drop(tx);
            for watch in &mut watches {
                watch.machine = machines.get(&watch.rule.id).cloned().unwrap_or_default();
            }
            tx = ingest.begin().await.unwrap();
            evaluate(&mut tx, &mut watches, moment(hour - 12), "ingest")
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        for watch in watches {
            machines.insert(watch.rule.id, watch.machine);
        }

        if hour % 4 == 0 {
            let mut other = ChaCha8Rng::seed_from_u64(rng.random());
            let config = Config::default();
            let (first, second) = tokio::join!(
                perhaps_killed(&mut rng, async {
                    meter::run_once(&workers[0], now).await.unwrap();
                    pass(&workers[0], &config, now).await.unwrap();
                }),
                perhaps_killed(&mut other, async {
                    meter::run_once(&workers[1], now).await.unwrap();
                    pass(&workers[1], &config, now).await.unwrap();
                }),
            );
            killed += u32::from(first.is_none()) + u32::from(second.is_none());
        }
        if hour % 12 == 0 {
            // The planner: each ticket is done a day after it was seen, and its machine is well again.
            let open: Vec<(TicketId, AssetId, Option<FailureModeId>, Origin)> = sqlx::query_as(
                "SELECT id, asset_id, failure_mode_id, origin FROM ticket WHERE status = 'open' ORDER BY number",
            )
            .fetch_all(&database.owner)
            .await
            .unwrap();
            for (id, asset, mode, origin) in open {
                let first_seen = *seen.entry(id).or_insert(hour);
                if hour < first_seen + 24 {
                    continue;
                }
                work(&database.owner, &plant, id, Found::Inconclusive, now).await;
                if origin != Origin::Plan {
                    let fault = faults
                        .iter_mut()
                        .find(|fault| fault.asset == asset && Some(fault.mode) == mode);
                    let fault = fault.expect("a ticket names its asset and mode");
                    assert!(fault.broken, "a ticket for a machine that was well");
                    fault.broken = false;
                    fault.next = hour + rng.random_range(5 * 24..40 * 24);
                }
            }
        }
    }
    let end = moment(DAYS * 24);
    meter::run_once(&workers[0], end).await.unwrap();
    pass(&workers[0], &Config::default(), end).await.unwrap();

    let mut ledger = String::new();
    let mut happened = 0;
    for fault in &faults {
        let tickets: i64 =
            sqlx::query_scalar("SELECT count(*) FROM ticket WHERE asset_id = $1 AND failure_mode_id = $2")
                .bind(fault.asset)
                .bind(fault.mode)
                .fetch_one(&database.owner)
                .await
                .unwrap();
        assert_eq!(tickets, i64::from(fault.happened), "one ticket for each fault");
        happened += fault.happened;
    }
    let undecided: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM alarm a WHERE a.active_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM dispatch_decision d WHERE d.subject = 'alm_' || replace(a.id::text, '-', ''))",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(undecided, 0, "alarms without a decision");
    let (plans, occurrences, missed): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(DISTINCT plan_id), count(*), coalesce(sum(missed), 0)::bigint FROM plan_occurrence",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    // By the last day every interval is made, the one within the lead included.
    assert_eq!(
        occurrences + missed,
        plans * ((DAYS + 2) / PLAN_DAYS),
        "an interval was lost or made twice"
    );
    let doubled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT occurrence_id FROM ticket WHERE occurrence_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) x",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(doubled, 0);
    let outcomes: Vec<(String, i64)> =
        sqlx::query_as("SELECT outcome::text, count(*) FROM dispatch_decision GROUP BY 1 ORDER BY 1")
            .fetch_all(&database.owner)
            .await
            .unwrap();
    let raised: i64 = sqlx::query_scalar("SELECT count(*) FROM alarm WHERE active_at IS NOT NULL")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    let _ = writeln!(
        ledger,
        "{DAYS} days, {ASSETS} assets, {happened} faults, {raised} alarms raised"
    );
    let _ = writeln!(
        ledger,
        "{replayed} replays of old readings, {killed} workers killed"
    );
    let _ = writeln!(
        ledger,
        "{occurrences} plan occurrences, {missed} missed in outages"
    );
    for (outcome, count) in outcomes {
        let _ = writeln!(ledger, "  {outcome}: {count}");
    }
    println!("{ledger}");
    assert!(
        happened > 20 && killed > 10 && replayed > 100,
        "nothing was tried:\n{ledger}"
    );
    for pool in workers {
        pool.close().await;
    }
    ingest.close().await;
    database.drop_now().await;
}
