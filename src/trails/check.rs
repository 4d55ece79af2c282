//! Whether the files of a revision are what its state says.

use super::Storage;
use super::boot::boot_links;
use super::error::TrailsError;
use super::finding::Kind;
use super::layout::{BINDS, is_bind};
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_strict;
use crate::state::{Entry, JsonLimits, ObjectId, State, StatePath, Value};
use crate::store::{Absent, Context, StoreError};
use std::collections::BTreeSet;
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
    let bad = &mut |_, _, _| whole = false;
    let check = Check { storage, dir, state, spelling: Spelling::Canonical };
    check.keys(bad, &mut Err)?;
    check.binds(bad, &mut Err)?;
    // One without links for its copies would lose their objects.
    Ok(whole && (bind_objects(state).is_empty() || dir.join(BINDS).is_dir()))
}

/// Whether a revision that ran is no longer what its state says. An object that has lost its name is not its fault.
pub(super) fn is_damaged(storage: &Storage, dir: &Path, state: &State) -> Result<bool, TrailsError> {
    let mut damaged = false;
    let check = Check { storage, dir, state, spelling: Spelling::AsWritten };
    check.keys(&mut |kind, _, _| damaged |= kind != Kind::ObjectMissing, &mut Err)?;
    Ok(damaged)
}

/// The objects that are copied, and have one more link in [`BINDS`].
pub(super) fn bind_objects(state: &State) -> BTreeSet<ObjectId> {
    state.objects().filter(|(key, _)| is_bind(key)).map(|(_, id)| *id).collect()
}

/// Takes each difference: its kind, where, and what.
type Report<'a> = &'a mut dyn FnMut(Kind, PathBuf, String);

/// Takes what cannot be looked at, and says whether to go on without it.
type Unreadable<'a> = &'a mut dyn FnMut(StoreError) -> Result<(), StoreError>;

/// A folder to be compared with a state.
pub(super) struct Check<'a> {
    pub(super) storage: &'a Storage,
    pub(super) dir: &'a Path,
    pub(super) state: &'a State,
    pub(super) spelling: Spelling,
}

impl Check<'_> {
    /// Compares the files of all keys, and the links of the boot loader.
    pub(super) fn keys(&self, report: Report<'_>, unreadable: Unreadable<'_>) -> Result<(), StoreError> {
        for (key, entry) in self.state.entries() {
            self.key(key, entry, report).or_else(&mut *unreadable)?;
        }
        for (name, id) in boot_links(self.state) {
            // Not every boot loader needs them, so only a wrong one is wrong.
            self.link(&self.dir.join(".pv").join(name), &id, report).map(drop).or_else(&mut *unreadable)?;
        }
        Ok(())
    }

    /// Compares the links that keep objects which are copied. Only we make them, so a revision without their folder
    /// is somebody else's.
    pub(super) fn binds(&self, report: Report<'_>, unreadable: Unreadable<'_>) -> Result<(), StoreError> {
        let folder = self.dir.join(BINDS);
        if !folder.is_dir() {
            return Ok(());
        }
        for id in bind_objects(self.state) {
            let path = folder.join(id.to_string());
            match self.link(&path, &id, report) {
                Ok(true) => {}
                Ok(false) => report(Kind::FileMissing, path, "it keeps an object that is copied".to_owned()),
                Err(e) => unreadable(e)?,
            }
        }
        Ok(())
    }

    fn key(&self, key: &StatePath, entry: &Entry, report: Report<'_>) -> Result<(), StoreError> {
        let path = key.below(self.dir);
        let Some(meta) = look(&path)? else {
            report(Kind::FileMissing, path, "the state has it, the revision doesn't".to_owned());
            return Ok(());
        };
        if !meta.is_file() {
            report(Kind::FileType, path, "it is no regular file".to_owned());
            return Ok(());
        }
        match entry {
            Entry::Json(value) if !self.holds(&path, &meta, value)? => {
                report(Kind::FileContent, path, "its bytes are not those of the value in the state".to_owned());
            }
            // A container may have written to it.
            Entry::Object(_) if is_bind(key) => {}
            Entry::Object(id) => self.same_file(&path, &meta, id, report)?,
            Entry::Json(_) => {}
        }
        Ok(())
    }

    /// Whether there is a file; a wrong one is reported.
    fn link(&self, path: &Path, id: &ObjectId, report: Report<'_>) -> Result<bool, StoreError> {
        let Some(meta) = look(path)? else { return Ok(false) };
        self.same_file(path, &meta, id, report)?;
        Ok(true)
    }

    fn same_file(&self, path: &Path, meta: &Metadata, id: &ObjectId, report: Report<'_>) -> Result<(), StoreError> {
        let object = self.storage.store().path(id);
        match look(&object)? {
            None => report(Kind::ObjectMissing, object, format!("{} is to be a link to it", self.shown(path))),
            Some(named) if (named.dev(), named.ino()) != (meta.dev(), meta.ino()) => {
                report(Kind::FileInode, path.to_owned(), format!("it is not the same file as objects/{id}"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.storage.root()).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn holds(&self, path: &Path, meta: &Metadata, value: &Value) -> Result<bool, StoreError> {
        let limits: &JsonLimits = self.storage.json_limits();
        if meta.len() > limits.bytes as u64 {
            return Ok(false);
        }
        let bytes = fs::read(path).on("read", path)?;
        let canonical = to_canonical(value).ok();
        if canonical.as_ref().is_some_and(|text| text.as_bytes() == bytes) {
            return Ok(true);
        }
        let spelled = || parse_strict(&bytes, limits).ok().and_then(|read| to_canonical(&read).ok());
        Ok(self.spelling == Spelling::AsWritten && canonical.is_some() && spelled() == canonical)
    }
}

fn look(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        // A file where the state has a folder.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        other => other.absent_ok().on("look at", path),
    }
}
