//! No interval lost, none twice: for any order of events, restarts, and two schedulers.

use proptest::prelude::*;

use super::*;

/// A scheduler with a store that keeps (sequence) unique, as the database does.
#[derive(Clone)]
struct World {
    plan: Plan,
    made: Vec<(i32, Making, i32)>,
    open: Option<(i32, Day, Option<f64>)>,
}

impl World {
    fn pass(&mut self, today: Day, total: f64) {
        let facts = Facts {
            today,
            total: Some(total),
            usage: None,
            meter: None,
            has_open_occurrence: self.open.is_some(),
            pull: None,
            parent: None,
        };
        let Some(release) = self.plan.release(&facts) else {
            return;
        };
        assert!(
            self.made
                .iter()
                .all(|(sequence, ..)| *sequence != release.sequence),
            "made twice"
        );
        self.made.push((release.sequence, release.making, release.missed));
        if !matches!(release.making, Making::Skip | Making::Absorb) {
            self.open = Some((release.sequence, release.due_date, release.due_units));
        }
        self.plan.next_sequence += 1;
        self.plan.anchor_date = release.next_anchor_date;
        self.plan.anchor_units = release.next_anchor_units;
    }

    fn done(&mut self, today: Day, total: f64) {
        if let Some((_, due, due_units)) = self.open.take() {
            let (date, units) = self.plan.anchor_after(due, due_units, today, Some(total));
            (self.plan.anchor_date, self.plan.anchor_units) = (date, units);
        }
    }
}

proptest! {
    /// For any order of days, passes (doubled, or missing for weeks) and completions, a fixed plan
    /// accounts for every interval exactly once, made, skipped or missed.
    #[test]
    fn no_interval_is_lost_and_none_is_made_twice(
        events in prop::collection::vec((0i64..20, 0u8..3), 1..200),
        every in 1i64..40,
        lead_share in 0.0..1.0f64,
        policy in prop::sample::select(vec![OpenInstance::Skip, OpenInstance::Stack, OpenInstance::Supersede]),
    ) {
        let lead_days = (lead_share * every as f64) as i64;
        let start = day("2026-01-01");
        let plan = Plan { every_days: Some(every), lead_days: lead_days.min(every - 1), open_instance: policy, ..monthly() };
        let lead = plan.lead_days;
        let mut world = World { plan, made: vec![], open: None };
        let mut today = start;
        let mut looked = None;
        for (days, what) in events {
            today = today.plus(days);
            match what {
                0 => world.done(today, 0.0),
                passes => for _ in 0..passes { world.pass(today, 0.0); looked = Some(today); },
            }
        }
        let expect = looked.map_or(0, |last| (last.since(start) + lead) / every);
        let accounted: i64 = world.made.iter().map(|(_, _, missed)| 1 + i64::from(*missed)).sum();
        prop_assert_eq!(accounted, expect);
        let sequences: Vec<i32> = world.made.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(sequences, (1..).take(world.made.len()).collect::<Vec<i32>>());
    }

    /// The same for meters that jump, and for floating plans: never two open at once, and after every
    /// pass the plan is either waiting for work or has nothing released.
    #[test]
    fn a_pass_leaves_nothing_to_do(
        events in prop::collection::vec((0i64..10, 0.0..500.0f64, any::<bool>()), 1..100),
        basis in prop::sample::select(vec![Basis::Fixed, Basis::Floating]),
        all_of in any::<bool>(),
    ) {
        let plan = Plan { every_units: Some(700.0), lead_units: 50.0, basis, all_of, ..monthly() };
        let mut world = World { plan, made: vec![], open: None };
        let (mut today, mut total) = (day("2026-01-01"), 0.0);
        for (days, units, done) in events {
            today = today.plus(days);
            total += units;
            world.pass(today, total);
            let before = world.made.len();
            world.pass(today, total);
            prop_assert_eq!(world.made.len(), before, "a second pass made another one");
            if done { world.done(today, total); }
            prop_assert!(world.plan.anchor_date <= today.plus(world.plan.lead_days));
            prop_assert!(world.plan.anchor_units <= total + world.plan.lead_units + 1e-6);
        }
    }
}

/// One scheduler of two: it has read the plan, and may be killed before it writes.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Days pass.
    Wait(i64),
    /// A scheduler reads where the plan stands.
    Read(bool),
    /// It writes what it found when it read, however long ago; the database refuses what is stale.
    Write(bool),
    /// It is killed, and starts again knowing nothing.
    Kill(bool),
    Done,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0i64..15).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Read),
        any::<bool>().prop_map(Step::Write),
        any::<bool>().prop_map(Step::Kill),
        Just(Step::Done),
    ]
}

proptest! {
    /// Two schedulers that read, wait, write late and are killed, in any order: (plan, sequence) is made
    /// once, the sequence has no hole, and every interval up to the last write is accounted for, with and
    /// without holidays.
    #[test]
    fn two_schedulers_make_each_occurrence_once(
        steps in prop::collection::vec(step(), 1..300),
        every in 1i64..40,
        basis in prop::sample::select(vec![Basis::Fixed, Basis::Floating]),
        on_rest in prop::sample::select(vec![OnRest::Keep, OnRest::Before, OnRest::After, OnRest::Skip]),
        skip_every in prop::option::of(2u16..5),
    ) {
        let rest_days = vec![crate::alarm::DayOfWeek::Sunday];
        let calendar = Calendar { rest_days, on_rest, skip_every, ..Calendar::default() };
        let plan = Plan { every_days: Some(every), lead_days: 0, basis, calendar: calendar.clone(), ..monthly() };
        let mut world = World { plan, made: vec![], open: None };
        let mut read: [Option<(Plan, Release)>; 2] = [None, None];
        let start = day("2026-01-01");
        let mut today = start;
        let mut accounted_to = start;
        for one in steps {
            match one {
                Step::Wait(days) => today = today.plus(days),
                Step::Kill(who) => read[usize::from(who)] = None,
                Step::Done => world.done(today, 0.0),
                Step::Read(who) => {
                    let facts = Facts { today, total: None, usage: None, meter: None,
                        has_open_occurrence: world.open.is_some(), pull: None, parent: None };
                    read[usize::from(who)] = world.plan.release(&facts).map(|release| (world.plan.clone(), release));
                }
                Step::Write(who) => {
                    let Some((seen, release)) = read[usize::from(who)].take() else { continue };
                    // The unique key of the database, and the lock under which plan and occurrence are one.
                    if seen.next_sequence != world.plan.next_sequence
                        || seen.anchor_date != world.plan.anchor_date
                        || world.made.iter().any(|(sequence, ..)| *sequence == release.sequence)
                    {
                        continue;
                    }
                    world.made.push((release.sequence, release.making, release.missed));
                    if !matches!(release.making, Making::Skip | Making::Absorb) {
                        world.open = Some((release.sequence, release.due_date, None));
                    }
                    world.plan.next_sequence += 1;
                    world.plan.anchor_date = release.next_anchor_date;
                    accounted_to = world.plan.anchor_date;
                }
            }
        }
        let sequences: Vec<i32> = world.made.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(&sequences, &(1..).take(world.made.len()).collect::<Vec<i32>>());
        if basis == Basis::Fixed {
            let accounted: i64 = world.made.iter().map(|(_, _, missed)| 1 + i64::from(*missed)).sum();
            prop_assert_eq!(accounted, accounted_to.since(start) / every);
            // Afterwards one pass, and nothing that is due is missing.
            world.pass(today, 0.0);
            let before = world.made.len();
            world.pass(today, 0.0);
            prop_assert_eq!(world.made.len(), before);
            let next = calendar.place(world.plan.anchor_date.plus(every)).day;
            prop_assert!(next > today, "{} is not made on {}", next, today);
        }
    }
}
