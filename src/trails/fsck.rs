//! Checking a storage: is every object what its name says, and every revision what its state says?
//!
//! The structure (names, inodes, link counts, debris) is looked at under both locks, which is quick. The bytes are
//! hashed under the shared lock only, by several threads, each with one buffer; a device serves meanwhile.

use super::Storage;
use super::boot::boot_links;
use super::check::{self, Spelling};
use super::error::TrailsError;
use super::name::{RevisionName, of_file_name};
use super::progress::Status;
use crate::state::{Entry, ObjectId, State};
use crate::store::{Absent, Context, StoreError, hash};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is wrong, in one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// An object's bytes are not what its name says.
    ObjectContent,
    /// A file in `objects/` that is neither an object nor a download under way.
    ObjectName,
    /// An object that is no regular file.
    ObjectType,
    /// A revision names an object that is not there.
    ObjectMissing,
    /// An object has more links than there are files in revisions.
    LinkCount,
    /// A revision without a state.
    StateMissing,
    /// A state that cannot be parsed or used.
    StateInvalid,
    /// A file of the state is not in the revision.
    FileMissing,
    /// A file of the state is a folder, a symlink or a device.
    FileType,
    /// A file of the state is not the same inode as its object.
    FileInode,
    /// A JSON file doesn't hold the state's value, or a file that is not its object's has other bytes than that.
    FileContent,
    /// A file in a revision that its state doesn't have.
    FileUnknown,
    /// `trails/current` points nowhere.
    CurrentInvalid,
    /// Something that an interrupted process has left behind; the next start of anything removes it.
    Debris,
}

impl Kind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ObjectContent => "object-content",
            Self::ObjectName => "object-name",
            Self::ObjectType => "object-type",
            Self::ObjectMissing => "object-missing",
            Self::LinkCount => "link-count",
            Self::StateMissing => "state-missing",
            Self::StateInvalid => "state-invalid",
            Self::FileMissing => "file-missing",
            Self::FileType => "file-type",
            Self::FileInode => "file-inode",
            Self::FileContent => "file-content",
            Self::FileUnknown => "file-unknown",
            Self::CurrentInvalid => "current-invalid",
            Self::Debris => "debris",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// Where, relative to the storage. As it is: escape it before showing it.
    pub path: String,
    /// What, in words. Escape it before showing it.
    pub what: String,
}

/// What a check has found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects that were hashed.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Revisions that were compared with their states.
    pub revisions: usize,
    /// What is wrong, by kind and path; nothing if the storage is clean.
    pub findings: Vec<Finding>,
}

/// Checks a storage with so many threads. An error means that it could not be told.
pub fn fsck(storage: &Storage, threads: usize) -> Result<Report, TrailsError> {
    let mut scan = Scan { storage, report: Report::default(), links: HashMap::new(), apart: Vec::new() };
    let quiet = (storage.store().lock_install()?, storage.store().lock_exclusive()?);
    scan.debris()?;
    for name in storage.names()? {
        scan.revision(&name)?;
    }
    scan.current()?;
    let work = scan.objects()?;
    let (mut report, apart) = (scan.report, scan.apart);
    // Taken in this order, nobody of ours can collect in between: that takes the lock on installing first.
    let (install, exclusive) = quiet;
    drop(exclusive);
    let using = storage.store().lock_shared()?;
    drop(install);
    report.objects = work.len();
    for (path, outcome) in hash_all(storage, &work, threads)? {
        match outcome {
            Hashed::Good(bytes) => report.bytes += bytes,
            Hashed::Bad(id, bytes) => {
                report.bytes += bytes;
                storage.store().distrust(&id);
                let what = "its bytes have another sha256".to_owned();
                report.findings.push(Finding { kind: Kind::ObjectContent, path: relative(storage, &path), what });
            }
            Hashed::Gone => report.objects -= 1,
        }
    }
    for (path, outcome) in hash_all(storage, &apart, threads)? {
        if let Hashed::Bad(id, _) = outcome {
            let what = format!("its bytes are not those of objects/{id}");
            report.findings.push(Finding { kind: Kind::FileContent, path: relative(storage, &path), what });
        }
    }
    drop(using);
    report.findings.sort_unstable();
    report.findings.dedup();
    Ok(report)
}

struct Scan<'a> {
    storage: &'a Storage,
    report: Report,
    /// How many names each inode has outside of `objects/`.
    links: HashMap<u64, u64>,
    /// Files that should be links to objects and are files of their own. Their bytes may be other ones.
    apart: Vec<(ObjectId, PathBuf)>,
}

impl Scan<'_> {
    fn find(&mut self, kind: Kind, path: &Path, what: impl Into<String>) {
        let path = relative(self.storage, path);
        self.report.findings.push(Finding { kind, path, what: what.into() });
    }

    fn count(&mut self, meta: &Metadata) {
        *self.links.entry(meta.ino()).or_default() += 1;
    }

    fn debris(&mut self) -> Result<(), TrailsError> {
        let store = self.storage.store();
        for path in store.unowned()? {
            self.find(Kind::Debris, &path, "a temporary that belongs to no process");
        }
        for (path, meta) in store.entries("tmp")? {
            self.walk(&path, &meta, &mut |_, _| {})?;
        }
        for (path, meta) in store.entries("replaced")? {
            let what = match path.file_name().and_then(of_file_name) {
                Some(_) => "a revision that was set aside for another one",
                None => "nothing that this program has put here",
            };
            self.find(Kind::Debris, &path, what);
            self.walk(&path, &meta, &mut |_, _| {})?;
        }
        for id in store.staged_too_long()? {
            self.find(Kind::Debris, &store.staged(&id), "kept for a revision that has not come within a day");
        }
        for (path, meta) in store.entries("staged")? {
            self.count(&meta);
            if path.file_name().and_then(|name| ObjectId::parse(name.to_str()?).ok()).is_none() {
                self.find(Kind::Debris, &path, "it has no object's name");
            }
        }
        Ok(())
    }

    fn current(&mut self) -> Result<(), TrailsError> {
        let link = self.storage.trails_dir().join("current");
        let there = fs::symlink_metadata(&link).absent_ok().on("look at", &link)?.is_some();
        if there && self.storage.current()?.is_none() {
            self.find(Kind::CurrentInvalid, &link, "it points to no revision");
        }
        Ok(())
    }

    fn revision(&mut self, name: &RevisionName) -> Result<(), TrailsError> {
        let dir = self.storage.dir(name);
        self.report.revisions += 1;
        let mut present = Vec::new();
        let meta = fs::symlink_metadata(&dir).on("look at", &dir)?;
        self.walk(&dir, &meta, &mut |path, _| present.push(path.to_owned()))?;
        let json = dir.join(".pvr/json");
        let (state, bytes) = match (self.storage.state(name), self.storage.state_bytes(name)) {
            (Ok(Some(state)), Ok(Some(bytes))) => (state, bytes),
            (Ok(None), _) | (_, Ok(None)) => {
                self.find(Kind::StateMissing, &json, "the revision has no state");
                return Ok(());
            }
            (Err(e @ (TrailsError::State { .. } | TrailsError::TooLarge { .. })), _) => {
                self.find(Kind::StateInvalid, &json, e.to_string());
                return Ok(());
            }
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        let known = |path: &PathBuf| {
            let key = path.strip_prefix(&dir).ok().and_then(Path::to_str);
            key.is_some_and(|key| key.starts_with(".pv/") || key.starts_with(".pvr/") || state.get(key).is_some())
        };
        for path in present.iter().filter(|path| !known(path)) {
            self.find(Kind::FileUnknown, path, "the state doesn't have it");
        }
        self.missing_objects(&state)?;
        // What the daemon has taken in and never run consists of its state alone.
        let expanded = state.entries().any(|(key, _)| fs::symlink_metadata(key.below(&dir)).is_ok());
        let is_new = self.storage.progress(name)?.is_some_and(|progress| progress.status == Status::New);
        if !expanded && is_new && !self.storage.is_done(name) {
            return Ok(());
        }
        let spelling = match state.to_canonical() {
            Ok(text) if text.as_bytes() == bytes => Spelling::Canonical,
            _ => Spelling::AsWritten,
        };
        let mut found = Vec::new();
        check::files(self.storage, &dir, &state, spelling, &mut |kind, path, what| found.push((kind, path, what)))?;
        for (kind, path, what) in found.into_iter().filter(|(kind, ..)| *kind != Kind::ObjectMissing) {
            if kind == Kind::FileInode {
                self.apart.extend(object_of(&state, &dir, &path).map(|id| (id, path.clone())));
            }
            self.find(kind, &path, what);
        }
        Ok(())
    }

    fn missing_objects(&mut self, state: &State) -> Result<(), TrailsError> {
        let boot = boot_links(state);
        let absent: BTreeMap<_, _> = state
            .objects()
            .map(|(key, id)| (*id, key.as_str().to_owned()))
            .chain(boot.into_iter().map(|(name, id)| (id, name)))
            .filter(|(id, _)| self.storage.store().stamp_of(&self.storage.store().path(id)).is_none())
            .collect();
        for (id, key) in absent {
            self.find(Kind::ObjectMissing, &self.storage.store().path(&id), format!("a revision has it as {key}"));
        }
        Ok(())
    }

    /// Counts the links of all files below a folder and shows each of them.
    fn walk(&mut self, path: &Path, meta: &Metadata, show: &mut dyn FnMut(&Path, &Metadata)) -> Result<(), StoreError> {
        if !meta.is_dir() {
            self.count(meta);
            show(path, meta);
            return Ok(());
        }
        let Some(entries) = fs::read_dir(path).absent_ok().on("list", path)? else {
            return Ok(());
        };
        for entry in entries {
            let path = entry.on("list", path)?.path();
            if let Some(meta) = fs::symlink_metadata(&path).absent_ok().on("look at", &path)? {
                self.walk(&path, &meta, show)?;
            }
        }
        Ok(())
    }

    /// Looks at the names in `objects/`; what has to be hashed.
    fn objects(&mut self) -> Result<Vec<(ObjectId, PathBuf)>, TrailsError> {
        let folder = self.storage.store().objects().to_owned();
        let mut work = Vec::new();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let path = entry.on("list", &folder)?.path();
            let Some(meta) = fs::symlink_metadata(&path).absent_ok().on("look at", &path)? else {
                continue;
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(id) = ObjectId::parse(&name) else {
                // The daemon downloads into <sha256>.tmp and leaves hidden files alone.
                let theirs = name.strip_suffix(".tmp").is_some_and(|id| ObjectId::parse(id).is_ok());
                if !theirs && !name.starts_with('.') {
                    self.find(Kind::ObjectName, &path, "it is not named by a sha256");
                }
                continue;
            };
            if !meta.is_file() {
                self.find(Kind::ObjectType, &path, "it is no regular file");
                continue;
            }
            let expected = 1 + self.links.get(&meta.ino()).copied().unwrap_or(0);
            if meta.nlink() > expected {
                let what = format!("it has {} links, and {expected} names in this storage", meta.nlink());
                self.find(Kind::LinkCount, &path, what);
            }
            work.push((id, path));
        }
        // A second link whose object has vanished is what brings it back, so it has to be right as well.
        for id in self.storage.store().staged_ids()? {
            if self.storage.store().stamp_of(&self.storage.store().path(&id)).is_none() {
                work.push((id, self.storage.store().staged(&id)));
            }
        }
        work.sort_unstable();
        Ok(work)
    }
}

/// The object that a file of a revision should be.
fn object_of(state: &State, dir: &Path, path: &Path) -> Option<ObjectId> {
    let key = path.strip_prefix(dir).ok()?.to_str()?;
    match (state.get(key), key.strip_prefix(".pv/")) {
        (Some(Entry::Object(id)), _) => Some(*id),
        (_, Some(name)) => boot_links(state).get(name).copied(),
        _ => None,
    }
}

fn relative(storage: &Storage, path: &Path) -> String {
    path.strip_prefix(storage.root()).unwrap_or(path).to_string_lossy().into_owned()
}

enum Hashed {
    Good(u64),
    Bad(ObjectId, u64),
    Gone,
}

fn hash_all(
    storage: &Storage,
    work: &[(ObjectId, PathBuf)],
    threads: usize,
) -> Result<Vec<(PathBuf, Hashed)>, StoreError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Ok(Vec::with_capacity(work.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                while let Some((id, path)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = hash_one(storage, id, path);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *results, outcome) {
                        (Ok(list), Ok(hashed)) => list.push((path.clone(), hashed)),
                        (Ok(_), Err(e)) => {
                            *results = Err(e);
                            return;
                        }
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn hash_one(storage: &Storage, id: &ObjectId, path: &Path) -> Result<Hashed, StoreError> {
    let Some(file) = File::open(path).absent_ok().on("open", path)? else {
        // Pantavisor's collector takes no lock; what it has collected is no finding unless a revision has it.
        return Ok(Hashed::Gone);
    };
    let size = file.metadata().on("look at", path)?.len();
    if hash(&file).on("read", path)? == *id {
        return Ok(Hashed::Good(size));
    }
    // A bad one that has been replaced while it was read is nobody's.
    let replaced =
        storage.store().stamp_of(path).map(|stamp| stamp.ino) != Some(file.metadata().on("look at", path)?.ino());
    Ok(if replaced { Hashed::Gone } else { Hashed::Bad(*id, size) })
}
