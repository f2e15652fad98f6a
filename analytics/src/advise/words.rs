//! Advice in words.

use std::fmt::Write as _;

use models::assessment::{Advice, percent};

use super::Situation;
use super::choose::{Case, Choice};
use super::cost::Work;
use crate::detect::short;
use crate::health::duration;

/// Further away than this a date is nothing to do.
const SOON_H: f64 = 24.0 * 90.0;

pub fn text(situation: &Situation<'_>, work: &Work, case: &Case, choice: Choice, advice: &Advice) -> String {
    let until =
        |at: Option<models::time::Timestamp>| at.map_or(0.0, |at| at.seconds_since(situation.at) / 3600.0);
    let stop = situation.facts.next_stop.as_deref().unwrap_or("a plan");
    let name = &work.name;
    let away = until(advice.at);
    let mut text = match choice {
        Choice::At(0) => format!("{name} now"),
        Choice::At(_) if away > SOON_H => format!("run on: {name} is cheapest in about {}", duration(away)),
        Choice::At(_) => format!("{name} in about {}", duration(away)),
        Choice::Stop if away <= 0.0 => format!("{name} together with {stop}, which is due"),
        Choice::Stop => format!("{name} at the next planned stop, {stop} in {}", duration(away)),
        Choice::RunToFailure => format!("run to failure{}", why(case)),
    };
    if let (Some(own), Some(span_h)) = (advice.options.first(), advice.span_h) {
        let _ = write!(text, ": {} expected over {}", short(own.cost), duration(span_h));
        let rival = advice
            .options
            .iter()
            .find(|option| Some(&option.action) == advice.runner_up.as_ref());
        if let Some(rival) = rival {
            let _ = write!(text, ", {} {}", short(rival.cost), option_words(&rival.action));
        }
    }
    if let (Choice::At(_) | Choice::Stop, Some(to)) = (choice, advice.cheapest_to) {
        let from = until(advice.cheapest_from);
        let to = until(Some(to));
        let _ = match (from > 0.0, to > from) {
            (true, true) => write!(
                text,
                "; cheaper than that between {} and {} from now",
                duration(from),
                duration(to)
            ),
            (false, true) => write!(text, "; cheaper than that for {} from now", duration(to)),
            _ => write!(text, "; cheaper than that at that moment only"),
        };
    }
    let range = match (advice.p_from, advice.p_to) {
        (Some(from), Some(to)) => Some(format!("between {} and {} %", percent(from), percent(to))),
        (Some(from), None) => Some(format!("above {} %", percent(from))),
        (None, Some(to)) => Some(format!("below {} %", percent(to))),
        (None, None) => None,
    };
    if let Some(range) = range {
        let _ = write!(
            text,
            "; stays the cheapest while the probability of failing within 30 days is {range}"
        );
    }
    let ends: Vec<String> = [("low", &advice.action_low), ("high", &advice.action_high)]
        .into_iter()
        .filter_map(|(end, action)| Some(format!("at the {end} end {}", option_words(action.as_deref()?))))
        .collect();
    if !ends.is_empty() {
        let _ = write!(
            text,
            "; uncertain: with the probability {} would be the cheapest",
            ends.join(", ")
        );
    }
    match case.renewal {
        None => text.push_str("; nothing is known of the life of a new one, so that 30 days are compared"),
        Some(renewal) if renewal.shape_low.is_some_and(|low| low <= 1.0) && renewal.shape > 1.0 => {
            let _ = write!(
                text,
                "; that it wears out at all isn't shown (shape {}, possibly {})",
                short(renewal.shape),
                short(renewal.shape_low.unwrap_or(renewal.shape))
            );
        }
        Some(_) => {}
    }
    if let Some(note) = &work.note {
        let _ = write!(text, "; {note}");
    }
    text
}

fn why(case: &Case) -> String {
    match case.renewal {
        _ if case.costs.failure <= case.costs.planned => ", which costs no more than planned work".to_owned(),
        Some(renewal) if renewal.shape <= 1.0 => format!(
            ", because it doesn't wear out (shape {}): a new one fails as soon",
            short(renewal.shape)
        ),
        _ => String::new(),
    }
}

fn option_words(action: &str) -> &'static str {
    match action {
        "now" => "now",
        "next_stop" => "at the next planned stop",
        "date" => "at a date",
        _ => "running to failure",
    }
}
