//! How good the predictions were, from what came of them.
//!
//! | counts as | predictions |
//! |---|---|
//! | hit | confirmed prevented or failed; a failure after a planner had dismissed it (the model was right) |
//! | false alarm | no fault or a different fault found; dismissed as a false alarm; expired without a failure |
//! | miss | failures that nothing predicted; a failure after the model had let the prediction expire |
//! | undecided | still open, or accepted and not labelled; inconclusive ones are counted apart |
//!
//! precision = hits / (hits + false alarms), recall = hits / (hits + misses), each with the 95 %
//! interval of Wilson (1927), because there are few of them. Without a decided one there is no number.
//! Calibration compares the probability at publication with how often it came true, in fifths, with the
//! Brier score (1950); it knows only what was published, and counts what was prevented as come true.
//! Lead time runs from publication to the failure, or to the completion of the work that prevented it.
//! The cost avoided is the unplanned part of the downtime: what a repair after a failure would have
//! stood still, less what the planned repair did.

use serde::{Deserialize, Serialize};

use super::{Label, Status};
use crate::time::Timestamp;

/// Share of a repair's downtime that a planned one still costs; the same as advice assumes.
pub const PLANNED_DOWNTIME: f64 = 0.25;

/// One prediction, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub status: Status,
    pub label: Option<Label>,
    pub dismissed_as_false: bool,
    /// At publication.
    pub probability: f64,
    pub opened_at: Timestamp,
    /// When the asset failed, or the work that prevented it was completed.
    pub came_at: Option<Timestamp>,
    /// Hours of a repair after a failure, and the cost of an hour.
    pub downtime: Option<(f64, f64)>,
}

/// What one prediction counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Hit,
    FalseAlarm,
    Miss,
    Inconclusive,
    Undecided,
}

impl Row {
    pub fn verdict(&self) -> Verdict {
        match (self.label, self.status) {
            (Some(Label::ConfirmedPrevented | Label::ConfirmedFailed), _) => Verdict::Hit,
            (Some(Label::MissedAfterDismissal), Status::Expired) => Verdict::Miss,
            (Some(Label::MissedAfterDismissal), _) => Verdict::Hit,
            (Some(Label::DifferentFaultFound | Label::NoFaultFound), _) => Verdict::FalseAlarm,
            (Some(Label::FalseNegative), _) => Verdict::Miss,
            (Some(Label::Inconclusive), _) => Verdict::Inconclusive,
            (None, Status::Expired) => Verdict::FalseAlarm,
            (None, Status::Dismissed) if self.dismissed_as_false => Verdict::FalseAlarm,
            (None, _) => Verdict::Undecided,
        }
    }
}

/// A share with its 95 % interval (Wilson) and what it was taken of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScoreShare))]
pub struct Share {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub of: u32,
}

/// Hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeadTime {
    pub p10_h: f64,
    pub median_h: f64,
    pub p90_h: f64,
}

/// Predictions published with a probability in `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalibrationBin {
    pub from: f64,
    pub to: f64,
    pub predictions: u32,
    pub mean_probability: f64,
    /// Share that came true.
    pub observed: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScoreCard))]
pub struct Card {
    /// Rows that a model published; misses are not among them.
    pub published: u32,
    pub hits: u32,
    pub false_alarms: u32,
    pub misses: u32,
    pub inconclusive: u32,
    pub undecided: u32,
    pub precision: Option<Share>,
    pub recall: Option<Share>,
    pub lead_time: Option<LeadTime>,
    pub calibration: Vec<CalibrationBin>,
    /// Mean squared difference of probability and outcome; 0 = perfect.
    pub brier: Option<f64>,
    /// In the tenant's currency; only of what was prevented.
    pub avoided_cost: f64,
    /// Prevented failures whose cost nobody has entered: they add nothing above.
    pub unpriced: u32,
}

const BINS: usize = 5;

/// Wilson score interval for `hits` of `of`, 95 %.
fn share(hits: u32, of: u32) -> Option<Share> {
    if of == 0 {
        return None;
    }
    const Z: f64 = 1.959_963_985;
    let (n, p) = (f64::from(of), f64::from(hits) / f64::from(of));
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Share {
        value: p,
        low: (middle - half).max(0.0),
        high: (middle + half).min(1.0),
        of,
    })
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

pub fn card(rows: &[Row]) -> Card {
    let mut card = Card::default();
    let mut leads = Vec::new();
    let mut bins = [(0_u32, 0.0, 0_u32); BINS];
    let mut squares = (0_u32, 0.0);
    for row in rows {
        let verdict = row.verdict();
        card.published += u32::from(row.label != Some(Label::FalseNegative));
        match verdict {
            Verdict::Hit => card.hits += 1,
            Verdict::FalseAlarm => card.false_alarms += 1,
            Verdict::Miss => card.misses += 1,
            Verdict::Inconclusive => card.inconclusive += 1,
            Verdict::Undecided => card.undecided += 1,
        }
        if verdict == Verdict::Hit {
            leads.extend(row.came_at.map(|at| at.seconds_since(row.opened_at) / 3600.0));
        }
        if row.label == Some(Label::ConfirmedPrevented) {
            match row.downtime {
                Some((hours, cost)) => card.avoided_cost += (1.0 - PLANNED_DOWNTIME) * hours * cost,
                None => card.unpriced += 1,
            }
        }
        // An expired prediction that a failure followed came true as well, whoever is to blame.
        let came_true = verdict == Verdict::Hit || row.label == Some(Label::MissedAfterDismissal);
        if came_true || verdict == Verdict::FalseAlarm {
            let outcome = f64::from(u8::from(came_true));
            let bin = &mut bins[((row.probability * BINS as f64) as usize).min(BINS - 1)];
            *bin = (bin.0 + 1, bin.1 + row.probability, bin.2 + u32::from(came_true));
            squares = (squares.0 + 1, squares.1 + (row.probability - outcome).powi(2));
        }
    }
    card.precision = share(card.hits, card.hits + card.false_alarms);
    card.recall = share(card.hits, card.hits + card.misses);
    leads.sort_by(f64::total_cmp);
    card.lead_time = (!leads.is_empty()).then(|| LeadTime {
        p10_h: quantile(&leads, 0.1),
        median_h: quantile(&leads, 0.5),
        p90_h: quantile(&leads, 0.9),
    });
    card.calibration = bins
        .iter()
        .enumerate()
        .filter(|(_, (count, ..))| *count > 0)
        .map(|(index, (count, sum, hits))| CalibrationBin {
            from: index as f64 / BINS as f64,
            to: (index + 1) as f64 / BINS as f64,
            predictions: *count,
            mean_probability: sum / f64::from(*count),
            observed: f64::from(*hits) / f64::from(*count),
        })
        .collect();
    card.brier = (squares.0 > 0).then(|| squares.1 / f64::from(squares.0));
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: Status, label: Option<Label>) -> Row {
        Row {
            status,
            label,
            dismissed_as_false: false,
            probability: 0.5,
            opened_at: Timestamp::from_secs(1_750_000_000),
            came_at: None,
            downtime: None,
        }
    }

    #[test]
    fn every_status_and_label_counts_as_the_table_says() {
        for status in Status::ALL {
            for label in Label::ALL.into_iter().map(Some).chain([None]) {
                let expect = match (label, status) {
                    (Some(Label::ConfirmedPrevented | Label::ConfirmedFailed), _) => Verdict::Hit,
                    (Some(Label::MissedAfterDismissal), Status::Expired) => Verdict::Miss,
                    (Some(Label::MissedAfterDismissal), _) => Verdict::Hit,
                    (Some(Label::FalseNegative), _) => Verdict::Miss,
                    (Some(Label::Inconclusive), _) => Verdict::Inconclusive,
                    (Some(Label::NoFaultFound | Label::DifferentFaultFound), _) | (None, Status::Expired) => {
                        Verdict::FalseAlarm
                    }
                    (None, _) => Verdict::Undecided,
                };
                assert_eq!(row(status, label).verdict(), expect, "{status:?} {label:?}");
            }
        }
        let dismissed = Row {
            dismissed_as_false: true,
            ..row(Status::Dismissed, None)
        };
        assert_eq!(dismissed.verdict(), Verdict::FalseAlarm);
    }

    #[test]
    fn without_labels_there_is_no_number() {
        let empty = card(&[row(Status::New, None), row(Status::Accepted, None)]);
        assert_eq!((empty.published, empty.undecided), (2, 2));
        assert_eq!((empty.precision, empty.recall, empty.brier), (None, None, None));
        assert!(empty.lead_time.is_none() && empty.calibration.is_empty());
    }

    #[test]
    fn figures_by_hand() {
        let hit = |hours: f64, probability: f64| Row {
            probability,
            came_at: Some(Timestamp::from_secs(1_750_000_000).plus_seconds(hours * 3600.0)),
            downtime: Some((8.0, 500.0)),
            ..row(Status::Accepted, Some(Label::ConfirmedPrevented))
        };
        let rows = [
            hit(10.0, 0.9),
            hit(20.0, 0.9),
            Row {
                downtime: None,
                ..hit(30.0, 0.7)
            },
            Row {
                probability: 0.3,
                ..row(Status::Accepted, Some(Label::NoFaultFound))
            },
            row(Status::Expired, Some(Label::FalseNegative)),
        ];
        let card = card(&rows);
        assert_eq!(
            (card.published, card.hits, card.false_alarms, card.misses),
            (4, 3, 1, 1)
        );
        let precision = card.precision.unwrap();
        // Wilson's interval for 3 of 4, by hand.
        assert!((precision.value - 0.75).abs() < 1e-12);
        assert!(
            (precision.low - 0.300_64).abs() < 1e-4 && (precision.high - 0.954_41).abs() < 1e-4,
            "{precision:?}"
        );
        assert_eq!(card.recall.unwrap().of, 4);
        assert_eq!(card.lead_time.unwrap().median_h, 20.0);
        assert_eq!((card.avoided_cost, card.unpriced), (2.0 * 0.75 * 4000.0, 1));
        let brier = (0.01 + 0.01 + 0.09 + 0.09) / 4.0;
        assert!((card.brier.unwrap() - brier).abs() < 1e-12);
        let bins: Vec<(u32, f64)> = card
            .calibration
            .iter()
            .map(|bin| (bin.predictions, bin.observed))
            .collect();
        assert_eq!(bins, [(1, 0.0), (1, 1.0), (2, 1.0)]);
    }
}
