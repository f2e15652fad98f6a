//! Tasks: what a technician ticks off, measures, photographs, signs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{AttachmentId, MeterId};

/// What a task asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TaskKind {
    #[default]
    Check,
    /// A number, with limits if given.
    Number,
    /// A number that becomes a reading of `meter_id`.
    Meter,
    /// The id of an image attached to the ticket.
    Photo,
    /// The id of an image attached to the ticket, or the name as its owner types it.
    Signature,
}

impl TaskKind {
    pub const ALL: [Self; 5] = [
        Self::Check,
        Self::Number,
        Self::Meter,
        Self::Photo,
        Self::Signature,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Number => "number",
            Self::Meter => "meter",
            Self::Photo => "photo",
            Self::Signature => "signature",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// A task as a plan or a person gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewTask {
    #[serde(default)]
    pub kind: TaskKind,
    pub text: String,
    #[serde(default = "yes")]
    pub mandatory: bool,
    #[serde(default)]
    pub min_value: Option<f64>,
    #[serde(default)]
    pub max_value: Option<f64>,
    #[serde(default)]
    pub unit: Option<String>,
    /// For `meter`.
    #[serde(default)]
    pub meter_id: Option<MeterId>,
}

fn yes() -> bool {
    true
}

impl NewTask {
    pub fn check(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            mandatory: true,
            ..Self::default()
        }
    }
}

/// Why a task or its result can't be taken; each says what would do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskError {
    #[error("say what is to be done, in 1 to 500 characters")]
    NoText,
    #[error("min_value {min} is above max_value {max}")]
    Limits { min: f64, max: f64 },
    #[error("limits are for tasks of the kind number or meter")]
    LimitsWithoutNumber,
    #[error("a meter task names its meter: set meter_id")]
    NoMeter,
    #[error("the result of a {0} task is a number")]
    NotANumber(&'static str),
    #[error("{value} is outside {limits}: measure again, or say in note what was done about it")]
    OutsideLimits { value: f64, limits: String },
    #[error(
        "the result of a photo task is the id of an image attached to the ticket (att_…): upload it first"
    )]
    NotAPhoto,
    #[error("sign with your name, or with the id of an image attached to the ticket (att_…)")]
    NotASignature,
    #[error("the result of a check is a text, true, or nothing")]
    NotACheck,
}

/// # Errors
/// When nobody could do it as it is.
pub fn check_task(task: &NewTask) -> Result<(), TaskError> {
    if task.text.trim().is_empty() || task.text.chars().count() > 500 {
        return Err(TaskError::NoText);
    }
    let numeric = matches!(task.kind, TaskKind::Number | TaskKind::Meter);
    if !numeric && (task.min_value.is_some() || task.max_value.is_some()) {
        return Err(TaskError::LimitsWithoutNumber);
    }
    if let (Some(min), Some(max)) = (task.min_value, task.max_value)
        && min > max
    {
        return Err(TaskError::Limits { min, max });
    }
    if task.kind == TaskKind::Meter && task.meter_id.is_none() {
        return Err(TaskError::NoMeter);
    }
    Ok(())
}

/// Whether a result fits its task. `images` = the ids of the images attached to the ticket.
///
/// # Errors
/// Says what would do.
pub fn check_task_result(
    task: &NewTask,
    result: Option<&Value>,
    note: Option<&str>,
    images: &[AttachmentId],
) -> Result<(), TaskError> {
    let image = |value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .is_some_and(|id| images.contains(&id))
    };
    match task.kind {
        TaskKind::Check => match result {
            None | Some(Value::Null | Value::Bool(true) | Value::String(_) | Value::Object(_)) => Ok(()),
            Some(_) => Err(TaskError::NotACheck),
        },
        TaskKind::Number | TaskKind::Meter => {
            let value = result
                .and_then(Value::as_f64)
                .filter(|value| value.is_finite())
                .ok_or(TaskError::NotANumber(task.kind.name()))?;
            let outside = task.min_value.is_some_and(|min| value < min)
                || task.max_value.is_some_and(|max| value > max);
            let explained = note.is_some_and(|note| !note.trim().is_empty());
            if outside && !explained {
                let text = |bound: Option<f64>, word| {
                    bound.map_or(String::new(), |bound| format!("{word} {bound} "))
                };
                let limits = format!("{}{}", text(task.min_value, "min"), text(task.max_value, "max"));
                return Err(TaskError::OutsideLimits {
                    value,
                    limits: format!("{limits}{}", task.unit.as_deref().unwrap_or_default())
                        .trim()
                        .to_owned(),
                });
            }
            Ok(())
        }
        TaskKind::Photo if image(result) => Ok(()),
        TaskKind::Photo => Err(TaskError::NotAPhoto),
        TaskKind::Signature => {
            let name = result.and_then(Value::as_str).map(str::trim).unwrap_or_default();
            let typed = name.chars().count() >= 2 && !name.starts_with("att_");
            if typed || image(result) {
                Ok(())
            } else {
                Err(TaskError::NotASignature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(kind: TaskKind) -> NewTask {
        let numeric = matches!(kind, TaskKind::Number | TaskKind::Meter);
        NewTask {
            kind,
            text: "x".into(),
            min_value: numeric.then_some(1.0),
            max_value: numeric.then_some(5.0),
            unit: Some("L".into()),
            meter_id: Some(MeterId::new()),
            ..NewTask::default()
        }
    }

    #[test]
    fn every_kind_by_what_it_takes() {
        let photo = AttachmentId::new();
        let id = json!(photo.to_string());
        let stranger = json!(AttachmentId::new().to_string());
        // Columns: nothing, true, text, 3, 9, an image of the ticket, another image.
        let results = [
            Value::Null,
            json!(true),
            json!("Ada L."),
            json!(3),
            json!(9),
            id,
            stranger,
        ];
        let table = [
            (TaskKind::Check, "xxx..xx"),
            (TaskKind::Number, "...x..."),
            (TaskKind::Meter, "...x..."),
            (TaskKind::Photo, ".....x."),
            (TaskKind::Signature, "..x..x."),
        ];
        for (kind, row) in table {
            for (result, cell) in results.iter().zip(row.chars()) {
                let given = Some(result).filter(|result| !result.is_null());
                let answer = check_task_result(&task(kind), given, None, &[photo]);
                assert_eq!(answer.is_ok(), cell == 'x', "{kind:?} {result} {answer:?}");
            }
        }
        let outside = check_task_result(&task(TaskKind::Number), Some(&json!(9)), None, &[]).unwrap_err();
        assert_eq!(
            outside.to_string(),
            "9 is outside min 1 max 5 L: measure again, or say in note what was done about it"
        );
        let explained = check_task_result(&task(TaskKind::Number), Some(&json!(9)), Some("drained"), &[]);
        assert_eq!(explained, Ok(()));
    }

    #[test]
    fn a_task_that_nobody_could_do_is_refused() {
        let number = task(TaskKind::Number);
        check_task(&number).unwrap();
        let change = |change: fn(&mut NewTask)| {
            let mut task = number.clone();
            change(&mut task);
            check_task(&task).unwrap_err()
        };
        assert_eq!(change(|task| task.text = " ".into()), TaskError::NoText);
        assert_eq!(
            change(|task| task.min_value = Some(9.0)),
            TaskError::Limits { min: 9.0, max: 5.0 }
        );
        assert_eq!(
            change(|task| task.kind = TaskKind::Photo),
            TaskError::LimitsWithoutNumber
        );
        let meter = NewTask {
            kind: TaskKind::Meter,
            meter_id: None,
            ..number.clone()
        };
        assert_eq!(check_task(&meter), Err(TaskError::NoMeter));
    }
}
