//! Command lines: parse, call, print.
//!
//! `pvr-agent <command>` is here; the names that the binary also answers to have a module each, with an entry
//! `run(arguments) -> ExitCode`.

pub mod access;
mod announcement;
mod audited;
pub mod cgi;
pub mod fsck;
pub mod gc;
mod limits;
mod look;
#[cfg(feature = "man")]
mod man;
mod place;
pub mod pvcontrol;
pub mod pvcurl;
pub mod pvr;
pub mod pvtx;
mod secureboot;
pub mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Our own commands end with 0 for yes, 1 for no or a finding, and this when they could not tell.
const COULD_NOT_TELL: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "pvr-agent", version, about = "Device endpoint and command line for Pantavisor states")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Access(access::Args),
    #[command(disable_help_flag = true)]
    Cgi(cgi::Args),
    Fsck(fsck::Args),
    Gc(gc::Args),
    Rollback(look::RollbackArgs),
    Serve(Box<serve::Args>),
    Status(look::StatusArgs),
    Steps(look::StepsArgs),
    #[cfg(feature = "man")]
    Man(man::Args),
    /// The pvtx command line: transactions on a device
    #[command(disable_help_flag = true)]
    Pvtx {
        /// What pvtx is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The pvcontrol command line: Pantavisor's control socket
    #[command(disable_help_flag = true)]
    Pvcontrol {
        /// What pvcontrol is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The pvcurl command line: requests to Pantavisor's control socket
    #[command(disable_help_flag = true)]
    Pvcurl {
        /// What pvcurl is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
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
    let outcome = match Cli::try_parse_from(args) {
        Ok(Cli { command: Command::Access(args) }) => access::run(args),
        Ok(Cli { command: Command::Cgi(args) }) => cgi::run(args),
        Ok(Cli { command: Command::Fsck(args) }) => fsck::run(args),
        Ok(Cli { command: Command::Gc(args) }) => gc::run(args),
        Ok(Cli { command: Command::Serve(args) }) => serve::run(*args),
        Ok(Cli { command: Command::Rollback(args) }) => look::rollback(args),
        Ok(Cli { command: Command::Status(args) }) => look::status(args),
        Ok(Cli { command: Command::Steps(args) }) => look::steps(args),
        #[cfg(feature = "man")]
        Ok(Cli { command: Command::Man(args) }) => man::run(&args),
        Ok(Cli { command: Command::Pvcontrol { args } }) => return pvcontrol::run(args.into_iter()),
        Ok(Cli { command: Command::Pvcurl { args } }) => return pvcurl::run(args.into_iter()),
        Ok(Cli { command: Command::Pvr { args } }) => return pvr::run(args.into_iter()),
        Ok(Cli { command: Command::Pvtx { args } }) => return pvtx::run(args.into_iter()),
        Err(error) => {
            // To a closed pipe or a full disk: there is nobody left to tell.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(COULD_NOT_TELL) } else { ExitCode::SUCCESS };
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ERROR: {error:#}");
        ExitCode::from(COULD_NOT_TELL)
    })
}
