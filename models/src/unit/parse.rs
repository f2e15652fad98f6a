//! The grammar of UCUM codes (The Unified Code for Units of Measure, §§ 2 to 4).
//!
//! `term := ["/"] component (("." | "/") component)*`, a component being an atom with an optional
//! prefix and exponent, a number, an annotation in braces, or a term in parentheses. Division binds
//! to the next component only and is read from the left, as in UCUM.

use super::atoms::{ATOMS, Atom, Dimension, ONE, PREFIXES};

/// Longest code that is looked at; UCUM's own are shorter.
const MAX_BYTES: usize = 64;
const MAX_DEPTH: usize = 8;

/// What a code means: `base = value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    pub dimension: Dimension,
    pub factor: f64,
    pub offset: f64,
}

/// `None` when the code is not UCUM's, or one of the few units that are not proportional (pH, dB).
pub(super) fn parse(code: &str) -> Option<Meaning> {
    if code.is_empty() || code.len() > MAX_BYTES || !code.is_ascii() {
        return None;
    }
    if let Some(atom) = ATOMS.iter().find(|atom| atom.code == code) {
        return Some(meaning(atom, 1.0));
    }
    let mut rest = code;
    let meaning = term(&mut rest, 0)?;
    (rest.is_empty() && meaning.factor.is_normal()).then_some(meaning)
}

fn meaning(atom: &Atom, prefix: f64) -> Meaning {
    Meaning {
        dimension: atom.dimension,
        factor: atom.factor * prefix,
        offset: atom.offset,
    }
}

fn term(rest: &mut &str, depth: usize) -> Option<Meaning> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut whole = Meaning {
        dimension: ONE,
        factor: 1.0,
        offset: 0.0,
    };
    let mut divide = eat(rest, '/');
    let mut parts = 0;
    loop {
        let part = component(rest, depth)?;
        // A scale with its own zero means nothing inside a product.
        if part.offset != 0.0 && (parts > 0 || divide || !(rest.is_empty() || rest.starts_with(')'))) {
            return None;
        }
        whole = if part.offset == 0.0 {
            combine(whole, part, if divide { -1 } else { 1 })?
        } else {
            part
        };
        parts += 1;
        if eat(rest, '.') {
            divide = false;
        } else if eat(rest, '/') {
            divide = true;
        } else {
            return Some(whole);
        }
    }
}

fn component(rest: &mut &str, depth: usize) -> Option<Meaning> {
    if eat(rest, '(') {
        let inner = term(rest, depth + 1)?;
        return eat(rest, ')').then_some(inner);
    }
    if rest.starts_with('{') && !rest.starts_with("{rpm}") {
        annotation(rest)?;
        return Some(Meaning {
            dimension: ONE,
            factor: 1.0,
            offset: 0.0,
        });
    }
    // `10*` and `10^` are atoms, not numbers.
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let power_of_ten = rest.starts_with("10*") || rest.starts_with("10^");
    let mut found = if digits > 0 && !power_of_ten {
        let (number, after) = rest.split_at(digits);
        *rest = after;
        Meaning {
            dimension: ONE,
            factor: number.parse().ok()?,
            offset: 0.0,
        }
    } else {
        simple(rest)?
    };
    if let Some(exponent) = exponent(rest)? {
        if found.offset != 0.0 {
            return None;
        }
        let one = Meaning {
            dimension: ONE,
            factor: 1.0,
            offset: 0.0,
        };
        found = combine(one, found, exponent)?;
    }
    if rest.starts_with('{') {
        annotation(rest)?;
    }
    Some(found)
}

/// An atom, alone or behind a prefix. The longest reading that leaves something sensible wins, an
/// atom without a prefix before one with: `cd` is candela, `min` the minute, `m` the metre.
fn simple(rest: &mut &str) -> Option<Meaning> {
    let symbol_end = end_of_symbol(rest);
    let (symbol, after) = rest.split_at(symbol_end);
    let found = ATOMS
        .iter()
        .find(|atom| atom.code == symbol)
        .map(|atom| meaning(atom, 1.0))
        .or_else(|| {
            PREFIXES.iter().find_map(|(prefix, factor)| {
                let name = symbol.strip_prefix(prefix)?;
                let atom = ATOMS.iter().find(|atom| atom.metric && atom.code == name)?;
                Some(meaning(atom, *factor))
            })
        })?;
    *rest = after;
    Some(found)
}

/// Where the symbol ends: at an operator, a digit or sign (its exponent) or a brace, all of which
/// may stand inside square brackets.
fn end_of_symbol(text: &str) -> usize {
    if text.starts_with("10*") || text.starts_with("10^") {
        return 3;
    }
    if text.starts_with("{rpm}") {
        return 5;
    }
    let mut inside = false;
    for (i, c) in text.char_indices() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            '.' | '/' | '(' | ')' | '{' | '}' | '+' | '-' | '0'..='9' if !inside => return i,
            _ => {}
        }
    }
    text.len()
}

/// `Some(None)`: there is none. `None`: it is no exponent.
#[expect(clippy::option_option, reason = "absent and malformed are different answers")]
fn exponent(rest: &mut &str) -> Option<Option<i8>> {
    let sign = rest.len() - rest.trim_start_matches(['+', '-']).len();
    let digits = rest[sign..].len()
        - rest[sign..]
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    if sign + digits == 0 {
        return Some(None);
    }
    if sign > 1 || digits == 0 || digits > 2 {
        return None;
    }
    let (text, after) = rest.split_at(sign + digits);
    let exponent: i8 = text.parse().ok()?;
    *rest = after;
    Some(Some(exponent))
}

fn annotation(rest: &mut &str) -> Option<()> {
    let end = rest.find('}')?;
    *rest = &rest[end + 1..];
    Some(())
}

fn combine(whole: Meaning, part: Meaning, exponent: i8) -> Option<Meaning> {
    let mut dimension = whole.dimension;
    for (sum, add) in dimension.iter_mut().zip(part.dimension) {
        *sum = sum.checked_add(add.checked_mul(exponent)?)?;
    }
    Some(Meaning {
        dimension,
        factor: whole.factor * part.factor.powi(i32::from(exponent)),
        offset: 0.0,
    })
}

fn eat(rest: &mut &str, c: char) -> bool {
    match rest.strip_prefix(c) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}
