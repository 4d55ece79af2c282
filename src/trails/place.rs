//! Moving a built revision to where it belongs.

use super::Storage;
use super::build::Built;
use super::name::{RevisionName, to_file_name};
use crate::store::{Absent, Context, StoreError, make_folder, sync_folder};
use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// How a revision got to its place, and with it, how to take it away again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Nothing was there.
    Fresh,
    /// What was there is now where the new one was built, and vanishes with that.
    Exchanged,
    /// What was there waits in `replaced/`.
    SetAside(PathBuf),
}

/// Moves a built revision into its place. None: somebody has made a folder of that name meanwhile.
pub(super) fn place(
    storage: &Storage,
    built: &Built,
    name: &RevisionName,
    replace: bool,
) -> Result<Option<Placed>, StoreError> {
    let (from, to) = (built.revision(), storage.dir(name));
    let parent = parent(storage, name);
    if name.is_local() {
        match make_folder(&parent, 0o777) {
            Ok(()) => sync_folder(&storage.trails_dir())?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).on("create", &parent),
        }
    }
    // Objects that were brought back on the way got their names again without waiting for the disk.
    sync_folder(storage.store().objects())?;
    let placed = if replace { exchange(storage, &from, &to, name)? } else { add(storage, &from, &to)? };
    if let Some(placed) = &placed {
        let durable = sync_folder(&parent).and_then(|()| sync_folder(built.dir.path()));
        durable.inspect_err(|_| {
            // Should it stay, it is one that never ran.
            let _ = undo(storage, built, name, placed);
        })?;
    }
    Ok(placed)
}

/// The folder in which a revision's folder lies.
pub(super) fn parent(storage: &Storage, name: &RevisionName) -> PathBuf {
    let trails = storage.trails_dir();
    if name.is_local() { trails.join("locals") } else { trails }
}

fn add(storage: &Storage, from: &Path, to: &Path) -> Result<Option<Placed>, StoreError> {
    if storage.store().caps().rename_flags {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(Placed::Fresh)),
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(None),
            Err(Errno::INVAL | Errno::NOSYS) => {}
            Err(e) => return Err(e).on("create", to),
        }
    }
    // Ours are kept apart by the lock on installing; a folder that somebody else has filled meanwhile is refused
    // by rename itself.
    if fs::symlink_metadata(to).absent_ok().on("look at", to)?.is_some() {
        return Ok(None);
    }
    match rename(from, to) {
        Ok(()) => Ok(Some(Placed::Fresh)),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e).on("create", to),
    }
}

fn exchange(storage: &Storage, from: &Path, to: &Path, name: &RevisionName) -> Result<Option<Placed>, StoreError> {
    if storage.store().caps().rename_flags {
        match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(Some(Placed::Exchanged)),
            // Collected meanwhile.
            Err(Errno::NOENT) => return add(storage, from, to),
            Err(Errno::INVAL | Errno::NOSYS) => {}
            Err(e) => return Err(e).on("replace", to),
        }
    }
    let aside = storage.store().agent().join("replaced").join(to_file_name(name));
    match rename(to, &aside) {
        Err(Errno::NOENT) => return add(storage, from, to),
        other => other.on("set aside", to)?,
    }
    if let Err(e) = rename(from, to) {
        // Should this fail as well, the next sweep brings it back.
        let _ = rename(&aside, to);
        return Err(e).on("replace", to);
    }
    Ok(Some(Placed::SetAside(aside)))
}

/// Removes what has been replaced. It is only called once the new one is there durably; what fails is swept.
pub(super) fn discard(placed: &Placed) {
    if let Placed::SetAside(aside) = placed {
        let _ = fs::remove_dir_all(aside);
    }
}

/// Takes a revision away from its place and puts back what was there.
pub(super) fn undo(storage: &Storage, built: &Built, name: &RevisionName, placed: &Placed) -> Result<(), StoreError> {
    let (from, to) = (built.revision(), storage.dir(name));
    match placed {
        Placed::Fresh => rename(&to, &from).on("take back", &to)?,
        Placed::Exchanged => renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE).on("put back", &to)?,
        Placed::SetAside(aside) => {
            rename(&to, &from).on("take back", &to)?;
            rename(aside, &to).on("put back", &to)?;
        }
    }
    sync_folder(&parent(storage, name))
}
