//! Tokens → tree, by recursive descent.

use super::BadQuery;
use super::ast::{AggregateOp, BinaryOp, Expr, Grouping, Matcher, Selector, Test};
use super::functions;
use super::lex::{Token, tokens};

/// Nested parentheses and calls at most: a query is text from outside.
const DEEPEST: usize = 64;

/// # Errors
/// Says where and what is wrong, or not supported.
pub fn parse(text: &str) -> Result<Expr, BadQuery> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expr = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), BadQuery> {
        if self.accept(sign) {
            return Ok(());
        }
        Err(BadQuery::new(format!(
            "{}, expected `{sign}`",
            self.unexpected().0
        )))
    }

    fn unexpected(&self) -> BadQuery {
        match self.tokens.get(self.at) {
            None => BadQuery::new("the query ends too early"),
            Some((at, Token::Word(word))) => match word.as_str() {
                "and" | "or" | "unless" => {
                    BadQuery::new(format!("at {at}: the operator `{word}` is not supported"))
                }
                "on" | "ignoring" | "group_left" | "group_right" => {
                    BadQuery::new(format!("at {at}: vector matching by `{word}` is not supported"))
                }
                _ => BadQuery::new(format!("at {at}: unexpected `{word}`")),
            },
            Some((at, Token::Sign("@"))) => {
                BadQuery::new(format!("at {at}: the modifier @ is not supported"))
            }
            Some((at, token)) => BadQuery::new(format!("at {at}: unexpected {token:?}")),
        }
    }

    fn operator(&self) -> Option<BinaryOp> {
        let Some(Token::Sign(sign)) = self.peek() else {
            return None;
        };
        Some(match *sign {
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Sub,
            "*" => BinaryOp::Mul,
            "/" => BinaryOp::Div,
            "%" => BinaryOp::Mod,
            "^" => BinaryOp::Pow,
            "==" => BinaryOp::Equal,
            "!=" => BinaryOp::NotEqual,
            "<" => BinaryOp::Less,
            "<=" => BinaryOp::LessEqual,
            ">" => BinaryOp::Greater,
            ">=" => BinaryOp::GreaterEqual,
            _ => return None,
        })
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, BadQuery>) -> Result<T, BadQuery> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(BadQuery::new("the query is nested too deeply"));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn binary(&mut self, weakest: u8) -> Result<Expr, BadQuery> {
        self.deeper(|parser| {
            let mut left = parser.unary()?;
            while let Some(op) = parser.operator().filter(|op| op.strength() > weakest) {
                parser.at += 1;
                let as_bool =
                    op.is_comparison() && matches!(parser.peek(), Some(Token::Word(word)) if word == "bool");
                parser.at += usize::from(as_bool);
                if matches!(parser.peek(), Some(Token::Word(word)) if word == "on" || word == "ignoring") {
                    return Err(parser.unexpected());
                }
                let right = parser.binary(op.strength() - u8::from(op == BinaryOp::Pow))?;
                left = Expr::Binary {
                    op,
                    as_bool,
                    left: Box::new(left),
                    right: Box::new(right),
                };
            }
            Ok(left)
        })
    }

    fn unary(&mut self) -> Result<Expr, BadQuery> {
        if self.accept("+") {
            return self.deeper(Self::unary);
        }
        if self.accept("-") {
            // Binds less tightly than `^` only.
            let inner = self.binary(BinaryOp::Mul.strength())?;
            return Ok(Expr::Binary {
                op: BinaryOp::Mul,
                as_bool: false,
                left: Box::new(Expr::Number(-1.0)),
                right: Box::new(inner),
            });
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, BadQuery> {
        match self.peek().cloned() {
            Some(Token::Number(number)) => {
                self.at += 1;
                Ok(Expr::Number(number))
            }
            Some(Token::Sign("(")) => {
                self.at += 1;
                let inner = self.binary(0)?;
                self.expect(")")?;
                if self.is("[") {
                    return Err(BadQuery::new("subqueries are not supported"));
                }
                Ok(inner)
            }
            Some(Token::Sign("{")) => self.selector(None),
            Some(Token::Word(word)) => {
                let lower = word.to_ascii_lowercase();
                let next = self.tokens.get(self.at + 1).map(|(_, token)| token);
                let calls = matches!(next, Some(Token::Sign("(")));
                let grouped = matches!(next, Some(Token::Word(word)) if word == "by" || word == "without");
                match aggregate(&lower) {
                    Some(op) if calls || grouped => {
                        self.at += 1;
                        self.aggregation(op)
                    }
                    _ if calls => {
                        self.at += 1;
                        self.call(&word)
                    }
                    _ if lower == "inf" || lower == "nan" => {
                        self.at += 1;
                        Ok(Expr::Number(if lower == "inf" {
                            f64::INFINITY
                        } else {
                            f64::NAN
                        }))
                    }
                    _ => {
                        self.at += 1;
                        self.selector(Some(word))
                    }
                }
            }
            _ => Err(self.unexpected()),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr, BadQuery> {
        let Some(known) = functions::lookup(name) else {
            return Err(BadQuery::new(format!(
                "the function {name} is not supported; there are {}",
                functions::names().join(", ")
            )));
        };
        let arguments = self.arguments()?;
        known.check(name, &arguments)?;
        Ok(Expr::Call(name.to_owned(), arguments))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, BadQuery> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.is(")") {
            arguments.push(self.binary(0)?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<Expr, BadQuery> {
        let mut grouping = self.grouping()?;
        let mut arguments = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let wants = 1 + usize::from(matches!(op, AggregateOp::Topk | AggregateOp::Bottomk));
        if arguments.len() != wants {
            return Err(BadQuery::new(format!(
                "an aggregation takes {wants}, not {}",
                arguments.len()
            )));
        }
        let inner = arguments.pop().map(Box::new).ok_or_else(|| self.unexpected())?;
        functions::no_range(&inner)?;
        Ok(Expr::Aggregate {
            op,
            parameter: arguments.pop().map(Box::new),
            inner,
            grouping: grouping.unwrap_or(Grouping::By(Vec::new())),
        })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, BadQuery> {
        let by = match self.peek() {
            Some(Token::Word(word)) if word == "by" => true,
            Some(Token::Word(word)) if word == "without" => false,
            _ => return Ok(None),
        };
        self.at += 1;
        self.expect("(")?;
        let mut labels = Vec::new();
        while let Some(Token::Word(label)) = self.peek().cloned() {
            self.at += 1;
            labels.push(label);
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(Some(if by {
            Grouping::By(labels)
        } else {
            Grouping::Without(labels)
        }))
    }

    fn selector(&mut self, name: Option<String>) -> Result<Expr, BadQuery> {
        let mut matchers = Vec::new();
        if let Some(name) = name {
            matchers.push(Matcher {
                label: "__name__".to_owned(),
                test: Test::Equal(name),
            });
        }
        if self.accept("{") {
            while !self.is("}") {
                matchers.push(self.matcher()?);
                if !self.accept(",") {
                    break;
                }
            }
            self.expect("}")?;
        }
        if !matchers.iter().any(|matcher| !matcher.test.holds("")) {
            return Err(BadQuery::new(
                "a selector needs at least one matcher that an empty label doesn't fit",
            ));
        }
        let mut selector = Selector {
            matchers,
            range_us: None,
            offset_us: 0,
        };
        if self.accept("[") {
            let Some(Token::Duration(range)) = self.peek().cloned() else {
                return Err(BadQuery::new("a range is a duration, such as [5m]"));
            };
            self.at += 1;
            selector.range_us = Some(range);
            if !self.accept("]") {
                return Err(BadQuery::new(
                    "a range is one duration, such as [5m]; subqueries are not supported",
                ));
            }
        }
        if matches!(self.peek(), Some(Token::Word(word)) if word == "offset") {
            self.at += 1;
            let back = if self.accept("-") { -1 } else { 1 };
            let Some(Token::Duration(offset)) = self.peek().cloned() else {
                return Err(BadQuery::new("an offset is a duration, such as offset 1h"));
            };
            self.at += 1;
            selector.offset_us = back * offset;
        }
        if self.is("@") {
            return Err(self.unexpected());
        }
        Ok(Expr::Selector(selector))
    }

    fn matcher(&mut self) -> Result<Matcher, BadQuery> {
        let label = match self.peek().cloned() {
            Some(Token::Word(label)) => label,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let sign = match self.peek() {
            Some(Token::Sign(sign @ ("=" | "!=" | "=~" | "!~"))) => *sign,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let Some(Token::Text(text)) = self.peek().cloned() else {
            return Err(BadQuery::new(format!(
                "{label}{sign}: a text in quotes must follow"
            )));
        };
        self.at += 1;
        let regex = |text: &str| {
            regex::RegexBuilder::new(&format!("^(?:{text})$"))
                .size_limit(1 << 20)
                .build()
                .map_err(|_| BadQuery::new(format!("{label}{sign}\"{text}\": not a regular expression")))
        };
        let test = match sign {
            "=" => Test::Equal(text),
            "!=" => Test::NotEqual(text),
            "=~" => Test::Matches(regex(&text)?),
            _ => Test::MatchesNot(regex(&text)?),
        };
        Ok(Matcher { label, test })
    }
}

fn aggregate(word: &str) -> Option<AggregateOp> {
    Some(match word {
        "sum" => AggregateOp::Sum,
        "avg" => AggregateOp::Avg,
        "min" => AggregateOp::Min,
        "max" => AggregateOp::Max,
        "count" => AggregateOp::Count,
        "group" => AggregateOp::Group,
        "topk" => AggregateOp::Topk,
        "bottomk" => AggregateOp::Bottomk,
        _ => return None,
    })
}

/// A selector alone, as `match[]` gives it.
///
/// # Errors
/// When it is something else.
pub fn selector(text: &str) -> Result<Vec<Matcher>, BadQuery> {
    match parse(text)? {
        Expr::Selector(Selector {
            matchers,
            range_us: None,
            ..
        }) => Ok(matchers),
        _ => Err(BadQuery::new(format!("`{text}` is not a selector"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dashboards_write_is_read() {
        for text in [
            "1+1",
            "vibration{asset=\"P-101\"}",
            "{__name__=~\"vib.*\",site!=\"Works\",}",
            "avg_over_time(vibration{asset=~\"P.*\"}[5m])",
            "sum by (asset) (rate(energy_total[1h]))",
            "sum(rate(energy_total[1h])) by (asset, site)",
            "max without(channel_id) (temp) * 1.8 + 32",
            "topk(5, max_over_time(temp[1d]))",
            "temp > bool 80",
            "-temp ^ 2 ^ 0.5",
            "temp offset 1d - temp",
            "clamp_min(temp, 0)",
            "avg(temp) # the fleet",
        ] {
            parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    /// Every query of the dashboards that are shipped, with something in place of Grafana's variables.
    #[test]
    fn the_shipped_dashboards_are_read() {
        fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
            if value["datasource"]["uid"] == "forewarn"
                && let Some(query) = value["expr"].as_str()
            {
                found.push(query.to_owned());
            }
            match value {
                serde_json::Value::Array(all) => all.iter().for_each(|one| queries(one, found)),
                serde_json::Value::Object(all) => all.values().for_each(|one| queries(one, found)),
                _ => {}
            }
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/dashboards");
        let mut found = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            queries(&serde_json::from_str(&text).unwrap(), &mut found);
        }
        assert!(found.len() > 10, "{found:?}");
        for query in found {
            let query = query.replace("$__interval", "5m").replace("$__range", "1d");
            parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (text, words) in [
            ("", "ends too early"),
            ("a and b", "operator `and` is not supported"),
            ("a + on(asset) b", "`on` is not supported"),
            ("avg_over_time(a[5m:1m])", "subqueries are not supported"),
            ("a @ 5", "@ is not supported"),
            (
                "histogram_quantile(0.9, a)",
                "histogram_quantile is not supported",
            ),
            ("rate(a)", "rate takes a range"),
            ("a[5m]", "range"),
            ("{}", "at least one matcher"),
            ("{a=~\"(\"}", "not a regular expression"),
            ("a{b=\"x", "no end"),
            ("sum(a, b)", "takes 1, not 2"),
            ("a 5", "unexpected"),
        ] {
            let error = parse(text).and_then(|expr| {
                functions::no_range(&expr)?;
                Ok(expr)
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = "(".repeat(5000);
        assert!(parse(&deep).unwrap_err().to_string().contains("deep"));
    }

    #[test]
    fn operators_bind_as_in_arithmetic() {
        fn value(expr: &Expr) -> f64 {
            match expr {
                Expr::Number(number) => *number,
                Expr::Binary { op, left, right, .. } => op.apply(value(left), value(right)),
                _ => f64::NAN,
            }
        }
        for (text, expected) in [
            ("1 + 2 * 3", 7.0),
            ("8 - 3 - 2", 3.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("-2 ^ 2", -4.0),
            ("-2 * 3 + 1", -5.0),
            ("(1 + 2) * 3", 9.0),
            ("7 % 4 == bool 3", 1.0),
        ] {
            assert_eq!(value(&parse(text).unwrap()), expected, "{text}");
        }
    }
}
