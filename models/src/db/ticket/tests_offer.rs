//! What `transitions` lists is what `transition` does: a walk through the states of one case's tickets,
//! with random things changed in between, in which after each step every state is tried for real.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sqlx::{Connection, PgConnection};

use super::*;
use crate::alarm::Severity;
use crate::db::case_file::{Sign, join_or_open};
use crate::db::change::ChangeError;
use crate::db::fixture::Plant;
use crate::db::parts;
use crate::db::testing::TestDatabase;
use crate::db::{Role, act_for};
use crate::id::{AssetId, CaseId, FailureModeId, TicketId};
use crate::tenant::MemberRole;
use crate::ticket::{NewTask, Origin, Outcome, Priority, Refusal, Status, transitions};
use crate::time::Timestamp;

const STEPS: usize = 150;
const ACTOR: &str = "usr_x";

struct Walk {
    plant: Plant,
    asset: AssetId,
    case: CaseId,
    mode: FailureModeId,
    tickets: Vec<TicketId>,
    rng: StdRng,
    now: Timestamp,
}

impl Walk {
    async fn another(&mut self, db: &mut PgConnection) -> TicketId {
        let new = NewTicket {
            tenant: self.plant.tenant,
            asset: self.asset,
            case: Some(self.case),
            occurrence: None,
            failure_mode: Some(self.mode),
            origin: Origin::Alarm,
            origin_key: format!("key {}", self.tickets.len()),
            title: "Vibration".into(),
            description: String::new(),
            priority: Priority::High,
            due_at: None,
            repeat_of: None,
            tasks: vec![NewTask::check("look at it")],
        };
        let id = create(db, &new, ACTOR).await.unwrap().id();
        self.tickets.push(id);
        id
    }

    /// Whatever a request may say, each part of it or not.
    fn coding(&mut self) -> Coding {
        let (now, mode, planner) = (self.now, self.mode, self.plant.planner);
        let rng = &mut self.rng;
        let mut says = |share| rng.random_bool(share);
        let window = says(0.7);
        Coding {
            reason: says(0.7).then(|| "because".into()),
            hold_code: says(0.5).then(|| "waiting_access".into()),
            assignee_id: says(0.6).then_some(planner),
            scheduled_start: window.then_some(now),
            scheduled_end: window.then(|| now.plus_seconds(3600.0)),
            found_failure_mode_id: says(0.7).then_some(mode),
            cause_code: says(0.6).then(|| "other".into()),
            cause: says(0.7).then(|| "no grease".into()),
            remedy: says(0.7).then(|| "greased".into()),
            outcome: says(0.6).then_some(Outcome::NoFaultFound),
            ..Coding::default()
        }
    }

    /// Somebody does what is missing, each of it now and then.
    async fn help(&mut self, db: &mut PgConnection, id: TicketId) {
        const SHARE: f64 = 0.3;
        let now = self.now;
        if self.rng.random_bool(SHARE) {
            drop(do_step(db, id, "budget", MemberRole::Planner, ACTOR, now).await);
        }
        if self.rng.random_bool(SHARE) {
            self.do_tasks(db, id).await;
        }
        if self.rng.random_bool(SHARE) {
            let change = Edit {
                needs_permit: Some(false),
                needs_lockout: Some(false),
                ..Edit::default()
            };
            drop(edit(db, id, None, &change, ACTOR).await);
        }
        if self.rng.random_bool(SHARE) {
            parts::release(db, id, None, now).await.unwrap();
        }
        if self.rng.random_bool(SHARE) {
            self.free(db, id).await;
        }
    }

    async fn do_tasks(&self, db: &mut PgConnection, id: TicketId) {
        for task in tasks(db, id).await.unwrap() {
            let done = TaskResult {
                done: true,
                result: None,
                note: None,
            };
            drop(complete_task(db, id, task.id, &done, ACTOR, self.now).await);
        }
    }

    /// Cancels what has to be done first.
    async fn free(&self, db: &mut PgConnection, id: TicketId) {
        let coding = Coding {
            reason: Some("not needed".into()),
            ..Coding::default()
        };
        for relation in relations(db, id).await.unwrap() {
            let to = Status::Cancelled;
            drop(transition(db, relation.other_id, None, to, &coding, ACTOR, self.now).await);
        }
    }

    /// Something around the ticket changes.
    async fn disturb(&mut self, db: &mut PgConnection, id: TicketId) {
        let now = self.now;
        match self.rng.random_range(0..9) {
            0 => drop(add_task(db, id, &NewTask::check("look at it"), ACTOR).await),
            1 => self.do_tasks(db, id).await,
            2 => {
                let change = Edit {
                    needs_permit: Some(self.rng.random_bool(0.1)),
                    needs_lockout: Some(self.rng.random_bool(0.1)),
                    ..Edit::default()
                };
                drop(edit(db, id, None, &change, ACTOR).await);
            }
            3 => {
                let state = *[Status::Open, Status::Planned, Status::InProgress]
                    .choose(&mut self.rng)
                    .unwrap();
                let step = NewStep {
                    state,
                    code: "budget".into(),
                    name: "Budget approved".into(),
                    position: 0,
                    role: None,
                    mandatory: self.rng.random_bool(0.5),
                };
                put_step(db, self.plant.tenant, &step).await.unwrap();
            }
            4 => {
                let line = parts::StockLine {
                    part_number: "6308".into(),
                    warehouse: "main".into(),
                    description: String::new(),
                    unit: "1".into(),
                    on_hand: f64::from(self.rng.random_range(0..3)),
                    lead_time_days: None,
                    as_of: Timestamp::now(),
                };
                parts::put_stock(db, self.plant.tenant, &[line], ACTOR, now)
                    .await
                    .unwrap();
            }
            5 => {
                let place = (id, self.asset);
                parts::reserve(db, self.plant.tenant, place, ("6308", 2.0, "1"), "by hand")
                    .await
                    .unwrap();
            }
            6 => {
                parts::release(db, id, None, now).await.unwrap();
            }
            7 => {
                // What has to be done first, opened or finished behind the ticket's back.
                let other = NewTicket {
                    tenant: self.plant.tenant,
                    asset: self.asset,
                    case: None,
                    occurrence: None,
                    failure_mode: None,
                    origin: Origin::Person,
                    origin_key: format!("other {now} {}", self.rng.random::<u32>()),
                    title: "First".into(),
                    description: String::new(),
                    priority: Priority::Low,
                    due_at: None,
                    repeat_of: None,
                    tasks: vec![],
                };
                let other_id = create(db, &other, ACTOR).await.unwrap().id();
                let kind = RelationKind::BlockedBy;
                drop(relate(db, id, NewRelation { kind, other_id }, ACTOR, now).await);
            }
            _ => self.free(db, id).await,
        }
    }
}

/// Tries every state for real and takes it back; gives those that went.
async fn compare(
    db: &mut PgConnection,
    id: TicketId,
    coding: &Coding,
    now: Timestamp,
    rng: &mut StdRng,
) -> Vec<Status> {
    let (status, facts) = gather_facts(db, id, coding, now).await.unwrap().unwrap();
    let listed = transitions(status, &facts);
    let mut went = Vec::new();
    for to in Status::ALL {
        let offer = listed.iter().find(|one| one.to == to);
        // Those that are not listed are many, and are refused alike: one in four.
        if offer.is_none() && rng.random_bool(0.75) {
            continue;
        }
        let mut attempt = db.begin().await.unwrap();
        let result = transition(&mut attempt, id, None, to, coding, ACTOR, now).await;
        attempt.rollback().await.unwrap();
        match (offer, result) {
            (Some(offer), Ok(_)) => {
                assert!(
                    offer.allowed,
                    "{status} -> {to} went, and was said to lack {:?}",
                    offer.missing
                );
                went.push(to);
            }
            (Some(offer), Err(ChangeError::Refused(Refusal::Missing { missing, .. }))) => {
                assert_eq!(offer.missing, missing, "{status} -> {to}");
                assert!(!offer.allowed);
            }
            (None, Err(ChangeError::Refused(Refusal::NoSuchTransition { .. }))) => {}
            (offer, result) => panic!("{status} -> {to}: offered {offer:?}, and then {result:?}"),
        }
    }
    went
}

#[tokio::test]
async fn what_is_listed_is_what_is_done() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let asset = plant.machine("P-1").await.asset;
    let mode = plant.failure_mode("bearing_wear").await;
    let sign = Sign {
        tenant: plant.tenant,
        asset,
        failure_mode: Some(mode),
        severity: Severity::Serious,
        title: "Bearing".into(),
    };
    let mut walk = Walk {
        plant: plant.clone(),
        asset,
        case: join_or_open(
            &mut database.owner.acquire().await.unwrap(),
            &sign,
            Timestamp::now(),
        )
        .await
        .unwrap()
        .0,
        mode,
        tickets: Vec::new(),
        rng: StdRng::seed_from_u64(7),
        now: Timestamp::now(),
    };
    let pool = database.pool(Role::Api);
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    walk.another(&mut tx).await;
    let mut states = std::collections::HashSet::new();
    let mut held_back_by_another = 0;
    for _ in 0..STEPS {
        // Mostly the newest; now and then one of those that were done before.
        let id = if walk.rng.random_bool(0.8) {
            *walk.tickets.last().unwrap()
        } else {
            *walk.tickets.choose(&mut walk.rng).unwrap()
        };
        if walk.rng.random_bool(0.3) {
            walk.disturb(&mut tx, id).await;
        }
        walk.help(&mut tx, id).await;
        let coding = walk.coding();
        compare(&mut tx, id, &Coding::default(), walk.now, &mut walk.rng).await;
        let went = compare(&mut tx, id, &coding, walk.now, &mut walk.rng).await;
        let (status, facts) = gather_facts(&mut tx, id, &coding, walk.now)
            .await
            .unwrap()
            .unwrap();
        states.insert(status);
        held_back_by_another += usize::from(status == Status::Completed && facts.case_ticket.is_some());
        // Onward where it can; cancelling seldom, or nothing is ever completed.
        let onward: Vec<Status> = went.into_iter().filter(|to| *to != Status::Cancelled).collect();
        let furthest = onward.iter().max_by_key(|to| **to as u8).copied();
        let any = onward.choose(&mut walk.rng).copied();
        if let Some(to) = if walk.rng.random_bool(0.55) { furthest } else { any } {
            transition(&mut tx, id, None, to, &coding, ACTOR, walk.now)
                .await
                .unwrap();
        }
        let newest = *walk.tickets.last().unwrap();
        let newest = get(&mut tx, newest).await.unwrap().unwrap().status;
        if !newest.is_open() && walk.rng.random_bool(0.5) {
            // The cause is back: as dispatch would after the cool-down.
            let open: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM ticket WHERE case_id = $1 AND status NOT IN ('completed', 'closed', 'cancelled'))",
            )
            .bind(walk.case)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
            if !open {
                walk.another(&mut tx).await;
            }
        }
        walk.now = walk.now.plus_seconds(600.0);
    }
    let far = [Status::InProgress, Status::Completed, Status::Closed];
    assert!(
        states.len() >= 9 && far.iter().all(|state| states.contains(state)),
        "the walk saw {states:?}"
    );
    assert!(held_back_by_another > 0, "no completed ticket had a successor");
    drop(tx);
    pool.close().await;
    database.drop_now().await;
}
