//! Text → tokens.

use super::BadQuery;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Number(f64),
    /// Microseconds.
    Duration(i64),
    Text(String),
    /// `+ - * / % ^ == != < <= > >= = =~ !~ ( ) { } [ ] , : @`.
    Sign(&'static str),
}

const SIGNS: [&str; 23] = [
    "=~", "!~", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "^", "<", ">", "=", "(", ")", "{", "}", "[",
    "]", ",", "@",
];

/// Tokens with the place (byte) each begins at.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, BadQuery> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if first.is_ascii_alphabetic() || first == '_' || (first == ':' && rest.len() > 1) {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(rest.len());
            all.push((at, Token::Word(rest[..end].to_owned())));
            at += end;
        } else if first.is_ascii_digit() || first == '.' {
            let end = rest
                .char_indices()
                .find(|(i, c)| {
                    let exponent = matches!(c, '+' | '-') && matches!(rest.as_bytes()[i - 1], b'e' | b'E');
                    !(c.is_ascii_alphanumeric() || *c == '.' || (exponent && *i > 0))
                })
                .map_or(rest.len(), |(i, _)| i);
            let word = &rest[..end];
            let token = match word.parse::<f64>() {
                Ok(number) => Token::Number(number),
                Err(_) => Token::Duration(duration_us(word).ok_or_else(|| {
                    BadQuery::new(format!(
                        "at {at}: `{word}` is neither a number nor a duration such as 5m"
                    ))
                })?),
            };
            all.push((at, token));
            at += end;
        } else if matches!(first, '"' | '\'' | '`') {
            let (content, length) = quoted(rest, first)
                .ok_or_else(|| BadQuery::new(format!("at {at}: the text that begins here has no end")))?;
            all.push((at, Token::Text(content)));
            at += length;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            all.push((at, Token::Sign(sign)));
            at += sign.len();
        } else if first == ':' {
            return Err(BadQuery::new(format!("at {at}: subqueries are not supported")));
        } else {
            return Err(BadQuery::new(format!("at {at}: `{first}` has no meaning")));
        }
    }
    Ok(all)
}

fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((content, at + 1));
        }
        if c == '\\' && quote != '`' {
            content.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
        } else {
            content.push(c);
        }
    }
    None
}

/// `1h30m`, `5m`, `250ms`, … in microseconds.
pub(crate) fn duration_us(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds_us = 1_000_000;
        let each = match &rest[..unit] {
            "ms" => 1_000,
            "s" => seconds_us,
            "m" => 60 * seconds_us,
            "h" => 3600 * seconds_us,
            "d" => 86_400 * seconds_us,
            "w" => 7 * 86_400 * seconds_us,
            "y" => 365 * 86_400 * seconds_us,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(each)?)?;
        rest = &rest[unit..];
    }
    (sum > 0).then_some(sum)
}
