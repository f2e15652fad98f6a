//! `forewarn`: command line and composition. What it composes lives in the crates.

// In place of the standard ones, for all modules below: those panic where nobody reads any more.
macro_rules! print {
    ($($text:tt)*) => { $crate::out::print(format_args!($($text)*)) };
}
macro_rules! println {
    ($($text:tt)*) => { $crate::out::print(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::out::progress(format_args!("{}\n", format_args!($($text)*))) };
}

mod backtest;
mod bench;
mod bench_query;
mod chaos;
mod cli;
mod config;
mod dead_letters;
mod demo;
mod export;
mod gateway;
mod gateways;
mod import;
mod learn;
mod ledger;
mod mapping;
mod out;
mod reliability;
mod serve;
mod status;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    out::run(|| cli.run())
}
