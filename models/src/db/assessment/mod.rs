//! SQL of what analytics reads about an asset, and of what it writes: the schedule, model versions,
//! features and assessments.

pub mod facts;
pub mod lives;
pub mod model;
pub mod readings;
pub mod result;
pub mod schedule;
pub mod training;

pub use facts::*;
pub use lives::*;
pub use model::*;
pub use readings::*;
pub use result::*;
pub use schedule::*;
pub use training::*;

type Result<T> = std::result::Result<T, sqlx::Error>;
