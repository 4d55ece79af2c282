//! What a command did, or would do: as one JSON document, or as lines.
//!
//! | member | of |
//! |---|---|
//! | `dry-run` | everything that takes `--dry-run` |
//! | `objects`: `added` (ids), `reused`, `linked`, `bytes` | everything that moves objects |
//! | `files`: `linked`, `copied`, `json` | everything that makes files |
//! | `state`: `added`, `removed`, `changed` (keys) | everything that changes a state |
//! | `tree`: the same | what changes files of the working tree: `sig add`, `sig update`, `dm-convert`, `dm-apply` |
//! | `warnings` | everything that may have some |
//!
//! Members may be added, never taken away.

use std::path::Path;

use serde::Serialize;

use super::failure::Failure;
use super::show;
use crate::repo::{Fetched, Run, Sent, Status, shown};
use crate::state::{ObjectId, escape_text};

/// `--json` and `--dry-run`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Flags {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Say what was done as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Flags {
    pub(super) fn run(self) -> Run {
        if self.dry_run { Run::Dry } else { Run::Really }
    }
}

/// Objects that moved.
#[derive(Debug, Serialize)]
pub(super) struct Objects {
    pub(super) added: Vec<ObjectId>,
    pub(super) reused: usize,
    /// Of those that were there: links to somebody else's, which only the hub has.
    pub(super) linked: usize,
    /// Of those that were added; null where that isn't known before they come.
    pub(super) bytes: Option<u64>,
}

impl From<&Fetched> for Objects {
    fn from(fetched: &Fetched) -> Self {
        let Fetched { added, reused, bytes, .. } = fetched;
        let bytes = if added.is_empty() { Some(0) } else { *bytes };
        Self { added: added.clone(), reused: *reused, linked: 0, bytes }
    }
}

impl From<&Sent> for Objects {
    fn from(sent: &Sent) -> Self {
        let uploaded = &sent.uploaded;
        Self {
            added: uploaded.sent.iter().copied().collect(),
            reused: uploaded.there + sent.known,
            linked: uploaded.linked,
            bytes: Some(uploaded.bytes),
        }
    }
}

/// Files that were made.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub(super) linked: usize,
    pub(super) copied: usize,
    pub(super) json: usize,
}

/// Keys of a state that change.
#[derive(Debug, Serialize)]
pub(super) struct Changes<'a> {
    added: &'a [String],
    removed: &'a [String],
    changed: &'a [String],
}

impl<'a> From<&'a Status> for Changes<'a> {
    fn from(status: &'a Status) -> Self {
        Self { added: &status.added, removed: &status.removed, changed: &status.changed }
    }
}

impl Changes<'_> {
    /// A line for each: the name as it is, but for what a terminal would act upon.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for (letter, keys) in [('A', self.added), ('D', self.removed), ('C', self.changed)] {
            keys.iter().for_each(|key| text.push_str(&format!("{letter} {}\n", escape_text(key))));
        }
        text
    }
}

/// The document of `get`, `merge`, `import`, `commit` and of a `put` into a folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    pool: String,
    dry_run: bool,
    objects: Objects,
    state: Changes<'a>,
    warnings: &'a [String],
}

/// Prints what came of taking objects into a pool and a state. `done` is what is said when it is really done, and not as
/// JSON.
pub(super) fn print(
    flags: Flags,
    source: Option<&str>,
    pool: &Path,
    fetched: &Fetched,
    changes: &Status,
    done: &str,
) -> Result<(), Failure> {
    let changes = Changes::from(changes);
    if flags.json {
        let pool = pool.to_string_lossy().into_owned();
        let (objects, warnings) = (Objects::from(fetched), fetched.warnings.as_slice());
        return json(&Document { source, pool, dry_run: flags.dry_run, objects, state: changes, warnings });
    }
    if !flags.dry_run {
        return show::say(done);
    }
    let bytes = fetched.bytes.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default();
    let (added, reused) = (fetched.added.len(), fetched.reused);
    let sum =
        format!("Would add {added} objects{bytes} to {}, {reused} are there. Nothing was changed.\n", shown(pool));
    show::print(&(changes.lines() + &sum))
}

/// What a dry run says of files in the working tree.
pub(super) fn would_write(changes: &Status) -> Result<(), Failure> {
    let files = changes.added.len() + changes.changed.len();
    let sum = format!("Would write {files} file{}. Nothing was changed.\n", if files == 1 { "" } else { "s" });
    show::print(&(Changes::from(changes).lines() + &sum))
}

/// Prints a document on one line.
pub(super) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::coded(3, error))?;
    show::print(&format!("{text}\n"))
}
