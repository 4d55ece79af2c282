//! Collecting: removing revisions that nobody will go back to, and objects that nothing names then.
//!
//! Kept are: the running revision, those with `.pv/done`, `0`, those that the boot loader names, those whose progress
//! says that an update is under way, and objects that are staged. A revision that was posted and never run goes.
//! Rollback points (`.pv/done`) all stay unless the owner says how many are enough: stand-alone, every post is one.
//! With a revision go `logs/<rev>` and `disks/rev/<rev>`, as with the daemon's collector (`storage.md` §8).
//!
//! A folder is first moved into `.pvr-agent/tmp/`, and only then deleted file by file: no power cut leaves half a
//! revision under its name.

use super::Storage;
use super::error::TrailsError;
use super::name::RevisionName;
use crate::state::ObjectId;
use crate::store::{Absent, Context, StoreError, TempDir, sync_folder};
use rustix::fs::{rename, unlink};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a rollback point stays.
const DONE: &str = "done";

/// A revision that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub name: RevisionName,
    /// Why, in one word: `running`, `factory`, `done`, `boot-loader` or `in-progress`.
    pub why: &'static str,
}

/// A revision that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedRevision {
    /// Its name.
    pub name: RevisionName,
    /// The bytes of its own files; those of its objects are counted with the objects.
    pub bytes: u64,
}

/// An object that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedObject {
    /// Its name.
    pub id: ObjectId,
    /// Its size.
    pub bytes: u64,
}

/// What collecting has removed, or would remove.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing has been removed yet.
    pub dry_run: bool,
    /// What stays.
    pub kept: Vec<Kept>,
    /// What goes.
    pub revisions: Vec<RemovedRevision>,
    /// What goes.
    pub objects: Vec<RemovedObject>,
    /// All bytes that this frees.
    pub bytes: u64,
    /// Revisions that stay and whose states cannot be read: no object goes, because they might name it.
    pub unreadable: Vec<RevisionName>,
}

/// How many rollback points stay, beside what stays for another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollbacks {
    /// Every one. A storage where nothing else is removed grows with each of them.
    All,
    /// So many, the latest to become one first. Nobody can go back to the others any more.
    Newest(usize),
}

/// Collects, or with `dry_run` says what would be collected.
pub fn gc(storage: &Storage, dry_run: bool) -> Result<Report, TrailsError> {
    gc_keeping(storage, dry_run, Rollbacks::All)
}

/// As [`gc`], with fewer rollback points.
pub fn gc_keeping(storage: &Storage, dry_run: bool, rollbacks: Rollbacks) -> Result<Report, TrailsError> {
    if !dry_run {
        storage.sweep()?;
    }
    let _install = storage.store().lock_install()?;
    let _alone = storage.store().lock_exclusive()?;
    let report = plan(storage, dry_run, rollbacks)?;
    if !dry_run {
        remove(storage, &report)?;
    }
    Ok(report)
}

/// What [`gc`] would collect, if nobody is at work at the moment: doesn't wait, and keeps nobody waiting for more
/// than a look at every revision.
pub fn would_collect(storage: &Storage) -> Result<Option<Report>, TrailsError> {
    let Some(_install) = storage.store().try_lock_install()? else { return Ok(None) };
    let Some(_alone) = storage.store().try_lock_exclusive()? else { return Ok(None) };
    plan(storage, true, Rollbacks::All).map(Some)
}

fn plan(storage: &Storage, dry_run: bool, rollbacks: Rollbacks) -> Result<Report, TrailsError> {
    let mut report = Report { dry_run, ..Report::default() };
    let mut gone = Links::default();
    let mut named = BTreeSet::new();
    let running = storage.current()?;
    let mut reasons = Vec::new();
    for name in storage.names()? {
        let why = reason(storage, &name, running.as_ref())?;
        reasons.push((name, why));
    }
    give_up_rollbacks(storage, &mut reasons, rollbacks);
    for (name, why) in reasons {
        if let Some(why) = why {
            match storage.state(&name) {
                Ok(state) => named.extend(state.iter().flat_map(|state| state.objects()).map(|(_, id)| *id)),
                Err(TrailsError::State { .. } | TrailsError::TooLarge { .. }) => report.unreadable.push(name.clone()),
                Err(e) => return Err(e),
            }
            report.kept.push(Kept { name, why });
            continue;
        }
        let mut bytes = 0;
        for folder in folders(storage, &name) {
            bytes += gone.take(&folder)?;
        }
        report.revisions.push(RemovedRevision { name, bytes });
    }
    if running.is_none() && !report.revisions.is_empty() {
        return Err(TrailsError::NoCurrent { path: storage.root().to_owned() });
    }
    // A sweep has removed these already, unless this is a dry run.
    for id in storage.store().staged_too_long()? {
        gone.take(&storage.store().staged(&id))?;
    }
    if report.unreadable.is_empty() {
        for (id, size) in storage.store().list()? {
            let path = storage.store().path(&id);
            let Some(meta) = fs::symlink_metadata(&path).absent_ok().on("look at", &path)? else {
                continue;
            };
            if !named.contains(&id) && meta.nlink() <= 1 + gone.of(&meta) {
                report.objects.push(RemovedObject { id, bytes: size });
            }
        }
    }
    let objects: u64 = report.objects.iter().map(|object| object.bytes).sum();
    report.bytes = objects + report.revisions.iter().map(|revision| revision.bytes).sum::<u64>();
    Ok(report)
}

/// Why a revision stays.
fn reason(
    storage: &Storage,
    name: &RevisionName,
    running: Option<&RevisionName>,
) -> Result<Option<&'static str>, TrailsError> {
    Ok(if running == Some(name) {
        Some("running")
    } else if name.known().is_some_and(crate::state::Revision::is_factory) {
        Some("factory")
    } else if storage.boot_loader()?.names(name) {
        Some("boot-loader")
    } else if storage.progress(name)?.is_some_and(|progress| progress.status.is_in_progress()) {
        Some("in-progress")
    } else if storage.is_done(name) {
        Some(DONE)
    } else {
        None
    })
}

/// Takes the reason from the rollback points that are too many, the oldest first.
fn give_up_rollbacks(storage: &Storage, reasons: &mut [(RevisionName, Option<&'static str>)], rollbacks: Rollbacks) {
    let Rollbacks::Newest(enough) = rollbacks else { return };
    let since = |name: &RevisionName| {
        let done = fs::symlink_metadata(storage.dir(name).join(".pv/done")).and_then(|meta| meta.modified());
        done.unwrap_or(std::time::UNIX_EPOCH)
    };
    let mut points: Vec<_> = reasons.iter_mut().filter(|(_, why)| *why == Some(DONE)).collect();
    points.sort_by_cached_key(|(name, _)| std::cmp::Reverse((since(name), name.to_string())));
    for (_, why) in points.into_iter().skip(enough) {
        *why = None;
    }
}

/// Everything that belongs to a revision. The first is the revision itself.
fn folders(storage: &Storage, name: &RevisionName) -> [PathBuf; 3] {
    let root = storage.root();
    [storage.dir(name), root.join("logs").join(name.path()), root.join("disks/rev").join(name.path())]
}

/// Links that will be gone, by inode.
#[derive(Default)]
struct Links(HashMap<u64, u64>);

impl Links {
    fn of(&self, meta: &Metadata) -> u64 {
        self.0.get(&meta.ino()).copied().unwrap_or(0)
    }

    /// Counts the links below a folder, and the bytes of files that have no other.
    fn take(&mut self, path: &Path) -> Result<u64, StoreError> {
        let Some(meta) = fs::symlink_metadata(path).absent_ok().on("look at", path)? else {
            return Ok(0);
        };
        if !meta.is_dir() {
            if meta.nlink() > 1 {
                *self.0.entry(meta.ino()).or_default() += 1;
                return Ok(0);
            }
            return Ok(if meta.is_file() { meta.len() } else { 0 });
        }
        let mut bytes = 0;
        for entry in fs::read_dir(path).absent_ok().on("list", path)?.into_iter().flatten() {
            bytes += self.take(&entry.on("list", path)?.path())?;
        }
        Ok(bytes)
    }
}

fn remove(storage: &Storage, report: &Report) -> Result<(), TrailsError> {
    let store = storage.store();
    let going: BTreeSet<_> = report.objects.iter().map(|object| object.id).collect();
    let staying: Vec<_> = store.list()?.into_iter().map(|(id, _)| id).filter(|id| !going.contains(id)).collect();
    // Their link counts are about to change, and with them their ctimes.
    let known = if report.revisions.is_empty() { Vec::new() } else { store.known(&staying) };
    let result = remove_revisions(storage, report);
    store.refresh(&known);
    result?;
    for object in &report.objects {
        let path = store.path(&object.id);
        // Looked at once more: a revision that the daemon links at this moment must not lose it.
        let unused = fs::symlink_metadata(&path).absent_ok().on("look at", &path)?.is_some_and(|m| m.nlink() == 1);
        if unused {
            unlink(&path).absent_ok().on("remove", &path)?;
        }
    }
    sync_folder(store.objects())?;
    Ok(())
}

fn remove_revisions(storage: &Storage, report: &Report) -> Result<(), StoreError> {
    for revision in &report.revisions {
        let dir = TempDir::create(&storage.store().tmp())?;
        for (i, folder) in folders(storage, &revision.name).into_iter().enumerate() {
            match rename(&folder, dir.path().join(i.to_string())) {
                Ok(()) => {
                    let parent = folder.parent().unwrap_or(storage.root());
                    sync_folder(parent)?;
                }
                // Logs and disks may be absent, and the daemon collects as well.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                // A file system of their own: no revision is left by halves without them.
                Err(Errno::XDEV | Errno::BUSY) if i > 0 => {
                    fs::remove_dir_all(&folder).absent_ok().on("remove", &folder)?;
                }
                Err(e) => return Err(e).on("remove", &folder),
            }
        }
        fs::remove_dir_all(dir.path()).on("remove", dir.path())?;
    }
    Ok(())
}
