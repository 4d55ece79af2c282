//! The folder of a transaction.
//!
//! ```text
//! <PVTXDIR>/.status         see status.rs; 0600
//! <PVTXDIR>/current.json    the state, canonical; 0600
//! <PVTXDIR>/.pvtx.tmp       whichever of the two is being replaced; only whoever holds the lock has it. With .was behind it,
//!                           what was there
//! ```
//!
//! The lock is `flock` on the folder itself, exclusive for whoever changes something, so a killed process holds none. What
//! else lies in the folder is left alone. A file is replaced by one that is durable, so each is the old or the new one; and
//! of a transaction that begins, `.status` comes last.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::error::{Context, PvtxError};
use super::status::{Status, WITH_QUEUE};
use crate::store::{put, sync_folder};

const STATUS: &str = ".status";
const CURRENT: &str = "current.json";
const TEMPORARY: &str = ".pvtx.tmp";
/// It, and what is put back if it could not be put.
const TEMPORARIES: [&str; 2] = [TEMPORARY, ".pvtx.tmp.was"];
/// What today's program leaves when it dies.
const STALE: [&str; 3] = ["current.json.tmp", "current.json.tmp.tmp", ".status.tmp"];

/// Where the transactions of this user are: `PVTXDIR`; for root `var/cache/pvtx` below `PREFIX`; else
/// `.local/share/pvtx` below the home.
pub fn usual_place(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, PvtxError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("PVTXDIR") {
        return Ok(dir);
    }
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Ok(set("PREFIX").unwrap_or_else(|| PathBuf::from("/")).join("var/cache/pvtx"));
    }
    let home = set("HOME").or_else(|| home_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), user.as_raw()));
    home.map(|home| home.join(".local/share/pvtx")).ok_or(PvtxError::NoPlace)
}

/// The home of a user, as a passwd file has it.
fn home_of(passwd: &str, user: u32) -> Option<PathBuf> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(user)))?;
    line.get(5).filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// The folder, held: nobody else changes it.
#[derive(Debug)]
pub(super) struct Held {
    dir: PathBuf,
    _lock: OwnedFd,
}

impl Held {
    /// Waits for the folder, which is made if there is none.
    pub(super) fn make(dir: &Path) -> Result<Self, PvtxError> {
        DirBuilder::new().recursive(true).mode(0o755).create(dir).on("create", dir)?;
        let fd = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", dir)?;
        Self::take(dir, fd)
    }

    /// Waits for the folder, if there is one.
    pub(super) fn existing(dir: &Path) -> Result<Option<Self>, PvtxError> {
        match open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Self::take(dir, fd).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).on("open", dir),
        }
    }

    fn take(dir: &Path, fd: OwnedFd) -> Result<Self, PvtxError> {
        loop {
            match flock(&fd, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).on("lock", dir),
            }
        }
        let held = Self { dir: dir.to_owned(), _lock: fd };
        // A process that died had them.
        for name in TEMPORARIES {
            fs::remove_file(dir.join(name)).ok();
        }
        Ok(held)
    }

    pub(super) fn status(&self) -> Result<Option<Status>, PvtxError> {
        status(&self.dir)
    }

    pub(super) fn set_status(&self, status: &Status) -> Result<(), PvtxError> {
        let path = self.dir.join(STATUS);
        self.replace(&path, &status_bytes(status)?)
    }

    pub(super) fn set_current(&self, text: &str) -> Result<(), PvtxError> {
        self.replace(&self.dir.join(CURRENT), text.as_bytes())
    }

    /// Makes sure that both files can be replaced, before anything is.
    pub(super) fn is_replaceable(&self) -> Result<(), PvtxError> {
        for name in [STATUS, CURRENT] {
            let path = self.dir.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                return Err(PvtxError::NotAFile(path));
            }
        }
        Ok(())
    }

    /// Removes what today's program leaves when it dies. That it cannot be removed harms nobody.
    pub(super) fn remove_stale(&self) {
        for name in STALE {
            fs::remove_file(self.dir.join(name)).ok();
        }
    }

    /// Removes both files, and what today's program may have left of them. After an error there is what there was.
    pub(super) fn clear(&self) -> Result<(), PvtxError> {
        self.remove_stale();
        let (status, aside) = (self.dir.join(STATUS), self.dir.join(TEMPORARY));
        match fs::rename(&status, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A folder of such a name is nobody's transaction.
            _ if aside.is_dir() => fs::rename(&aside, &status).on("put back", &status)?,
            result => result.on("remove", &status)?,
        }
        sync_folder(&self.dir).inspect_err(|_| {
            fs::rename(&aside, &status).ok();
        })?;
        fs::remove_file(aside).ok();
        self.forget_current();
        Ok(())
    }

    /// Removes a state that no status is about: it is nobody's, and harms nobody.
    pub(super) fn forget_current(&self) {
        fs::remove_file(self.dir.join(CURRENT)).ok();
    }

    /// Removes what a process that died left of its files; if somebody is at it, nothing.
    pub(super) fn tidy(dir: &Path) {
        if let Ok(fd) = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            && flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            TEMPORARIES.iter().for_each(|name| drop(fs::remove_file(dir.join(name))));
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), PvtxError> {
        replace(&self.dir.join(TEMPORARY), path, bytes)
    }
}

/// Refuses a status that cannot be kept before anything is done for it.
pub(super) fn status_bytes(status: &Status) -> Result<Vec<u8>, PvtxError> {
    status.to_bytes().map_err(|_| {
        let local = match &status.target {
            super::Target::Local(dir) => Some(dir),
            super::Target::Remote => None,
        };
        let paths = local.into_iter().chain(status.queue.as_ref().map(|queue| &queue.dir));
        let longest = paths.max_by_key(|path| path.as_os_str().len());
        PvtxError::LongPath(longest.cloned().unwrap_or_default())
    })
}

/// Puts bytes under a name by way of another one, durably; 0600. After an error it is what it was.
pub(super) fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), PvtxError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.on("write", temporary).and_then(|()| Ok(put(temporary, path)?));
    if replaced.is_err() {
        fs::remove_file(temporary).ok();
    }
    replaced
}

/// What is under way in a folder. `None`: nothing, and no folder needs to be there.
pub(super) fn status(dir: &Path) -> Result<Option<Status>, PvtxError> {
    let path = dir.join(STATUS);
    let mut bytes = Vec::new();
    let read = open_file(&path).and_then(|file| file.take(2 * WITH_QUEUE as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Status::parse(&bytes)),
        Err(error) if is_none(&error) => Ok(None),
        Err(error) => Err(error).on("read", &path),
    }
}

/// The state of a transaction.
pub(super) fn current(dir: &Path, limit: usize) -> Result<Vec<u8>, PvtxError> {
    read_file(&dir.join(CURRENT), limit)
}

/// A whole file, if it is one, of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, PvtxError> {
    let file = open_file(path).on("open", path)?;
    if !file.metadata().on("look at", path)?.is_file() {
        return Err(PvtxError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).on("read", path)?;
    if bytes.len() > limit {
        return Err(PvtxError::TooLarge { what: crate::state::escape(&path.to_string_lossy()).into_owned(), limit });
    }
    Ok(bytes)
}

/// A FIFO must not block.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

fn is_none(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_transactions_are() {
        let with = |set: &'static [(&str, &str)]| {
            usual_place(move |name| set.iter().find(|(it, _)| *it == name).map(|(_, value)| OsString::from(value)))
        };
        assert_eq!(with(&[("PVTXDIR", "/x"), ("PREFIX", "/p")]).unwrap(), PathBuf::from("/x"));
        if rustix::process::geteuid().is_root() {
            assert_eq!(with(&[("PREFIX", "/p"), ("HOME", "/h")]).unwrap(), PathBuf::from("/p/var/cache/pvtx"));
            assert_eq!(with(&[("PVTXDIR", "")]).unwrap(), PathBuf::from("/var/cache/pvtx"));
        } else {
            assert_eq!(with(&[("HOME", "/h")]).unwrap(), PathBuf::from("/h/.local/share/pvtx"));
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad\nuser:x:1000:1000::/home/user:/bin/sh\nno:x:7:7:::\n";
        assert_eq!(home_of(passwd, 1000), Some("/home/user".into()));
        assert_eq!((home_of(passwd, 7), home_of(passwd, 8)), (None, None));
    }
}
