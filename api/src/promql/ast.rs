//! A query as a tree.

use regex::Regex;

#[derive(Clone, Debug)]
pub enum Expr {
    Number(f64),
    Selector(Selector),
    /// Function by name; a range selector may only stand here.
    Call(String, Vec<Expr>),
    Aggregate {
        op: AggregateOp,
        /// Of `topk` and `bottomk`.
        parameter: Option<Box<Expr>>,
        inner: Box<Expr>,
        grouping: Grouping,
    },
    Binary {
        op: BinaryOp,
        /// `bool` behind a comparison: 0 or 1 instead of a filter.
        as_bool: bool,
        left: Box<Expr>,
        right: Box<Expr>,
    },
}

#[derive(Clone, Debug)]
pub struct Selector {
    pub matchers: Vec<Matcher>,
    /// Microseconds of a range selector.
    pub range_us: Option<i64>,
    /// Microseconds; positive looks back.
    pub offset_us: i64,
}

#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    pub test: Test,
}

#[derive(Clone, Debug)]
pub enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    MatchesNot(Regex),
}

impl Test {
    /// A label that is missing is empty.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(text) => value == text,
            Self::NotEqual(text) => value != text,
            Self::Matches(regex) => regex.is_match(value),
            Self::MatchesNot(regex) => !regex.is_match(value),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Topk,
    Bottomk,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl BinaryOp {
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual
        )
    }

    /// How tightly it binds; `^` binds to the right.
    pub fn strength(self) -> u8 {
        match self {
            Self::Pow => 4,
            Self::Mul | Self::Div | Self::Mod => 3,
            Self::Add | Self::Sub => 2,
            _ => 1,
        }
    }

    /// The number; of a comparison whether it holds, as 0 or 1.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Mod => a % b,
            Self::Pow => a.powf(b),
            Self::Equal => truth(a == b),
            Self::NotEqual => truth(a != b),
            Self::Less => truth(a < b),
            Self::LessEqual => truth(a <= b),
            Self::Greater => truth(a > b),
            Self::GreaterEqual => truth(a >= b),
        }
    }
}
