//! What can go wrong with objects on disk.

use crate::state::{ObjectId, escape};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// An operation on a store failed. What was there before is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("failed to {verb} {}: {source}", Shown(path))]
    Io {
        /// What was being done: "open", "link".
        verb: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Fewer bytes are available than somebody announced.
    #[error(
        "no space for {wanted} bytes in {}: {available} bytes are available\n\
         pvr-agent gc removes what no revision needs, and with --rollbacks N all but N rollback points",
        Shown(path)
    )]
    NoSpace {
        /// The folder of the objects.
        path: PathBuf,
        /// How many bytes were announced.
        wanted: u64,
        /// How many bytes are free, without the reserve and what is promised to others.
        available: u64,
    },
    /// Fewer files can be made than somebody needs.
    #[error(
        "no room for {wanted} files and folders in {}: {available} inodes are free\n\
         pvr-agent gc removes what no revision needs, and with --rollbacks N all but N rollback points",
        Shown(path)
    )]
    NoInodes {
        /// The folder of the objects.
        path: PathBuf,
        /// How many files and folders are to be made.
        wanted: u64,
        /// How many inodes are free.
        available: u64,
    },
    /// The bytes are not those that the name promises.
    #[error("the bytes sent as object {want} have the sha256 {got}")]
    WrongHash {
        /// The announced sha256.
        want: ObjectId,
        /// The sha256 of what came.
        got: ObjectId,
    },
    /// The bytes ended before the announced size.
    #[error("{got} bytes came of the {want} that were announced")]
    WrongSize {
        /// The announced size.
        want: u64,
        /// What came.
        got: u64,
    },
    /// More bytes came than were announced.
    #[error("more than the announced {limit} bytes came")]
    TooLong {
        /// The announced size.
        limit: u64,
    },
    /// The file system allows no further hardlink to an object.
    #[error(
        "{} has as many links as its file system allows\n\
         pvr-agent gc removes revisions that are not needed",
        Shown(path)
    )]
    TooManyLinks {
        /// The object.
        path: PathBuf,
    },
    /// Somebody else changed a name again and again while it was being set.
    #[error("gave up on {}: it kept changing while it was written", Shown(path))]
    Contended {
        /// The name.
        path: PathBuf,
    },
    /// A folder that can't be replaced, because none is above it.
    #[error("{} is above everything and cannot be replaced\ngive a folder of its own", Shown(path))]
    NoParent {
        /// The folder.
        path: PathBuf,
    },
    /// Two folders claim one place, and each may be the only one of its kind.
    #[error(
        "{} was set aside by a deploy that was interrupted, and {} has been made since\n\
         move one of them away and repeat",
        Shown(.aside), Shown(.target)
    )]
    SetAside {
        /// What was set aside.
        aside: PathBuf,
        /// What is in its place.
        target: PathBuf,
    },
    /// Objects and working folder are on different file systems, so nothing can be linked.
    #[error(
        "{} and {} are on different file systems, hardlinks between them are impossible",
        Shown(.objects), Shown(.agent)
    )]
    TwoFileSystems {
        /// The folder of the objects.
        objects: PathBuf,
        /// The working folder.
        agent: PathBuf,
    },
}

impl StoreError {
    /// Whether a full disk, a quota or the reserve is the cause: nothing is wrong with what was asked.
    pub fn is_full(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::NoInodes { .. } => true,
            Self::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// Whether an I/O error says that a disk or a quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A path as a message shows it: quoted, nothing in it acts on a terminal.
pub(crate) struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", escape(&self.0.to_string_lossy()))
    }
}

/// Says what was being done, and on what.
pub(crate) trait Context<T> {
    /// "failed to `verb` 'path'".
    fn on(self, verb: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|e| StoreError::Io { verb, path: path.to_owned(), source: e.into() })
    }
}

/// "That it isn't there is fine."
pub(crate) trait Absent<T, E> {
    /// `None` where the thing doesn't exist.
    fn absent_ok(self) -> Result<Option<T>, E>;
}

impl<T> Absent<T, io::Error> for io::Result<T> {
    fn absent_ok(self) -> io::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl<T> Absent<T, rustix::io::Errno> for rustix::io::Result<T> {
    fn absent_ok(self) -> rustix::io::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_full_disk_and_a_full_quota_are_told_from_other_failures() {
        for (errno, full) in [(Errno::NOSPC, true), (Errno::DQUOT, true), (Errno::IO, false), (Errno::NOENT, false)] {
            let failed: rustix::io::Result<()> = Err(errno);
            assert_eq!(failed.on("link", Path::new("x")).unwrap_err().is_full(), full, "{errno}");
        }
    }

    #[test]
    fn messages_name_what_on_what_and_why_and_are_safe_to_show() {
        let failed: rustix::io::Result<()> = Err(Errno::NOENT);
        let error = failed.on("open", Path::new("a\nb")).unwrap_err();
        assert_eq!(error.to_string(), "failed to open 'a\\nb': No such file or directory (os error 2)");
    }
}
