//! Building a revision's folder where nobody looks: in a locked folder below `tmp/`.

use super::boot::boot_links;
use super::error::InstallError;
use super::progress::Progress;
use super::{Install, Storage, current};
use crate::state::canonical::to_canonical;
use crate::state::{Entry, ObjectId, State, StatePath};
use crate::store::{Context, StoreError, TempDir};
use rustix::fs::{Mode, fchmod, link, unlink};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How often an object is looked for again that others remove and bring back.
const TRIES: usize = 16;

/// The folder in a revision for links to the objects that are copied.
pub(super) const BINDS: &str = ".pvr/bind";

/// A revision that is whole and has no name yet.
#[derive(Debug)]
pub(super) struct Built {
    /// Holds `rev/`, the revision, and what making it current takes, if asked for. Vanishes with this value.
    pub(super) dir: TempDir,
    pub(super) linked: usize,
    pub(super) json: usize,
    pub(super) copied: usize,
}

impl Built {
    pub(super) fn revision(&self) -> PathBuf {
        self.dir.path().join("rev")
    }
}

/// Keys with this end are copied: containers mount them writable (`storage.md` §1).
pub(super) fn is_bind(key: &StatePath) -> bool {
    key.as_str().ends_with(".bind")
}

/// Builds a revision and makes it durable. The objects have been found intact.
pub(super) fn build(storage: &Storage, job: &Install<'_>) -> Result<Built, InstallError> {
    let dir = TempDir::create(&storage.store().tmp())?;
    let mut built = Built { dir, linked: 0, json: 0, copied: 0 };
    let root = built.revision();
    let mut folders = BTreeSet::new();
    folder(&root)?;
    for name in [".pvr", ".pv"] {
        folder(&root.join(name))?;
    }
    let mut links = Vec::new();
    let mut binds = BTreeMap::new();
    for (key, entry) in job.state.entries() {
        let path = key.below(&root);
        for parent in key.folders() {
            if folders.insert(parent) {
                folder(&root.join(parent))?;
            }
        }
        match entry {
            Entry::Json(value) => {
                write(&path, to_canonical(value)?.as_bytes())?;
                built.json += 1;
            }
            Entry::Object(id) if is_bind(key) => {
                copy(storage, key, id, &path)?;
                binds.insert(*id, key);
                built.copied += 1;
            }
            Entry::Object(id) => {
                link_object(storage, key, id, &path)?;
                links.push((key, id, path));
                built.linked += 1;
            }
        }
    }
    if !binds.is_empty() {
        folder(&root.join(BINDS))?;
    }
    for (id, key) in &binds {
        // A copy doesn't keep its object: Pantavisor's collector would take it, and a clone would miss it.
        let path = root.join(BINDS).join(id.to_string());
        link_object(storage, key, id, &path)?;
        links.push((*key, id, path));
    }
    write(&root.join(".pvr/json"), job.state.to_canonical()?.as_bytes())?;
    write(&root.join(".pvr/config"), config(storage.store().objects()).as_bytes())?;
    write(&root.join(".pv/progress"), &Progress::new().to_bytes())?;
    if let Some(msg) = job.commit_msg.filter(|msg| !msg.is_empty()) {
        write(&root.join(".pv/commitmsg"), msg.as_bytes())?;
    }
    for (name, id) in boot_links(job.state) {
        let path = root.join(".pv").join(name);
        // What the boot loader needs is an object of the state.
        if let Some((key, id)) = job.state.objects().find(|(_, object)| **object == id) {
            link_object(storage, key, id, &path)?;
            links.push((key, id, path));
        }
    }
    if job.make_current {
        current::prepare(storage, &job.rev.clone().into(), built.dir.path())?;
    }
    // A collector that had looked at an object before it was linked may have removed its name since.
    for (key, id, path) in links {
        same_inode(storage, key, id, &path)?;
    }
    built.dir.make_durable(storage.store().caps())?;
    Ok(built)
}

/// The text of `.pvr/config`.
fn config(objects: &Path) -> String {
    let path = serde_json::Value::from(objects.to_string_lossy());
    format!(r#"{{"ObjectsDir": {path}}}"#)
}

/// Links an object to a name in the new revision; from then on no collector removes its bytes.
fn link_object(storage: &Storage, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let object = storage.store().path(id);
    for _ in 0..TRIES {
        match link(&object, path) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {
                // Collected in this instant: its second link may bring it back.
                if storage.store().intact(id)?.is_none() {
                    return Err(InstallError::Missing(vec![(key.clone(), *id)]));
                }
            }
            Err(Errno::MLINK) => return Err(StoreError::TooManyLinks { path: object }.into()),
            Err(e) => return Err(e).on("link", path)?,
        }
    }
    Err(StoreError::Contended { path: object }.into())
}

/// Makes sure that the name in `objects/` and the one in the new revision are the same file.
fn same_inode(storage: &Storage, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let object = storage.store().path(id);
    for _ in 0..TRIES {
        let linked = fs::symlink_metadata(path).on("look at", path)?;
        match fs::symlink_metadata(&object) {
            Ok(named) if named.ino() == linked.ino() => return Ok(()),
            Ok(_) => {
                unlink(path).on("remove", path)?;
                link_object(storage, key, id, path)?;
            }
            Err(_) => match link(path, &object) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).on("link", &object)?,
            },
        }
    }
    Err(StoreError::Contended { path: object }.into())
}

fn copy(storage: &Storage, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let Some((mut from, size)) = storage.store().open_object(id)? else {
        return Err(InstallError::Missing(vec![(key.clone(), *id)]));
    };
    let mut to = create(path)?;
    let copied = std::io::copy(&mut from, &mut to).on("write", path)?;
    if copied != size {
        return Err(StoreError::WrongSize { want: size, got: copied }.into());
    }
    Ok(())
}

fn folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().mode(0o755).create(path).on("create", path)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o755)).on("set the mode of", path)
}

fn create(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).on("create", path)?;
    // Whatever the umask is.
    fchmod(&file, Mode::from_raw_mode(0o644)).on("set the mode of", path)?;
    Ok(file)
}

/// Writes a new file, 0644.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    create(path)?.write_all(bytes).on("write", path)
}

/// The objects of a state, each once.
pub(super) fn object_ids(state: &State) -> Vec<ObjectId> {
    let mut ids: Vec<_> = state.objects().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
