//! Messages to people: who is told, when, and in how many pieces.
//!
//! A rule has a floor (the least severity it tells of), quiet hours on its reader's clocks, a digest
//! that gathers for some minutes, and a severity that breaks through both. [`plan`] says when one event
//! is due; lines that are due together leave as one message ([`message`]).

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::alarm::Severity;
use crate::time::Timestamp;

/// Why a rule's times can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("`{0}` is not a time of day: give one such as 22:00")]
    NotATime(String),
    #[error("`{0}` is not a time zone: give an IANA name such as Europe/Berlin")]
    NoSuchZone(String),
    #[error("quiet hours that begin and end at {0} would be all day or never: give two times")]
    Empty(String),
}

/// When a rule's reader wants to be told.
#[derive(Clone, Debug)]
pub struct Timing {
    zone: TimeZone,
    quiet: Option<(Time, Time)>,
    digest_minutes: i32,
    min_severity: Severity,
    break_through: Severity,
}

/// What to do with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Timestamp,
    /// Why not at once.
    pub held_for: Option<&'static str>,
}

impl Timing {
    /// # Errors
    /// Names the time or zone that can't be used.
    pub fn new(
        zone: &str,
        quiet: Option<(&str, &str)>,
        digest_minutes: i32,
        min_severity: Severity,
        break_through: Severity,
    ) -> Result<Self, RuleError> {
        let quiet = match quiet {
            Some((from, to)) if from == to => return Err(RuleError::Empty(from.to_owned())),
            Some((from, to)) => Some((time(from)?, time(to)?)),
            None => None,
        };
        Ok(Self {
            zone: TimeZone::get(zone).map_err(|_| RuleError::NoSuchZone(zone.to_owned()))?,
            quiet,
            digest_minutes,
            min_severity,
            break_through,
        })
    }
}

fn time(text: &str) -> Result<Time, RuleError> {
    let bad = || RuleError::NotATime(text.to_owned());
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<i8>().map_err(|_| bad());
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| bad())
}

/// When an event is due. `None` = the reader doesn't want it.
pub fn plan(timing: &Timing, severity: Severity, now: Timestamp) -> Option<Due> {
    if severity < timing.min_severity {
        return None;
    }
    if severity >= timing.break_through {
        return Some(Due {
            at: now,
            held_for: None,
        });
    }
    let mut due = Due {
        at: now,
        held_for: None,
    };
    if timing.digest_minutes > 0 {
        // Slots since the epoch: every process and every restart has the same ones.
        let slot = i64::from(timing.digest_minutes) * 60_000_000;
        due = Due {
            at: Timestamp::from_micros((now.micros().div_euclid(slot) + 1).saturating_mul(slot)),
            held_for: Some("digest"),
        };
    }
    match quiet_until(timing, due.at) {
        Some(at) => Some(Due {
            at,
            held_for: Some("quiet hours"),
        }),
        None => Some(due),
    }
}

/// The end of the quiet hours that `at` lies in.
fn quiet_until(timing: &Timing, at: Timestamp) -> Option<Timestamp> {
    let (from, to) = timing.quiet?;
    let local = at.to_jiff().to_zoned(timing.zone.clone());
    let clock = local.time();
    let over_midnight = to < from;
    let day = match (over_midnight, clock >= from, clock < to) {
        (false, true, true) | (true, _, true) => local.date(),
        (true, true, _) => local.date().tomorrow().ok()?,
        _ => return None,
    };
    let end = day.to_datetime(to).to_zoned(timing.zone.clone()).ok()?;
    // A change of the clocks may put the end before the moment itself: then it is over.
    let end = Timestamp::from_jiff(end.timestamp());
    (end > at).then_some(end)
}

/// How much an event matters, from what it says. Events without a severity are information.
pub fn severity_of(kind: &str, data: &serde_json::Value) -> Severity {
    let given = |field: &str| serde_json::from_value(data.get(field)?.clone()).ok();
    if let Some(severity) = given("severity") {
        return severity;
    }
    let of_priority = match data.get("priority").and_then(serde_json::Value::as_str) {
        Some("critical") => Some(Severity::Critical),
        Some("high") => Some(Severity::Serious),
        Some("medium") => Some(Severity::Warning),
        Some(_) => Some(Severity::Info),
        None => None,
    };
    match kind {
        "ticket.sla_breached" => of_priority.unwrap_or(Severity::Serious).max(Severity::Serious),
        "ticket.sla_warning" | "part.shortage_predicted" | "prediction.opened" => {
            of_priority.unwrap_or(Severity::Warning).max(Severity::Warning)
        }
        "webhook.disabled" => Severity::Serious,
        _ => of_priority.unwrap_or(Severity::Info),
    }
}

/// Subject and text of one message from its lines, the worst first.
pub fn message(lines: &[(Severity, String)]) -> (String, String) {
    let mut sorted: Vec<&(Severity, String)> = lines.iter().collect();
    sorted.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let first = sorted.first().map_or("", |(_, line)| line.as_str());
    let first: String = first
        .chars()
        .filter(|letter| !letter.is_control())
        .take(120)
        .collect();
    let subject = match sorted.len() {
        0 | 1 => format!("Forewarn: {first}"),
        more => format!("Forewarn: {first} (and {} more)", more - 1),
    };
    let text = sorted
        .iter()
        .map(|(severity, line)| {
            let word = match severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Serious => "serious",
                Severity::Critical => "CRITICAL",
            };
            format!("[{word}] {line}\n")
        })
        .collect();
    (subject, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn timing(quiet: Option<(&str, &str)>, digest: i32) -> Timing {
        Timing::new(
            "Europe/Berlin",
            quiet,
            digest,
            Severity::Warning,
            Severity::Critical,
        )
        .unwrap()
    }

    fn due(timing: &Timing, severity: Severity, now: &str) -> Option<(String, Option<&'static str>)> {
        plan(timing, severity, at(now)).map(|due| (due.at.to_string(), due.held_for))
    }

    #[test]
    fn nights_are_quiet_unless_it_is_critical() {
        let night = timing(Some(("22:00", "06:00")), 0);
        assert_eq!(
            due(&night, Severity::Info, "2026-01-10T12:00:00Z"),
            None,
            "below the floor"
        );
        let now = |text: &str, severity| due(&night, severity, text).unwrap();
        assert_eq!(
            now("2026-01-10T12:00:00Z", Severity::Serious),
            ("2026-01-10T12:00:00Z".into(), None)
        );
        let held = ("2026-01-11T05:00:00Z".to_owned(), Some("quiet hours"));
        assert_eq!(now("2026-01-10T21:00:00Z", Severity::Serious), held);
        assert_eq!(now("2026-01-11T04:59:59Z", Severity::Serious), held);
        assert_eq!(now("2026-01-11T05:00:00Z", Severity::Serious).1, None);
        assert_eq!(now("2026-01-10T23:00:00Z", Severity::Critical).1, None);
        // Over the change of the clocks the wall decides.
        assert_eq!(
            now("2026-03-28T23:00:00Z", Severity::Serious).0,
            "2026-03-29T04:00:00Z"
        );
        let noon = timing(Some(("12:00", "13:00")), 0);
        assert_eq!(
            due(&noon, Severity::Warning, "2026-01-10T11:30:00Z").unwrap().0,
            "2026-01-10T12:00:00Z"
        );
        assert_eq!(
            due(&noon, Severity::Warning, "2026-01-10T12:30:00Z").unwrap().1,
            None
        );
    }

    #[test]
    fn a_digest_gathers_and_waits_for_the_morning() {
        let quarter = timing(Some(("22:00", "06:00")), 15);
        let due = |text| due(&quarter, Severity::Warning, text).unwrap();
        assert_eq!(
            due("2026-01-10T12:01:00Z"),
            ("2026-01-10T12:15:00Z".into(), Some("digest"))
        );
        assert_eq!(due("2026-01-10T12:14:59Z").0, "2026-01-10T12:15:00Z");
        assert_eq!(
            due("2026-01-10T20:55:00Z"),
            ("2026-01-11T05:00:00Z".into(), Some("quiet hours"))
        );
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let new = |zone, quiet| Timing::new(zone, quiet, 0, Severity::Info, Severity::Critical).unwrap_err();
        assert_eq!(
            new("Mars/Olympus", None),
            RuleError::NoSuchZone("Mars/Olympus".into())
        );
        assert_eq!(
            new("UTC", Some(("22", "06:00"))),
            RuleError::NotATime("22".into())
        );
        assert_eq!(
            new("UTC", Some(("22:00", "22:00"))),
            RuleError::Empty("22:00".into())
        );
    }

    #[test]
    fn lines_become_one_message() {
        let one = [(Severity::Warning, "oil\r\nBcc: x".to_owned())];
        assert_eq!(
            message(&one).0,
            "Forewarn: oilBcc: x",
            "no line break gets into a header"
        );
        let two = [
            (Severity::Warning, "oil".to_owned()),
            (Severity::Critical, "fire".to_owned()),
        ];
        let (subject, text) = message(&two);
        assert_eq!(subject, "Forewarn: fire (and 1 more)");
        assert_eq!(text, "[CRITICAL] fire\n[warning] oil\n");
    }

    #[test]
    fn an_event_says_how_much_it_matters() {
        let of = |kind, data| severity_of(kind, &data);
        assert_eq!(
            of("alarm.raised", json!({ "severity": "critical" })),
            Severity::Critical
        );
        assert_eq!(
            of("ticket.created", json!({ "priority": "high" })),
            Severity::Serious
        );
        assert_eq!(
            of("ticket.sla_breached", json!({ "priority": "low" })),
            Severity::Serious
        );
        assert_eq!(of("ticket.commented", json!({})), Severity::Info);
    }

    proptest! {
        /// Never before now, never within quiet hours, never lost.
        #[test]
        fn it_is_always_due_some_time(
            seconds in 1_770_000_000_i64..1_802_000_000, from in 0..24_i8, to in 0..24_i8, digest in 0..120_i32,
        ) {
            prop_assume!(from != to);
            let (from, to) = (format!("{from:02}:30"), format!("{to:02}:30"));
            let timing = timing(Some((&from, &to)), digest);
            let now = Timestamp::from_secs(seconds);
            let due = plan(&timing, Severity::Serious, now).unwrap();
            prop_assert!(due.at >= now);
            prop_assert!(quiet_until(&timing, due.at).is_none(), "{due:?}");
            prop_assert!(due.at.seconds_since(now) <= 26.0 * 3600.0 + f64::from(digest) * 60.0);
        }
    }
}
