//! Parts for work that may come: when to set one aside, and when there are too few.
//!
//! A part with a long lead time has to be thought of early. Waiting costs nothing as long as the part
//! would still come in time; it costs a standstill once it wouldn't. So the probability from which a
//! part is set aside is high while there is time and low when the lead time reaches the time left.

use serde::{Deserialize, Serialize};

use crate::people::words;
use crate::ticket::Gate;

words! {
    /// soft gives way to hard.
    ReservationKind ("reservation_kind") {
        Soft = "soft",
        Hard = "hard",
    }
}

words! {
    ReservationStatus ("reservation_status") {
        Active = "active",
        Consumed = "consumed",
        Released = "released",
    }
}

/// Probability from which a part is set aside in any case.
pub const LIKELY: f64 = 0.5;
/// … and when an ordered one would come too late.
pub const LATE: f64 = 0.15;

/// A prediction and one line of the bill of materials of its failure mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    pub probability: f64,
    /// Days until it is likely to have failed: the pessimistic end of the remaining life, or the horizon.
    pub days_left: f64,
    /// Days from order to delivery. `None` = unknown, and counted as late.
    pub lead_time_days: Option<f64>,
    pub quantity: f64,
    /// On hand less what others have reserved. `None` = nobody keeps the stock of this part.
    pub available: Option<f64>,
}

/// What to do about a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PartAdvice))]
pub struct Advice {
    pub reserve: bool,
    /// How many will be missing; 0 = enough.
    pub missing: f64,
    /// An order placed now would come in time.
    pub can_wait: bool,
    pub reason: String,
}

/// Whether to set a part aside for a prediction.
pub fn advise(need: &Need) -> Advice {
    let late = need.lead_time_days.is_none_or(|lead| lead >= need.days_left);
    let threshold = if late { LATE } else { LIKELY };
    let reserve = need.probability >= threshold;
    let missing = need
        .available
        .map_or(0.0, |available| (need.quantity - available.max(0.0)).max(0.0));
    let lead = need
        .lead_time_days
        .map_or("no known lead time".to_owned(), |lead| {
            format!("{lead:.0} days of lead time")
        });
    let reason = format!(
        "{:.0} % within {:.0} days against {lead}: {} from {:.0} % on",
        100.0 * need.probability,
        need.days_left,
        if reserve { "set aside" } else { "set aside only" },
        100.0 * threshold
    );
    Advice {
        reserve,
        missing: if reserve { missing } else { 0.0 },
        can_wait: !late,
        reason,
    }
}

/// A reserved part of a ticket with what there is of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Covered {
    pub part_number: String,
    pub quantity: f64,
    /// On hand less what was reserved before. `None` = nobody keeps the stock of this part.
    pub available: Option<f64>,
}

/// Whether the parts of a ticket are there.
pub fn gate(parts: &[Covered]) -> Gate {
    if parts.is_empty() {
        return Gate::NotNeeded;
    }
    let short: Vec<String> = parts
        .iter()
        .filter_map(|part| {
            let available = part.available?.max(0.0);
            (available < part.quantity).then(|| {
                format!(
                    "{} of {} ({available} there)",
                    part.quantity - available,
                    part.part_number
                )
            })
        })
        .collect();
    if short.is_empty() {
        Gate::Satisfied
    } else {
        Gate::Missing(format!("get {}", short.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_lead_time_the_sooner_a_part_is_set_aside() {
        let need = Need {
            probability: 0.3,
            days_left: 20.0,
            lead_time_days: Some(5.0),
            quantity: 2.0,
            available: Some(0.5),
        };
        let advice = advise(&need);
        assert!(
            !advice.reserve && advice.can_wait && advice.missing == 0.0,
            "{advice:?}"
        );
        for late in [Some(20.0), Some(60.0), None] {
            let advice = advise(&Need {
                lead_time_days: late,
                ..need
            });
            assert!(advice.reserve && !advice.can_wait, "{advice:?}");
            assert_eq!(advice.missing, 1.5);
        }
        assert!(
            advise(&Need {
                probability: 0.5,
                ..need
            })
            .reserve
        );
        assert!(
            !advise(&Need {
                probability: 0.1,
                lead_time_days: None,
                ..need
            })
            .reserve
        );
        let unknown = advise(&Need {
            probability: 0.9,
            available: None,
            ..need
        });
        assert_eq!(
            (unknown.reserve, unknown.missing),
            (true, 0.0),
            "an unknown stock is no shortage"
        );
        assert_eq!(
            advise(&Need {
                probability: 0.9,
                available: Some(-3.0),
                ..need
            })
            .missing,
            2.0
        );
    }

    #[test]
    fn the_gate_names_what_is_short() {
        let part = |number: &str, quantity, available| Covered {
            part_number: number.into(),
            quantity,
            available,
        };
        assert_eq!(gate(&[]), Gate::NotNeeded);
        assert_eq!(
            gate(&[part("6308", 2.0, Some(2.0)), part("seal", 1.0, None)]),
            Gate::Satisfied
        );
        assert_eq!(
            gate(&[part("6308", 2.0, Some(0.5)), part("seal", 1.0, Some(-1.0))]),
            Gate::Missing("get 1.5 of 6308 (0.5 there), 1 of seal (0 there)".into())
        );
    }
}
