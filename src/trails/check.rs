//! Whether the files of a revision are what its state says.

use super::Storage;
use super::boot::boot_links;
use super::build::is_bind;
use super::error::TrailsError;
use super::fsck::Kind;
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_strict;
use crate::state::{Entry, JsonLimits, ObjectId, State, Value};
use crate::store::{Absent, Context, StoreError};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How JSON files may spell their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Canonical, byte for byte: what we install.
    Canonical,
    /// As the state document spells them, which itself isn't canonical: what the daemon expands.
    AsWritten,
}

/// Whether every file of a state is in a folder, as installing it would have made it.
pub(super) fn is_whole(storage: &Storage, dir: &Path, state: &State) -> Result<bool, TrailsError> {
    let mut whole = true;
    files(storage, dir, state, Spelling::Canonical, &mut |_, _, _| whole = false)?;
    Ok(whole)
}

/// Whether a revision that ran is no longer what its state says. An object that has lost its name is not its fault.
pub(super) fn is_damaged(storage: &Storage, dir: &Path, state: &State) -> Result<bool, TrailsError> {
    let mut damaged = false;
    files(storage, dir, state, Spelling::AsWritten, &mut |kind, _, _| damaged |= kind != Kind::ObjectMissing)?;
    Ok(damaged)
}

/// Compares a folder with a state and reports each difference with its path.
pub(super) fn files(
    storage: &Storage,
    dir: &Path,
    state: &State,
    spelling: Spelling,
    report: &mut dyn FnMut(Kind, PathBuf, String),
) -> Result<(), TrailsError> {
    for (key, entry) in state.entries() {
        let path = key.below(dir);
        let Some(meta) = look(&path)? else {
            report(Kind::FileMissing, path, "the state has it, the revision doesn't".to_owned());
            continue;
        };
        if !meta.is_file() {
            report(Kind::FileType, path, "it is no regular file".to_owned());
            continue;
        }
        match entry {
            Entry::Json(value) if !holds(storage.json_limits(), &path, &meta, value, spelling)? => {
                report(Kind::FileContent, path, "its bytes are not those of the value in the state".to_owned());
            }
            // A container may have written to it.
            Entry::Object(_) if is_bind(key) => {}
            Entry::Object(id) => same_file(storage, &path, &meta, id, report)?,
            Entry::Json(_) => {}
        }
    }
    for (name, id) in boot_links(state) {
        // Not every boot loader needs them, so only a wrong one is wrong.
        let path = dir.join(".pv").join(name);
        if let Some(meta) = look(&path)? {
            same_file(storage, &path, &meta, &id, report)?;
        }
    }
    Ok(())
}

fn same_file(
    storage: &Storage,
    path: &Path,
    meta: &Metadata,
    id: &ObjectId,
    report: &mut dyn FnMut(Kind, PathBuf, String),
) -> Result<(), StoreError> {
    let object = storage.store().path(id);
    match look(&object)? {
        None => report(Kind::ObjectMissing, object, format!("{} is to be a link to it", shown(storage, path))),
        Some(named) if (named.dev(), named.ino()) != (meta.dev(), meta.ino()) => {
            report(Kind::FileInode, path.to_owned(), format!("it is not the same file as objects/{id}"));
        }
        Some(_) => {}
    }
    Ok(())
}

fn shown(storage: &Storage, path: &Path) -> String {
    path.strip_prefix(storage.root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn look(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        // A file where the state has a folder.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        other => other.absent_ok().on("look at", path),
    }
}

fn holds(
    limits: &JsonLimits,
    path: &Path,
    meta: &Metadata,
    value: &Value,
    spelling: Spelling,
) -> Result<bool, TrailsError> {
    if meta.len() > limits.bytes as u64 {
        return Ok(false);
    }
    let bytes = fs::read(path).on("read", path)?;
    let canonical = to_canonical(value).ok();
    if canonical.as_ref().is_some_and(|text| text.as_bytes() == bytes) {
        return Ok(true);
    }
    let spelled = || parse_strict(&bytes, limits).ok().and_then(|read| to_canonical(&read).ok());
    Ok(spelling == Spelling::AsWritten && canonical.is_some() && spelled() == canonical)
}
