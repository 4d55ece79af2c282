//! Whether an object is there and is what its name says, and bringing it back where it isn't.

use super::ObjectStore;
use super::durable;
use super::error::{Context, StoreError};
use super::hash::hash;
use super::memo::Stamp;
use super::publish::{Held, Stage};
use crate::state::ObjectId;
use crate::state::clock;
use rustix::fs::{Mode, OFlags, fchmod, fsync, open};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::SystemTime;

/// How often a name is looked at again that changes between two looks.
pub(super) const TRIES: usize = 16;

/// What a name holds.
#[derive(Debug)]
pub(super) enum Check {
    /// The right bytes; open for reading.
    Intact(File, Stamp),
    /// Something else.
    Bad,
    /// Nothing.
    Absent,
}

/// What a name seems to hold.
enum Glance {
    /// What has been hashed before.
    Known(File, Stamp),
    /// Some file.
    Unknown(File),
    /// No file.
    Bad,
    /// Nothing.
    Absent,
}

impl ObjectStore {
    /// The size of an object, if it is there and holds the bytes its name promises; it is hashed unless that has
    /// been done before. One that has vanished or is bad is brought back if the working folder still holds it.
    pub fn intact(&self, id: &ObjectId) -> Result<Option<u64>, StoreError> {
        Ok(self.open_object(id)?.map(|(_, size)| size))
    }

    /// The bytes and the size of an object that is [intact](ObjectStore::intact).
    pub fn open_object(&self, id: &ObjectId) -> Result<Option<(File, u64)>, StoreError> {
        let using = self.lock_shared()?;
        let found = self.find(id)?.map(|(file, stamp)| (file, stamp.size));
        drop(using);
        self.tidy_memo();
        Ok(found)
    }

    /// The bytes and the size of an object that has been found intact before. Doesn't hash, and takes no lock: a file
    /// that is open stays. `None`: [`open_object`](ObjectStore::open_object) has to find out.
    pub fn open_known(&self, id: &ObjectId) -> Result<Option<(File, u64)>, StoreError> {
        match self.glance(&self.path(id), id)? {
            Glance::Known(file, stamp) => Ok(Some((file, stamp.size))),
            Glance::Unknown(_) | Glance::Bad | Glance::Absent => Ok(None),
        }
    }

    /// As [`intact`](ObjectStore::intact), and makes sure that a collector finds the object in use: by a second
    /// link in the working folder, for the next 24 hours.
    pub fn stage(&self, id: &ObjectId) -> Result<Option<u64>, StoreError> {
        let _using = self.lock_shared()?;
        for _ in 0..TRIES {
            let Some((_, stamp)) = self.find(id)? else {
                return Ok(None);
            };
            let held = {
                let _naming = self.inner.naming.lock().unwrap_or_else(PoisonError::into_inner);
                self.hold(id)?
            };
            match held {
                Held::Gone => continue,
                Held::Yes => {}
                // "It is kept" has to be true after a power cut as well.
                Held::Fresh => durable::folder(&self.agent().join("staged"))?,
            }
            self.inner.memo.write(&[*id]);
            return Ok(Some(stamp.size));
        }
        Err(StoreError::Contended { path: self.path(id) })
    }

    /// As [`intact`](ObjectStore::intact), for somebody who goes on to use the object: where collectors work it is
    /// [staged](ObjectStore::stage) as well.
    pub fn keep(&self, id: &ObjectId) -> Result<Option<u64>, StoreError> {
        if self.writes() && self.staging() == Stage::Yes { self.stage(id) } else { self.intact(id) }
    }

    /// Gives up the second links of these objects. That there are none is fine.
    pub fn unstage(&self, ids: &[ObjectId]) -> Result<(), StoreError> {
        let _using = self.lock_shared()?;
        let known = self.known(ids);
        for id in ids {
            self.remove_staged(id)?;
        }
        self.refresh(&known);
        Ok(())
    }

    pub(crate) fn remove_staged(&self, id: &ObjectId) -> Result<bool, StoreError> {
        let path = self.staged(id);
        match rustix::fs::unlink(&path) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e).on("remove", &path),
        }
    }

    /// An intact object, brought back if need be.
    pub(super) fn find(&self, id: &ObjectId) -> Result<Option<(File, Stamp)>, StoreError> {
        let path = self.path(id);
        for _ in 0..TRIES {
            let bad = match self.check(&path, id)? {
                Check::Intact(file, stamp) => return Ok(Some((file, stamp))),
                Check::Bad => true,
                Check::Absent => false,
            };
            if !self.writes() {
                return Ok(None);
            }
            let staged = self.staged(id);
            let before = match self.check(&staged, id)? {
                Check::Intact(_, stamp) => stamp,
                Check::Absent => return Ok(None),
                Check::Bad => {
                    // All that is in the working folder is ours to remove.
                    self.remove_staged(id)?;
                    return Ok(None);
                }
            };
            if bad {
                self.replace_with_link(&staged, &path)?;
            } else {
                match rustix::fs::link(&staged, &path) {
                    // Gone or there meanwhile: look again.
                    Ok(()) | Err(Errno::EXIST | Errno::NOENT) => {}
                    Err(e) => return Err(e).on("link", &path),
                }
            }
            self.refresh(&[(*id, before)]);
        }
        Err(StoreError::Contended { path })
    }

    /// Looks at what a name holds without reading it.
    fn glance(&self, path: &Path, id: &ObjectId) -> Result<Glance, StoreError> {
        // A FIFO must not block, a symlink must not lead elsewhere.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match open(path, flags, Mode::empty()) {
            Ok(fd) => fd.into(),
            Err(Errno::NOENT) => return Ok(Glance::Absent),
            Err(Errno::LOOP | Errno::NXIO) => return Ok(Glance::Bad),
            Err(e) => return Err(e).on("open", path),
        };
        let meta = file.metadata().on("look at", path)?;
        let stamp = Stamp::of(&meta);
        Ok(match meta.is_file() {
            false => Glance::Bad,
            true if self.inner.memo.vouches(id, &stamp) => Glance::Known(file, stamp),
            true => Glance::Unknown(file),
        })
    }

    /// Looks at what a name holds.
    pub(super) fn check(&self, path: &Path, id: &ObjectId) -> Result<Check, StoreError> {
        let mut file = match self.glance(path, id)? {
            Glance::Known(file, stamp) => {
                if self.write_protect(&file) {
                    self.refresh(&[(*id, stamp)]);
                }
                return Ok(Check::Intact(file, stamp));
            }
            Glance::Unknown(file) => file,
            Glance::Bad => return Ok(Check::Bad),
            Glance::Absent => return Ok(Check::Absent),
        };
        // One hashing for all threads that ask for the same object; a few at once for different ones.
        let stripe = usize::from(id.as_bytes()[0]) % self.inner.hashing.len();
        let _hashing = self.inner.hashing[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let before = Stamp::of(&file.metadata().on("look at", path)?);
            if self.inner.memo.vouches(id, &before) {
                return Ok(Check::Intact(file, before));
            }
            let began = clock::now();
            file.seek(SeekFrom::Start(0)).on("read", path)?;
            if hash(&file).on("read", path)? != *id {
                return Ok(Check::Bad);
            }
            self.write_protect(&file);
            if self.writes() {
                fsync(&file).on("make durable", path)?;
            }
            let after = Stamp::of(&file.metadata().on("look at", path)?);
            file.seek(SeekFrom::Start(0)).on("read", path)?;
            if after.same_bytes(&before) {
                if self.writes() && settled(&after, began) {
                    self.inner.memo.remember(*id, after);
                    self.inner.memo.write(&[*id]);
                }
                return Ok(Check::Intact(file, after));
            }
        }
        // Somebody is still writing it.
        Ok(Check::Bad)
    }

    /// Takes away the right to write to an intact object that somebody else has made: files of revisions and trees are
    /// links to it. Says whether its mode has changed; that of another user's file cannot be, and stays.
    fn write_protect(&self, file: &File) -> bool {
        let writable = || file.metadata().is_ok_and(|meta| meta.mode() & 0o222 != 0);
        self.writes() && writable() && fchmod(file, Mode::from_raw_mode(0o444)).is_ok()
    }

    pub(crate) fn stamp_of(&self, path: &Path) -> Option<Stamp> {
        std::fs::symlink_metadata(path).ok().filter(|meta| meta.is_file()).map(|meta| Stamp::of(&meta))
    }

    /// Those of these objects that the memo vouches for now, to be [refreshed](Self::refresh) after links to
    /// them have been made or removed: that changes their ctime, and without this they would be hashed again.
    pub(crate) fn known(&self, ids: &[ObjectId]) -> Vec<(ObjectId, Stamp)> {
        let vouched = |id: &ObjectId| {
            let stamp = self.stamp_of(&self.path(id))?;
            self.inner.memo.vouches(id, &stamp).then_some((*id, stamp))
        };
        ids.iter().filter_map(vouched).collect()
    }

    /// Forgets that an object has been found intact: its bytes have changed under an unchanged stamp.
    pub(crate) fn distrust(&self, id: &ObjectId) {
        // Said even by those who only look: it is the memo that is wrong.
        if self.writes() || self.agent().join("intact").exists() {
            self.inner.memo.distrust(*id);
        }
    }

    /// Notes the new ctime of objects whose bytes are still those that were vouched for.
    pub(crate) fn refresh(&self, known: &[(ObjectId, Stamp)]) {
        let mut changed = Vec::new();
        for (id, before) in known {
            if let Some(now) = self.stamp_of(&self.path(id)).filter(|now| now.same_bytes(before) && now != before) {
                self.inner.memo.remember(*id, now);
                changed.push(*id);
            }
        }
        self.inner.memo.write(&changed);
    }
}

/// Times are as coarse as the kernel's clock tick. A file written to in the moment before it was hashed could be
/// written to again without its time changing, so it isn't remembered until it has been left alone for a while.
fn settled(stamp: &Stamp, began: SystemTime) -> bool {
    let now = i64::try_from(clock::seconds(began)).unwrap_or(i64::MAX);
    stamp.mtime.0.abs_diff(now) > 2
}
