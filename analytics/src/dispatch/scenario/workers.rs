//! Two processes, each a scheduler and a dispatcher, that are killed at random moments.

use std::time::Duration;

use models::db::fixture_scenario as sql;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::PgPool;

use super::world::World;
use super::{COOL_DOWN_H, Config, STEP_H, meter, pass};

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
    pub(super) async fn work(&mut self, workers: &[PgPool; 2], hour: i64) {
        if self.nobody_in(hour..hour + 1) {
            return;
        }
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
        let killed = u32::from(first.is_none()) + u32::from(second.is_none());
        self.tally.killed += killed;
        if !self.matters(hour) {
            return;
        }
        // Whoever was killed is started again, and what must come of this hour is in the books.
        if killed > 0 {
            sql::wait_for_others(&self.database.owner).await.unwrap();
            once(workers[0].clone()).await;
        }
        if schedule {
            self.look_at_plans(hour);
        }
        for sign in self.signs.iter_mut().filter(|sign| sign.seen.is_none()) {
            sign.seen = Some(hour);
        }
    }

    /// Whether something is in sight that the books speak of.
    fn matters(&self, hour: i64) -> bool {
        let plans = hour % 24 == 0
            && (self.stays.values().any(|stay| !stay.looked)
                || self
                    .books
                    .iter()
                    .any(|book| !self.stays.contains_key(&book.asset) && book.expects(hour)));
        let signs = self
            .signs
            .iter()
            .any(|sign| sign.seen.is_none() || sign.ends(COOL_DOWN_H) == Some(hour));
        plans || signs || self.nobody_in(hour - STEP_H..hour)
    }

    /// A scheduler has been at every plan.
    pub(super) fn look_at_plans(&mut self, hour: i64) {
        for book in &mut self.books {
            match self.stays.get_mut(&book.asset) {
                Some(stay) => stay.looked = true,
                None => book.look(hour),
            }
        }
    }
}
