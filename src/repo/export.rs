//! `export`: the committed state and its objects in one file. `archive` has the format.
//!
//! The file is written without a name, or under `.<name>.<16 hex>.part` where the file system has no such thing, made
//! durable, and renamed. Objects are hashed while they are read; one that is wrong ends the export, and nothing is left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, open};
use rustix::io::Errno;
use serde::Serialize;

use super::Repo;
use super::error::{Context, RepoError};
use super::files::{create, random_name};
use crate::state::{Entry, Object, ObjectId, PartSelection, Spec, State, StatePath, Value};
use crate::store::archive::{END, GzipWriter, OBJECTS, STATE, build, padding};
use crate::store::{ObjectStore, WAS, gauge, put};

/// Whether an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// A tar file.
    Plain,
    /// A gzipped tar file.
    Gzip,
}

impl Packing {
    /// As the name says: `.gz` and `.tgz`, in either case.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default();
        match extension.eq_ignore_ascii_case("gz") || extension.eq_ignore_ascii_case("tgz") {
            true => Self::Gzip,
            false => Self::Plain,
        }
    }
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Keys of the state.
    pub keys: usize,
    /// Objects, each of them once.
    pub objects: usize,
    /// Bytes of the objects.
    pub bytes: u64,
}

const PART: &str = ".part";

impl Repo {
    /// Writes an archive to a file, which appears whole or not at all.
    pub fn export(&self, target: &Path, packing: Packing, parts: &PartSelection) -> Result<Exported, RepoError> {
        let plan = Plan::of(self, parts)?;
        // A link stays one: what it leads to is what is meant.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
            let out = File::options().write(true).open(&target).on("open", &target)?;
            plan.write(out, packing, &target)?;
            return Ok(plan.exported);
        }
        sweep(&target);
        let part = Part::create(&target)?;
        let file = part.file.try_clone().on("write", &target)?;
        plan.write(file, packing, &target)?;
        part.file.sync_all().on("write", &target)?;
        part.keep(&target)?;
        Ok(plan.exported)
    }

    /// Writes an archive to a stream. Every object is looked at before the first byte: what has gone out can't be undone.
    pub fn export_to(&self, out: impl Write, parts: &PartSelection) -> Result<Exported, RepoError> {
        let plan = Plan::of(self, parts)?;
        for (id, (key, _)) in &plan.objects {
            if plan.store.intact(id)?.is_none() {
                return Err(plan.missing(vec![(key.clone(), *id)]));
            }
        }
        plan.write(out, Packing::Plain, Path::new("-"))?;
        Ok(plan.exported)
    }
}

/// What is to be written.
struct Plan<'a> {
    store: &'a ObjectStore,
    json: String,
    /// With a key that names it, for the error, and the size that it has now.
    objects: BTreeMap<ObjectId, (StatePath, u64)>,
    exported: Exported,
}

impl<'a> Plan<'a> {
    fn of(repo: &'a Repo, parts: &PartSelection) -> Result<Self, RepoError> {
        let pristine = repo.pristine()?.ok_or_else(|| RepoError::NotARepo(repo.root.clone()))?;
        let state = selected(&pristine, parts)?;
        let store = repo.store_to_read()?;
        let mut plan = Self {
            store,
            json: state.to_canonical()?,
            objects: BTreeMap::new(),
            exported: Exported { keys: state.len(), objects: 0, bytes: 0 },
        };
        let mut missing = Vec::new();
        for (key, id) in state.objects().filter(|(_, id)| !plan.objects.contains_key(id)).collect::<Vec<_>>() {
            let path = store.path(id);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    if plan.objects.insert(*id, (key.clone(), metadata.len())).is_none() {
                        plan.exported.bytes += metadata.len();
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("look at", &path),
                _ => missing.push((key.clone(), *id)),
            }
        }
        plan.exported.objects = plan.objects.len();
        if missing.is_empty() { Ok(plan) } else { Err(plan.missing(missing)) }
    }

    fn missing(&self, objects: Vec<(StatePath, ObjectId)>) -> RepoError {
        RepoError::Objects { pool: self.store.objects().to_owned(), objects }
    }

    fn write(&self, out: impl Write, packing: Packing, target: &Path) -> Result<(), RepoError> {
        let out = BufWriter::with_capacity(128 * 1024, out);
        match packing {
            Packing::Plain => self.members(out, target)?.flush().on("write", target),
            Packing::Gzip => {
                let out = GzipWriter::new(out).on("write", target)?;
                let out = self.members(out, target)?;
                out.finish().and_then(|mut out| out.flush()).on("write", target)
            }
        }
    }

    fn members<W: Write>(&self, mut out: W, target: &Path) -> Result<W, RepoError> {
        gauge::plan(self.exported.bytes);
        let json = self.json.as_bytes();
        let size = json.len() as u64;
        let parts: [&[u8]; 3] = [&build(STATE, 0o600, size), json, &END[..padding(size)]];
        parts.iter().try_for_each(|part| out.write_all(part)).on("write", target)?;
        for (id, (key, size)) in &self.objects {
            out.write_all(&build(&format!("{OBJECTS}{id}"), 0o644, *size)).on("write", target)?;
            self.object(&mut out, id, key, *size, target)?;
            out.write_all(&END[..padding(*size)]).on("write", target)?;
        }
        out.write_all(&END).on("write", target)?;
        Ok(out)
    }

    /// The bytes of an object, hashed as they pass.
    fn object(
        &self,
        out: &mut impl Write,
        id: &ObjectId,
        key: &StatePath,
        size: u64,
        target: &Path,
    ) -> Result<(), RepoError> {
        let path = self.store.path(id);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(open(&path, flags, Mode::empty()).on("open", &path)?).take(size);
        let mut hasher = crate::store::Hasher::new();
        let mut buf = vec![0; 128 * 1024];
        let mut passed = 0;
        loop {
            match file.read(&mut buf) {
                Ok(0) => break,
                Ok(got) => {
                    hasher.update(&buf[..got]);
                    out.write_all(&buf[..got]).on("write", target)?;
                    passed += got as u64;
                    gauge::done(got as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).on("read", &path),
            }
        }
        let right = passed == size && hasher.finish() == *id;
        if right { Ok(()) } else { Err(self.missing(vec![(key.clone(), *id)])) }
    }
}

/// The selected parts of a state; `#spec` stays.
fn selected(state: &State, parts: &PartSelection) -> Result<State, RepoError> {
    let mut members: Object = Object::new();
    for (path, entry) in state.entries().filter(|(path, _)| parts.selects(path.as_str())) {
        let value = match entry {
            Entry::Object(id) => id.to_string().into(),
            Entry::Json(value) => value.clone(),
        };
        members.insert(path.as_str().to_owned(), value);
    }
    let mut selected = State::from_value(Value::Object(members), Spec::Any)?;
    selected.set_spec(state.spec().map(str::to_owned));
    Ok(selected)
}

/// A file in the making, beside its target.
pub(super) struct Part {
    pub(super) file: File,
    /// Its name, where it has one. Whoever finds it unlocked may remove it.
    name: Option<PathBuf>,
}

impl Part {
    pub(super) fn create(target: &Path) -> Result<Self, RepoError> {
        let folder = folder_of(target);
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        // As the umask lets it: an export is there to be given away.
        match open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => {
                let part = Self { file: OwnedFd::into(fd), name: None };
                flock(&part.file, FlockOperation::NonBlockingLockExclusive).on("lock", target)?;
                return Ok(part);
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
            Err(error) => return Err(error).on("create", target),
        }
        let name = part_of(target);
        let part = Self { file: create(&name, 0o666)?, name: Some(name) };
        flock(&part.file, FlockOperation::NonBlockingLockExclusive).on("lock", target)?;
        Ok(part)
    }

    /// Gives it the name of the target, in the place of what has that.
    pub(super) fn keep(mut self, target: &Path) -> Result<(), RepoError> {
        if self.name.is_none() {
            let name = part_of(target);
            let fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, fd, CWD, &name, AtFlags::SYMLINK_FOLLOW).on("create", &name)?;
            self.name = Some(name);
        }
        if let Some(name) = &self.name {
            put(name, target)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            fs::remove_file(name).ok();
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix_of(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

fn part_of(target: &Path) -> PathBuf {
    let mut name = prefix_of(target);
    name.push(random_name());
    name.push(PART);
    folder_of(target).join(name)
}

/// Removes what exports to the same file left that died. That it cannot be removed is no reason not to export.
pub(super) fn sweep(target: &Path) {
    let prefix = prefix_of(target);
    let Ok(entries) = fs::read_dir(folder_of(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().zip(prefix.to_str()).and_then(|(n, p)| {
            let n = n.strip_prefix(p)?;
            n.strip_suffix(WAS).unwrap_or(n).strip_suffix(PART)
        });
        let ours = random.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if ours
            && let Ok(file) = File::open(entry.path())
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            fs::remove_file(entry.path()).ok();
        }
    }
}
