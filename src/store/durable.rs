//! Surviving a power cut.
//!
//! `syncfs` reports the write errors since the *opening* of the descriptor it is called on, once per descriptor.
//! It is therefore called on the file that was opened first of those to be made durable, never on a shared
//! descriptor, whose error another thread might have fetched already.

use super::caps::Capabilities;
use super::error::{Context, StoreError};
use rustix::fs::{Mode, OFlags, fsync, link, open, rename, syncfs, unlink};
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Below this many files, `fsync` on each costs less than flushing what everybody else is writing.
const WORTH_A_SYNCFS: usize = 3;

/// Makes the content of all these files durable. `files` begins with the one that was opened first.
pub(crate) fn files(caps: Capabilities, files: &[&File], at: &Path) -> Result<(), StoreError> {
    match files.first() {
        Some(oldest) if caps.syncfs && files.len() >= WORTH_A_SYNCFS => syncfs(oldest).on("make files durable in", at),
        _ => files.iter().try_for_each(fsync).on("make a file durable in", at),
    }
}

/// Makes durable what another process has written: all of the file system that `root` is on, or of every one. Whoever asks
/// the kernel for that need neither see nor be allowed to open the files.
pub fn written_by_others(root: Option<&Path>) -> Result<(), StoreError> {
    let Some(root) = root else {
        rustix::fs::sync();
        return Ok(());
    };
    let fd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", root)?;
    syncfs(&fd).on("make durable", root)
}

/// Makes the names in a folder durable.
pub(crate) fn folder(path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    super::moment::reached(path).on("make durable", path)?;
    let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
    match fsync(&fd) {
        // Some file systems have nothing to do for a folder and say so like this.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(e) => Err(e).on("make durable", path),
    }
}

/// What is put back has this behind the name of what was to replace it.
pub(crate) const WAS: &str = ".was";

/// Gives a file that is durable its name, durably, in the place of what had it. After an error the name is what it was.
pub(crate) fn put(new: &Path, path: &Path) -> Result<(), StoreError> {
    // A second name for what is there, should it have to come back. Not every file system has such a thing.
    let mut was = new.as_os_str().to_owned();
    was.push(WAS);
    let was = Path::new(&was);
    let had = match link(path, was) {
        Ok(()) => true,
        Err(Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => false,
        Err(e) => return Err(e).on("replace", path),
    };
    let fresh = !had && fs::symlink_metadata(path).is_err();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let renamed = rename(new, path).on("replace", path);
    let put = renamed.and_then(|()| {
        folder(parent).inspect_err(|_| {
            let _ = match (had, fresh) {
                (true, _) => rename(was, path),
                (_, true) => unlink(path),
                // It could not be kept; it is not to be missing as well.
                _ => Ok(()),
            };
            let _ = folder(parent);
        })
    });
    if had {
        // What stays of it goes with the temporaries.
        let _ = unlink(was);
    }
    put
}

/// Makes a whole folder durable, file by file; not files with several names.
pub(crate) fn tree(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).on("list", path)? {
        let path = entry.on("list", path)?.path();
        let meta = fs::symlink_metadata(&path).on("look at", &path)?;
        if meta.is_dir() {
            tree(&path)?;
        } else if meta.is_file() && meta.nlink() == 1 {
            let file = File::open(&path).on("open", &path)?;
            fsync(&file).on("make durable", &path)?;
        }
    }
    folder(path)
}
