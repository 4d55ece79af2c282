//! Collecting: removing revisions that nobody will go back to, and objects that nothing names then.
//!
//! Kept are: the running revision, those with `.pv/done`, `0`, those that the boot loader names, those whose progress
//! says that an update is under way, and objects that are staged. A revision that was posted and never run goes.
//! Rollback points (`.pv/done`) all stay unless the owner says how many are enough: stand-alone, every post is one.
//! With a revision go `logs/<rev>` and `disks/rev/<rev>`, as with the daemon's collector (`storage.md` §8).
//!
//! The daemon takes none of our locks: what it has made current, a boot candidate or a rollback point meanwhile is seen by
//! looking at each revision again right before it goes.
//!
//! A folder is first moved into `.pvr-agent/tmp/`, and only then deleted file by file: no power cut leaves half a
//! revision under its name.

use super::Storage;
use super::error::TrailsError;
use super::name::RevisionName;
use crate::state::ObjectId;
use crate::state::clock;
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
    /// It is a rollback point too many.
    #[serde(skip)]
    given_up: bool,
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
    let mut report = plan(storage, dry_run, rollbacks)?;
    if !dry_run {
        remove(storage, &mut report)?;
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
    let given_up = give_up_rollbacks(storage, &mut reasons, rollbacks);
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
        let given_up = given_up.contains(&name);
        report.revisions.push(RemovedRevision { name, bytes, given_up });
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
    report.sum();
    Ok(report)
}

impl Report {
    fn sum(&mut self) {
        let objects: u64 = self.objects.iter().map(|object| object.bytes).sum();
        self.bytes = objects + self.revisions.iter().map(|revision| revision.bytes).sum::<u64>();
    }
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

/// Takes the reason from the rollback points that are too many, the oldest first. Which those are.
fn give_up_rollbacks(
    storage: &Storage,
    reasons: &mut [(RevisionName, Option<&'static str>)],
    rollbacks: Rollbacks,
) -> BTreeSet<RevisionName> {
    let mut given_up = BTreeSet::new();
    let Rollbacks::Newest(enough) = rollbacks else { return given_up };
    let since = |name: &RevisionName| {
        let done = fs::symlink_metadata(storage.dir(name).join(".pv/done"));
        done.map_or(std::time::UNIX_EPOCH, |meta| clock::modified(&meta))
    };
    let mut points: Vec<_> = reasons.iter_mut().filter(|(_, why)| *why == Some(DONE)).collect();
    points.sort_by_cached_key(|(name, _)| std::cmp::Reverse((since(name), name.to_string())));
    for (name, why) in points.into_iter().skip(enough) {
        *why = None;
        given_up.insert(name.clone());
    }
    given_up
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

/// Removes what is planned, and takes from the report what has got a reason to stay meanwhile.
fn remove(storage: &Storage, report: &mut Report) -> Result<(), TrailsError> {
    let store = storage.store();
    let going: BTreeSet<_> = report.objects.iter().map(|object| object.id).collect();
    let staying: Vec<_> = store.list()?.into_iter().map(|(id, _)| id).filter(|id| !going.contains(id)).collect();
    // Their link counts are about to change, and with them their ctimes.
    let known = if report.revisions.is_empty() { Vec::new() } else { store.known(&staying) };
    let result = remove_revisions(storage, report);
    store.refresh(&known);
    let named = result?;
    let mut gone = Vec::new();
    for object in std::mem::take(&mut report.objects) {
        let path = store.path(&object.id);
        // Looked at once more: a revision that the daemon links at this moment must not lose it.
        let unused = fs::symlink_metadata(&path).absent_ok().on("look at", &path)?.is_some_and(|m| m.nlink() == 1);
        if unused && !named.contains(&object.id) {
            unlink(&path).absent_ok().on("remove", &path)?;
            gone.push(object);
        }
    }
    report.objects = gone;
    report.sum();
    sync_folder(store.objects())?;
    Ok(())
}

/// Removes the revisions. Returns the objects that those name which stay all the same.
fn remove_revisions(storage: &Storage, report: &mut Report) -> Result<BTreeSet<ObjectId>, TrailsError> {
    let mut named = BTreeSet::new();
    let mut gone = Vec::new();
    for revision in std::mem::take(&mut report.revisions) {
        let why = reason(storage, &revision.name, storage.current()?.as_ref())?;
        match why.filter(|why| !(revision.given_up && *why == DONE)) {
            Some(why) => {
                match storage.state(&revision.name) {
                    Ok(state) => named.extend(state.iter().flat_map(|state| state.objects()).map(|(_, id)| *id)),
                    // It might name any of them.
                    Err(_) => {
                        named.extend(report.objects.iter().map(|object| object.id));
                        report.unreadable.push(revision.name.clone());
                    }
                }
                report.kept.push(Kept { name: revision.name, why });
            }
            None => {
                remove_revision(storage, &revision.name)?;
                gone.push(revision);
            }
        }
    }
    report.revisions = gone;
    Ok(named)
}

fn remove_revision(storage: &Storage, name: &RevisionName) -> Result<(), StoreError> {
    let dir = TempDir::create(&storage.store().tmp())?;
    for (i, folder) in folders(storage, name).into_iter().enumerate() {
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
    fs::remove_dir_all(dir.path()).on("remove", dir.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JsonLimits, Revision, Spec, State};
    use crate::store::{Stage, moment};
    use crate::trails::{Install, factory, fsck, install};

    /// What the daemon does to `locals/b`, and why that stays then.
    type Daemon = fn(&Path);

    #[test]
    fn a_revision_went_that_the_daemon_had_just_taken_up() {
        let cases: [(&str, Rollbacks, Daemon); 4] = [
            ("running", Rollbacks::All, |root| {
                let link = root.join("trails/current");
                fs::remove_file(&link).unwrap();
                std::os::unix::fs::symlink("locals/b", link).unwrap();
            }),
            ("boot-loader", Rollbacks::All, |root| {
                fs::create_dir_all(root.join("boot")).unwrap();
                fs::write(root.join("boot/uboot.txt"), b"pv_rev=0\0pv_try=locals/b\0").unwrap();
            }),
            ("done", Rollbacks::All, |root| fs::write(root.join("trails/locals/b/.pv/done"), b"").unwrap()),
            ("in-progress", Rollbacks::Newest(0), |root| {
                fs::write(root.join("trails/locals/b/.pv/progress"), br#"{"status":"TESTING"}"#).unwrap();
            }),
        ];
        for (why, rollbacks, daemon) in cases {
            let dir = tempfile::tempdir().unwrap();
            let storage = factory::make(dir.path()).unwrap();
            let mut ids = Vec::new();
            for rev in ["locals/a", "locals/b"] {
                let mut writer = storage.store().begin(None, None).unwrap();
                writer.write_all(rev.as_bytes()).unwrap();
                let sealed = writer.finish().unwrap();
                let id = sealed.id();
                storage.store().publish(vec![sealed], Stage::Yes).unwrap();
                let text =
                    format!(r##"{{"#spec":"pantavisor-service-system@1","app/data":"{id}","app/run.json":{{}}}}"##);
                let state = State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Known).unwrap();
                let rev = Revision::parse(rev).unwrap();
                install(&storage, Install { rev: &rev, state: &state, commit_msg: None, make_current: false }).unwrap();
                ids.push(id);
            }
            // The daemon may have taken the link away, which it puts back when it starts the revision.
            fs::remove_file(dir.path().join("trails/locals/b/app/data")).unwrap();
            if rollbacks != Rollbacks::All {
                fs::write(dir.path().join("trails/locals/b/.pv/done"), b"").unwrap();
            }
            // The first moment is when locals/a has been removed.
            let (root, mut once) = (dir.path().to_owned(), true);
            let watching = moment::watch(move |_| {
                if std::mem::take(&mut once) {
                    daemon(&root);
                }
                Ok(())
            });
            let report = gc_keeping(&storage, false, rollbacks).unwrap();
            drop(watching);
            let gone: Vec<_> = report.revisions.iter().map(|gone| gone.name.to_string()).collect();
            assert_eq!(gone, ["locals/a"], "{why}");
            assert!(report.kept.iter().any(|kept| kept.name.to_string() == "locals/b" && kept.why == why), "{why}");
            let objects: Vec<_> = report.objects.iter().map(|gone| gone.id).collect();
            assert_eq!(objects, ids[..1], "{why}: the object of the one that stays");
            assert_eq!(report.bytes, report.revisions[0].bytes + report.objects[0].bytes, "{why}");
            assert_eq!(storage.store().intact(&ids[1]).unwrap(), Some(8), "{why}");
            let found: Vec<_> = fsck(&storage, 1).unwrap().findings.into_iter().map(|found| found.path).collect();
            assert_eq!(found, ["trails/locals/b/app/data"], "{why}: as the daemon left it");
        }
    }
}
