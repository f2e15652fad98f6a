//! A seeded plant over half a simulated year, both changes of the clocks included: wearing machines in
//! three ways, failing sensors, gateways that are away for days and send what they kept, replayed
//! history, machines in maintenance, two dispatchers and two schedulers that are killed at random
//! moments and three times are away for weeks; faults that come back soon after their ticket was closed;
//! machines that are put in storage and come back; plans with each rule for what fell due meanwhile, by
//! the calendar and by dials that people read seldom and enter late.
//!
//! What must come out: one ticket for each fault that needs one, none missing, none without a fault, never
//! two open ones for a cause; each plan's occurrences one by one; no alarm from history; a decision with
//! its reason for every alarm that was raised. The world keeps books of its own of what it did, and what
//! the services made is compared with them, row by row. Printed as a ledger.
//!
//! The planner closes tickets with statements of the test, in bulk: how a ticket moves is tested with
//! the ticket.
//!
//! `FOREWARN_SCENARIO_SEED` makes another plant; without it, it is always the same one. When a process is
//! killed depends on the machine's clock as well.

mod book;
mod episode;
mod ledger;
mod planner;
mod signals;
mod workers;
mod world;
mod yard;

use models::db::Role;
use models::db::fixture_scenario::wait_for_others;

use self::world::World;
use super::{Config, pass};
use crate::meter;

const ASSETS: usize = 200;
const GATEWAYS: usize = 10;
const DAYS: i64 = 180;
/// No new faults after this hour, so that every ticket can be closed.
const CALM_H: i64 = (DAYS - 8) * 24;
/// Hours between two transactions of the writer, and between two readings of a channel.
const STEP_H: i64 = 6;
const SAMPLE_H: i64 = 2;
const PLAN_DAYS: i64 = 30;
const PLAN_LEAD_DAYS: i64 = 2;
/// What is older when it arrives is history.
const MAX_AGE_H: i64 = 12;
/// Hours after a ticket in which its cause makes no other one.
const COOL_DOWN_H: i64 = 24;
/// A value that only replays have: no alarm may ever show it.
const REPLAYED: f64 = 99.0;

#[tokio::test]
async fn scenario() {
    let seed = std::env::var("FOREWARN_SCENARIO_SEED").map_or(42, |seed| seed.parse().expect("a number"));
    let mut world = World::new(seed).await;
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
    wait_for_others(&world.database.owner).await.unwrap();
    let end = world.moment(DAYS * 24);
    for pool in &workers {
        meter::run_once(pool, end).await.unwrap();
        pass(pool, &Config::default(), end).await.unwrap();
    }
    world.look_at_plans(DAYS * 24);
    world.settle().await;
    for pool in workers {
        pool.close().await;
    }
    ingest.close().await;
    world.database.drop_now().await;
}
