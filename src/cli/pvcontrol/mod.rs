//! `pvcontrol`: the control socket's command line (`pvctrl.md` §5).
//!
//! | code | means |
//! |---|---|
//! | 0 | done; with `--wait`: the update ended `DONE` or `UPDATED` |
//! | 1 | bad usage, no socket, no answer |
//! | 30, 31, 32, 33 | `--wait`: `WONTGO`, `ERROR`, deadline passed, connection lost |
//! | 48 | the disk is full |
//! | 60 | an object has other bytes than its name says |
//! | 75 | something else is under way: try again |
//! | 255 | anything else that was refused |
//!
//! What the daemon answers goes to standard output as it is, with one line break behind it; what it refuses goes to
//! standard error.

mod answer;
mod commands;
mod grammar;
mod objects;
mod run;
mod steps;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use grammar::{Parsed, Usage};

use crate::pvctrl::{Control, SOCKETS};

/// What the options say.
#[derive(Debug, Default)]
struct Options {
    verbose: bool,
    socket: Option<PathBuf>,
    file: Option<PathBuf>,
    message: Option<String>,
    json: bool,
    wait: Option<std::time::Duration>,
}

/// Runs `pvcontrol`; `args` without the program's own name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let (options, words) = match grammar::parse(args) {
        Ok(Parsed::Run(options, words)) => (options, words),
        Ok(Parsed::Help) => return usage(None, ExitCode::SUCCESS),
        Err(wrong) => return usage(Some(&wrong), ExitCode::from(1)),
    };
    let call = match commands::parse(&words, &options) {
        Ok(Some(call)) => call,
        Ok(None) => return usage(None, ExitCode::SUCCESS),
        Err(wrong) => return usage(Some(&wrong), ExitCode::from(1)),
    };
    let Some(socket) = socket(&options) else {
        let missing = options.socket.as_deref().unwrap_or(Path::new(SOCKETS[2]));
        let shown = crate::state::escape(&missing.to_string_lossy()).into_owned();
        answer::print(format!("ERROR: {shown} not found\n").as_bytes()).ok();
        return ExitCode::from(1);
    };
    let mut control = Control::at(&socket);
    if options.verbose {
        control = control.traced(Arc::new(|text| eprintln!("{text}")));
    }
    match call.make(&control, &options).and_then(|answer| answer.put(&options)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn socket(options: &Options) -> Option<PathBuf> {
    match &options.socket {
        Some(path) => path.exists().then(|| path.clone()),
        None => crate::pvctrl::find(),
    }
}

/// On standard output, wrong or not, as scripts have it today.
fn usage(wrong: Option<&Usage>, code: ExitCode) -> ExitCode {
    let reason = wrong.map(|wrong| format!("ERROR: {wrong}\n")).unwrap_or_default();
    answer::print(format!("{reason}{}", grammar::USAGE).as_bytes()).ok();
    code
}
