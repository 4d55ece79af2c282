//! Who may do what at a time: `flock` on two files of the working folder.
//!
//! `lock` is held shared by whoever names, checks or links objects, for as long as that takes (never while bytes
//! are still arriving: those are in a temporary, which has a lock of its own), and exclusively by whoever
//! collects. `install.lock` is held by the one who installs a revision. Order: `install.lock`, then `lock`.
//!
//! Each guard has a descriptor of its own, so guards of one process exclude each other just as those of two
//! processes do, and a shared one may be taken while holding another. To ask for an exclusive one while holding
//! a shared one is to wait for oneself.

use super::ObjectStore;
use super::error::{Context, StoreError};
use super::owner::open_or_make;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A lock, held until dropped.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct Lock {
    /// None in a store that is only looked at and has no working folder: then nobody of ours writes either.
    _file: Option<File>,
}

impl ObjectStore {
    /// Waits until nobody collects, and keeps collectors out.
    pub fn lock_shared(&self) -> Result<Lock, StoreError> {
        self.wait(self.agent().join("lock"), FlockOperation::LockShared)
    }

    /// Waits until nobody uses objects, and keeps everybody out.
    pub fn lock_exclusive(&self) -> Result<Lock, StoreError> {
        self.wait(self.agent().join("lock"), FlockOperation::LockExclusive)
    }

    /// The exclusive lock, if it can be had now.
    pub fn try_lock_exclusive(&self) -> Result<Option<Lock>, StoreError> {
        self.lock(self.agent().join("lock"), FlockOperation::NonBlockingLockExclusive)
    }

    /// Waits for the right to install or remove revisions.
    pub fn lock_install(&self) -> Result<Lock, StoreError> {
        self.wait(self.agent().join("install.lock"), FlockOperation::LockExclusive)
    }

    /// The right to install or remove revisions, if it can be had now.
    pub fn try_lock_install(&self) -> Result<Option<Lock>, StoreError> {
        self.lock(self.agent().join("install.lock"), FlockOperation::NonBlockingLockExclusive)
    }

    fn wait(&self, path: PathBuf, how: FlockOperation) -> Result<Lock, StoreError> {
        match self.lock(path.clone(), how)? {
            Some(lock) => Ok(lock),
            None => Err(StoreError::Contended { path }),
        }
    }

    fn lock(&self, path: PathBuf, how: FlockOperation) -> Result<Option<Lock>, StoreError> {
        let mut options = OpenOptions::new();
        let opened = if self.writes() {
            open_or_make(options.read(true).write(true), &path)
        } else {
            options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&path)
        };
        let file = match opened {
            // The working folder of another user's pool cannot be looked into.
            Err(e) if !self.writes() && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(Some(Lock { _file: None }));
            }
            other => other.on("open", &path)?,
        };
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(Some(Lock { _file: Some(file) })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e).on("lock", &path),
            }
        }
    }
}
