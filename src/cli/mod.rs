//! Command lines: parse, call, print.
//!
//! `pvr-agent <command>` is here; the names that the binary also answers to have a module each, with an entry
//! `run(arguments) -> ExitCode`.

pub mod pvr;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A usage error of our own commands (design: 0 yes, 1 no or a finding, 2 could not tell).
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "pvr-agent", version, about = "Device endpoint and command line for Pantavisor states")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The pvr command line: repositories, deploys, posts
    #[command(disable_help_flag = true)]
    Pvr {
        /// What pvr is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Runs `pvr-agent`; the first argument is the program's own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(args) {
        Ok(Cli { command: Command::Pvr { args } }) => pvr::run(args.into_iter()),
        Err(error) => {
            // To a closed pipe or a full disk: there is nobody left to tell.
            error.print().ok();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
