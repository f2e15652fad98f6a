//! A tree on a grid of moments: every node gives its value at each of them.
//!
//! Samples are read once for each selector. A plain selector with long steps looks for one sample
//! before each step; a window function over more than [`LONG_US`] whose windows and steps are whole
//! minutes reads rollups, whose windows are `[t − range, t)` instead of `(t − range, t]`: a reading at
//! the very moment of a step belongs to the next window there.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::BadQuery;
use super::ast::{AggregateOp, BinaryOp, Expr, Grouping, Selector};
use super::functions::{self, Function, Sample};
use super::series::{self, Key, Labels, MOST_SERIES, Series};

/// Prometheus' own default; a channel with a longer cadence is looked back three of them.
const LOOKBACK_US: i64 = 300_000_000;
/// Span from which windows are made of rollups.
const LONG_US: i64 = 6 * 3_600_000_000;
/// Steps of an answer at most, as in Prometheus.
pub const MOST_STEPS: i64 = 11_000;

#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Query(#[from] BadQuery),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

fn bad(text: impl Into<String>) -> EvalError {
    EvalError::Query(BadQuery::new(text))
}

/// The moments of an answer, microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Steps(Vec<i64>);

impl Steps {
    pub fn instant(at_us: i64) -> Self {
        Self(vec![at_us])
    }

    /// # Errors
    /// When the range runs backward or has more than [`MOST_STEPS`].
    pub fn range(start_us: i64, end_us: i64, step_us: i64) -> Result<Self, BadQuery> {
        if step_us <= 0 {
            return Err(BadQuery::new("step: above 0"));
        }
        if end_us < start_us {
            return Err(BadQuery::new("end is before start"));
        }
        let n = (end_us - start_us) / step_us + 1;
        if n > MOST_STEPS {
            return Err(BadQuery::new(format!(
                "{n} steps, at most {MOST_STEPS}: use a longer step"
            )));
        }
        Ok(Self((0..n).map(|i| start_us + i * step_us).collect()))
    }

    pub fn us(&self) -> &[i64] {
        &self.0
    }

    fn width(&self) -> i64 {
        match self.0.as_slice() {
            [a, b, ..] => b - a,
            _ => 0,
        }
    }
}

/// Labels and a value, or none, for each step.
pub type Row = (Labels, Vec<Option<f64>>);

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
}

/// # Errors
/// When the query asks for too much or for what isn't there; when the database does.
pub async fn eval(db: &mut PgConnection, expr: &Expr, steps: &Steps) -> Result<Value, EvalError> {
    match expr {
        Expr::Number(number) => Ok(Value::Scalar(vec![*number; steps.us().len()])),
        Expr::Selector(selector) => {
            functions::no_range(expr)?;
            Ok(Value::Vector(
                instant(db, selector, steps, |sample| sample.1).await?,
            ))
        }
        Expr::Call(name, arguments) => call(db, name, arguments, steps).await,
        Expr::Aggregate {
            op,
            parameter,
            inner,
            grouping,
        } => {
            let Value::Vector(rows) = Box::pin(eval(db, inner, steps)).await? else {
                return Err(bad("an aggregation takes a vector, not a number"));
            };
            let k = match parameter {
                None => Vec::new(),
                Some(parameter) => match Box::pin(eval(db, parameter, steps)).await? {
                    Value::Scalar(k) => k,
                    Value::Vector(_) => return Err(bad("topk and bottomk take a number first")),
                },
            };
            Ok(Value::Vector(aggregate(
                *op,
                &k,
                rows,
                grouping,
                steps.us().len(),
            )))
        }
        Expr::Binary {
            op,
            as_bool,
            left,
            right,
        } => {
            let left = Box::pin(eval(db, left, steps)).await?;
            let right = Box::pin(eval(db, right, steps)).await?;
            binary(*op, *as_bool, left, right)
        }
    }
}

async fn found(db: &mut PgConnection, selector: &Selector) -> Result<Vec<Series>, EvalError> {
    let series = series::find(db, &selector.matchers).await?;
    if series.len() > MOST_SERIES {
        return Err(bad(format!(
            "{} series fit, at most {MOST_SERIES} can be read at once: narrow the selector, for instance by asset or site",
            series.len()
        )));
    }
    Ok(series)
}

/// What a selector shows at each step. `of`: what of the sample.
async fn instant(
    db: &mut PgConnection,
    selector: &Selector,
    steps: &Steps,
    of: fn(&Sample) -> f64,
) -> Result<Vec<Row>, EvalError> {
    let all = found(db, selector).await?;
    let lookback = |one: &Series| match one.key {
        // Assessed once a minute, thinned to once an hour when old.
        Key::Health(_) => 2 * 3_600_000_000,
        Key::Channel(_) => LOOKBACK_US.max((one.cadence_s.unwrap_or(0.0) * 3e6) as i64),
    };
    let within = all.iter().map(lookback).max().unwrap_or(LOOKBACK_US);
    let times: Vec<i64> = steps.us().iter().map(|us| us - selector.offset_us).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Ok(Vec::new());
    };
    let samples = if steps.width() > within || times.len() == 1 {
        series::at(db, &all, &times, within).await?
    } else {
        let read = series::samples(db, &all, first - within, *last).await?;
        read.ok_or_else(|| too_much(&all))?
    };
    Ok(all
        .into_iter()
        .filter_map(|one| {
            let back = lookback(&one) as f64 / 1e6;
            let mine = samples.get(&one.key)?;
            let mut next = 0;
            let values: Vec<Option<f64>> = times
                .iter()
                .map(|us| {
                    let at = *us as f64 / 1e6;
                    next += mine[next..].partition_point(|sample| sample.0 <= at);
                    let sample = mine.get(next.checked_sub(1)?)?;
                    (sample.0 > at - back).then(|| of(sample))
                })
                .collect();
            values.iter().any(Option::is_some).then_some((one.labels, values))
        })
        .collect())
}

fn too_much(all: &[Series]) -> EvalError {
    bad(format!(
        "the samples of {} series over this range are more than {}: use a shorter range or fewer series",
        all.len(),
        series::MOST_SAMPLES
    ))
}

async fn call(
    db: &mut PgConnection,
    name: &str,
    arguments: &[Expr],
    steps: &Steps,
) -> Result<Value, EvalError> {
    let Some(function) = functions::lookup(name) else {
        return Err(bad(format!("the function {name} is not supported")));
    };
    match (function, arguments) {
        (Function::Time, _) => Ok(Value::Scalar(
            steps.us().iter().map(|us| *us as f64 / 1e6).collect(),
        )),
        (Function::Timestamp, [Expr::Selector(selector)]) => Ok(Value::Vector(without_name(
            instant(db, selector, steps, |sample| sample.0).await?,
        ))),
        (Function::Range(over), [Expr::Selector(selector)]) => {
            Ok(Value::Vector(windows(db, name, over, selector, steps).await?))
        }
        (Function::Vector, [inner]) => match Box::pin(eval(db, inner, steps)).await? {
            Value::Scalar(values) => Ok(Value::Vector(vec![(
                Labels::new(),
                values.into_iter().map(Some).collect(),
            )])),
            Value::Vector(_) => Err(bad("vector takes a number")),
        },
        (Function::Scalar, [inner]) => match Box::pin(eval(db, inner, steps)).await? {
            Value::Vector(rows) => Ok(Value::Scalar(match rows.as_slice() {
                [(_, values)] => values.iter().map(|value| value.unwrap_or(f64::NAN)).collect(),
                _ => vec![f64::NAN; steps.us().len()],
            })),
            Value::Scalar(_) => Err(bad("scalar takes a vector")),
        },
        (Function::Instant(_, apply), [inner, numbers @ ..]) => {
            let Value::Vector(mut rows) = Box::pin(eval(db, inner, steps)).await? else {
                return Err(bad(format!("{name} takes a vector")));
            };
            let mut parameters = Vec::new();
            for number in numbers {
                match Box::pin(eval(db, number, steps)).await? {
                    Value::Scalar(values) => parameters.push(values),
                    Value::Vector(_) => return Err(bad(format!("{name} takes numbers after the vector"))),
                }
            }
            for (_, values) in &mut rows {
                for (i, value) in values.iter_mut().enumerate() {
                    let here: Vec<f64> = parameters.iter().map(|values| values[i]).collect();
                    *value = value.map(|value| apply(value, &here));
                }
            }
            Ok(Value::Vector(without_name(rows)))
        }
        _ => Err(bad(format!("{name}: wrong arguments"))),
    }
}

fn without_name(mut rows: Vec<Row>) -> Vec<Row> {
    for (labels, _) in &mut rows {
        labels.remove("__name__");
    }
    rows
}

async fn windows(
    db: &mut PgConnection,
    name: &str,
    over: fn(&[Sample], f64, f64) -> Option<f64>,
    selector: &Selector,
    steps: &Steps,
) -> Result<Vec<Row>, EvalError> {
    let all = found(db, selector).await?;
    let range = selector.range_us.unwrap_or(0);
    let times: Vec<i64> = steps.us().iter().map(|us| us - selector.offset_us).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Ok(Vec::new());
    };
    let keep = name == "last_over_time";
    if let Some(width) = rollup_width(name, range, steps.width(), *first)
        && last - first + range > LONG_US
        && all.iter().all(|one| matches!(one.key, Key::Channel(_)))
    {
        let buckets = series::buckets(db, &all, first - range, *last, width, keep).await?;
        let rows = all.into_iter().filter_map(|one| {
            let mine = buckets.get(&one.key)?;
            let values: Vec<Option<f64>> = times
                .iter()
                .map(|us| {
                    let from = mine.partition_point(|stat| stat.ts.micros() < us - range);
                    let to = mine.partition_point(|stat| stat.ts.micros() < *us);
                    of_buckets(name, &mine[from..to])
                })
                .collect();
            values.iter().any(Option::is_some).then_some((one.labels, values))
        });
        let rows = rows.collect();
        return Ok(if keep { rows } else { without_name(rows) });
    }
    let samples = series::samples(db, &all, first - range, *last).await?;
    let samples = samples.ok_or_else(|| too_much(&all))?;
    let rows = all.into_iter().filter_map(|one| {
        let mine = samples.get(&one.key)?;
        let values: Vec<Option<f64>> = times
            .iter()
            .map(|us| {
                let (start, end) = ((us - range) as f64 / 1e6, *us as f64 / 1e6);
                let from = mine.partition_point(|sample| sample.0 <= start);
                let to = mine.partition_point(|sample| sample.0 <= end);
                over(&mine[from..to], start, end)
            })
            .collect();
        values.iter().any(Option::is_some).then_some((one.labels, values))
    });
    let rows = rows.collect();
    Ok(if keep { rows } else { without_name(rows) })
}

/// Width of the buckets of which all windows are made, when rollups can serve: whole minutes that
/// divide range and step.
fn rollup_width(name: &str, range_us: i64, step_us: i64, first_us: i64) -> Option<i64> {
    const MINUTE: i64 = 60_000_000;
    let (mut a, mut b) = (range_us, step_us);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let served = matches!(
        name,
        "avg_over_time"
            | "min_over_time"
            | "max_over_time"
            | "sum_over_time"
            | "count_over_time"
            | "last_over_time"
    );
    (served && a % MINUTE == 0 && first_us % MINUTE == 0).then_some(a)
}

fn of_buckets(name: &str, buckets: &[models::db::history::stats::Stat]) -> Option<f64> {
    let used = || buckets.iter().filter(|stat| stat.n > 0);
    let count: i64 = used().map(|stat| stat.n).sum();
    if count == 0 {
        return None;
    }
    let sum = || {
        used()
            .filter_map(|stat| Some(stat.mean? * stat.n as f64))
            .sum::<f64>()
    };
    match name {
        "avg_over_time" => Some(sum() / count as f64),
        "sum_over_time" => Some(sum()),
        "count_over_time" => Some(count as f64),
        "min_over_time" => used().filter_map(|stat| stat.low).reduce(f64::min),
        "max_over_time" => used().filter_map(|stat| stat.high).reduce(f64::max),
        _ => used().next_back()?.last_value,
    }
}

fn aggregate(op: AggregateOp, k: &[f64], rows: Vec<Row>, grouping: &Grouping, n: usize) -> Vec<Row> {
    let group_of = |labels: &Labels| -> Labels {
        let kept = |label: &String| match grouping {
            Grouping::By(by) => by.contains(label),
            Grouping::Without(without) => label != "__name__" && !without.contains(label),
        };
        labels
            .iter()
            .filter(|(label, _)| kept(label))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect()
    };
    let mut groups: BTreeMap<Labels, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(group_of(&row.0)).or_default().push(row);
    }
    if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
        return groups
            .into_values()
            .flat_map(|rows| best(op, k, rows, n))
            .collect();
    }
    groups
        .into_iter()
        .map(|(labels, rows)| {
            let values = (0..n)
                .map(|i| {
                    let here = || rows.iter().filter_map(|(_, values)| values[i]);
                    let count = here().count() as f64;
                    match op {
                        _ if count == 0.0 => None,
                        AggregateOp::Sum => Some(here().sum()),
                        AggregateOp::Avg => Some(here().sum::<f64>() / count),
                        AggregateOp::Min => here().reduce(f64::min),
                        AggregateOp::Max => here().reduce(f64::max),
                        AggregateOp::Count => Some(count),
                        _ => Some(1.0),
                    }
                })
                .collect();
            (labels, values)
        })
        .collect()
}

/// The `k` largest or smallest at each step.
fn best(op: AggregateOp, k: &[f64], mut rows: Vec<Row>, n: usize) -> Vec<Row> {
    for i in 0..n {
        let keep = k.get(i).copied().unwrap_or(0.0).max(0.0) as usize;
        let mut order: Vec<(usize, f64)> = rows
            .iter()
            .enumerate()
            .filter_map(|(row, (_, values))| Some((row, values[i]?)))
            .collect();
        order.sort_by(|a, b| match op {
            AggregateOp::Topk => b.1.total_cmp(&a.1),
            _ => a.1.total_cmp(&b.1),
        });
        for (row, _) in order.into_iter().skip(keep) {
            rows[row].1[i] = None;
        }
    }
    rows.retain(|(_, values)| values.iter().any(Option::is_some));
    rows
}

fn binary(op: BinaryOp, as_bool: bool, left: Value, right: Value) -> Result<Value, EvalError> {
    // Of a comparison without `bool` the left value stays where it holds.
    let result = |a: f64, b: f64, shown: f64| match op.apply(a, b) {
        number if !op.is_comparison() || as_bool => Some(number),
        1.0 => Some(shown),
        _ => None,
    };
    let named = |rows: Vec<Row>| {
        if op.is_comparison() && !as_bool {
            rows
        } else {
            without_name(rows)
        }
    };
    let with = |rows: Vec<Row>, numbers: &[f64], vector_left: bool| {
        let mut rows = named(rows);
        for (_, values) in &mut rows {
            for (value, number) in values.iter_mut().zip(numbers) {
                *value = value.and_then(|v| {
                    if vector_left {
                        result(v, *number, v)
                    } else {
                        result(*number, v, v)
                    }
                });
            }
        }
        rows.retain(|(_, values)| values.iter().any(Option::is_some));
        rows
    };
    Ok(match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => {
            if op.is_comparison() && !as_bool {
                return Err(bad("numbers are compared with `bool`, such as 1 > bool 2"));
            }
            Value::Scalar(a.iter().zip(&b).map(|(a, b)| op.apply(*a, *b)).collect())
        }
        (Value::Vector(rows), Value::Scalar(numbers)) => Value::Vector(with(rows, &numbers, true)),
        (Value::Scalar(numbers), Value::Vector(rows)) => Value::Vector(with(rows, &numbers, false)),
        (Value::Vector(left), Value::Vector(right)) => {
            let key = |labels: &Labels| {
                let mut labels = labels.clone();
                labels.remove("__name__");
                labels
            };
            let mut others: BTreeMap<Labels, Vec<Option<f64>>> = BTreeMap::new();
            for (labels, values) in right {
                if others.insert(key(&labels), values).is_some() {
                    return Err(bad(
                        "several series on the right have the same labels beside their name: aggregate them first",
                    ));
                }
            }
            let mut rows = Vec::new();
            for (labels, mut values) in left {
                let Some(others) = others.get(&key(&labels)) else {
                    continue;
                };
                for (value, other) in values.iter_mut().zip(others) {
                    *value = value.zip(*other).and_then(|(a, b)| result(a, b, a));
                }
                if values.iter().any(Option::is_some) {
                    rows.push((labels, values));
                }
            }
            Value::Vector(named(rows))
        }
    })
}
