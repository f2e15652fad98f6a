//! What people do: work, and take machines out of service.

use models::asset::AssetStatus;
use models::db::fixture_scenario::{self as sql, OpenTicket};
use models::db::plan as plan_sql;
use models::id::{AssetId, TicketId};
use models::plan::OccurrenceStatus;
use models::ticket::Origin;
use rand::Rng;

use super::episode::{Episode, Why};
use super::world::{Stay, World};
use super::{ASSETS, CALM_H, COOL_DOWN_H, STEP_H, yard};

impl World {
    /// The planner: each ticket for a fault is done a day and a half after it was seen, and its machine is well
    /// again; work of plans has its time.
    pub(super) async fn plan(&mut self, hour: i64) {
        self.come_back(hour).await;
        self.put_away(hour).await;
        self.read_dials(hour).await;
        let mut connection = self.database.owner.acquire().await.unwrap();
        let twice = sql::causes_with_two_tickets(&mut connection).await.unwrap();
        assert_eq!(twice, 0, "two open tickets for one cause in hour {hour}");
        let open = sql::open_tickets(&mut connection).await.unwrap();
        drop(connection);
        let (mut done, mut begun, mut ended, mut worked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ticket in open {
            let first_seen = *self.seen.entry(ticket.id).or_insert(hour);
            if ticket.origin == Origin::Plan {
                if self.does_the_work_of(&ticket, hour, first_seen) {
                    done.push(ticket.id);
                    ended.push(ticket.asset_id);
                    worked.push(ticket);
                }
                continue;
            }
            assert!(
                !self.stays.contains_key(&ticket.asset_id),
                "a ticket for a machine in storage, in hour {hour}"
            );
            // Some work takes the machine out of operation for its last half day.
            let watched = self
                .faults
                .iter()
                .any(|fault| fault.asset == ticket.asset_id && fault.episode.is_some());
            if hour >= first_seen + 24 && self.rng.random_bool(0.2) && !watched {
                begun.push(ticket.asset_id);
                self.tally.maintenance += 1;
            }
            if hour >= first_seen + 36 {
                self.mend(&ticket, hour);
                done.push(ticket.id);
                ended.push(ticket.asset_id);
            }
        }
        ended.retain(|asset| !self.stays.contains_key(asset));
        self.finish(&done, &begun, &ended, &worked, hour).await;
    }

    /// Does a plan's work, if it is time for it, and enters it in the book.
    fn does_the_work_of(&mut self, ticket: &OpenTicket, hour: i64, first_seen: i64) -> bool {
        let (plan, sequence) = ticket.plan_id.zip(ticket.sequence).expect("it has an occurrence");
        let index = self
            .books
            .iter()
            .position(|book| book.plan == plan)
            .expect("a plan");
        let pace = if index < ASSETS {
            36
        } else {
            yard::pace(self.seed, index, sequence)
        };
        let entry = &self.books[index].entries[usize::try_from(sequence - 1).unwrap()];
        // What a later one stands for is not to be done: its ticket is about to be cancelled.
        let done = hour >= first_seen + pace && entry.status != OccurrenceStatus::Superseded;
        if done {
            self.books[index].done(sequence, hour);
        }
        done
    }

    /// The fault that a ticket names is mended. Some come back.
    fn mend(&mut self, ticket: &OpenTicket, hour: i64) {
        let index = self
            .faults
            .iter()
            .position(|fault| fault.asset == ticket.asset_id && Some(fault.mode) == ticket.failure_mode_id)
            .expect("a ticket names its asset and mode");
        assert!(
            self.faults[index].broken,
            "a ticket for a machine that was well, in hour {hour}"
        );
        let next = hour + self.rng.random_range(5 * 24..90 * 24);
        let relapse = self.fate.random_bool(0.2).then(|| self.relapse(hour, ticket.id));
        let fault = &mut self.faults[index];
        fault.broken = false;
        fault.mended = hour;
        fault.next = next;
        let heard = self.heard[fault.gateway] == hour && hour >= self.away_until[fault.gateway];
        fault.episode = relapse.filter(|episode| heard && episode.begin + 48 < CALM_H);
    }

    /// Within the cool-down and over before its end, within it and there to stay, or after it.
    fn relapse(&mut self, closed: i64, ticket: TicketId) -> Episode {
        let (after, lasts) = match self.fate.random_range(0..3) {
            0 => (12, Some(STEP_H)),
            1 => (12 + STEP_H * self.fate.random_range(0..2), None),
            _ => (COOL_DOWN_H + STEP_H * self.fate.random_range(1..8), None),
        };
        Episode {
            why: Why::Relapse { closed, ticket },
            begin: closed + after,
            lasts,
            began: false,
        }
    }

    async fn finish(
        &self,
        done: &[TicketId],
        begun: &[AssetId],
        ended: &[AssetId],
        worked: &[OpenTicket],
        hour: i64,
    ) {
        let now = self.moment(hour);
        let mut tx = self.database.owner.begin().await.unwrap();
        sql::set_status(&mut tx, begun, AssetStatus::Maintenance)
            .await
            .unwrap();
        sql::set_status(&mut tx, ended, AssetStatus::Operational)
            .await
            .unwrap();
        sql::close_tickets(&mut tx, done, now).await.unwrap();
        for ticket in worked {
            let occurrence = ticket.occurrence_id.expect("it has an occurrence");
            plan_sql::complete(&mut tx, occurrence, now).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Some machines go into storage for weeks.
    async fn put_away(&mut self, hour: i64) {
        let mut away = Vec::new();
        for (chance, of, days) in [(0.2, 0..ASSETS, 10..75), (0.06, ASSETS..self.books.len(), 10..40)] {
            let asset = self.books[self.fate.random_range(of)].asset;
            let back = hour + 24 * self.fate.random_range(days);
            if !self.fate.random_bool(chance)
                || back > CALM_H - 48
                || self.stays.contains_key(&asset)
                || !self.is_quiet(asset, hour)
            {
                continue;
            }
            self.stays.insert(asset, Stay { back, looked: false });
            self.tally.stays += 1;
            away.push(asset);
            // One of its faults breaks meanwhile: for good, or it is mended in the workshop.
            let begin = hour + STEP_H * self.fate.random_range(4..20);
            let days = self.fate.random_range(1..6);
            let lasts = self.fate.random_bool(0.5).then_some(24 * days);
            let one = self.fate.random_range(0..3);
            let mut its = self.faults.iter_mut().filter(|fault| fault.asset == asset);
            if let Some(fault) = its.nth(one) {
                fault.episode = Some(Episode {
                    why: Why::Storage { back },
                    begin,
                    lasts,
                    began: false,
                });
            }
        }
        let mut connection = self.database.owner.acquire().await.unwrap();
        sql::set_status(&mut connection, &away, AssetStatus::InStorage)
            .await
            .unwrap();
    }

    /// Nothing is wrong with it, has been of late, or is waiting to be judged.
    fn is_quiet(&self, asset: AssetId, hour: i64) -> bool {
        let mut its = self.faults.iter().filter(|fault| fault.asset == asset);
        let well = its.all(|fault| {
            !fault.broken && fault.episode.is_none() && (fault.mended == 0 || hour >= fault.mended + 72)
        });
        well && !self.nobody_in(hour - 48..hour + 24)
    }

    /// Those whose time in storage is over run again. Until now their plans have said why no day is told.
    async fn come_back(&mut self, hour: i64) {
        let back: Vec<AssetId> = self
            .stays
            .iter()
            .filter(|(_, stay)| hour >= stay.back)
            .map(|(asset, _)| *asset)
            .collect();
        let mut connection = self.database.owner.acquire().await.unwrap();
        for asset in &back {
            let stay = self.stays.remove(asset).unwrap();
            for book in self
                .books
                .iter()
                .filter(|book| book.asset == *asset && stay.looked)
            {
                let row = plan_sql::get(&mut connection, book.plan).await.unwrap().unwrap();
                let said = row.forecast.expect("a scheduler has been there");
                let why = format!(
                    "{} is in storage: nothing falls due until it is back",
                    self.names[asset]
                );
                assert_eq!((said.date, said.explanation), (None, why));
            }
        }
        sql::set_status(&mut connection, &back, AssetStatus::Operational)
            .await
            .unwrap();
    }
}
