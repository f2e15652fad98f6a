//! Advice: the cheapest thing to do, and between what the choice stays the cheapest.
//!
//! `cost` says what things cost, [`choose`] compares them, `words` says it. Where costs are not on record there is nothing to
//! compare: then a rule that is said speaks (`rule`), and what is missing is listed.
//!
//! The choice is made with the probability in the middle. The ends of its interval choose for themselves; where one of
//! them would do otherwise, that is said. How sure the choice is shows in two intervals: the moments between which
//! it costs less than the cheapest of another kind, and the probability of failing within 30 days (the hazard at
//! every moment in proportion) between which it stays the cheapest.

pub mod choose;
mod cost;
mod rule;
mod words;

use models::assessment::{Advice, AdviceOption};
use models::db::assessment::{AssetFacts, ModeFacts};
use models::time::Timestamp;

use crate::prognosis::{LifeFacts, Prognosis};
use crate::reliability::Estimate;
use choose::{Case, Choice, Timeline};
use cost::{Costs, Renewal, Work};

const MONTH_H: f64 = 720.0;
const YEAR_H: f64 = 24.0 * 365.0;
/// Days one by one up to here, then ever longer steps up to ten years.
const DAILY: u32 = 30;
const STEP: f64 = 1.12;
const FURTHEST_DAYS: f64 = 3650.0;
/// Powers of two by which the hazard may be off before the interval of the probability is said to have no end.
const MOST_DOUBLINGS: u32 = 10;
/// Halvings between two powers of two.
const HALVINGS: u32 = 12;

/// What the advice rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub at: Timestamp,
    pub health: f64,
    pub prognosis: &'a Prognosis,
    pub life: &'a LifeFacts,
    pub modes: &'a [ModeFacts],
    pub facts: &'a AssetFacts,
}

impl Situation<'_> {
    /// Hours until the next planned stop; one that is overdue can be now.
    fn stop_h(&self) -> Option<f64> {
        let at = self.facts.next_stop_at?;
        Some((at.seconds_since(self.at) / 3600.0).max(0.0))
    }

    fn after(&self, hours: f64) -> Timestamp {
        self.at.plus_seconds(hours * 3600.0)
    }
}

pub fn advise(situation: &Situation<'_>) -> Advice {
    let mode = situation
        .prognosis
        .mode
        .and_then(|place| situation.modes.get(place));
    let work = cost::work(mode, situation.modes, situation.facts);
    let month = situation.prognosis.curve.p(MONTH_H);
    match (&work.costs, month) {
        (Ok(costs), Some(month)) => by_cost(situation, &work, *costs, month),
        (Err(missing), _) => rule::advise(situation, &work.name, missing),
        (Ok(_), None) => rule::advise(
            situation,
            &work.name,
            &["a probability of failing: there is no life data and nothing deviates".to_owned()],
        ),
    }
}

/// The three readings of the probability.
struct Readings<'a> {
    low: Timeline<'a>,
    middle: Timeline<'a>,
    high: Timeline<'a>,
}

fn by_cost(situation: &Situation<'_>, work: &Work, costs: Costs, month: Estimate) -> Advice {
    let renewal = situation.life.of_new().and_then(|new| Renewal::new(&new, costs));
    let hours = moments(situation.stop_h(), renewal.is_some());
    let p: Vec<Estimate> = hours
        .iter()
        .map(|hours| failed(situation, renewal, *hours))
        .collect();
    let readings = Readings {
        low: Timeline::new(&hours, p.iter().map(|p| p.low)),
        middle: Timeline::new(&hours, p.iter().map(|p| p.value)),
        high: Timeline::new(&hours, p.iter().map(|p| p.high)),
    };
    let stop = situation
        .stop_h()
        .and_then(|stop| hours.iter().position(|hours| *hours == stop));
    let case = Case { costs, renewal, stop };
    let choice = case.choose(&readings.middle);
    let others = others(&case, &readings.middle, choice);
    let rival = others.iter().find(|other| !other.same_kind(choice)).copied();
    let window = rival.and_then(|rival| window(&case, &readings.middle, choice, rival));
    let (at, span_h, options) = options(situation, &hours, &case, &readings, choice, &others);
    let (p_from, p_to) = probabilities(&case, &readings.middle, choice, month.value);
    let action = choice.action();
    let [action_low, action_high] = [&readings.low, &readings.high]
        .map(|timeline| case.choose(timeline).action())
        .map(|other| (other != action).then(|| other.to_owned()));
    let (cheapest_from, cheapest_to) = match window {
        Some((from, to)) => (
            Some(situation.after(hours[from])),
            to.map(|to| situation.after(hours[to])),
        ),
        None => (None, None),
    };
    let mut advice = Advice {
        action: Some(action.to_owned()),
        text: None,
        at,
        by: cheapest_to,
        cost_of_waiting: Some(month.value * costs.failure),
        cost_of_acting: Some(costs.planned),
        options,
        span_h: Some(span_h),
        runner_up: rival.map(|rival| rival.action().to_owned()),
        cheapest_from,
        cheapest_to,
        p_from,
        p_to,
        action_low,
        action_high,
        missing: Vec::new(),
    };
    advice.text = Some(words::text(situation, work, &case, choice, &advice));
    advice
}

/// Probability of failing within `hours`. Where neither age nor model say how it goes on after what the condition
/// announces, it does as a machine of any age.
fn failed(situation: &Situation<'_>, renewal: Option<Renewal>, hours: f64) -> Estimate {
    let curve = &situation.prognosis.curve;
    let any_age = renewal
        .filter(|_| !curve.goes_on())
        .map_or(0.0, |renewal| hours / renewal.mean_h);
    let hazard = curve.unbounded_hazard(hours).filter(|_| hours > 0.0);
    let p = |pick: fn(&Estimate) -> f64| {
        hazard
            .as_ref()
            .map_or(0.0, |hazard| -(-pick(hazard) - any_age).exp_m1())
    };
    Estimate {
        value: p(|hazard| hazard.value),
        low: p(|hazard| hazard.low.min(hazard.value)),
        high: p(|hazard| hazard.high.max(hazard.value)),
    }
}

/// Moments that are compared, hours from now; the stop is one of them. Without a life of a new one only a month.
fn moments(stop_h: Option<f64>, renewed: bool) -> Vec<f64> {
    let mut days: Vec<f64> = (0..=DAILY).map(f64::from).collect();
    let mut day = f64::from(DAILY);
    while renewed && day < FURTHEST_DAYS {
        day = (day * STEP).round().min(FURTHEST_DAYS);
        days.push(day);
    }
    let mut hours: Vec<f64> = days.iter().map(|day| day * 24.0).collect();
    if let Some(stop) =
        stop_h.filter(|stop| stop.is_finite() && hours.last().is_some_and(|last| stop <= last))
    {
        let place = hours.partition_point(|hours| *hours < stop);
        if hours.get(place) != Some(&stop) {
            hours.insert(place, stop);
        }
    }
    hours
}

/// What else could be done, the cheapest first: the work now or at its best date, at the stop, after the failure.
fn others(case: &Case, timeline: &Timeline<'_>, choice: Choice) -> Vec<Choice> {
    let mut others = vec![Choice::At(0), Choice::RunToFailure];
    others.extend(other_date(case, timeline, choice));
    others.extend(case.stop.map(|_| Choice::Stop));
    others.retain(|other| *other != choice);
    // Beside a date chosen another date says nothing.
    others.retain(|other| !matches!((choice, other), (Choice::At(1..), Choice::At(1..))));
    others.sort_by(|a, b| case.cost(*a, timeline).total_cmp(&case.cost(*b, timeline)));
    others
}

/// A date beside the choice: where now is best, what waiting for a week costs; else the best date, unless it is the later
/// the better.
fn other_date(case: &Case, timeline: &Timeline<'_>, choice: Choice) -> Option<Choice> {
    const WEEK: usize = 7;
    if choice == Choice::At(0) {
        return (WEEK < timeline.len()).then_some(Choice::At(WEEK));
    }
    (1..timeline.len())
        .min_by(|a, b| {
            let cost = |place: usize| case.cost(Choice::At(place), timeline);
            cost(*a).total_cmp(&cost(*b))
        })
        .filter(|place| place + 1 < timeline.len())
        .map(Choice::At)
}

type Described = (Option<Timestamp>, f64, Vec<AdviceOption>);

/// The choice's moment, the hours over which costs are expected, and what was compared.
fn options(
    situation: &Situation<'_>,
    hours: &[f64],
    case: &Case,
    readings: &Readings<'_>,
    choice: Choice,
    others: &[Choice],
) -> Described {
    let all = || std::iter::once(choice).chain(others.iter().copied());
    let rate = case.renewal.map_or(0.0, |renewal| renewal.rate);
    // Costs over one and the same time: what comes after an earlier renewal is in them.
    let longest = all()
        .map(|option| case.run(option, &readings.middle))
        .fold(YEAR_H, f64::max);
    let span_h = if case.renewal.is_some() { longest } else { MONTH_H };
    let after_h = |option: Choice| match option {
        Choice::RunToFailure => None,
        Choice::At(place) => Some(hours[place]),
        Choice::Stop => case.stop.map(|place| hours[place]),
    };
    let moment = |option: Choice| {
        after_h(option)
            .filter(|_| option != Choice::At(0))
            .map(|hours| situation.after(hours))
    };
    // As it is said elsewhere: no surer than what it rests on.
    let p_before = |hours: f64| match hours > 0.0 {
        true => situation.prognosis.curve.p(hours).map(|p| p.value),
        false => None,
    };
    let options = all()
        .map(|option| AdviceOption {
            action: option.action().to_owned(),
            at: moment(option),
            cost: case.cost(option, &readings.middle) + rate * span_h,
            cost_low: case.cost(option, &readings.low) + rate * span_h,
            cost_high: case.cost(option, &readings.high) + rate * span_h,
            p_before: after_h(option).and_then(p_before),
        })
        .collect();
    (moment(choice), span_h, options)
}

/// The moments around the choice's at which it costs no more than `rival`; no end: up to the last one. `None` for
/// running to failure, which has no moment.
fn window(
    case: &Case,
    timeline: &Timeline<'_>,
    choice: Choice,
    rival: Choice,
) -> Option<(usize, Option<usize>)> {
    let (place, work) = match choice {
        Choice::At(place) => (place, case.costs.planned),
        Choice::Stop => (case.stop?, case.costs.at_stop),
        Choice::RunToFailure => return None,
    };
    let most = case.cost(rival, timeline);
    let cheaper = |place: &usize| case.work_at(*place, work, timeline) <= most;
    let from = (0..place).rev().take_while(cheaper).last().unwrap_or(place);
    let to = (place + 1..timeline.len())
        .take_while(cheaper)
        .last()
        .unwrap_or(place);
    Some((from, (to + 1 < timeline.len()).then_some(to)))
}

/// Probabilities of failing within 30 days between which the action stays the cheapest.
fn probabilities(
    case: &Case,
    timeline: &Timeline<'_>,
    choice: Choice,
    month: f64,
) -> (Option<f64>, Option<f64>) {
    let same = |factor: f64| case.choose(&timeline.scaled(factor)).action() == choice.action();
    let end = |factor: f64| {
        let mut kept = 1.0;
        for _ in 0..MOST_DOUBLINGS {
            if !same(kept * factor) {
                let mut step = factor;
                // Between `kept`, which stays, and `kept` · `step`, which doesn't.
                for _ in 0..HALVINGS {
                    step = step.sqrt();
                    if same(kept * step) {
                        kept *= step;
                    }
                }
                return Some(kept);
            }
            kept *= factor;
        }
        None
    };
    if month <= 0.0 || month >= 1.0 {
        return (None, None);
    }
    let p = |factor: f64| -((-month).ln_1p() * factor).exp_m1();
    // An end at which nearly all or none fail is none.
    let within = |p: &f64| (0.001..=0.999).contains(p);
    (end(0.5).map(p).filter(within), end(2.0).map(p).filter(within))
}

#[cfg(test)]
mod tests;
