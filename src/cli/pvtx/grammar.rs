//! How `pvtx` reads its arguments.
//!
//! As today's program: words in their places, more of them are ignored, and nothing that begins with a dash is an option of
//! a command, so that a file or a part may be called anything. Ours stand before the command, where today's program takes
//! none:
//!
//! | option | |
//! |---|---|
//! | `--socket PATH` | the control socket, if it is at none of its places |
//! | `--json` | what has been done, as one line of JSON |
//! | `--no-verity-check` | a deploy takes volumes of dm-verity as they are |

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::trails::Verity;

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// No word at all, or an empty one: the usage, and this code.
    Usage(u8),
    /// A word that is no command.
    Unknown(String),
    /// A command lacks a word.
    Missing { command: &'static str, what: &'static str, code: u8 },
}

/// A command and its words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Begin { base: Option<OsString>, objects: Option<PathBuf> },
    Add(OsString),
    Remove(String),
    Abort,
    Show,
    Commit(Option<String>),
    Deploy(PathBuf),
    QueueNew { queue: PathBuf, objects: PathBuf },
    QueueRemove(String),
    QueueUnpack(OsString),
    QueueProcess { base: Option<OsString>, folders: Option<(PathBuf, PathBuf)> },
}

impl Command {
    /// What messages begin with.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Begin { .. } => "begin",
            Self::Add(_) => "add",
            Self::Remove(_) => "remove",
            Self::Abort => "abort",
            Self::Show => "show",
            Self::Commit(_) => "commit",
            Self::Deploy(_) => "deploy",
            Self::QueueNew { .. } => "queue new",
            Self::QueueRemove(_) => "queue remove",
            Self::QueueUnpack(_) => "queue unpack",
            Self::QueueProcess { .. } => "queue process",
        }
    }
}

/// A whole command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) socket: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) verity: Verity,
    pub(super) command: Command,
}

/// Reads what follows the program's name.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Asked, Wrong> {
    let mut words = words;
    let (mut socket, mut json, mut verity) = (None, false, Verity::Check);
    let first = loop {
        let word = words.next().ok_or(Wrong::Usage(255))?;
        match word.to_str() {
            Some("--socket") => socket = Some(PathBuf::from(words.next().ok_or(Wrong::Usage(255))?)),
            Some("--json") => json = true,
            Some("--no-verity-check") => verity = Verity::Trust,
            _ => break word,
        }
    };
    let command = match first.to_str() {
        Some("") => return Err(Wrong::Usage(1)),
        Some("queue") => queue(words)?,
        name => command(name.unwrap_or_default(), &first, words)?,
    };
    Ok(Asked { socket, json, verity, command })
}

fn command(name: &str, word: &OsStr, mut words: impl Iterator<Item = OsString>) -> Result<Command, Wrong> {
    let missing = |command, what, code| Wrong::Missing { command, what, code };
    Ok(match name {
        "help" | "--help" => Command::Help,
        "begin" => Command::Begin { base: words.next(), objects: words.next().map(PathBuf::from) },
        "add" => Command::Add(words.next().ok_or(missing("add", "FILE, or - for standard input", 255))?),
        "remove" => Command::Remove(text(words.next().ok_or(missing("remove", "PART", 4))?)),
        "abort" => Command::Abort,
        "show" => Command::Show,
        "commit" => Command::Commit(words.next().map(text)),
        "deploy" => Command::Deploy(words.next().ok_or(missing("deploy", "DIR", 1))?.into()),
        _ => return Err(unknown(word)),
    })
}

fn queue(mut words: impl Iterator<Item = OsString>) -> Result<Command, Wrong> {
    let missing = |command, what| Wrong::Missing { command, what, code: 1 };
    let word =
        words.next().ok_or(Wrong::Missing { command: "queue", what: "new, remove, unpack or process", code: 255 })?;
    Ok(match word.to_str() {
        Some("new") => {
            let queue = words.next().ok_or(missing("queue new", "QUEUE"))?.into();
            let objects = words.next().ok_or(missing("queue new", "OBJECTS"))?.into();
            Command::QueueNew { queue, objects }
        }
        Some("remove") => match words.next().map(text).filter(|part| !part.is_empty()) {
            Some(part) => Command::QueueRemove(part),
            None => return Err(missing("queue remove", "PART")),
        },
        Some("unpack") => {
            Command::QueueUnpack(words.next().ok_or(missing("queue unpack", "FILE, or - for standard input"))?)
        }
        Some("process") => {
            let (base, queue, objects) = (words.next(), words.next(), words.next());
            let folders = queue.zip(objects).map(|(queue, objects)| (queue.into(), objects.into()));
            Command::QueueProcess { base, folders }
        }
        _ => return Err(unknown(&word)),
    })
}

fn unknown(word: &OsStr) -> Wrong {
    Wrong::Unknown(word.to_string_lossy().into_owned())
}

/// A part or a name that is no UTF-8 is none that a state could have; what it becomes matches none either.
fn text(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Wrong> {
        parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from)).map(|asked| asked.command)
    }

    #[test]
    fn words_are_never_options_and_never_abbreviated() {
        assert_eq!(parsed("add -dash.json"), Ok(Command::Add("-dash.json".into())));
        assert_eq!(parsed("remove --json"), Ok(Command::Remove("--json".into())));
        assert_eq!(parsed("abort now"), Ok(Command::Abort));
        for line in ["addfoo x", "ad x", "showx", "-h", "--version", "ADD x", "q new", "queue newx a b"] {
            assert!(matches!(parsed(line), Err(Wrong::Unknown(_))), "{line}");
        }
        for (line, code) in
            [("add", 255), ("remove", 4), ("deploy", 1), ("queue new q", 1), ("queue remove", 1), ("queue", 255)]
        {
            assert!(matches!(parsed(line), Err(Wrong::Missing { code: got, .. }) if got == code), "{line}");
        }
        assert_eq!(parsed(""), Err(Wrong::Usage(255)));
        assert_eq!(parse([OsString::new()].into_iter()).unwrap_err(), Wrong::Usage(1));
    }

    #[test]
    fn ours_stand_before_the_command() {
        let words = ["--json", "--socket", "/s", "--no-verity-check", "begin", "current", "/o"].map(OsString::from);
        let asked = parse(words.into_iter()).unwrap();
        assert_eq!((asked.socket, asked.json, asked.verity), (Some("/s".into()), true, Verity::Trust));
        let begin = Command::Begin { base: Some("current".into()), objects: Some("/o".into()) };
        assert_eq!(asked.command, begin);
    }
}
