//! Machines with plans of every catch-up rule, by the calendar and by dials that people read seldom and
//! enter late; their work is done when there is time for it.

use models::db::meter::{Change, change_reading};
use models::meter::{Entered, Line};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::book::{CatchUp, Every};
use super::world::World;

const RULES: [CatchUp; 4] = [
    CatchUp::Stack,
    CatchUp::Skip,
    CatchUp::Supersede,
    CatchUp::Floating,
];
/// Machines for each rule and kind of trigger.
const OF_A_KIND: i64 = 2;

pub(super) async fn make(world: &mut World) {
    for rule in RULES {
        for number in 0..OF_A_KIND {
            let every = Every::Days {
                every: 6 + number,
                lead: number,
            };
            let name = format!("{rule:?} D-{number}");
            let machine = world.plant.machine(&name).await;
            world.names.insert(machine.asset, name);
            world.plan_for(machine, "grease", rule, every, None).await;

            let name = format!("{rule:?} U-{number}");
            let machine = world.plant.machine(&name).await;
            world.names.insert(machine.asset, name);
            let pace = world.fate.random_range(7..=15);
            let dial = world.dial_of(machine, pace).await;
            world
                .plan_for(machine, "packing", rule, Every::Units(200), Some(dial))
                .await;
        }
    }
}

/// How many hours somebody takes for the work of an occurrence: some do it at once, some in weeks. The
/// same for the same occurrence, whoever asks in which order.
pub(super) fn pace(seed: u64, book: usize, sequence: i32) -> i64 {
    let key = seed ^ ((book as u64) << 32) ^ u64::try_from(sequence).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(key);
    [36, 36, 84, 156, 300, 480][rng.random_range(0..6)]
}

impl World {
    /// People read dials, and enter what they have read, at once or when they come to it.
    pub(super) async fn read_dials(&mut self, hour: i64) {
        for index in 0..self.books.len() {
            let Some(dial) = &mut self.books[index].dial else {
                continue;
            };
            if hour > 0 && hour >= dial.next_note {
                let later = [0, 0, 1, 5, 20][self.fate.random_range(0..5)];
                dial.waiting.push((hour + 24 * later, hour));
                dial.next_note = hour + 24 * self.fate.random_range(1..=18);
            }
            let waiting = std::mem::take(&mut dial.waiting);
            let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(when, _)| *when <= hour);
            dial.waiting = later;
            for (_, at) in now {
                self.enter(index, at, hour).await;
            }
        }
    }

    async fn enter(&mut self, index: usize, at: i64, hour: i64) {
        let (moment, now) = (self.moment(at), self.moment(hour));
        let book = &mut self.books[index];
        let dial = book.dial.as_mut().unwrap();
        let line = Line {
            at: moment,
            entered: Entered::Absolute(dial.at(at) as f64),
        };
        let mut tx = self.database.owner.begin().await.unwrap();
        let change = Change::Add(line);
        change_reading(&mut tx, dial.meter, &change, false, "usr_x", now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.tally.notes += 1;
        self.tally.late_notes += u32::from(dial.entered.iter().any(|other| *other > at));
        dial.entered.push(at);
        book.noted();
    }
}
