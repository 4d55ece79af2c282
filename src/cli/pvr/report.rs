//! What a command did, or would do: as one JSON document, or as lines.

use serde::Serialize;

use super::failure::Failure;
use super::show;
use crate::repo::{Fetched, Run, Status, shown};
use crate::state::{ObjectId, escape};
use std::path::Path;

/// `--json` and `--dry-run`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Flags {
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Say what was done as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Flags {
    pub(super) fn run(self) -> Run {
        if self.dry_run { Run::Dry } else { Run::Really }
    }
}

/// The document of `get`, `merge` and `import`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    source: &'a str,
    pool: String,
    dry_run: bool,
    objects: Objects<'a>,
    state: Changes<'a>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct Objects<'a> {
    added: &'a [ObjectId],
    reused: usize,
    /// Of those that were added; null where that isn't known before they come.
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Changes<'a> {
    added: &'a [String],
    removed: &'a [String],
    changed: &'a [String],
}

/// Prints what came of taking a state in. `done` is what is said when it is really done, and not as JSON.
pub(super) fn print(
    flags: Flags,
    source: &str,
    pool: &Path,
    fetched: &Fetched,
    changes: &Status,
    done: &str,
) -> Result<(), Failure> {
    if flags.json {
        let document = Document {
            source,
            pool: pool.to_string_lossy().into_owned(),
            dry_run: flags.dry_run,
            objects: Objects { added: &fetched.added, reused: fetched.reused, bytes: fetched.bytes },
            state: Changes { added: &changes.added, removed: &changes.removed, changed: &changes.changed },
            warnings: &fetched.warnings,
        };
        return json(&document);
    }
    if !flags.dry_run {
        return show::print(done);
    }
    let mut text = String::new();
    for (letter, paths) in [('A', &changes.added), ('D', &changes.removed), ('C', &changes.changed)] {
        for path in paths {
            text.push_str(&format!("{letter} {}\n", escape(path)));
        }
    }
    let bytes = fetched.bytes.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default();
    text.push_str(&format!(
        "Would add {} objects{bytes} to {}, {} are there. Nothing was changed.\n",
        fetched.added.len(),
        shown(pool),
        fetched.reused
    ));
    show::print(&text)
}

/// Prints a document on one line.
pub(super) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::coded(3, error))?;
    show::print(&format!("{text}\n"))
}
