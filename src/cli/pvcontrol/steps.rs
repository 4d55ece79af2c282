//! `steps put` and `steps install`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Options;
use super::answer::{Answer, Failure, print};
use super::commands::{empty, local};
use super::objects::source;
use crate::pvctrl::{Control, ControlError, Limited, MAX_COMMIT_MESSAGE};
use crate::repo::install_archive;
use crate::state::{Revision, escape};

/// What is said of a revision: looked at before anything is sent.
fn message(options: &Options) -> Result<Option<&str>, Failure> {
    match options.message.as_deref() {
        None | Some("") => Ok(None),
        Some(text) if text.len() > MAX_COMMIT_MESSAGE => {
            let (size, limit) = (text.len() as u64, MAX_COMMIT_MESSAGE as u64);
            Err(ControlError::TooLong { what: Limited::CommitMessage, size, limit }.into())
        }
        text => Ok(text),
    }
}

fn commit(control: &Control, revision: &Revision, message: Option<&str>) -> Result<(), ControlError> {
    message.map_or(Ok(()), |text| control.put_commit_message(revision, text))
}

pub(super) fn put(control: &Control, path: &str, name: &str, options: &Options) -> Result<Answer, Failure> {
    let revision = local(name)?;
    let message = message(options)?;
    let limit = crate::cli::limits::json().map_err(Failure::own)?.bytes;
    let (_, reader) = source(path)?;
    let mut state = Vec::new();
    let failed = |error| Failure::own(format!("cannot read '{}': {error}", escape(path)));
    reader.take(limit as u64 + 1).read_to_end(&mut state).map_err(failed)?;
    if state.len() > limit {
        let (size, limit) = (state.len() as u64, limit as u64);
        return Err(ControlError::TooLong { what: Limited::State, size, limit }.into());
    }
    control.replace_step(&revision, &state)?;
    empty(commit(control, &revision, message))
}

pub(super) fn install(control: &Control, path: &str, name: Option<&str>, options: &Options) -> Result<Answer, Failure> {
    let path = Path::new(path);
    let shown = escape(&path.to_string_lossy()).into_owned();
    if path.extension().is_none_or(|end| end != "tgz") {
        return Err(Failure::Own(1, format!("'{shown}' is not called *.tgz")));
    }
    let message = message(options)?;
    let limits = crate::cli::limits::json().map_err(Failure::own)?;
    let revision = match name {
        Some(name) => local(name)?,
        None => {
            let failed = |error| Failure::own(format!("cannot read '{shown}': {error}"));
            let hash = crate::store::hash(File::open(path).map_err(failed)?).map_err(failed)?;
            Revision::local(&hash.to_string()).map_err(Failure::own)?
        }
    };
    let sent = install_archive(control, path, &revision, &limits)?;
    for line in sent.warnings {
        eprintln!("{line}");
    }
    commit(control, &revision, message)?;
    print(format!("{{\"revision\":\"{revision}\"}}\n").as_bytes())
        .map_err(|error| Failure::own(format!("cannot write: {error}")))?;
    Ok(Answer::Ended(0))
}
