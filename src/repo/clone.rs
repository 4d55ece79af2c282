//! `clone`: init, get and checkout in a folder that has its name only once all of it is there.
//!
//! The folder in the making is `pvr-clone-<16 hex>` beside the target, locked by its owner and marked by a file
//! `.pvr/cloning`. One that has the mark, or nothing in it, and no owner was left by a clone that died, and the next one
//! removes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::error::{Context, RepoError};
use super::files::{random_name, sync_parent};
use super::{CheckoutAs, Repo};
use crate::state::JsonLimits;
use crate::store::StoreError;

const PREFIX: &str = "pvr-clone-";
const MARK: &str = ".pvr/cloning";
/// How often a folder is made that another process clears away in the same instant.
const TRIES: usize = 64;

/// Makes the repository `target`, which must not exist. `fill` gets what it is to hold.
pub fn clone<E: From<RepoError>>(
    target: &Path,
    spec: &str,
    pool: &str,
    limits: JsonLimits,
    checkout_as: CheckoutAs,
    fill: impl FnOnce(&Repo) -> Result<(), E>,
    failed: impl Fn(Step, RepoError) -> E,
) -> Result<(), E> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sweep(parent);
    // Before the first byte is fetched, though only the rename decides.
    if fs::symlink_metadata(target).is_ok() {
        let from = parent.join(format!("{PREFIX}{}", random_name()));
        return Err(failed(Step::Rename, RepoError::TargetExists { from, to: target.to_owned() }));
    }
    let (mut making, _lock) = Making::begin(parent).map_err(|error| failed(Step::Folder, error))?;
    let repo =
        Repo::init(&making.path, spec, pool).map_err(|error| failed(Step::Init, error))?.with_json_limits(limits);
    fill(&repo)?;
    repo.checkout(checkout_as).map_err(|error| failed(Step::Checkout, error))?;
    let finish = || {
        match renameat_with(CWD, &making.path, CWD, target, RenameFlags::NOREPLACE) {
            // File systems and kernels without the flag. The look at the beginning has to do.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&making.path, target).on("rename", &making.path)?,
            Err(Errno::EXIST) => {
                return Err(RepoError::TargetExists { from: making.path.clone(), to: target.to_owned() });
            }
            result => result.on("rename", &making.path)?,
        }
        sync_parent(target).inspect_err(|_| {
            fs::rename(target, &making.path).ok();
        })
    };
    finish().map_err(|error| failed(Step::Rename, error))?;
    making.done = true;
    // Under another name it says nothing.
    fs::remove_file(target.join(MARK)).ok();
    Ok(())
}

/// At which step a clone failed; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Making the folder.
    Folder,
    /// Making the repository in it.
    Init,
    /// Writing the files.
    Checkout,
    /// Giving it its name.
    Rename,
}

/// Removes the folder again unless it got its name.
struct Making {
    path: PathBuf,
    done: bool,
}

impl Making {
    /// A new folder, held. Whoever clears away what is nobody's may be faster; then it is made again.
    fn begin(parent: &Path) -> Result<(Self, File), RepoError> {
        for _ in 0..TRIES {
            let making = Self { path: parent.join(format!("{PREFIX}{}", random_name())), done: false };
            DirBuilder::new().mode(0o755).create(&making.path).on("create", &making.path)?;
            let held = File::open(&making.path).and_then(|lock| {
                flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
                Ok(lock)
            });
            match held {
                Ok(lock) if lock.metadata().on("look at", &making.path)?.nlink() > 0 => {
                    let mark = making.path.join(MARK);
                    let pvr = mark.parent().unwrap_or(&mark);
                    DirBuilder::new().mode(0o755).create(pvr).on("create", pvr)?;
                    File::create(&mark).on("create", &mark)?;
                    return Ok((making, lock));
                }
                Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) => {
                    return Err(error).on("lock", &making.path);
                }
                _ => {}
            }
        }
        Err(StoreError::Contended { path: parent.to_owned() }.into())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.done {
            // One that has not been marked yet is empty.
            remove(&self.path).or_else(|_| fs::remove_dir(&self.path)).ok();
        }
    }
}

/// Removes what clones that died left in `parent`. That it cannot be removed is no reason not to clone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
        let ours = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if ours && entry.path().is_dir() {
            remove_unowned(&entry.path()).ok();
        }
    }
}

/// Removes a folder that has the mark, or is empty: it was not marked yet, or not any more.
fn remove_unowned(path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    if path.join(MARK).is_file() {
        return remove(path);
    }
    fs::remove_dir(path.join(".pvr")).ok();
    fs::remove_dir(path)
}

/// Removes a folder; the mark goes last, so that who dies on the way leaves one that the next removes.
fn remove(path: &Path) -> io::Result<()> {
    for folder in [path.to_owned(), path.join(".pvr")] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?.path();
            match entry.is_dir() && !entry.is_symlink() {
                _ if entry == path.join(".pvr") || entry == path.join(MARK) => {}
                true => fs::remove_dir_all(&entry)?,
                false => fs::remove_file(&entry)?,
            }
        }
    }
    fs::remove_file(path.join(MARK))?;
    fs::remove_dir(path.join(".pvr"))?;
    fs::remove_dir(path)
}
