//! What `sig add` and `sig update` say of the signatures that they make.

use serde::Serialize;

use super::{Group, given};
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::report;
use crate::repo::Status;
use crate::sig::jws::Document;
use crate::sig::payload::Selection;
use crate::state::StatePath;

/// A signature that was made.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    key: String,
    algorithm: String,
    protected: Vec<String>,
    excluded: Vec<String>,
}

impl Made {
    pub(super) fn new(key: &StatePath, document: &Document, selection: Selection) -> Self {
        let algorithm = document.header.alg.clone();
        let Selection { selected: protected, excluded, .. } = selection;
        Self { key: key.to_string(), algorithm, protected, excluded }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    dry_run: bool,
    tree: report::Changes<'a>,
    signatures: &'a [Made],
    warnings: &'a [String],
}

/// A document goes where a signature would go as well.
pub(super) fn check(group: &Group, flags: report::Flags, code: u8) -> Result<(), Failure> {
    match flags.json && given(&group.output) == Some("-") {
        true => {
            Err(Failure::coded(code, "the standard output is taken by the signature: --json needs another --output"))
        }
        false => Ok(()),
    }
}

/// Says what was written or would be. Nothing, where neither `--json` nor `--dry-run` asks for it.
pub(super) fn print(
    flags: report::Flags,
    changes: &Status,
    signatures: &[Made],
    warnings: &[String],
) -> Result<(), Failure> {
    let dry_run = flags.dry_run;
    match (flags.json, dry_run) {
        (true, _) => report::json(&Report { dry_run, tree: changes.into(), signatures, warnings }),
        (false, true) => report::would_write(changes),
        (false, false) => Ok(()),
    }
}
