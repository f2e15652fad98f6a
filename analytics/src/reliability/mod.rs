//! Reliability statistics: lives, recurring failures, availability and the cost of replacing.
//!
//! Pure functions over ages and counts, without models, database or clock. Units of age are the caller's and must be
//! the same throughout a call. Whatever cannot be estimated is an error with a plain message, never a number.

mod error;
mod jet;
mod life;
mod numeric;
pub mod weibayes;
pub mod weibull;

pub use error::{ReliabilityError, Result};
pub use life::Life;
pub use weibayes::{DEFAULT_SHAPE, Estimate, LifeModel, fit_life};
pub use weibull::{Interval, Weibull, WeibullFit};
