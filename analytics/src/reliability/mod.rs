//! Reliability statistics: lives, recurring failures, availability and the cost of replacing.
//!
//! Pure functions over ages and counts, without models, database or clock. Units of age are the caller's and must be
//! the same throughout a call. Whatever cannot be estimated is an error with a plain message, never a number.

pub mod availability;
mod error;
mod jet;
mod life;
mod matrix;
mod numeric;
pub mod recurrence;
pub mod regression;
pub mod replacement;
pub mod rotating;
pub mod survival;
pub mod trend;
pub mod weibayes;
pub mod weibull;
pub mod weibull3;

pub use error::{ReliabilityError, Result};
pub use life::Life;
pub use weibayes::{DEFAULT_SHAPE, Estimate, LifeModel, fit_life};
pub use weibull::{Interval, LikelihoodBounds, Weibull, WeibullFit};
