//! Checking a storage: is every object what its name says, and every revision what its state says?
//!
//! The structure (names, inodes, link counts, debris) is looked at under both locks, which is quick. The bytes are
//! hashed under the shared lock only, by several threads, each with one buffer; a device serves meanwhile.
//!
//! What cannot be read is a finding like any other: a medium that fails in one place is no reason to say nothing of the
//! rest.

use super::Storage;
use super::boot::boot_links;
use super::check::{self, Check, Spelling};
use super::error::TrailsError;
use super::finding::{Finding, Kind};
use super::layout::BINDS;
use super::name::{RevisionName, of_file_name};
use crate::state::Status;
use crate::state::{Entry, ObjectId, State};
use crate::store::{Absent, Context, StoreError, hash, swap};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let mut scan = Scan { storage, report: Report::default(), links: HashMap::new(), blind: false, apart: Vec::new() };
    let quiet = (storage.store().lock_install()?, storage.store().lock_exclusive()?);
    scan.debris()?;
    for local in [false, true] {
        for name in scan.readable(storage.names_in(local))?.unwrap_or_default() {
            scan.revision(&name)?;
        }
    }
    scan.current()?;
    scan.strays()?;
    let work = scan.objects()?;
    // Taken in this order, nobody of ours can collect in between: that takes the lock on installing first.
    let (install, exclusive) = quiet;
    drop(exclusive);
    let using = storage.store().lock_shared()?;
    drop(install);
    let apart = std::mem::take(&mut scan.apart);
    for (path, outcome) in hash_all(storage, &work, threads) {
        scan.report.objects += usize::from(matches!(outcome, Ok(Hashed::Good(_) | Hashed::Bad(..))));
        match scan.readable(outcome)? {
            Some(Hashed::Good(bytes)) => scan.report.bytes += bytes,
            Some(Hashed::Bad(id, bytes)) => {
                scan.report.bytes += bytes;
                storage.store().distrust(&id);
                scan.find(Kind::ObjectContent, &path, "its bytes have another sha256");
            }
            Some(Hashed::Gone) | None => {}
        }
    }
    for (path, outcome) in hash_all(storage, &apart, threads) {
        if let Some(Hashed::Bad(id, _)) = scan.readable(outcome)? {
            scan.find(Kind::FileContent, &path, format!("its bytes are not those of objects/{id}"));
        }
    }
    drop(using);
    let mut report = scan.report;
    report.findings.sort_unstable();
    report.findings.dedup();
    // Of a folder that cannot be read, one finding is enough.
    let unreadable = |finding: &Finding| finding.kind == Kind::Unreadable;
    let closed: HashSet<_> = report.findings.iter().filter(|f| unreadable(f)).map(|f| f.path.clone()).collect();
    let inside =
        |path: &str| Path::new(path).ancestors().skip(1).filter_map(Path::to_str).any(|up| closed.contains(up));
    report.findings.retain(|finding| !unreadable(finding) || !inside(&finding.path));
    Ok(report)
}

struct Scan<'a> {
    storage: &'a Storage,
    report: Report,
    /// How many names each inode has outside of `objects/`.
    links: HashMap<u64, u64>,
    /// Something could not be listed, so there may be more.
    blind: bool,
    /// Files that should be links to objects and are files of their own. Their bytes may be other ones.
    apart: Vec<(ObjectId, PathBuf)>,
}

impl Scan<'_> {
    fn find(&mut self, kind: Kind, path: &Path, what: impl Into<String>) {
        let path = relative(self.storage, path);
        self.report.findings.push(Finding { kind, path, what: what.into() });
    }

    /// What was read, or nothing and a finding.
    fn readable<T, E: Into<TrailsError>>(&mut self, read: Result<T, E>) -> Result<Option<T>, TrailsError> {
        match read.map_err(Into::into) {
            Ok(read) => Ok(Some(read)),
            Err(TrailsError::Store(StoreError::Io { verb, path, source })) => {
                self.find(Kind::Unreadable, &path, format!("failed to {verb} it: {source}"));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn count(&mut self, meta: &Metadata) {
        *self.links.entry(meta.ino()).or_default() += 1;
    }

    /// What is in a folder, as far as it can be told. A folder that is not there has nothing.
    fn list(&mut self, folder: &Path) -> Result<Vec<(PathBuf, Metadata)>, TrailsError> {
        let mut found = Vec::new();
        let Some(entries) = self.readable(fs::read_dir(folder).absent_ok().on("list", folder))? else {
            self.blind = true;
            return Ok(found);
        };
        for entry in entries.into_iter().flatten() {
            let Some(entry) = self.readable(entry.on("list", folder))? else {
                self.blind = true;
                continue;
            };
            let path = entry.path();
            let meta = self.readable(fs::symlink_metadata(&path).absent_ok().on("look at", &path))?;
            self.blind |= meta.is_none();
            found.extend(meta.flatten().map(|meta| (path, meta)));
        }
        Ok(found)
    }

    fn debris(&mut self) -> Result<(), TrailsError> {
        let store = self.storage.store();
        for path in self.readable(store.unowned())?.unwrap_or_default() {
            self.find(Kind::Debris, &path, "a temporary that belongs to no process");
        }
        for (path, meta) in self.list(&store.tmp())? {
            self.walk(&path, &meta, &mut |_| {})?;
        }
        for (path, meta) in self.list(&store.agent().join("replaced"))? {
            let what = match path.file_name().and_then(of_file_name) {
                Some(_) => "a revision that was set aside for another one",
                None => "nothing that this program has put here",
            };
            self.find(Kind::Debris, &path, what);
            self.walk(&path, &meta, &mut |_| {})?;
        }
        for path in self.readable(swap::unowned(store.agent()))?.unwrap_or_default() {
            self.find(Kind::Debris, &path, "what a deploy left that was interrupted");
        }
        for (path, meta) in self.list(&store.agent().join("deploys"))? {
            self.walk(&path, &meta, &mut |_| {})?;
        }
        for id in self.readable(store.staged_too_long())?.unwrap_or_default() {
            self.find(Kind::Debris, &store.staged(&id), "kept for a revision that has not come within a day");
        }
        for (path, meta) in self.list(&store.agent().join("staged"))? {
            self.count(&meta);
            if path.file_name().and_then(|name| ObjectId::parse(name.to_str()?).ok()).is_none() {
                self.find(Kind::Debris, &path, "it has no object's name");
            }
        }
        Ok(())
    }

    /// What lies among the revisions and is none.
    fn strays(&mut self) -> Result<(), TrailsError> {
        let trails = self.storage.trails_dir();
        for folder in [trails.join("locals"), trails.clone()] {
            for (path, meta) in self.list(&folder)? {
                if path != trails.join("current") && !meta.is_dir() {
                    self.find(Kind::FileUnknown, &path, "only revisions belong here");
                }
            }
        }
        Ok(())
    }

    fn current(&mut self) -> Result<(), TrailsError> {
        let link = self.storage.trails_dir().join("current");
        let there = self.readable(fs::symlink_metadata(&link).absent_ok().on("look at", &link))?.flatten().is_some();
        // Without one, revision 0 is what would run.
        if there && self.readable(self.storage.current())?.is_some_and(|current| current.is_none()) {
            self.find(Kind::CurrentInvalid, &link, "it points to no revision");
        }
        Ok(())
    }

    fn revision(&mut self, name: &RevisionName) -> Result<(), TrailsError> {
        let dir = self.storage.dir(name);
        let mut present = Vec::new();
        let Some(meta) = self.readable(fs::symlink_metadata(&dir).on("look at", &dir))? else {
            return Ok(());
        };
        self.walk(&dir, &meta, &mut |path| present.push(path.to_owned()))?;
        let json = dir.join(".pvr/json");
        let (state, bytes) = match (self.storage.state(name), self.storage.state_bytes(name)) {
            (Ok(Some(state)), Ok(Some(bytes))) => (state, bytes),
            (Ok(None), _) | (_, Ok(None)) if present.is_empty() && !self.blind => {
                self.find(Kind::FileUnknown, &dir, "no revision, but a folder without a file");
                return Ok(());
            }
            (Ok(None), _) | (_, Ok(None)) => {
                self.report.revisions += 1;
                self.find(Kind::StateMissing, &json, "the revision has no state");
                return Ok(());
            }
            (Err(e @ (TrailsError::State { .. } | TrailsError::TooLarge { .. })), _) => {
                self.report.revisions += 1;
                self.find(Kind::StateInvalid, &json, e.to_string());
                return Ok(());
            }
            (Err(e), _) | (_, Err(e)) => return self.readable(Err::<(), _>(e)).map(drop),
        };
        self.report.revisions += 1;
        let binds = check::bind_objects(&state);
        let known = |path: &PathBuf| {
            let key = path.strip_prefix(&dir).ok();
            match key.and_then(|key| Some((key.strip_prefix(BINDS).ok()?.to_str()?, key))) {
                Some((bind, _)) => ObjectId::parse(bind).is_ok_and(|id| binds.contains(&id)),
                None => key
                    .and_then(Path::to_str)
                    .is_some_and(|key| key.starts_with(".pv/") || key.starts_with(".pvr/") || state.get(key).is_some()),
            }
        };
        for path in present.iter().filter(|path| !known(path)) {
            self.find(Kind::FileUnknown, path, "the state doesn't have it");
        }
        self.missing_objects(&state)?;
        // What the daemon has taken in and never run consists of its state alone.
        let expanded = state.entries().any(|(key, _)| fs::symlink_metadata(key.below(&dir)).is_ok());
        let progress = self.readable(self.storage.progress(name))?.flatten();
        if !expanded && progress.is_some_and(|is| is.status == Status::New) && !self.storage.is_done(name) {
            return Ok(());
        }
        let spelling = match state.to_canonical() {
            Ok(text) if text.as_bytes() == bytes => Spelling::Canonical,
            _ => Spelling::AsWritten,
        };
        self.files(&Check { storage: self.storage, dir: &dir, state: &state, spelling })
    }

    fn files(&mut self, check: &Check<'_>) -> Result<(), TrailsError> {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        let report = &mut |kind, path, what| found.push((kind, path, what));
        let failed = &mut |e| {
            unreadable.push(e);
            Ok(())
        };
        check.keys(report, failed)?;
        check.binds(report, failed)?;
        for (kind, path, what) in found.into_iter().filter(|(kind, ..)| *kind != Kind::ObjectMissing) {
            if kind == Kind::FileInode {
                self.apart.extend(object_of(check.state, check.dir, &path).map(|id| (id, path.clone())));
            }
            self.find(kind, &path, what);
        }
        for e in unreadable {
            self.readable(Err::<(), _>(e))?;
        }
        Ok(())
    }

    fn missing_objects(&mut self, state: &State) -> Result<(), TrailsError> {
        let keys = state.objects().map(|(key, id)| (*id, key.as_str().to_owned()));
        let named: BTreeMap<_, _> = keys.chain(boot_links(state).into_iter().map(|(name, id)| (id, name))).collect();
        for (id, key) in named {
            let path = self.storage.store().path(&id);
            let there = self.readable(fs::symlink_metadata(&path).absent_ok().on("look at", &path))?;
            if there.is_some_and(|meta| meta.is_none_or(|meta| !meta.is_file())) {
                self.find(Kind::ObjectMissing, &path, format!("a revision has it as {key}"));
            }
        }
        Ok(())
    }

    /// Counts the links of all files below a folder and shows each of them.
    fn walk(&mut self, path: &Path, meta: &Metadata, show: &mut dyn FnMut(&Path)) -> Result<(), TrailsError> {
        if !meta.is_dir() {
            self.count(meta);
            show(path);
            return Ok(());
        }
        for (path, meta) in self.list(path)? {
            self.walk(&path, &meta, show)?;
        }
        Ok(())
    }

    /// Looks at the names in `objects/`; what has to be hashed.
    fn objects(&mut self) -> Result<Vec<(ObjectId, PathBuf)>, TrailsError> {
        let mut work = Vec::new();
        for (path, meta) in self.list(self.storage.store().objects())? {
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
            if meta.nlink() > expected && !self.blind {
                let what = format!("it has {} links, and {expected} names in this storage", meta.nlink());
                self.find(Kind::LinkCount, &path, what);
            }
            work.push((id, path));
        }
        // A second link whose object has vanished is what brings it back, so it has to be right as well.
        for id in self.readable(self.storage.store().staged_ids())?.unwrap_or_default() {
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
    let key = path.strip_prefix(dir).ok()?;
    if let Ok(bind) = key.strip_prefix(BINDS) {
        return ObjectId::parse(bind.to_str()?).ok();
    }
    let key = key.to_str()?;
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

/// Hashes files and says of each what came of it.
fn hash_all(
    storage: &Storage,
    work: &[(ObjectId, PathBuf)],
    threads: usize,
) -> Vec<(PathBuf, Result<Hashed, StoreError>)> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(work.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                while let Some((id, path)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = hash_one(storage, id, path);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), outcome));
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
