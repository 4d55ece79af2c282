//! Small files that are replaced whole, and the lock over them.
//!
//! ```text
//! .pvr/lock         flock: exclusive by whoever changes the repository
//! .pvr/tmp/<random> files in the making; whoever holds the lock removes what an earlier process left there
//! .pvr/batch/       files that take their places together: batch.rs
//! ```

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::batch;
use super::error::{Context, RepoError};
use crate::store::{give_to_owner, make_folder, open_or_make_as, put};

/// Whoever holds this may change the repository.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    tmp: PathBuf,
}

impl Lock {
    /// Waits for the lock of the repository whose `.pvr` this is, and clears what others left.
    pub(super) fn take(pvr: &Path) -> Result<Self, RepoError> {
        let path = pvr.join("lock");
        let file = open_or_make_as(OpenOptions::new().write(true), &path).on("open", &path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).on("lock", &path),
            }
        }
        Self::clear(file, pvr)
    }

    /// The lock if nobody has it. Where there is none yet, it isn't made: whoever only looks leaves nothing that another
    /// user could not open.
    pub(super) fn try_take(pvr: &Path) -> Option<Self> {
        let file = OpenOptions::new().write(true).open(pvr.join("lock")).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Self::clear(file, pvr).ok()
    }

    fn clear(file: File, pvr: &Path) -> Result<Self, RepoError> {
        let tmp = pvr.join("tmp");
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("clear", &tmp),
            _ => {}
        }
        make_folder(&tmp, 0o700).on("create", &tmp)?;
        let lock = Self { _file: file, tmp };
        // What a process that died had made up its mind to do.
        batch::finish(pvr, &lock)?;
        Ok(lock)
    }

    /// A name of its own for a file in the making, on the same file system as the repository.
    pub(super) fn temporary(&self) -> PathBuf {
        self.tmp.join(random_name())
    }

    /// Replaces `path` by these bytes, durably. After an error it is what it was.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), RepoError> {
        let temporary = self.temporary();
        let mut file = create(&temporary, mode)?;
        file.write_all(bytes).on("write", &temporary)?;
        file.sync_all().on("write", &temporary)?;
        Ok(put(&temporary, path)?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What is left is left by a failure, and the next holder clears it too.
        fs::remove_dir_all(&self.tmp).ok();
    }
}

/// A new file; `mode` as far as the umask lets it. What root makes is the folder's owner's, as far as that can be.
pub(super) fn create(path: &Path, mode: u32) -> Result<File, RepoError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).on("create", path)?;
    if let Some(folder) = path.parent() {
        give_to_owner(&file, folder).ok();
    }
    Ok(file)
}

/// A file in that folder that has no name, and is gone with the process.
pub(super) fn unnamed(folder: &Path) -> Result<File, RepoError> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    match rustix::fs::open(folder, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)) {
        Ok(fd) => return Ok(fd.into()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
        Err(error) => return Err(error).on("make a file in", folder),
    }
    // Where there is no such thing it has a name for a moment.
    let name = folder.join(random_name());
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&name).on("create", &name)?;
    fs::remove_file(&name).on("remove", &name)?;
    Ok(file)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), RepoError> {
    fs::rename(from, to).on("replace", to)
}

/// Makes the names in the folder of `path` durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), RepoError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).on("make durable", folder)
}

/// The file's bytes, or `None` where there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, RepoError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("read", path),
    }
}

/// 16 hex digits out of the standard library's per-process random keys.
pub(super) fn random_name() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
