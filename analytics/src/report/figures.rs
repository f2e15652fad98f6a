//! How figures, bounds and reasons are written.

use std::fmt::{self, Write};

use crate::reliability::Interval;

use super::Said;

/// Four digits, as many as people read.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "open".to_owned()
    } else if size >= 1e9 || (size > 0.0 && size < 1e-4) {
        format!("{value:.3e}")
    } else {
        let digits = if size > 0.0 {
            3 - size.log10().floor() as i32
        } else {
            1
        };
        let text = format!("{value:.*}", digits.clamp(0, 7) as usize);
        match text.split_once('.') {
            Some((_, decimals)) if decimals.ends_with('0') => {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => text,
        }
    }
}

pub fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.trim_end_matches(".0"))
}

/// `1 failure`, `2 failures`.
pub fn count(n: usize, of: &str) -> String {
    format!("{n} {of}{}", if n == 1 { "" } else { "s" })
}

pub fn probability(p: f64) -> String {
    if p < 0.001 {
        "p < .001".to_owned()
    } else {
        format!("p {p:.3}")
    }
}

/// A factor, of which what lies beside 1 counts.
pub fn factor(value: f64) -> String {
    if (value - 1.0).abs() < 0.1 {
        format!("{value:.5}")
    } else {
        number(value)
    }
}

pub fn between(bounds: &Said<Interval>) -> String {
    between_as(bounds, number)
}

pub fn between_as(bounds: &Said<Interval>, show: impl Fn(f64) -> String) -> String {
    match bounds {
        Said::Found(bounds) => format!("{} to {}", show(bounds.low), show(bounds.high)),
        Said::Not { why } => format!("no bounds: {why}"),
    }
}

/// Some of many, the last among them.
pub fn some<T>(rows: &[T]) -> impl Iterator<Item = &T> {
    let step = rows.len().div_ceil(6).max(1);
    let last = rows.len().saturating_sub(1);
    rows.iter()
        .enumerate()
        .filter(move |(place, _)| (last - place).is_multiple_of(step))
        .map(|(_, row)| row)
}

/// A line of figures, or of the reason why there are none.
pub fn or_why<T>(
    out: &mut String,
    name: &str,
    of: &Said<T>,
    show: impl FnOnce(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    match of {
        Said::Found(found) => show(out, found),
        Said::Not { why } => writeln!(out, "{name}: {why}"),
    }
}
