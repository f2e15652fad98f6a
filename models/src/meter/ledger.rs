//! The readings of a meter that people read, counted from the first to the last.
//!
//! What is kept is what somebody saw on the dial, and the totals are computed from it. A reading that
//! comes late, is corrected or taken back changes the totals after it and nothing else, and the same
//! readings in any order of entry give the same totals.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a person read off or did, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entered {
    /// What the dial showed.
    Absolute(f64),
    /// More by this.
    Delta(f64),
    /// Another meter was put in: the old one's last dial, the new one's first.
    Exchange { last: f64, first: f64 },
}

impl Entered {
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Absolute(_) => "absolute",
            Self::Delta(_) => "delta",
            Self::Exchange { .. } => "exchange",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub at: Timestamp,
    pub entered: Entered,
}

/// A line with what it comes to, in the meter's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    pub at: Timestamp,
    pub total: f64,
    pub delta: f64,
}

/// Why readings can't be counted; each says at which of them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LedgerError {
    #[error("a meter reading is a number from 0")]
    NotANumber,
    #[error(
        "at {at} the meter would run backwards, from {before} to {shown}: correct or void the wrong reading, or enter \
         the exchange of the meter"
    )]
    Backwards { at: Timestamp, before: f64, shown: f64 },
    #[error(
        "up to {at} that is {per_h:.1} an hour, and the meter can do {most}: enter it again with `confirmed` if it is right"
    )]
    Implausible { at: Timestamp, per_h: f64, most: f64 },
    #[error("there is a reading of {at} already: correct that one")]
    Taken { at: Timestamp },
    #[error("the meter has no reading of {at} by a person")]
    NoSuchReading { at: Timestamp },
    #[error("a channel feeds this meter: only a meter that people read can be corrected in the past")]
    FedByChannel,
}

/// How a dial moves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dial {
    /// After this it begins at 0 again.
    pub rollover_at: Option<f64>,
    /// Units an hour.
    pub max_rate_per_h: Option<f64>,
}

/// Counts `lines`, which are in order of time, from `start`. The rate is looked at around `changed`
/// only: the others have been accepted before.
///
/// # Errors
/// See [`LedgerError`].
pub fn recount(
    start: f64,
    lines: &[Line],
    dial: Dial,
    changed: Option<Timestamp>,
) -> Result<Vec<Counted>, LedgerError> {
    let (mut total, mut shown) = (start, start);
    let mut before: Option<Timestamp> = None;
    let mut counted = Vec::with_capacity(lines.len());
    for line in lines {
        let hours = before.map(|before| line.at.seconds_since(before) / 3600.0);
        let number = |value: f64| {
            if value.is_finite() && value >= 0.0 {
                Ok(value)
            } else {
                Err(LedgerError::NotANumber)
            }
        };
        // The way from one dial to the next.
        let step = |from: f64, to: f64| {
            if to >= from {
                return Ok(to - from);
            }
            let over = dial
                .rollover_at
                .filter(|top| *top >= from)
                .map(|top| (top, top - from + to));
            match (over, dial.max_rate_per_h, hours) {
                (Some((_, over)), Some(most), Some(hours)) if over <= most * hours => Ok(over),
                (Some((top, over)), None, _) if from >= 0.9 * top && to <= 0.1 * top => Ok(over),
                _ => Err(LedgerError::Backwards {
                    at: line.at,
                    before: from,
                    shown: to,
                }),
            }
        };
        let delta = match line.entered {
            Entered::Absolute(dial) => {
                let delta = step(shown, number(dial)?)?;
                shown = dial;
                delta
            }
            Entered::Delta(delta) => {
                shown += number(delta)?;
                delta
            }
            Entered::Exchange { last, first } => {
                let delta = step(shown, number(last)?)?;
                shown = number(first)?;
                delta
            }
        };
        let near = changed.is_some_and(|changed| line.at == changed || before == Some(changed));
        if let (true, Some(most), Some(hours)) = (near, dial.max_rate_per_h, hours) {
            let per_h = delta / hours;
            if per_h > most {
                return Err(LedgerError::Implausible {
                    at: line.at,
                    per_h,
                    most,
                });
            }
        }
        total += delta;
        counted.push(Counted {
            at: line.at,
            total,
            delta,
        });
        before = Some(line.at);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(1_750_000_000 + hours * 3600)
    }

    fn line(hours: i64, entered: Entered) -> Line {
        Line {
            at: at(hours),
            entered,
        }
    }

    const DIAL: Dial = Dial {
        rollover_at: Some(10_000.0),
        max_rate_per_h: None,
    };

    #[test]
    fn dials_by_table() {
        use Entered::{Absolute, Delta, Exchange};
        let total = |lines: &[Entered]| {
            let lines: Vec<Line> = (0..)
                .zip(lines)
                .map(|(hour, entered)| line(hour * 24, *entered))
                .collect();
            recount(0.0, &lines, DIAL, None).map(|counted| counted.last().unwrap().total)
        };
        assert_eq!(total(&[Absolute(100.0), Absolute(110.5)]), Ok(110.5));
        assert_eq!(total(&[Absolute(100.0), Delta(0.25), Absolute(101.0)]), Ok(101.0));
        assert_eq!(
            total(&[Absolute(9_990.0), Absolute(15.0)]),
            Ok(10_015.0),
            "over the top"
        );
        let exchanged = [
            Absolute(100.0),
            Exchange {
                last: 120.0,
                first: 3.0,
            },
            Absolute(10.0),
        ];
        assert_eq!(total(&exchanged), Ok(127.0));
        assert!(matches!(
            total(&[Absolute(100.0), Absolute(90.0)]),
            Err(LedgerError::Backwards {
                before: 100.0,
                shown: 90.0,
                ..
            })
        ));
        assert_eq!(total(&[Delta(-1.0)]), Err(LedgerError::NotANumber));
        assert_eq!(total(&[Absolute(f64::NAN)]), Err(LedgerError::NotANumber));
        // With a rate the way over the top must be possible.
        let dial = Dial {
            max_rate_per_h: Some(1.0),
            ..DIAL
        };
        let lines = [line(0, Absolute(9_000.0)), line(24, Absolute(500.0))];
        assert!(matches!(
            recount(0.0, &lines, dial, None),
            Err(LedgerError::Backwards { .. })
        ));
        let lines = [
            line(0, Absolute(10.0)),
            line(24, Absolute(40.0)),
            line(48, Absolute(50.0)),
        ];
        assert!(matches!(
            recount(0.0, &lines, dial, Some(at(24))),
            Err(LedgerError::Implausible { .. })
        ));
        assert!(
            recount(0.0, &lines, dial, Some(at(0))).is_err(),
            "the way out of it counts as well"
        );
        assert!(
            recount(0.0, &lines, dial, Some(at(48))).is_ok(),
            "what was let in before stays"
        );
        assert!(recount(0.0, &lines, dial, None).is_ok(), "confirmed");
    }

    proptest! {
        /// Entered in any order, late ones included, the totals are the same, and only grow.
        #[test]
        fn the_order_of_entry_does_not_matter(
            steps in prop::collection::vec((1i64..100, 0.0..50.0f64), 1..30),
            order in any::<u64>(),
        ) {
            let mut dial = 0.0;
            let mut hour = 0;
            let lines: Vec<Line> = steps.iter().map(|(hours, more)| {
                hour += hours;
                dial += more;
                line(hour, Entered::Absolute(dial))
            }).collect();
            let whole = recount(0.0, &lines, Dial::default(), None).unwrap();
            let mut shuffled = lines.clone();
            shuffled.sort_by_key(|line| (line.at.micros() as u64).wrapping_mul(order | 1));
            let mut known: Vec<Line> = Vec::new();
            let mut last = Vec::new();
            for line in shuffled {
                known.push(line);
                known.sort_by_key(|line| line.at);
                last = recount(0.0, &known, Dial::default(), None).unwrap();
            }
            prop_assert!(last.iter().zip(&whole).all(|(a, b)| (a.total - b.total).abs() < 1e-6));
            prop_assert!(whole.windows(2).all(|pair| pair[0].total <= pair[1].total));
        }
    }
}
