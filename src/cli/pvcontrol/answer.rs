//! What a call came to: what is printed where, and the exit code.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::Options;
use crate::pvctrl::{ControlError, Refusal};
use crate::repo::RepoError;
use crate::state::{escape, escape_text};

const FULL: &str = r#"{"Error":"Not enough disk space available"}"#;
const BAD_OBJECT: &str = r#"{"Error":"Object has bad checksum"}"#;
const BAD_STATE: &str = r#"{"Error":"State verification has failed"}"#;

/// The code of what was refused for a reason of its own.
const REFUSED: u8 = 255;

/// What went well.
#[derive(Debug)]
pub(super) enum Answer {
    /// The body of an answer; texts end in one line break.
    Body(Vec<u8>),
    /// It is printed already, and this is how it ended.
    Ended(u8),
}

/// What did not.
#[derive(Debug)]
pub(super) enum Failure {
    /// A call.
    Control(ControlError),
    /// Anything on this side, with its code.
    Own(u8, String),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::Control(error) => Self::Control(*error),
            error => Self::own(error),
        }
    }
}

impl Failure {
    /// A failure of ours.
    pub(super) fn own(error: impl Display) -> Self {
        Self::Own(REFUSED, error.to_string())
    }

    /// Prints what went wrong and gives the code.
    pub(super) fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::Own(code, text) => (code, format!("ERROR: {}", lines(&text))),
            Self::Control(error) => (code(&error), shown(&error)),
        };
        writeln!(io::stderr(), "{text}").ok();
        ExitCode::from(code)
    }
}

/// Texts of several lines, each of them without anything that a terminal acts upon.
fn lines(text: &str) -> String {
    text.lines().map(|line| escape_text(line).into_owned()).collect::<Vec<_>>().join("\n")
}

fn shown(error: &ControlError) -> String {
    match error {
        ControlError::DiskFull => FULL.to_owned(),
        ControlError::NotStored { .. } => format!("{FULL}\n{}", lines(&error.to_string())),
        ControlError::BadObject(_) | ControlError::Checksum { .. } => BAD_OBJECT.to_owned(),
        ControlError::Unreachable(_) | ControlError::NoAnswer(_) => {
            format!("ERROR: got no response\n{}", lines(&error.to_string()))
        }
        error => match error.refusal() {
            // The daemon's own words, as scripts look for them.
            Some(Refusal { body, .. }) if !body.is_empty() => lines(String::from_utf8_lossy(body).trim_end()),
            Some(refusal) => lines(&refusal.to_string()),
            None => format!("ERROR: {}", lines(&error.to_string())),
        },
    }
}

fn code(error: &ControlError) -> u8 {
    let is = |text: &str| error.refusal().is_some_and(|refusal| refusal.body == text.as_bytes());
    match error {
        ControlError::Unreachable(_) | ControlError::NoAnswer(_) | ControlError::NoSocket => 1,
        ControlError::DiskFull | ControlError::NotStored { .. } => 48,
        ControlError::BadObject(_) | ControlError::Checksum { .. } => 60,
        ControlError::Busy { .. } => 75,
        _ if is(BAD_OBJECT) => 60,
        _ if is(BAD_STATE) => 70,
        _ => REFUSED,
    }
}

impl Answer {
    /// A text, as JSON.
    pub(super) fn quoted(self) -> Result<Self, Failure> {
        match self {
            Self::Body(text) => {
                Ok(Self::Body(serde_json::to_vec(&String::from_utf8_lossy(&text)).map_err(Failure::own)?))
            }
            ended => Ok(ended),
        }
    }

    /// Prints it, or writes it where the options say.
    pub(super) fn put(self, options: &Options) -> Result<ExitCode, Failure> {
        let mut body = match self {
            Self::Ended(code) => return Ok(ExitCode::from(code)),
            Self::Body(body) => body,
        };
        while body.last() == Some(&b'\n') {
            body.pop();
        }
        if body.is_empty() && options.json {
            body.extend(br#"{"ok":true}"#);
        }
        body.push(b'\n');
        match &options.file {
            Some(path) => write_file(path, &body)?,
            None => print_text(&body).map_err(|error| Failure::own(format!("cannot write: {error}")))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Standard output, whole.
pub(super) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The same for what comes from outside: a terminal gets nothing that it would act upon.
fn print_text(bytes: &[u8]) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return print(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.split('\n').map(|line| escape_text(line).into_owned()).collect();
    print(lines.join("\n").as_bytes())
}

/// A file for an answer. One that is there is replaced only when all of the answer is here; what is no file is written
/// into.
pub(super) fn open_file(path: &Path) -> Result<(fs::File, Option<std::path::PathBuf>), Failure> {
    let failed =
        |error: io::Error| Failure::own(format!("cannot write '{}': {error}", escape(&path.to_string_lossy())));
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Ok((OpenOptions::new().write(true).open(path).map_err(failed)?, None));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    Ok((OpenOptions::new().write(true).create_new(true).open(&part).map_err(failed)?, Some(part)))
}

/// Gives the file its name, or removes it.
pub(super) fn close_file(path: &Path, part: Option<std::path::PathBuf>, result: io::Result<()>) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::own(format!("cannot write '{}': {error}", escape(&path.to_string_lossy())));
    let Some(part) = part else { return result.map_err(failed) };
    let result = result.and_then(|()| fs::rename(&part, path));
    if result.is_err() {
        fs::remove_file(&part).ok();
    }
    result.map_err(failed)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let (mut file, part) = open_file(path)?;
    let written = file.write_all(bytes).and_then(|()| if part.is_some() { file.sync_all() } else { Ok(()) });
    close_file(path, part, written)
}
