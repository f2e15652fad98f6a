//! Lock-out, tag-out: every point of every procedure of the asset holds a lock of the ticket before
//! work begins, and none is left when it is done.

use serde::{Deserialize, Serialize};

use crate::ticket::Gate;

/// One place where an energy is shut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = IsolationPoint))]
pub struct Point {
    #[cfg_attr(feature = "openapi", schema(example = "Q1"))]
    pub point: String,
    #[cfg_attr(feature = "openapi", schema(example = "400 V"))]
    pub energy: String,
    #[cfg_attr(feature = "openapi", schema(example = "open, lock, prove dead"))]
    pub action: String,
}

/// A procedure with the points on which a lock of the ticket hangs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    pub procedure: String,
    pub points: Vec<String>,
    pub locked: Vec<String>,
}

/// Whether work may begin. Needed without a procedure is missing, too: nobody would know what to lock.
pub fn start_gate(needed: bool, procedures: &[Isolation]) -> Gate {
    if !needed {
        return Gate::NotNeeded;
    }
    if procedures.is_empty() {
        return Gate::Missing(
            "the work needs a lock-out and the asset has no procedure: write one at /v1/loto-procedures"
                .to_owned(),
        );
    }
    let open: Vec<String> = procedures
        .iter()
        .flat_map(|one| {
            one.points
                .iter()
                .filter(|point| !one.locked.contains(point))
                .map(|point| format!("{point} ({})", one.procedure))
        })
        .collect();
    if open.is_empty() {
        Gate::Satisfied
    } else {
        Gate::Missing(format!("hang a lock, with a photo, on {}", open.join(", ")))
    }
}

/// Whether the work may be completed. `hanging` = points and tags of the ticket's locks.
pub fn end_gate(hanging: &[(String, String)]) -> Gate {
    if hanging.is_empty() {
        return Gate::Satisfied;
    }
    let list: Vec<String> = hanging
        .iter()
        .map(|(point, tag)| format!("{point} (tag {tag})"))
        .collect();
    Gate::Missing(format!("take the lock off {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation(points: &[&str], locked: &[&str]) -> Isolation {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Isolation {
            procedure: "main drive".into(),
            points: texts(points),
            locked: texts(locked),
        }
    }

    #[test]
    fn every_point_is_locked_first_and_none_last() {
        assert_eq!(start_gate(false, &[isolation(&["Q1"], &[])]), Gate::NotNeeded);
        let Gate::Missing(detail) = start_gate(true, &[]) else {
            panic!()
        };
        assert!(detail.contains("/v1/loto-procedures"));
        let two = [isolation(&["Q1", "V2"], &["Q1"]), isolation(&["Q9"], &[])];
        assert_eq!(
            start_gate(true, &two),
            Gate::Missing("hang a lock, with a photo, on V2 (main drive), Q9 (main drive)".into())
        );
        assert_eq!(start_gate(true, &[isolation(&["Q1"], &["Q1"])]), Gate::Satisfied);
        assert_eq!(end_gate(&[]), Gate::Satisfied);
        let hanging = [("Q1".to_owned(), "17".to_owned())];
        assert_eq!(
            end_gate(&hanging),
            Gate::Missing("take the lock off Q1 (tag 17)".into())
        );
    }
}
