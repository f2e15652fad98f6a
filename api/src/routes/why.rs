//! Whether a sign has a ticket, and why not: the same answer for alarms and predictions, as a word for
//! programs and a sentence for people.

use models::alarm::Condition;
use models::db::alarm::AlarmView;
use models::db::dispatch::{self, DecisionRow, Outcome};
use models::db::prediction::PredictionView;
use models::id::TicketId;
use models::prediction::Status;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

/// Whether there is a ticket for it, and why not.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TicketAnswer {
    /// `created`, `attached`, `reopened`: there is one. `suppressed`, `cool_down`, `below_policy`,
    /// `asset_not_in_service`, `dismissed`, `snoozed`, `expired`, `never_raised`: there is none. `pending`,
    /// `undecided`: nothing was decided yet.
    #[schema(example = "cool_down")]
    pub code: &'static str,
    #[schema(
        example = "Ticket #12 for the same cause was completed 2.0 h ago: within 24 h no new one is made."
    )]
    pub reason: String,
    pub ticket_id: Option<TicketId>,
    /// Nothing can change it any more.
    pub last_word: bool,
}

const MOST: i64 = 20;

async fn newest(db: &mut PgConnection, subject: &str) -> Result<Option<DecisionRow>, sqlx::Error> {
    let all = dispatch::decisions(db, None, None, Some(subject), None, MOST).await?;
    // One with a ticket outlives what was said before it and while it was worked on.
    let with_ticket = |row: &DecisionRow| {
        matches!(
            row.outcome,
            Outcome::Created | Outcome::Attached | Outcome::Reopened
        )
    };
    let best = all.iter().position(with_ticket).unwrap_or(0);
    Ok(all.into_iter().nth(best))
}

/// Of an alarm.
///
/// # Errors
/// When the database does.
pub async fn of_alarm(db: &mut PgConnection, row: &AlarmView) -> Result<TicketAnswer, sqlx::Error> {
    Ok(alarm(row, newest(db, &row.id.to_string()).await?))
}

/// Of a prediction.
///
/// # Errors
/// When the database does.
pub async fn of_prediction(db: &mut PgConnection, row: &PredictionView) -> Result<TicketAnswer, sqlx::Error> {
    Ok(prediction(row, newest(db, &row.id.to_string()).await?))
}

fn said(decision: DecisionRow, last_word: bool) -> TicketAnswer {
    TicketAnswer {
        code: decision.outcome.name(),
        reason: decision.reason,
        ticket_id: decision.ticket_id,
        last_word,
    }
}

fn none(code: &'static str, reason: impl Into<String>, last_word: bool) -> TicketAnswer {
    TicketAnswer {
        code,
        reason: reason.into(),
        ticket_id: None,
        last_word,
    }
}

fn alarm(row: &AlarmView, decision: Option<DecisionRow>) -> TicketAnswer {
    match (decision, row.active_at, row.condition) {
        (Some(decision), ..) => said(decision, row.dispatched_at.is_some()),
        (None, None, Condition::Inactive) => none(
            "never_raised",
            "It was back to normal before its on-delay and number of samples were reached.",
            true,
        ),
        (None, None, _) => none(
            "pending",
            "It is beyond the limit, but not yet for the rule's on-delay and number of samples.",
            false,
        ),
        (None, Some(_), _) => none(
            "undecided",
            "The dispatcher has not looked at it yet: it does within seconds, once the group wait is over.",
            false,
        ),
    }
}

fn prediction(row: &PredictionView, decision: Option<DecisionRow>) -> TicketAnswer {
    // What a person or time has decided is newer than what dispatch said when it was published.
    match row.status {
        Status::Accepted | Status::Attached => {
            let code = if row.status == Status::Accepted {
                "created"
            } else {
                "attached"
            };
            let reason = decision
                .filter(|decision| decision.ticket_id == row.ticket_id)
                .map_or_else(
                    || "A planner has agreed: its ticket covers it.".to_owned(),
                    |decision| decision.reason,
                );
            TicketAnswer {
                code,
                reason,
                ticket_id: row.ticket_id,
                last_word: true,
            }
        }
        Status::Dismissed => {
            let reason = row.dismiss_reason.as_deref().unwrap_or("no reason was given");
            none("dismissed", format!("It was dismissed: {reason}."), true)
        }
        Status::Expired => none(
            "expired",
            "Its probability fell again, or its time passed, before anybody had decided on it.",
            true,
        ),
        Status::Snoozed => none("snoozed", snoozed(row), false),
        Status::New | Status::InReview => decision.map_or_else(
            || {
                none(
                    "undecided",
                    "The dispatcher has not looked at it yet: it does within seconds.",
                    false,
                )
            },
            |decision| said(decision, false),
        ),
    }
}

fn snoozed(row: &PredictionView) -> String {
    let mut until = Vec::new();
    if let Some(moment) = row.snoozed_until {
        until.push(format!("until {moment}"));
    }
    if let Some(above) = row.snooze_above {
        until.push(format!("until it is above {:.0} %", above * 100.0));
    }
    if row.snooze_shutdown {
        until.push("until the asset stands still".to_owned());
    }
    format!("It is snoozed {}.", until.join(", or "))
}
