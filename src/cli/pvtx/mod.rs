//! `pvtx`: transactions on a device (`pvtx.md`).
//!
//! Exit codes are today's; 255 is every failure that has no other. Messages are `ERROR: <command>: …` on standard error.

mod buffer;
mod grammar;
mod usage;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use self::grammar::{Command, Wrong};
use crate::pvctrl::Control;
use crate::pvtx::{Base, Changed, PvtxError, QueueFolders, Transaction, usual_place};
use crate::state::{escape, escape_text};
use crate::trails::Checks;

const FAILED: u8 = 255;

/// Runs `pvtx`; the arguments are those behind its name.
pub fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let asked = match grammar::parse(words) {
        Ok(asked) => asked,
        Err(wrong) => return refuse(wrong),
    };
    let name = asked.command.name();
    let checks = Checks { verity: asked.verity };
    let done = transaction(asked.socket.as_deref())
        .and_then(|transaction| execute(&transaction.with_checks(checks), asked.command, asked.json));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ERROR: {name}: {}", escape_lines(&failure.to_string()));
            ExitCode::from(failure.code())
        }
    }
}

/// What goes wrong here, beside what goes wrong with a transaction.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Pvtx(#[from] PvtxError),
    #[error("failed to {verb} '{}': {source}", escape(.path))]
    Io { verb: &'static str, path: String, source: io::Error },
    #[error("{0:#}")]
    Limits(anyhow::Error),
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Pvtx(error) => error.code(),
            _ => FAILED,
        }
    }
}

fn refuse(wrong: Wrong) -> ExitCode {
    match wrong {
        Wrong::Usage(code) => {
            // To a closed pipe or a full disk: there is nobody left to tell.
            usage::print(&mut io::stdout().lock()).ok();
            ExitCode::from(code)
        }
        Wrong::Unknown(word) => {
            eprintln!("ERROR: command process: \"{}\" is not a command\npvtx help lists them", escape(&word));
            ExitCode::from(FAILED)
        }
        Wrong::Missing { command, what, code } => {
            eprintln!("ERROR: {command}: an argument is missing: {what}");
            ExitCode::from(code)
        }
    }
}

fn transaction(socket: Option<&Path>) -> Result<Transaction, Failure> {
    let dir = usual_place(|name| std::env::var_os(name))?;
    let limits = crate::cli::limits::json().map_err(Failure::Limits)?;
    let transaction = Transaction::at(&dir).with_json_limits(limits).with_piece(buffer::from_env());
    Ok(match socket {
        Some(socket) => transaction.with_control(Control::at(socket)),
        None => transaction,
    })
}

fn execute(transaction: &Transaction, command: Command, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut report = |value: serde_json::Value| if json { writeln!(out, "{value}") } else { Ok(()) };
    match command {
        Command::Help => usage::print(&mut out)?,
        Command::Begin { base, objects } => {
            transaction.begin(&Base::parse(base.as_deref()), objects.as_deref())?;
            report(serde_json::json!({"status": "active"}))?;
        }
        Command::Add(file) => {
            // Whether there is one is said before the file is looked for, and before a pipe is read.
            let changed = with_input(&file, transaction, |from, size| transaction.add(from, size))?;
            report(change(&changed))?;
        }
        Command::Remove(part) => report(change(&transaction.remove(&part)?))?,
        Command::Abort => {
            let was = transaction.abort()?;
            report(serde_json::json!({"aborted": was}))?;
        }
        Command::Show => {
            let state = transaction.show()?;
            out.write_all(&state)?;
            out.write_all(b"\n")?;
        }
        Command::Commit(name) => {
            let revision = transaction.commit(name.as_deref())?;
            match json {
                true => report(serde_json::json!({"rev": revision.to_string()}))?,
                false => writeln!(out, "{revision}")?,
            }
        }
        Command::Deploy(folder) => {
            let deployed = transaction.deploy(&folder)?;
            for key in &deployed.absent {
                eprintln!(
                    "WARNING: deploy: bsp/run.json names \"{}\", which the state has not: it would not boot",
                    escape(key)
                );
            }
            report(serde_json::json!({"boot": deployed.boot, "absent": deployed.absent}))?;
        }
        Command::QueueNew { queue, objects } => {
            transaction.queue_new(QueueFolders { queue: &queue, objects: &objects })?;
            report(serde_json::json!({"status": "set"}))?;
        }
        Command::QueueRemove(part) => {
            let step = transaction.queue_remove(&part)?;
            report(serde_json::json!({"step": step}))?;
        }
        Command::QueueUnpack(file) => {
            transaction.queue_is_there()?;
            let called = if is_stdin(&file) { "package".into() } else { file.to_string_lossy() };
            let step = with_open(&file, |from, size| transaction.queue_unpack(&called, from, size))?;
            report(serde_json::json!({"step": step}))?;
        }
        Command::QueueProcess { base, folders } => {
            let base = base.map(|base| Base::parse(Some(&base)));
            let folders = folders.as_ref().map(|(queue, objects)| QueueFolders { queue, objects });
            transaction.queue_process(base.as_ref(), folders)?;
            report(serde_json::json!({"status": "active"}))?;
        }
    }
    // What could not be printed was not said.
    out.flush()?;
    Ok(())
}

fn change(changed: &Changed) -> serde_json::Value {
    serde_json::json!({"changed": changed.changed})
}

fn is_stdin(file: &OsStr) -> bool {
    file == "-"
}

fn with_input<T>(
    file: &OsStr,
    transaction: &Transaction,
    take: impl FnOnce(&mut dyn Read, Option<u64>) -> Result<T, PvtxError>,
) -> Result<T, Failure> {
    transaction.add_is_possible()?;
    with_open(file, take)
}

/// A file, or standard input.
fn with_open<T>(
    file: &OsStr,
    take: impl FnOnce(&mut dyn Read, Option<u64>) -> Result<T, PvtxError>,
) -> Result<T, Failure> {
    if is_stdin(file) {
        return Ok(take(&mut io::stdin().lock(), None)?);
    }
    let failed = |verb| move |source| Failure::Io { verb, path: file.to_string_lossy().into_owned(), source };
    let mut opened = File::open(file).map_err(failed("open"))?;
    let meta = opened.metadata().map_err(failed("look at"))?;
    if meta.is_dir() {
        return Err(failed("read")(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // Of a pipe, nobody knows.
    Ok(take(&mut opened, meta.is_file().then_some(meta.len()))?)
}

/// Names in messages are escaped already; lines stay lines.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape_text).collect::<Vec<_>>().join("\n")
}
