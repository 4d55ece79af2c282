//! Removing what interrupted processes have left behind.

use super::ObjectStore;
use super::error::{Absent, Context, StoreError};
use super::publish::older_than;
use super::temp::TempDir;
use crate::state::ObjectId;
use crate::state::clock;
use rustix::fs::{FlockOperation, Mode, OFlags, chmod, flock, open};
use rustix::io::Errno;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an object is kept for a revision that never comes.
pub const STAGED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// No clock was ever right before this (2020): a link made then was made before the clock was set.
const FIRST_SANE_SECOND: i64 = 1_577_836_800;

/// What a sweep has removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files and folders that belonged to no living process.
    pub temporaries: usize,
    /// Second links of objects that no revision came for.
    pub staged: usize,
}

impl ObjectStore {
    /// Removes temporaries that belong to nobody, and second links that are older than [`STAGED_FOR`] (these only
    /// if nobody uses the store at the moment: the next sweep gets them). Cheap when there is nothing to do.
    pub fn sweep(&self) -> Result<Swept, StoreError> {
        self.sweep_after(STAGED_FOR)
    }

    /// As [`sweep`](ObjectStore::sweep), with another age for second links.
    pub fn sweep_after(&self, age: Duration) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for (path, meta) in self.entries("tmp")? {
            if remove_unowned(&path, &meta)? {
                swept.temporaries += 1;
            }
        }
        if let Some(_alone) = self.try_lock_exclusive()? {
            for id in self.staged_longer(age)? {
                let known = self.known(&[id]);
                swept.staged += usize::from(self.remove_staged(&id)?);
                self.refresh(&known);
            }
        }
        self.tidy_memo();
        Ok(swept)
    }

    /// Temporaries that belong to no living process.
    pub(crate) fn unowned(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut found = Vec::new();
        for (path, meta) in self.entries("tmp")? {
            if meta.is_symlink() || own(&path, &meta)?.is_some() {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Objects whose second link has had its time.
    pub(crate) fn staged_too_long(&self) -> Result<Vec<ObjectId>, StoreError> {
        self.staged_longer(STAGED_FOR)
    }

    fn staged_longer(&self, age: Duration) -> Result<Vec<ObjectId>, StoreError> {
        let mut old = Vec::new();
        for (path, meta) in self.entries("staged")? {
            let Some(id) = path.file_name().and_then(|name| ObjectId::parse(name.to_str()?).ok()) else {
                continue;
            };
            let changed = clock::file_seconds(meta.ctime());
            if changed < FIRST_SANE_SECOND && self.writes() {
                // Its age is unknown: it starts over.
                let known = self.known(&[id]);
                chmod(&path, Mode::from_raw_mode(0o444)).absent_ok().on("renew", &path)?;
                self.refresh(&known);
            } else if older_than((changed, 0), age) {
                old.push(id);
            }
        }
        Ok(old)
    }

    /// The objects that have a second link.
    pub fn staged_ids(&self) -> Result<Vec<ObjectId>, StoreError> {
        let entries = self.entries("staged")?;
        let id = |(path, _): &(PathBuf, Metadata)| ObjectId::parse(path.file_name()?.to_str()?).ok();
        Ok(entries.iter().filter_map(id).collect())
    }

    /// What lies in a folder of the working folder. What vanishes meanwhile is left out.
    pub(crate) fn entries(&self, folder: &str) -> Result<Vec<(PathBuf, Metadata)>, StoreError> {
        let folder = self.agent().join(folder);
        let mut found = Vec::new();
        let Some(entries) = fs::read_dir(&folder).absent_ok().on("list", &folder)? else {
            return Ok(found);
        };
        for entry in entries {
            let path = entry.on("list", &folder)?.path();
            if let Some(meta) = fs::symlink_metadata(&path).absent_ok().on("look at", &path)? {
                found.push((path, meta));
            }
        }
        Ok(found)
    }

    /// Writes the memo anew if that is worth it and nobody else is using the store. Best effort.
    pub(super) fn tidy_memo(&self) {
        if !self.writes() || !self.inner.memo.bloated() {
            return;
        }
        if let (Ok(Some(_alone)), Ok(dir)) = (self.try_lock_exclusive(), TempDir::create(&self.tmp())) {
            let there = |id: &ObjectId| self.stamp_of(&self.path(id)).is_some();
            let _ = self.inner.memo.compact(&dir.path().join("intact"), there);
        }
    }
}

/// Locks a temporary. None: it has an owner, or is gone.
fn own(path: &Path, meta: &Metadata) -> Result<Option<rustix::fd::OwnedFd>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Some(fd) = open(path, flags, Mode::empty()).absent_ok().on("open", path)? else {
        return Ok(None);
    };
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other.on("lock", path)?,
    }
    // The name may have got a new file since it was listed.
    let now = fs::symlink_metadata(path).absent_ok().on("look at", path)?;
    Ok(now.filter(|now| now.ino() == meta.ino()).map(|_| fd))
}

fn remove_unowned(path: &Path, meta: &Metadata) -> Result<bool, StoreError> {
    let _lock = if meta.is_symlink() {
        None
    } else {
        match own(path, meta)? {
            Some(lock) => Some(lock),
            None => return Ok(false),
        }
    };
    let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    Ok(removed.absent_ok().on("remove", path)?.is_some())
}
