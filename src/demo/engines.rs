//! The turbofans of the demo: engines that fly, and engines that flew until they failed.
//!
//! All are units of one data set, with a flight every four hours, in the past and from now on: an hour of remaining life
//! is an hour by the clock. Those that failed have been overhauled since and have flown a few times; their file has the
//! steps without a flight too, as empty rows. So one moment, that of its first row, says when each of them failed; the
//! reports of their failures keep it.

use std::collections::HashMap;
use std::path::Path;

use models::asset::{AssetStatus, Criticality};
use models::db::failure;
use models::id::AreaId;
use models::time::Timestamp;
use sqlx::PgConnection;
use toml::{Table, Value};

use super::agents::{file, table};
use super::plant::{Asset, FailedTurbofan};
use super::register::{PLANNER, Place};

const CLASS: &str = "Turbofan";
/// How they fail.
const MODE: &str = "hpc_degradation";
/// Where those that failed are.
pub(super) const OVERHAUL: &str = "Overhaul";

/// Seconds between two flights.
const STEP_S: f64 = 14_400.0;
/// Rows of the failed ones' file that lie in the past when the demo begins: 89 days. Baselines are looked for in 90.
const PAST_ROWS: f64 = 535.0;

/// An engine as the register has it.
pub(super) fn asset(unit: u32, status: AssetStatus) -> Asset {
    Asset {
        name: format!("Engine {unit:02}"),
        class: CLASS.into(),
        area: String::new(),
        parent: None,
        status,
        criticality: Criticality::High,
        downtime_cost_per_h: Some(4000.0),
        device: Some(format!("engine-{unit}")),
        grease_at_h: None,
        collect: None,
    }
}

/// Writes the engines that failed, with the reports of it as a person enters them; gives when their rows begin. Reports
/// that are there already say so too, so that it stays what it was when the demo was first prepared.
pub(super) async fn register_failed(
    connection: &mut PgConnection,
    place: &Place<'_>,
    failed: &[FailedTurbofan],
    area: Option<AreaId>,
) -> anyhow::Result<Option<Timestamp>> {
    let mut began_at = None;
    for engine in failed {
        let entered = asset(engine.unit, AssetStatus::Maintenance);
        let id = place.asset(connection, &entered, area, &HashMap::new()).await?;
        let known = failure::reports(connection, Some(id), None, 1000).await?;
        let first = known.last().map(|report| began_by(engine, report.failed_at));
        let from = *began_at.get_or_insert_with(|| first.unwrap_or_else(|| began(Timestamp::now())));
        if known.is_empty() {
            let report = failure::NewReport {
                asset_id: id,
                failure_mode_id: place.mode(CLASS, MODE),
                failed_at: failed_at(engine, from),
                mechanism_code: None,
                cause_code: None,
                remedy_code: None,
                note: Some(format!(
                    "ran to failure: unit {} of C-MAPSS, set FD001",
                    engine.unit
                )),
            };
            failure::report(connection, place.tenant, &report, PLANNER).await?;
        }
    }
    Ok(began_at)
}

/// The moment of the failed ones' first row for a demo that begins now.
fn began(now: Timestamp) -> Timestamp {
    now.plus_seconds(-PAST_ROWS * STEP_S)
}

/// The same moment, from when an engine is said to have failed.
fn began_by(engine: &FailedTurbofan, failed_at: Timestamp) -> Timestamp {
    failed_at.plus_seconds(-failed_after(engine))
}

/// When an engine failed: after its last complete flight, before the next one.
fn failed_at(engine: &FailedTurbofan, began: Timestamp) -> Timestamp {
    began.plus_seconds(failed_after(engine))
}

/// The replay puts a row at its step or, because the agent starts within one, up to a step earlier.
fn failed_after(engine: &FailedTurbofan) -> f64 {
    (f64::from(engine.last_flight) + 0.5) * STEP_S
}

/// Those that fly, each at another age; the last one makes its last flight when the demo begins.
pub(super) fn flying(data: &Path, units: u32) -> Table {
    replay([
        ("file", file(data, "cmapss-fd001-20.csv.gz")),
        (
            "units",
            Value::Array((1..=i64::from(units)).map(Value::from).collect()),
        ),
        ("history", Value::Array(vec![0.35.into(), 0.996.into()])),
    ])
}

/// Those that failed, their first row at `began`.
pub(super) fn failed(data: &Path, began: Timestamp) -> Table {
    replay([
        ("file", file(data, "cmapss-fd001-failed-14.csv.gz")),
        ("start", began.to_string().into()),
    ])
}

fn replay<const N: usize>(own: [(&str, Value); N]) -> Table {
    let mut replay = table([
        ("kind", "replay".into()),
        ("format", "cmapss".into()),
        ("device_prefix", "engine-".into()),
        ("step_s", STEP_S.into()),
        ("live_every_s", STEP_S.into()),
        ("on_end", "stop".into()),
    ]);
    replay.extend(table(own));
    replay
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;

    use analytics::learn::remaining::{LEAST_MACHINES, LEAST_RUNS};
    use edge_agent::collect::replay::Replay;
    use edge_agent::collect::{Config, Generator, Next};

    use super::*;
    use crate::demo::plant::plant;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/data")
    }

    /// When each device flew, of an agent that starts at `start` and runs until `end`.
    fn flights(settings: Table, start: Timestamp, end: Timestamp) -> BTreeMap<String, BTreeSet<Timestamp>> {
        let Config::Replay(config) = Value::Table(settings).try_into().unwrap() else {
            panic!("not a replay");
        };
        let mut replay = Replay::open(&config, Path::new(""), None, start).unwrap();
        let mut flights: BTreeMap<String, BTreeSet<Timestamp>> = BTreeMap::new();
        loop {
            let mut some = Vec::new();
            let next = replay.produce(end, &mut some);
            for reading in some {
                let device = reading.channel.device.to_string();
                flights.entry(device).or_default().insert(reading.ts);
            }
            if next != Next::Now {
                return flights;
            }
        }
    }

    #[test]
    fn a_failure_is_reported_right_after_the_last_flight_however_late_the_agent_starts() {
        let sites = plant().unwrap().tenant.into_iter().flat_map(|tenant| tenant.site);
        let engines: Vec<FailedTurbofan> = sites.flat_map(|site| site.failed_turbofans).collect();
        assert!(engines.len() >= LEAST_RUNS.max(LEAST_MACHINES));
        let prepared = Timestamp::from_secs(1_800_000_000);
        let began = began(prepared);
        for late_s in [1.0, 3_600.0, 5.3 * 86_400.0] {
            let start = prepared.plus_seconds(late_s);
            let flights = flights(failed(&data(), began), start, start);
            assert_eq!(flights.len(), engines.len());
            for engine in &engines {
                let flights = &flights[&format!("engine-{}", engine.unit)];
                let failed = failed_at(engine, began);
                assert_eq!(began_by(engine, failed), began);
                let last = *flights.range(..failed).next_back().unwrap();
                let since = failed.seconds_since(last) / STEP_S;
                assert!((0.4..1.6).contains(&since), "{engine:?}: {since} steps");
                // A pass looks at 240 steps: nothing of before the failure is among the newest.
                let again: Vec<_> = flights.range(failed..).collect();
                assert_eq!(again.len(), 12, "{engine:?}");
                assert!(again[11].seconds_since(last) > 239.9 * STEP_S, "{engine:?}");
            }
        }
    }

    #[test]
    fn the_last_engine_that_flies_makes_its_last_flight_when_the_demo_begins() {
        let now = Timestamp::from_secs(1_800_000_000);
        let later = now.plus_seconds(2.0 * STEP_S);
        let flights = flights(flying(&data(), 20), now, later);
        let flew = |device: &str, at: Timestamp| flights[device].contains(&at);
        assert_eq!(flights.len(), 20);
        assert!(flights.keys().all(|device| flew(device, now)));
        assert!(flew("engine-19", later) && flights["engine-20"].last() == Some(&now));
    }
}
