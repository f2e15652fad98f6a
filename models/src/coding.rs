//! Words for what failed: mode → mechanism → cause → remedy, and how it was noticed.
//!
//! The levels are those that reliability work distinguishes (ISO 14224 has tables of its own, which are
//! under copyright; these are not they). The list is short on purpose: a technician finds his word
//! among a few or says `other` and writes it down, and the share of `other` shows where words are
//! missing. A tenant adds its own, and hides or renames these by giving the same level and code.

use serde::{Deserialize, Serialize};

use crate::people::words;

words! {
    CodeLevel ("failure_code_level") {
        /// How it shows that it failed.
        Mode = "mode",
        /// The physical process behind it.
        Mechanism = "mechanism",
        /// Why that process could run.
        Cause = "cause",
        /// What was done.
        Remedy = "remedy",
        /// How it was noticed.
        Detection = "detection",
    }
}

/// Needs a text beside it.
pub const OTHER: &str = "other";

/// One word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = FailureCode))]
pub struct Code {
    pub level: CodeLevel,
    /// Asset class that it is for; `null` = every class.
    pub class_name: Option<String>,
    /// Code of the level above that it is offered under first.
    pub parent: Option<String>,
    #[cfg_attr(feature = "openapi", schema(example = "lubrication_lost"))]
    pub code: String,
    #[cfg_attr(feature = "openapi", schema(example = "Lubrication lost"))]
    pub name: String,
    /// Made by the tenant; the others are built in.
    pub own: bool,
}

/// CodeLevel, class (empty = every), parent (empty = none), code, name.
const STARTER: &[(CodeLevel, &str, &str, &str, &str)] = &[
    (CodeLevel::Mode, "", "", "vibration_high", "Vibrates too much"),
    (CodeLevel::Mode, "", "", "overheating", "Runs too hot"),
    (CodeLevel::Mode, "", "", "leak_external", "Leaks to the outside"),
    (CodeLevel::Mode, "", "", "leak_internal", "Leaks inside"),
    (CodeLevel::Mode, "", "", "noise", "Makes an unusual noise"),
    (CodeLevel::Mode, "", "", "low_output", "Delivers too little"),
    (CodeLevel::Mode, "", "", "unsteady", "Works unsteadily"),
    (CodeLevel::Mode, "", "", "fails_to_start", "Doesn't start"),
    (CodeLevel::Mode, "", "", "stops_by_itself", "Stops by itself"),
    (
        CodeLevel::Mode,
        "",
        "",
        "wrong_reading",
        "Its sensor shows a wrong value",
    ),
    (CodeLevel::Mode, "", "", OTHER, "Other"),
    (CodeLevel::Mechanism, "", "vibration_high", "wear", "Wear"),
    (
        CodeLevel::Mechanism,
        "",
        "vibration_high",
        "fatigue",
        "Fatigue, cracks",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "vibration_high",
        "misalignment",
        "Misalignment",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "vibration_high",
        "imbalance",
        "Imbalance",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "vibration_high",
        "looseness",
        "Looseness",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "low_output",
        "fouling",
        "Fouling, blockage",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "leak_external",
        "seal_aged",
        "Aged seal",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "leak_external",
        "corrosion",
        "Corrosion",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "low_output",
        "cavitation",
        "Cavitation, erosion",
    ),
    (CodeLevel::Mechanism, "", "overheating", "overload", "Overload"),
    (
        CodeLevel::Mechanism,
        "",
        "stops_by_itself",
        "electrical_fault",
        "Short circuit, open circuit, earth fault",
    ),
    (
        CodeLevel::Mechanism,
        "",
        "wrong_reading",
        "drift",
        "Drift, loss of calibration",
    ),
    (CodeLevel::Mechanism, "", "", OTHER, "Other"),
    (
        CodeLevel::Cause,
        "",
        "wear",
        "lubrication_lost",
        "Too little or wrong lubricant",
    ),
    (
        CodeLevel::Cause,
        "",
        "wear",
        "contamination",
        "Dirt or water got in",
    ),
    (
        CodeLevel::Cause,
        "",
        "wear",
        "end_of_life",
        "Reached the end of its life",
    ),
    (
        CodeLevel::Cause,
        "",
        "misalignment",
        "installation",
        "Installed or assembled wrongly",
    ),
    (
        CodeLevel::Cause,
        "",
        "overload",
        "operation",
        "Operated outside its limits",
    ),
    (
        CodeLevel::Cause,
        "",
        "fouling",
        "maintenance_missed",
        "Maintenance was late or left out",
    ),
    (CodeLevel::Cause, "", "fatigue", "design", "Unfit for its duty"),
    (
        CodeLevel::Cause,
        "",
        "fatigue",
        "material",
        "Fault of material or make",
    ),
    (
        CodeLevel::Cause,
        "",
        "electrical_fault",
        "supply",
        "Disturbed supply: power, air, water",
    ),
    (CodeLevel::Cause, "", "", "not_found", "Could not be found"),
    (CodeLevel::Cause, "", "", OTHER, "Other"),
    (CodeLevel::Remedy, "", "", "replaced", "Replaced"),
    (CodeLevel::Remedy, "", "", "repaired", "Repaired"),
    (
        CodeLevel::Remedy,
        "",
        "lubrication_lost",
        "lubricated",
        "Lubricated",
    ),
    (
        CodeLevel::Remedy,
        "",
        "installation",
        "aligned",
        "Aligned or balanced",
    ),
    (CodeLevel::Remedy, "", "maintenance_missed", "cleaned", "Cleaned"),
    (
        CodeLevel::Remedy,
        "",
        "operation",
        "adjusted",
        "Adjusted or calibrated",
    ),
    (CodeLevel::Remedy, "", "design", "modified", "Modified"),
    (
        CodeLevel::Remedy,
        "",
        "not_found",
        "inspected_only",
        "Looked at only",
    ),
    (CodeLevel::Remedy, "", "", OTHER, "Other"),
    (CodeLevel::Detection, "", "", "prediction", "Predicted by a model"),
    (CodeLevel::Detection, "", "", "alarm", "Alarm"),
    (CodeLevel::Detection, "", "", "inspection", "Inspection or round"),
    (
        CodeLevel::Detection,
        "",
        "",
        "planned_maintenance",
        "During planned maintenance",
    ),
    (CodeLevel::Detection, "", "", "breakdown", "It broke down"),
    (CodeLevel::Detection, "", "", OTHER, "Other"),
];

/// A tenant's own word, or its order to hide a built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub code: Code,
    pub enabled: bool,
}

/// The words for a class: built-in ones, less what the tenant hides, plus its own. By level, then by
/// whether they belong to the class or the parent asked for, then as they stand.
pub fn offered(own: &[Own], class: Option<&str>, parent: Option<&str>) -> Vec<Code> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let built_in = STARTER.iter().map(|(level, class, parent, code, name)| Code {
        level: *level,
        class_name: text(class),
        parent: text(parent),
        code: (*code).to_owned(),
        name: (*name).to_owned(),
        own: false,
    });
    let replaced = |code: &Code| {
        own.iter().any(|one| {
            one.code.level == code.level
                && one.code.code == code.code
                && (one.code.class_name.is_none() || one.code.class_name.as_deref() == class)
        })
    };
    let mut all: Vec<Code> = built_in
        .filter(|code| !replaced(code))
        .chain(own.iter().filter(|one| one.enabled).map(|one| one.code.clone()))
        .filter(|code| code.class_name.is_none() || code.class_name.as_deref() == class)
        .collect();
    all.sort_by_key(|code| {
        let belongs = code.class_name.is_some() || (parent.is_some() && code.parent.as_deref() == parent);
        (code.level, code.code == OTHER, !belongs)
    });
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn own(level: CodeLevel, code: &str, class: Option<&str>, enabled: bool) -> Own {
        Own {
            code: Code {
                level,
                class_name: class.map(str::to_owned),
                parent: None,
                code: code.to_owned(),
                name: format!("our {code}"),
                own: true,
            },
            enabled,
        }
    }

    #[test]
    fn every_starter_word_is_one_and_hangs_on_one() {
        let mut seen = HashSet::new();
        for (level, _, _, code, name) in STARTER {
            assert!(seen.insert((*level, *code)), "{code} twice");
            assert!(!name.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        for (level, _, parent, code, _) in STARTER.iter().filter(|row| !row.2.is_empty()) {
            let above = CodeLevel::ALL.iter().take_while(|one| *one != level).last();
            assert!(
                seen.contains(&(*above.unwrap(), *parent)),
                "{code} hangs on {parent}"
            );
        }
        for level in CodeLevel::ALL {
            assert!(seen.contains(&(*level, OTHER)), "{level} has no other");
        }
    }

    #[test]
    fn a_tenant_adds_hides_and_renames() {
        let list = [
            own(CodeLevel::Mode, "noise", None, false),
            own(CodeLevel::Mode, "smell", Some("pump"), true),
            own(CodeLevel::Cause, "contamination", None, true),
        ];
        let codes = |class| offered(&list, class, Some("wear"));
        let find = |all: &[Code], level, code: &str| {
            all.iter()
                .find(|one| one.level == level && one.code == code)
                .cloned()
        };
        let pump = codes(Some("pump"));
        assert_eq!(find(&pump, CodeLevel::Mode, "noise"), None);
        assert_eq!(
            find(&pump, CodeLevel::Cause, "contamination").unwrap().name,
            "our contamination"
        );
        assert_eq!(pump[0].code, "smell", "the class's own word comes first");
        assert_eq!(find(&codes(None), CodeLevel::Mode, "smell"), None);
        let first_cause = pump.iter().find(|one| one.level == CodeLevel::Cause).unwrap();
        assert_eq!(first_cause.parent.as_deref(), Some("wear"));
        let last_mode = pump
            .iter()
            .rev()
            .find(|one| one.level == CodeLevel::Mode)
            .unwrap();
        assert_eq!(last_mode.code, OTHER);
    }
}
