//! What a rule would have done: the same machine, run over history before the rule is saved.
//!
//! [`Backtest`] takes samples one by one and keeps only what it tells, so that months of readings fit.
//! Tickets are counted as dispatch makes them: one for a cause while a ticket is open or just ended.
//! How long a ticket stays open nobody can know, so [`Policy::work_h`] says what was assumed.
//!
//! The proposal (kinds `high` and `low`, and the two of assessments) rests on two figures of the
//! history itself. The dead band is three times the noise, the noise being the median absolute
//! difference of neighbours (robust against the excursions themselves, the more so as it is taken from
//! the first samples). The delays are the shortest of a grid for which waiting much longer (two steps
//! of the grid) would spare less than a fifth of the alarms: before that point a delay removes chatter,
//! after it only time. They never exceed a quarter of the longest excursion, so that what was worst in
//! the history would still have been told.

use serde::{Deserialize, Serialize};

use super::machine::{Change, Machine};
use super::rule::{Kind, Rule, Side};
use crate::reading::Quality;
use crate::time::Timestamp;

/// How tickets come about; the defaults are dispatch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Seconds that an alarm must last to be followed up.
    pub ticket_wait_s: f64,
    /// Hours after the end of a ticket without a new one for the same cause.
    pub cool_down_h: f64,
    /// Hours that a ticket is assumed to stay open.
    pub work_h: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ticket_wait_s: 1.0,
            cool_down_h: 24.0,
            work_h: 24.0,
        }
    }
}

/// One alarm that would have been raised. Event times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BacktestFiring))]
pub struct Firing {
    pub pending_since: Timestamp,
    pub active_at: Timestamp,
    /// `None` = it would still be raised.
    pub cleared_at: Option<Timestamp>,
    pub peak_value: f64,
    pub flapping: bool,
    /// It would have made a ticket.
    pub ticket: bool,
    pub why: String,
}

/// Better settings, from the history itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BacktestProposal))]
pub struct Proposal {
    pub deadband: f64,
    pub on_delay_s: f64,
    pub off_delay_s: f64,
    /// Standard deviation of the noise, in the value's unit.
    pub noise: f64,
    /// Median seconds between samples.
    pub cadence_s: f64,
    /// Alarms with these settings, beside [`Report::fired`] with the rule's own.
    pub fired: u32,
    pub because: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BacktestReport))]
pub struct Report {
    /// Samples judged; bad ones are not among them.
    pub samples: u64,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub days: f64,
    /// Alarms that would have been raised.
    pub fired: u32,
    pub tickets: u32,
    /// Times it was only pending.
    pub pended_only: u32,
    /// Alarms that would have flapped.
    pub flapping: u32,
    /// Share of the time with the alarm raised, 0 to 1.
    pub active_share: f64,
    /// The first thousand of them.
    pub firings: Vec<Firing>,
    /// `None` = too few samples, or a kind for which nothing is proposed.
    pub proposal: Option<Proposal>,
    /// In a sentence.
    pub summary: String,
}

/// Looks into one silence.
const MOST_LOOKS: f64 = 500.0;
/// Moments that are kept; all are counted.
const MOST_FIRINGS: usize = 1000;
/// Samples from which noise and cadence are taken.
const FIRST: usize = 20_000;
const FEW: usize = 100;
/// Seconds; neighbours are about a factor of three apart.
const DELAYS: [f64; 7] = [0.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0];

/// A rule's run over history, fed oldest first.
#[derive(Debug)]
pub struct Backtest<'a> {
    rule: &'a Rule,
    policy: Policy,
    machine: Machine,
    samples: u64,
    span: Option<(Timestamp, Timestamp)>,
    fired: u32,
    pended_only: u32,
    flapping: u32,
    active_s: f64,
    tickets: Tickets,
    firings: Vec<Firing>,
    search: Option<Search>,
}

impl<'a> Backtest<'a> {
    pub fn new(rule: &'a Rule, policy: Policy) -> Self {
        let proposes = matches!(
            rule.kind,
            Kind::High | Kind::Low | Kind::HealthBelow | Kind::ProbabilityAbove
        );
        Self {
            rule,
            policy,
            machine: Machine::default(),
            samples: 0,
            span: None,
            fired: 0,
            pended_only: 0,
            flapping: 0,
            active_s: 0.0,
            tickets: Tickets::default(),
            firings: Vec::new(),
            search: proposes.then(Search::default),
        }
    }

    /// One sample, as [`Machine::step`] takes it.
    pub fn push(&mut self, at: Timestamp, value: f64, quality: Quality) {
        if !self.machine.counts(self.rule, at, value, quality) {
            return;
        }
        self.samples += 1;
        self.span = Some((self.span.map_or(at, |(from, _)| from), at));
        if let Some(search) = &mut self.search {
            search.push(self.rule, at, value);
        }
        let Some(transition) = self.machine.advance(self.rule, at, value, quality) else {
            return;
        };
        match transition.change {
            Change::Reverted => self.pended_only += 1,
            Change::Cleared => self.over(&transition.occurrence, Some(at)),
            _ => {}
        }
    }

    /// A reading came: what a `no_data` rule would have seen since the one before, looked at once a
    /// minute as the assessment does.
    pub fn heard(&mut self, before: Timestamp, at: Timestamp) {
        let silence = at.seconds_since(before);
        if silence > self.rule.limit {
            let step = (silence / MOST_LOOKS).max(60.0);
            let mut passed = self.rule.limit.max(0.0) + 1.0;
            while passed < silence {
                self.push(before.plus_seconds(passed), passed, Quality::Good);
                passed += step;
            }
        }
        self.push(at, 0.0, Quality::Good);
    }

    fn over(&mut self, occurrence: &super::Occurrence, at: Option<Timestamp>) {
        let Some(active_at) = occurrence.active_at else {
            return;
        };
        let cleared_at = at.map(|at| occurrence.clearing_since.unwrap_or(at));
        self.fired += 1;
        self.flapping += u32::from(occurrence.flapping);
        let end = at.or(self.span.map(|(_, to)| to)).unwrap_or(active_at);
        self.active_s += end.seconds_since(active_at);
        let (ticket, why) = self.tickets.judge(self.rule, &self.policy, active_at, at, end);
        if self.firings.len() < MOST_FIRINGS {
            self.firings.push(Firing {
                pending_since: occurrence.pending_since,
                active_at,
                cleared_at,
                peak_value: occurrence.peak_value,
                flapping: occurrence.flapping,
                ticket,
                why,
            });
        }
    }

    pub fn finish(mut self) -> Report {
        if let Some(open) = self.machine.open().copied()
            && open.active_at.is_some()
        {
            self.over(&open, None);
        }
        let seconds = self.span.map_or(0.0, |(from, to)| to.seconds_since(from));
        let days = seconds / 86_400.0;
        let proposal = self.search.take().and_then(|search| search.finish(self.rule));
        let mut summary = if self.samples == 0 {
            "There is no history to judge: no reading of good quality.".to_owned()
        } else {
            format!(
                "This rule would have fired {} times in {days:.1} days and made {} tickets.",
                self.fired, self.tickets.made
            )
        };
        if let Some(proposal) = proposal.as_ref().filter(|proposal| proposal.fired < self.fired) {
            summary.push_str(&format!(" With the proposed settings: {} times.", proposal.fired));
        }
        Report {
            samples: self.samples,
            from: self.span.map(|(from, _)| from),
            to: self.span.map(|(_, to)| to),
            days,
            fired: self.fired,
            tickets: self.tickets.made,
            pended_only: self.pended_only,
            flapping: self.flapping,
            active_share: if seconds > 0.0 {
                self.active_s / seconds
            } else {
                0.0
            },
            firings: self.firings,
            proposal,
            summary,
        }
    }
}

/// Dispatch in small: while a ticket is open alarms are added to it, after it there is a cool-down.
#[derive(Debug, Default)]
struct Tickets {
    made: u32,
    open_until: Option<Timestamp>,
    cool_until: Option<Timestamp>,
}

impl Tickets {
    fn judge(
        &mut self,
        rule: &Rule,
        policy: &Policy,
        active_at: Timestamp,
        cleared: Option<Timestamp>,
        end: Timestamp,
    ) -> (bool, String) {
        let lasted = end.seconds_since(active_at);
        if cleared.is_some() && lasted < policy.ticket_wait_s {
            return (false, format!("over after {lasted:.0} s"));
        }
        if !rule.makes_ticket {
            return (false, "the rule informs only".to_owned());
        }
        let mut at = active_at.plus_seconds(policy.ticket_wait_s);
        if self.open_until.is_some_and(|until| at < until) {
            return (false, "added to the ticket that was open".to_owned());
        }
        if let Some(until) = self.cool_until.filter(|until| at < *until) {
            if end < until {
                return (false, "within the cool-down of the ticket before".to_owned());
            }
            at = until;
        }
        self.made += 1;
        let done = at.plus_seconds(policy.work_h * 3600.0);
        self.open_until = Some(done);
        self.cool_until = Some(done.plus_seconds(policy.cool_down_h * 3600.0));
        (true, "makes a ticket".to_owned())
    }
}

/// The grid of candidates, run beside the rule itself.
#[derive(Debug, Default)]
struct Search {
    first: Vec<(Timestamp, f64)>,
    grid: Option<Grid>,
}

#[derive(Debug)]
struct Grid {
    noise: f64,
    cadence_s: f64,
    /// (on-delay, off-delay, rule, machine, alarms).
    candidates: Vec<(usize, usize, Rule, Machine, u32)>,
    idle: bool,
    beyond_since: Option<Timestamp>,
    longest_s: f64,
}

impl Search {
    fn push(&mut self, rule: &Rule, at: Timestamp, value: f64) {
        match &mut self.grid {
            Some(grid) => grid.push(rule, at, value),
            None => {
                self.first.push((at, value));
                if self.first.len() >= FIRST {
                    self.begin(rule);
                }
            }
        }
    }

    fn begin(&mut self, rule: &Rule) {
        let first = std::mem::take(&mut self.first);
        let mut grid = Grid::new(rule, &first);
        for (at, value) in first {
            grid.push(rule, at, value);
        }
        self.grid = Some(grid);
    }

    fn finish(mut self, rule: &Rule) -> Option<Proposal> {
        if self.grid.is_none() {
            if self.first.len() < FEW {
                return None;
            }
            self.begin(rule);
        }
        self.grid?.choose()
    }
}

impl Grid {
    fn new(rule: &Rule, first: &[(Timestamp, f64)]) -> Self {
        let pairs = || first.iter().zip(first.iter().skip(1));
        // A difference of neighbours has twice the variance; 1.4826 makes a median one of a normal.
        let noise = 1.4826 * median(pairs().map(|((_, a), (_, b))| (b - a).abs()).collect()) / 2.0_f64.sqrt();
        let cadence_s = median(pairs().map(|((a, _), (b, _))| b.seconds_since(*a)).collect());
        let deadband = two_digits(3.0 * noise);
        let candidates = (0..DELAYS.len())
            .flat_map(|on| (0..DELAYS.len()).map(move |off| (on, off)))
            .map(|(on, off)| {
                let rule = Rule {
                    deadband,
                    on_delay_s: DELAYS[on],
                    off_delay_s: DELAYS[off],
                    min_samples: 1,
                    latched: false,
                    ..rule.clone()
                };
                (on, off, rule, Machine::default(), 0)
            })
            .collect();
        Self {
            noise,
            cadence_s,
            candidates,
            idle: true,
            beyond_since: None,
            longest_s: 0.0,
        }
    }

    fn push(&mut self, rule: &Rule, at: Timestamp, value: f64) {
        let beyond = rule.side(value) == Side::Beyond;
        if let Some(since) = self.beyond_since {
            self.longest_s = self.longest_s.max(at.seconds_since(since));
        }
        self.beyond_since = beyond.then(|| self.beyond_since.unwrap_or(at));
        // Most of a history is normal; then nothing can move.
        if self.idle && !beyond {
            return;
        }
        self.idle = true;
        for (_, _, rule, machine, fired) in &mut self.candidates {
            if let Some(transition) = machine.advance(rule, at, value, Quality::Good) {
                *fired += u32::from(transition.change == Change::Activated);
            }
            self.idle &= machine.open().is_none();
        }
    }

    fn choose(self) -> Option<Proposal> {
        let last = DELAYS.len() - 1;
        let fired = |on: usize, off: usize| {
            self.candidates
                .iter()
                .find(|candidate| (candidate.0, candidate.1) == (on, off))
                .map_or(0, |candidate| candidate.4)
        };
        let bearable = |on: usize| on == 0 || DELAYS[on] <= self.longest_s / 4.0;
        let most_on = (0..=last).rev().find(|on| bearable(*on)).unwrap_or(0);
        let (on, off, _, _, alarms) = self
            .candidates
            .iter()
            .filter(|(on, off, _, _, alarms)| {
                let later = fired((on + 2).min(most_on.max(*on)), (off + 2).min(last));
                *on <= most_on && f64::from(*alarms) <= 1.25 * f64::from(later)
            })
            .min_by(|a, b| (DELAYS[a.0] + DELAYS[a.1]).total_cmp(&(DELAYS[b.0] + DELAYS[b.1])))?;
        let bare = fired(0, 0);
        Some(Proposal {
            deadband: two_digits(3.0 * self.noise),
            on_delay_s: DELAYS[*on],
            off_delay_s: DELAYS[*off],
            noise: self.noise,
            cadence_s: self.cadence_s,
            fired: *alarms,
            because: format!(
                "the dead band is three times the noise of {:.3}; without delays it would have fired {bare} times, with an on-delay of {:.0} s and an off-delay of {:.0} s {alarms} times, and longer delays spare hardly more; the longest excursion took {:.0} s",
                self.noise, DELAYS[*on], DELAYS[*off], self.longest_s
            ),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Rounded up to two digits: nobody sets a dead band of 0.43718.
fn two_digits(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10.0_f64.powf(value.log10().floor() - 1.0);
    (value / unit).ceil() * unit
}

#[cfg(test)]
mod tests;
