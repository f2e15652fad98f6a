//! The cheapest of: the work now, at a date, at the next planned stop, or after the failure.
//!
//! Work at a moment *t* is expected to cost C(t) = failure · P(t) + work · (1 − P(t)) − g · M(t): it fails before or it
//! doesn't, and every hour that it runs until then (M, the mean of them) puts off the renewal, which is worth the rate *g* at
//! which a new machine costs in the long run. Running to failure is the same without an end. This is age replacement
//! (Barlow and Hunter 1960) conditioned on the present state: the cheapest date is where the hazard reaches
//! g / (failure − work), and with a hazard that doesn't rise there is none. Where nothing is known of a new one's life g is
//! 0, and what is compared is a month.
//!
//! A stop that takes place anyway is cheaper. It is taken before a later date only if fewer machines fail an hour under
//! the long-run policy than fail between the stop and that date: else dearer failures would make the life that the
//! stop throws away dearer too, and a higher consequence could put off the work. With this a higher consequence or a cheaper
//! repair never does (tested).

use super::cost::{Costs, Renewal};

/// From this probability of having failed on there is nothing to compare any more but rounding.
const NEARLY_ALL: f64 = 1.0 - 1e-6;

/// Probability of failing until each of the moments, and the mean of the hours run until then.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline<'a> {
    /// Hours from now, ascending; the first is 0.
    hours: &'a [f64],
    p: Vec<f64>,
    run: Vec<f64>,
}

impl<'a> Timeline<'a> {
    /// `p` is brought into order: a bound need not rise by itself.
    pub fn new(hours: &'a [f64], p: impl IntoIterator<Item = f64>) -> Self {
        let mut most = 0.0_f64;
        let p: Vec<f64> = p
            .into_iter()
            .map(|p| {
                most = most.max(p.clamp(0.0, 1.0));
                most
            })
            .collect();
        let mut run = Vec::with_capacity(p.len());
        let mut sum = 0.0;
        for place in 0..p.len() {
            if place > 0 {
                let mean = 1.0 - (p[place] + p[place - 1]) / 2.0;
                sum += mean * (hours[place] - hours[place - 1]);
            }
            run.push(sum);
        }
        Self { hours, p, run }
    }

    /// The same with `factor` times the hazard.
    pub fn scaled(&self, factor: f64) -> Self {
        Self::new(
            self.hours,
            self.p.iter().map(|p| -((-p).ln_1p() * factor).exp_m1()),
        )
    }

    pub fn p(&self, place: usize) -> f64 {
        self.p.get(place).copied().unwrap_or(0.0)
    }

    pub fn run(&self, place: usize) -> f64 {
        self.run.get(place).copied().unwrap_or(0.0)
    }

    pub fn len(&self) -> usize {
        self.p.len()
    }

    pub fn is_empty(&self) -> bool {
        self.p.is_empty()
    }

    fn last(&self) -> usize {
        self.p.len().saturating_sub(1)
    }

    /// Mean of the hours run to the failure: beyond the last moment as the hazard was there, and no longer than a new one.
    fn run_to_failure(&self, mean_h: f64) -> f64 {
        let last = self.last();
        let hazard = last.checked_sub(1).map_or(0.0, |before| {
            let survived = (1.0 - self.p(last)) / (1.0 - self.p(before)).max(f64::MIN_POSITIVE);
            -survived.max(f64::MIN_POSITIVE).ln() / (self.hours[last] - self.hours[before])
        });
        let rest = if hazard > 0.0 {
            mean_h.min(1.0 / hazard)
        } else {
            mean_h
        };
        self.run(last) + (1.0 - self.p(last)) * rest
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// At a stop of its own at this moment; the first is now.
    At(usize),
    Stop,
    RunToFailure,
}

impl Choice {
    pub const fn action(self) -> &'static str {
        match self {
            Self::At(0) => "now",
            Self::At(_) => "date",
            Self::Stop => "next_stop",
            Self::RunToFailure => "run_to_failure",
        }
    }

    /// Now and a date are one kind: the work at a stop of its own.
    pub const fn same_kind(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::At(_), Self::At(_)) | (Self::Stop, Self::Stop) | (Self::RunToFailure, Self::RunToFailure)
        )
    }
}

/// What there is to choose between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub costs: Costs,
    pub renewal: Option<Renewal>,
    /// The moment of the next planned stop.
    pub stop: Option<usize>,
}

impl Case {
    fn rate(&self) -> f64 {
        self.renewal.map_or(0.0, |renewal| renewal.rate)
    }

    /// Hours that the machine is expected to run until it is renewed.
    pub fn run(&self, choice: Choice, timeline: &Timeline<'_>) -> f64 {
        match (choice, self.renewal, self.stop) {
            (Choice::At(place), ..) | (Choice::Stop, _, Some(place)) => timeline.run(place),
            (Choice::RunToFailure, Some(renewal), _) => timeline.run_to_failure(renewal.mean_h),
            _ => timeline.run(timeline.last()),
        }
    }

    /// Expected cost, less what the hours until the renewal are worth. Only differences mean anything.
    pub fn cost(&self, choice: Choice, timeline: &Timeline<'_>) -> f64 {
        let Costs {
            planned,
            at_stop,
            failure,
        } = self.costs;
        match (choice, self.stop, self.renewal) {
            (Choice::At(place), ..) => self.work_at(place, planned, timeline),
            (Choice::Stop, Some(place), _) => self.work_at(place, at_stop, timeline),
            (Choice::Stop, None, _) => f64::INFINITY,
            (Choice::RunToFailure, _, Some(renewal)) => {
                failure - renewal.rate * timeline.run_to_failure(renewal.mean_h)
            }
            // It may as well not fail within the time compared.
            (Choice::RunToFailure, _, None) => failure * timeline.p(timeline.last()),
        }
    }

    /// Work that costs `work`, done at that moment.
    pub fn work_at(&self, place: usize, work: f64, timeline: &Timeline<'_>) -> f64 {
        let p = timeline.p(place);
        self.costs.failure * p + work * (1.0 - p) - self.rate() * timeline.run(place)
    }

    /// The best moment of its own, or none.
    pub fn own(&self, timeline: &Timeline<'_>) -> Choice {
        // A date at which hardly any is left to work on is not one.
        let own = (0..timeline.len())
            .filter(|place| *place == 0 || timeline.p(*place) <= NEARLY_ALL)
            .map(Choice::At);
        let mut best = (Choice::At(0), f64::INFINITY);
        for choice in own.chain([Choice::RunToFailure]) {
            let cost = self.cost(choice, timeline);
            if cost < best.1 {
                best = (choice, cost);
            }
        }
        best.0
    }

    pub fn choose(&self, timeline: &Timeline<'_>) -> Choice {
        let own = self.own(timeline);
        let Some(stop) = self.stop.filter(|stop| timeline.p(*stop) <= NEARLY_ALL) else {
            return own;
        };
        let until = match own {
            Choice::At(place) => place,
            _ => timeline.last(),
        };
        let failures_per_h = self.renewal.map_or(0.0, |renewal| renewal.failures_per_h);
        let mut later = (stop + 1..=until)
            .map(|place| {
                (
                    timeline.p(place) - timeline.p(stop),
                    timeline.run(place) - timeline.run(stop),
                )
            })
            .chain(
                (own == Choice::RunToFailure)
                    .then(|| self.beyond_stop(stop, timeline))
                    .flatten(),
            );
        let worn = later.all(|(p, run)| p >= failures_per_h * run);
        if worn && self.cost(Choice::Stop, timeline) < self.cost(own, timeline) {
            Choice::Stop
        } else {
            own
        }
    }

    fn beyond_stop(&self, from: usize, timeline: &Timeline<'_>) -> Option<(f64, f64)> {
        let renewal = self.renewal?;
        let run = timeline.run_to_failure(renewal.mean_h) - timeline.run(from);
        Some((1.0 - timeline.p(from), run))
    }
}
