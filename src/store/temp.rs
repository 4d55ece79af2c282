//! What is being written and has no name of its own yet.
//!
//! A file is unnamed (`O_TMPFILE`) and vanishes with its process. Where that is impossible, and for folders, it
//! has a random name in `tmp/` and its owner holds `flock` on it. A sweeper may lock and remove the name in the
//! instant between its creation and the owner's lock; the owner looks for that and starts over.

use super::caps::Capabilities;
use super::durable;
use super::error::{Context, StoreError};
use super::owner::give_to_owner;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, linkat, mkdir, open, syncfs, unlink};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How often a name is tried before giving up. A second try is rare already.
const TRIES: usize = 64;

/// A file nobody can see yet.
#[derive(Debug)]
pub(crate) struct TempFile {
    pub(crate) file: File,
    /// Its name in `tmp/`, where it has to have one.
    name: Option<PathBuf>,
}

impl TempFile {
    pub(crate) fn create(tmp: &Path, caps: Capabilities) -> Result<Self, StoreError> {
        if caps.unnamed {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            match open(tmp, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => return Ok(Self::given(fd.into(), None, tmp)),
                // What file systems and kernels without it answer.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
                Err(e) => return Err(e).on("create a file in", tmp),
            }
        }
        for _ in 0..TRIES {
            let name = tmp.join(random_name());
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = match open(&name, flags, Mode::from_raw_mode(0o600)) {
                Err(Errno::EXIST) => continue,
                other => other.on("create", &name)?,
            };
            if owned(&fd).on("lock", &name)? {
                return Ok(Self::given(fd.into(), Some(name), tmp));
            }
        }
        Err(StoreError::Contended { path: tmp.to_owned() })
    }

    /// An object belongs to whom the pool belongs: nobody else could make links to it. Where root may not give it away, it
    /// stays root's.
    fn given(file: File, name: Option<PathBuf>, tmp: &Path) -> Self {
        give_to_owner(&file, tmp).ok();
        Self { file, name }
    }

    /// A file that has a name in a folder of ours; the name goes with this value.
    pub(crate) fn named(file: File, name: PathBuf) -> Self {
        Self { file, name: Some(name) }
    }

    /// Gives the file (one more) name.
    pub(crate) fn link_to(&self, target: &Path) -> rustix::io::Result<()> {
        match &self.name {
            Some(name) => linkat(CWD, name, CWD, target, AtFlags::empty()),
            None => {
                let fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, fd, CWD, target, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// Removes the name in `tmp/`; the file stays open. Its link count is then what its other names make it.
    pub(crate) fn drop_name(&mut self) {
        if let Some(name) = self.name.take() {
            // A name that stays is unlocked as soon as the file is closed, and swept.
            let _ = unlink(&name);
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        self.drop_name();
    }
}

/// A folder in `tmp/` that is ours as long as this value lives, and vanishes with it.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
    lock: OwnedFd,
}

impl TempDir {
    pub(crate) fn create(tmp: &Path) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            let path = tmp.join(random_name());
            match mkdir(&path, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => continue,
                other => other.on("create", &path)?,
            }
            let fd = match open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                other => other.on("open", &path)?,
            };
            if owned(&fd).on("lock", &path)? {
                give_to_owner(&fd, tmp).ok();
                return Ok(Self { path, lock: fd });
            }
        }
        Err(StoreError::Contended { path: tmp.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all that has been written in the folder durable. Files that have other names are objects, which are
    /// durable since they got them.
    pub(crate) fn make_durable(&self, caps: Capabilities) -> Result<(), StoreError> {
        if caps.syncfs {
            // This descriptor is older than everything in the folder, so it reports what became of it.
            return syncfs(&self.lock).on("make files durable in", &self.path);
        }
        durable::tree(&self.path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed now is unlocked in a moment, and swept.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Locks a file or folder just created. False: a sweeper has been faster.
fn owned(fd: &OwnedFd) -> rustix::io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e),
        Ok(()) => Ok(fstat(fd)?.st_nlink > 0),
    }
}

/// 16 hex digits, different for every call of every process.
pub(crate) fn random_name() -> String {
    // Every RandomState is keyed with fresh randomness of the system; that is all the randomness a name needs.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::io::Write;

    #[test]
    fn names_do_not_repeat() {
        let names: HashSet<_> = (0..2000).map(|_| random_name()).collect();
        assert_eq!(names.len(), 2000);
    }

    #[test]
    fn a_temporary_vanishes_with_its_owner_unless_linked() {
        for unnamed in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let tmp = dir.path().join("tmp");
            std::fs::create_dir(&tmp).unwrap();
            let caps = Capabilities { unnamed, ..Capabilities::NONE };
            let mut temp = TempFile::create(&tmp, caps).unwrap();
            temp.file.write_all(b"x").unwrap();
            assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), usize::from(!unnamed));
            temp.link_to(&dir.path().join("kept")).unwrap();
            drop(temp);
            drop(TempFile::create(&tmp, caps).unwrap());
            assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
            assert_eq!(std::fs::read(dir.path().join("kept")).unwrap(), b"x");
        }
    }

    #[test]
    fn a_folder_is_locked_while_it_lives_and_gone_after() {
        let dir = tempfile::tempdir().unwrap();
        let temp = TempDir::create(dir.path()).unwrap();
        std::fs::write(temp.path().join("x"), b"x").unwrap();
        let other = File::open(temp.path()).unwrap();
        assert_eq!(flock(&other, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
        drop(temp);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
