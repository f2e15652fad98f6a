//! Who can do a job, and why the others can't.
//!
//! [`judge`] looks at one person and one job and gives every reason at once, for and against. The same
//! function proposes people and guards the assignment, so that what is proposed can be assigned.

use serde::{Deserialize, Serialize};

use crate::id::{SiteId, UserId};
use crate::interval::{Span, covers, subtract, union};
use crate::ticket::Missing;
use crate::time::Timestamp;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($sql:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "db", derive(sqlx::Type), sqlx(type_name = $sql, rename_all = "snake_case"))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// `None` = none of its words.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a technician can do.
    Skill ("technician_skill") {
        Electricity = "electricity",
        Hvac = "hvac",
        Plumbing = "plumbing",
        General = "general",
        IotInstall = "iot_install",
    }
}

words! {
    /// What a stretch of a roster is. Everything but `working` makes unavailable, also over a working one.
    ShiftKind ("shift_kind") {
        Working = "working",
        DayOff = "day_off",
        SickLeave = "sick_leave",
        Vacation = "vacation",
    }
}

words! {
    QualificationKind ("qualification_kind") {
        Certification = "certification",
        Training = "training",
    }
}

words! {
    /// Only `passed` counts.
    QualificationStatus ("qualification_status") {
        Assigned = "assigned",
        InProgress = "in_progress",
        Passed = "passed",
        Failed = "failed",
    }
}

/// What a job asks of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub site: SiteId,
    /// When it is planned. `None` = not yet, and then time can't speak against anybody.
    pub window: Option<Span>,
    pub skills: Vec<Skill>,
    /// Codes of certifications and trainings.
    pub qualifications: Vec<String>,
}

/// A licence or training that somebody holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub code: String,
    pub status: QualificationStatus,
    pub valid_from: Timestamp,
    pub valid_until: Option<Timestamp>,
}

/// Work that somebody is already assigned to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Booked {
    pub ticket: i32,
    pub span: Span,
}

/// One technician with what speaks for and against him.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub user: UserId,
    pub name: String,
    pub active: bool,
    pub skills: Vec<Skill>,
    /// `None` = at home everywhere.
    pub home: Option<SiteId>,
    pub floating: bool,
    pub shifts: Vec<(ShiftKind, Span)>,
    pub qualifications: Vec<Held>,
    pub booked: Vec<Booked>,
}

/// What came of looking at a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AssignmentVerdict))]
pub struct Verdict {
    pub user_id: UserId,
    pub name: String,
    pub fit: bool,
    /// Of the floating pool: asked after the site's own people.
    pub from_pool: bool,
    /// What speaks for him.
    pub reasons: Vec<String>,
    /// What stands against him, each with what would help.
    pub refusals: Vec<Missing>,
    /// Hours he is booked for in the seven days around the job.
    #[cfg_attr(feature = "openapi", schema(example = 12.5))]
    pub booked_h: f64,
}

/// Everything for and against one person for one job.
pub fn judge(job: &Job, who: &Candidate) -> Verdict {
    let mut reasons = Vec::new();
    let mut refusals = Vec::new();
    let mut refuse = |code: &str, detail: String| {
        refusals.push(Missing {
            code: format!("assignee.{code}"),
            detail,
        });
    };
    if !who.active {
        refuse(
            "inactive",
            format!("{} no longer works here: name somebody else", who.name),
        );
    }
    let local = who.home.is_none_or(|home| home == job.site);
    match (local, who.floating) {
        (true, _) => reasons.push("belongs to the site".to_owned()),
        (false, true) => reasons.push("belongs to the floating pool".to_owned()),
        (false, false) => refuse(
            "site",
            format!(
                "{} belongs to another site and not to the floating pool",
                who.name
            ),
        ),
    }
    for skill in &job.skills {
        if who.skills.contains(skill) {
            reasons.push(format!("has the skill {skill}"));
        } else {
            refuse("skill", format!("{} lacks the skill {skill}", who.name));
        }
    }
    qualifications(job, who, &mut reasons, &mut refuse);
    if let Some(window) = job.window {
        availability(window, who, &mut reasons, &mut refuse);
    }
    let booked_h = job.window.map_or(0.0, |window| {
        let half_week = 3.5 * 86_400.0;
        let around = Span::new(
            window.start.plus_seconds(-half_week),
            window.end.plus_seconds(half_week),
        );
        who.booked
            .iter()
            .filter(|booked| booked.span.overlaps(around))
            .map(|booked| booked.span.seconds() / 3600.0)
            .sum()
    });
    Verdict {
        user_id: who.user,
        name: who.name.clone(),
        fit: refusals.is_empty(),
        from_pool: !local && who.floating,
        reasons,
        refusals,
        booked_h,
    }
}

fn qualifications(
    job: &Job,
    who: &Candidate,
    reasons: &mut Vec<String>,
    refuse: &mut impl FnMut(&str, String),
) {
    for code in &job.qualifications {
        let held: Vec<&Held> = who
            .qualifications
            .iter()
            .filter(|held| held.code == *code)
            .collect();
        let passed = held
            .iter()
            .filter(|held| held.status == QualificationStatus::Passed)
            .max_by_key(|held| held.valid_until.unwrap_or(Timestamp::MAX));
        let Some(passed) = passed else {
            let detail = match held.first() {
                Some(held) => format!("{}: {code} is {}, not passed", who.name, held.status),
                None => format!("{} does not hold {code}", who.name),
            };
            refuse("qualification", detail);
            continue;
        };
        // Through the planned end: a licence that ends in the middle of the job is none.
        let until = passed.valid_until.unwrap_or(Timestamp::MAX);
        match job.window {
            Some(window) if passed.valid_from > window.start => refuse(
                "qualification",
                format!("{}: {code} is valid from {} only", who.name, passed.valid_from),
            ),
            Some(window) if until < window.end => refuse(
                "qualification",
                format!(
                    "{}: {code} is valid until {until}, and the work ends at {}: renew it or plan earlier",
                    who.name, window.end
                ),
            ),
            _ => reasons.push(format!("{code} is valid")),
        }
    }
}

fn availability(
    window: Span,
    who: &Candidate,
    reasons: &mut Vec<String>,
    refuse: &mut impl FnMut(&str, String),
) {
    let of = |working: bool| {
        union(
            who.shifts
                .iter()
                .filter(|(kind, _)| (*kind == ShiftKind::Working) == working)
                .map(|(_, span)| *span)
                .collect(),
        )
    };
    let absent = who
        .shifts
        .iter()
        .find(|(kind, span)| *kind != ShiftKind::Working && span.overlaps(window));
    let working = of(true);
    if let Some((kind, span)) = absent {
        let kind = kind.name().replace('_', " ");
        refuse(
            "absent",
            format!(
                "{} is away ({kind}) from {} to {}",
                who.name, span.start, span.end
            ),
        );
    } else if covers(&subtract(&working, &of(false)), window) {
        reasons.push("works in the planned time".to_owned());
    } else {
        refuse(
            "shift",
            format!(
                "{} has no working shift over all of {} to {}",
                who.name, window.start, window.end
            ),
        );
    }
    for booked in who.booked.iter().filter(|booked| booked.span.overlaps(window)) {
        refuse(
            "overlap",
            format!(
                "{} is on #{} from {} to {}",
                who.name, booked.ticket, booked.span.start, booked.span.end
            ),
        );
    }
}

/// All candidates, the best first: fit before unfit, own people before the pool, the least booked first.
pub fn propose(job: &Job, candidates: &[Candidate]) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = candidates.iter().map(|who| judge(job, who)).collect();
    all.sort_by(|a, b| {
        (!a.fit, a.refusals.len(), a.from_pool)
            .cmp(&(!b.fit, b.refusals.len(), b.from_pool))
            .then(a.booked_h.total_cmp(&b.booked_h))
            .then_with(|| a.name.cmp(&b.name))
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_secs(1_770_000_000 + hour * 3600)
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(at(from), at(to))
    }

    fn job() -> Job {
        Job {
            site: SiteId::new(),
            window: Some(span(10, 14)),
            skills: vec![Skill::Electricity],
            qualifications: vec!["sec_class_a".into()],
        }
    }

    fn able(job: &Job) -> Candidate {
        Candidate {
            user: UserId::new(),
            name: "Ada".into(),
            active: true,
            skills: vec![Skill::Electricity, Skill::General],
            home: Some(job.site),
            floating: false,
            shifts: vec![
                (ShiftKind::Working, span(8, 12)),
                (ShiftKind::Working, span(12, 16)),
            ],
            qualifications: vec![Held {
                code: "sec_class_a".into(),
                status: QualificationStatus::Passed,
                valid_from: at(-1000),
                valid_until: Some(at(14)),
            }],
            booked: vec![Booked {
                ticket: 7,
                span: span(14, 16),
            }],
        }
    }

    #[test]
    fn somebody_able_is_fit_and_it_is_said_why() {
        let job = job();
        let verdict = judge(&job, &able(&job));
        assert!(verdict.fit, "{verdict:?}");
        assert_eq!(verdict.reasons.len(), 4);
        assert_eq!(verdict.booked_h, 2.0);
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let job = job();
        type Change = fn(&mut Candidate);
        let table: &[(Change, &str, &str)] = &[
            (|who| who.active = false, "assignee.inactive", "somebody else"),
            (
                |who| who.home = Some(SiteId::new()),
                "assignee.site",
                "floating pool",
            ),
            (|who| who.skills.clear(), "assignee.skill", "electricity"),
            (
                |who| who.qualifications.clear(),
                "assignee.qualification",
                "does not hold",
            ),
            (
                |who| who.qualifications[0].status = QualificationStatus::InProgress,
                "assignee.qualification",
                "in_progress",
            ),
            (
                |who| who.qualifications[0].valid_until = Some(at(13)),
                "assignee.qualification",
                "renew it",
            ),
            (
                |who| who.qualifications[0].valid_from = at(11),
                "assignee.qualification",
                "valid from",
            ),
            (|who| who.shifts.clear(), "assignee.shift", "no working shift"),
            (|who| who.shifts.truncate(1), "assignee.shift", "no working shift"),
            (
                |who| who.shifts.push((ShiftKind::SickLeave, span(13, 30))),
                "assignee.absent",
                "sick leave",
            ),
            (
                |who| {
                    who.booked.push(Booked {
                        ticket: 9,
                        span: span(9, 11),
                    })
                },
                "assignee.overlap",
                "#9",
            ),
        ];
        for (change, code, part) in table {
            let mut who = able(&job);
            change(&mut who);
            let verdict = judge(&job, &who);
            assert!(!verdict.fit);
            assert_eq!(verdict.refusals.len(), 1, "{verdict:?}");
            assert_eq!(verdict.refusals[0].code, *code);
            assert!(verdict.refusals[0].detail.contains(part), "{verdict:?}");
        }
        let unplanned = Job {
            window: None,
            ..job.clone()
        };
        let mut who = able(&job);
        who.shifts.clear();
        assert!(
            judge(&unplanned, &who).fit,
            "without a time nothing speaks against anybody's time"
        );
    }

    #[test]
    fn own_people_come_before_the_pool_and_the_idle_before_the_busy() {
        let job = job();
        let named = |name: &str, change: fn(&mut Candidate)| {
            let mut who = able(&job);
            who.name = name.into();
            change(&mut who);
            who
        };
        let all = [
            named("unfit", |who| who.skills.clear()),
            named("pool", |who| {
                (who.home, who.floating) = (Some(SiteId::new()), true)
            }),
            named("busy", |_| ()),
            named("idle", |who| who.booked.clear()),
        ];
        let names: Vec<String> = propose(&job, &all).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["idle", "busy", "pool", "unfit"]);
    }
}
