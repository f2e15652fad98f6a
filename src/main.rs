//! `forewarn`: command line and composition. What it composes lives in the crates.

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
mod reliability;
mod serve;
mod status;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // One place where a command's error becomes text: the chain, outermost first.
            eprintln!("forewarn: {error:#}");
            ExitCode::FAILURE
        }
    }
}
