//! The command line: parse, call, print.

pub mod serve;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Pantavisor's device endpoint and command line.
#[derive(Parser, Debug)]
#[command(name = "pvr-agent")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Args),
}

/// Runs what the arguments say.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(args) {
        Ok(Cli { command: Command::Serve(args) }) => serve::run(args),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ERROR: {error:#}");
        ExitCode::from(2)
    })
}
