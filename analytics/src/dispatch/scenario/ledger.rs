//! What came out, compared with what the world knows of itself, and printed.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use models::db::dispatch::Outcome;
use models::db::fixture_scenario::{self as sql, AlarmDecision, Occurrence};
use models::id::{AlarmRuleId, AssetId, FailureModeId, TicketId};
use models::plan::{Day, OccurrenceStatus};
use models::ticket::Status;
use models::time::Timestamp;

use super::book::{Book, CatchUp, Every};
use super::episode::{Sign, Why};
use super::world::World;
use super::{ASSETS, COOL_DOWN_H, DAYS, GATEWAYS, PLAN_DAYS, PLAN_LEAD_DAYS, REPLAYED};

type Key = (AlarmRuleId, Timestamp);

impl World {
    pub(super) async fn settle(&self) -> String {
        let mut ledger = String::new();
        let _ = writeln!(
            ledger,
            "seed {}: {DAYS} days, {ASSETS} assets, 3 failure modes, {GATEWAYS} gateways, {} plans",
            self.seed,
            self.books.len()
        );
        let tally = self.tally;
        let happened: u32 = self.faults.iter().map(|fault| fault.happened).sum();
        let _ = writeln!(
            ledger,
            "happened  {happened} faults, {} gateway outages, {} bad readings, {} readings replayed",
            tally.outages, tally.bad_readings, tally.replayed
        );
        let away: i64 = self
            .nobody
            .iter()
            .map(|hours| (hours.end - hours.start) / 24)
            .sum();
        let _ = writeln!(
            ledger,
            "killed    {} workers, {} writers before their commit; no worker at all on {away} days",
            tally.killed, tally.writer_deaths
        );
        self.settle_alarms(&mut ledger).await;
        self.settle_tickets(happened, &mut ledger).await;
        self.settle_signs(&mut ledger).await;
        self.settle_plans(&mut ledger).await;
        let mut connection = self.database.owner.acquire().await.unwrap();
        for (outcome, count, example) in sql::outcomes(&mut connection).await.unwrap() {
            let _ = writeln!(ledger, "  {:20} {count:5}  such as: {example}", outcome.name());
        }
        println!("{ledger}");
        assert!(
            happened > 300
                && tally.killed > 50
                && tally.replayed > 1000
                && tally.outages > 20
                && tally.maintenance > 20
                && tally.stays > 20
                && tally.late_notes > 5,
            "nothing was tried:\n{ledger}"
        );
        ledger
    }

    async fn settle_alarms(&self, ledger: &mut String) {
        let mut connection = self.database.owner.acquire().await.unwrap();
        let alarms = sql::alarms(&mut connection, REPLAYED - 1.0).await.unwrap();
        assert_eq!(alarms.undecided, 0, "alarms without a decision and its reason");
        assert_eq!(alarms.above, 0, "an alarm from history");
        assert_eq!(alarms.forgotten, 0, "out of service, and its machine is back");
        let _ = writeln!(
            ledger,
            "alarms    {} raised, 0 undecided, 0 from history; {} notices",
            alarms.raised, alarms.notices
        );
    }

    /// One ticket for each fault, and each names the one before of its cause.
    async fn settle_tickets(&self, happened: u32, ledger: &mut String) {
        let mut connection = self.database.owner.acquire().await.unwrap();
        let mut tickets: HashMap<(AssetId, FailureModeId), Vec<TicketId>> = HashMap::new();
        for ticket in sql::tickets_of_causes(&mut connection).await.unwrap() {
            let before = tickets
                .entry((ticket.asset_id, ticket.failure_mode_id))
                .or_default();
            assert_eq!(
                ticket.repeat_of,
                before.last().copied(),
                "a repeat names the one before"
            );
            before.push(ticket.id);
        }
        for fault in &self.faults {
            let made = tickets.get(&(fault.asset, fault.mode)).map_or(0, Vec::len);
            assert_eq!(made, fault.happened as usize, "one ticket for each fault");
        }
        let all: usize = tickets.values().map(Vec::len).sum();
        let _ = writeln!(
            ledger,
            "tickets   {all} for {happened} faults, 0 doubled, 0 missing; {} repeats that name the one before",
            all - tickets.len()
        );
    }

    /// Alarms that came back within a cool-down, and those of machines in storage: the decisions are those of
    /// the world's own list, no more and no fewer.
    async fn settle_signs(&self, ledger: &mut String) {
        let mut connection = self.database.owner.acquire().await.unwrap();
        let decisions = sql::alarm_decisions(&mut connection).await.unwrap();
        let key = |sign: &Sign| (sign.rule, self.moment(sign.raised));
        let signs: HashMap<Key, &Sign> = self.signs.iter().map(|sign| (key(sign), sign)).collect();
        assert_eq!(signs.len(), self.signs.len());
        let of = |wanted: &dyn Fn(&Sign) -> bool| -> HashSet<Key> {
            self.signs.iter().filter(|sign| wanted(sign)).map(key).collect()
        };
        let said = |wanted: Outcome| -> HashSet<Key> {
            let rows = decisions
                .iter()
                .filter(|row| row.outcome == wanted && !came_before(row));
            rows.map(|row| (row.rule_id, row.active_at)).collect()
        };
        let cooled = of(&|sign| sign.cooled_down(COOL_DOWN_H));
        assert_eq!(said(Outcome::CoolDown), cooled, "held back by a cool-down");
        let stored = of(&Sign::stored);
        assert_eq!(said(Outcome::AssetNotInService), stored, "not in service");
        let silences = sql::silences(&mut connection).await.unwrap();
        for row in &silences {
            assert_eq!(
                (row.silenced, row.spoke_again),
                (1, 1),
                "silent once, and back once"
            );
        }
        let silent: HashSet<Key> = silences.iter().map(|row| (row.rule_id, row.active_at)).collect();
        assert_eq!(silent, stored, "silent while in storage");

        let mut acted = HashSet::new();
        for row in &decisions {
            let Some(sign) = signs.get(&(row.rule_id, row.active_at)) else {
                continue;
            };
            self.check_reason(row, sign);
            if matches!(row.outcome, Outcome::Created | Outcome::Attached) {
                acted.insert((row.rule_id, row.active_at));
            }
        }
        assert_eq!(
            acted,
            of(&|sign| sign.over.is_none()),
            "a ticket for each that lasts, and for no other"
        );
        let relapses = of(&|sign| matches!(sign.why, Why::Relapse { .. }));
        let before = decisions
            .iter()
            .filter(|row| row.outcome == Outcome::CoolDown && came_before(row))
            .count();
        let _ = writeln!(
            ledger,
            "returns   {} alarms came back after their ticket: {} within its cool-down ({} of them over in it, without a \
             ticket), {} after it; {before} were over before it was closed",
            relapses.len(),
            relapses.iter().filter(|key| self.within(signs[*key])).count(),
            relapses.iter().filter(|key| signs[*key].over.is_some()).count(),
            relapses.iter().filter(|key| !self.within(signs[*key])).count(),
        );
        let _ = writeln!(
            ledger,
            "storage   {} stays; {} alarms meanwhile, silent with the reason: {} judged again on the return, {} over before",
            self.tally.stays,
            stored.len(),
            stored.iter().filter(|key| signs[*key].over.is_none()).count(),
            stored.iter().filter(|key| signs[*key].over.is_some()).count(),
        );
        let tried = [
            cooled.iter().filter(|key| signs[*key].over.is_some()).count(),
            cooled.iter().filter(|key| signs[*key].over.is_none()).count(),
            relapses.iter().filter(|key| !self.within(signs[*key])).count(),
            stored.iter().filter(|key| signs[*key].over.is_some()).count(),
            stored.iter().filter(|key| signs[*key].over.is_none()).count(),
        ];
        assert!(
            tried.iter().all(|count| *count > 3),
            "nothing was tried: {tried:?}\n{ledger}"
        );
    }

    fn within(&self, sign: &Sign) -> bool {
        matches!(sign.why, Why::Relapse { closed, .. } if sign.raised < closed + COOL_DOWN_H)
    }

    fn check_reason(&self, row: &AlarmDecision, sign: &Sign) {
        match (row.outcome, sign.why) {
            (Outcome::CoolDown, Why::Relapse { ticket, .. }) => {
                assert_eq!(row.ticket_id, Some(ticket), "{}", row.reason);
                assert!(
                    row.reason.contains("within 24 h no new one is made"),
                    "{}",
                    row.reason
                );
            }
            (Outcome::Created | Outcome::Attached, Why::Relapse { closed, .. }) => {
                assert!(
                    row.at >= self.moment(closed + COOL_DOWN_H),
                    "too soon: {}",
                    row.reason
                );
            }
            (Outcome::AssetNotInService, Why::Storage { .. }) => {
                let fault = self
                    .faults
                    .iter()
                    .find(|fault| fault.rules.iter().any(|rule| rule.id == sign.rule))
                    .unwrap();
                let why = format!(
                    "{} is in storage: an alarm there needs no work.",
                    self.names[&fault.asset]
                );
                assert_eq!(row.reason, why);
            }
            (Outcome::Created | Outcome::Attached, Why::Storage { back }) => {
                assert!(row.at > self.moment(back), "in storage: {}", row.reason);
            }
            other => panic!("{other:?}: {}", row.reason),
        }
    }

    /// Every occurrence of every plan is the one that the books say.
    async fn settle_plans(&self, ledger: &mut String) {
        let mut connection = self.database.owner.acquire().await.unwrap();
        let mut rows: HashMap<_, Vec<Occurrence>> = HashMap::new();
        for row in sql::occurrences(&mut connection).await.unwrap() {
            rows.entry(row.plan_id).or_default().push(row);
        }
        for book in &self.books {
            let made = rows.remove(&book.plan).unwrap_or_default();
            compare(book, &made, &self.names[&book.asset]);
        }
        assert!(rows.is_empty(), "occurrences of no plan");
        let missed = |books: &[Book]| -> i64 {
            let entries = books.iter().flat_map(|book| &book.entries);
            entries.map(|entry| i64::from(entry.missed)).sum()
        };
        let made = |books: &[Book]| -> usize { books.iter().map(|book| book.entries.len()).sum() };
        let (inspections, yard) = self.books.split_at(ASSETS);
        // By the last day every interval is made, the one within the lead included.
        assert_eq!(
            made(inspections) as i64 + missed(inspections),
            ASSETS as i64 * ((DAYS + PLAN_LEAD_DAYS) / PLAN_DAYS),
            "an interval was lost or made twice"
        );
        let _ = writeln!(
            ledger,
            "plans     {} occurrences, {} missed in outages, 0 doubled, 0 lost; {} dials read, {} of them entered after a later \
             one",
            made(inspections),
            missed(inspections),
            self.tally.notes,
            self.tally.late_notes
        );
        for rule in [
            CatchUp::Stack,
            CatchUp::Skip,
            CatchUp::Supersede,
            CatchUp::Floating,
        ] {
            let of_rule: Vec<Book> = yard.iter().filter(|book| book.rule == rule).cloned().collect();
            let of = |status: OccurrenceStatus| {
                let entries = of_rule.iter().flat_map(|book| &book.entries);
                entries.filter(|entry| entry.status == status).count()
            };
            let caught_up = of_rule
                .iter()
                .flat_map(|book| &book.entries)
                .filter(|entry| entry.missed > 0);
            let _ = writeln!(
                ledger,
                "catch-up  {:9} {:3} occurrences, {:2} of them for {:3} more that fell due meanwhile; {} skipped, {} superseded",
                format!("{rule:?}").to_lowercase(),
                made(&of_rule),
                caught_up.clone().count(),
                missed(&of_rule),
                of(OccurrenceStatus::Skipped),
                of(OccurrenceStatus::Superseded),
            );
            assert!(caught_up.count() > 5, "{rule:?} was not tried:\n{ledger}");
        }
    }
}

/// The alarm was there before the ticket's end, and nobody had looked at it yet.
fn came_before(row: &AlarmDecision) -> bool {
    row.completed_at
        .is_some_and(|completed| row.active_at <= completed)
}

fn compare(book: &Book, made: &[Occurrence], name: &str) {
    let first: Day = "2025-10-01".parse().unwrap();
    assert_eq!(
        made.len(),
        book.entries.len(),
        "{name}, {:?}: {made:#?}\n{book:#?}",
        book.rule
    );
    for (entry, (sequence, row)) in book.entries.iter().zip((1..).zip(made)) {
        let due = match book.every {
            Every::Days { .. } => row.due_date == first.plus(entry.due),
            Every::Units(_) => row.due_units == Some(entry.due as f64),
        };
        let status = if row.status.is_open() {
            assert!(row.ticket_status.is_some(), "an occurrence without its ticket");
            OccurrenceStatus::Due
        } else {
            row.status
        };
        assert!(
            due && (row.sequence, row.missed, status) == (sequence, entry.missed, entry.status),
            "{name}, {:?}: {row:#?} should be {entry:?}",
            book.rule
        );
        assert!(row.tickets <= 1, "an occurrence with two tickets");
        let more = format!("; stands for {} more that fell due meanwhile", entry.missed);
        assert_eq!(
            row.explanation.contains(&more),
            entry.missed > 0,
            "{}",
            row.explanation
        );
        let skipped = "; skipped, because the one before is still open";
        let is_skipped = status == OccurrenceStatus::Skipped;
        assert_eq!(
            row.explanation.contains(skipped),
            is_skipped,
            "{}",
            row.explanation
        );
        assert!(
            !is_skipped || row.tickets == 0,
            "nobody is to do what was skipped"
        );
        if status == OccurrenceStatus::Superseded {
            let cancelled = row.ticket_status.is_none_or(|status| status == Status::Cancelled);
            assert!(cancelled, "{name}: {row:#?}");
        }
    }
}
