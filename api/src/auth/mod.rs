//! Who asks: tokens of people, keys of programs.

pub mod limiter;
pub mod password;
pub mod principal;
pub mod token;
