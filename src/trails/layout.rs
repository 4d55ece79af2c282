//! Laying a state out as files: the one way in which an installed and a deployed revision get theirs.
//!
//! ```text
//! <key>                  object: a hardlink to it. JSON: a file (0644) of the canonical bytes. Ends in .bind: a copy (0644)
//! .pvr/json              the state, canonical
//! .pvr/bind/<sha256>     a hardlink for each copied object, which would have no other
//! .pv/pv-kernel.img, …   hardlinks for the boot loader: see boot.rs
//! ```

use super::boot::boot_links;
use super::error::InstallError;
use crate::state::canonical::to_canonical;
use crate::state::{Entry, ObjectId, State, StatePath};
use crate::store::{Context, ObjectStore, StoreError, make_folder};
use rustix::fs::{Mode, fchmod, link, unlink};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How often an object is looked for again that others remove and bring back.
const TRIES: usize = 16;

/// The folder in a revision for links to the objects that are copied.
pub(super) const BINDS: &str = ".pvr/bind";

/// Keys with this end are copied: containers mount them writable (`storage.md` §1).
pub fn is_bind(key: &StatePath) -> bool {
    key.as_str().ends_with(".bind")
}

/// What has been laid out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Laid {
    /// Keys that are hardlinks to objects.
    pub linked: usize,
    /// Keys that are files of JSON.
    pub json: usize,
    /// Keys that are copies.
    pub copied: usize,
    /// Names in `.pv/` for the boot loader.
    pub boot: Vec<String>,
}

/// A folder that is becoming the files of a state. The caller keeps collectors away from the objects.
#[derive(Debug)]
pub struct Layout<'a> {
    store: &'a ObjectStore,
    state: &'a State,
    root: &'a Path,
    plain_texts: bool,
    laid: Laid,
    links: Vec<(&'a StatePath, ObjectId, PathBuf)>,
}

impl<'a> Layout<'a> {
    /// Makes the folder, which must not exist, and its `.pvr/json`. The objects have been found intact.
    pub fn new(store: &'a ObjectStore, state: &'a State, root: &'a Path) -> Result<Self, InstallError> {
        folder(root)?;
        folder(&root.join(".pvr"))?;
        write(&root.join(".pvr/json"), state.to_canonical()?.as_bytes())?;
        Ok(Self { store, state, root, plain_texts: false, laid: Laid::default(), links: Vec::new() })
    }

    /// A value that is a text becomes a file without the quotes, as `pvtx deploy` and Pantavisor itself write it.
    #[must_use]
    pub fn with_plain_texts(self) -> Self {
        Self { plain_texts: true, ..self }
    }

    /// Makes the file of every key.
    pub fn keys(&mut self) -> Result<(), InstallError> {
        let (mut folders, mut binds) = (BTreeSet::new(), BTreeMap::new());
        for (key, entry) in self.state.entries() {
            let path = key.below(self.root);
            for parent in key.folders() {
                if folders.insert(parent) {
                    folder(&self.root.join(parent))?;
                }
            }
            match entry {
                Entry::Json(value) => {
                    let text = to_canonical(value)?;
                    let plain = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                    write(&path, plain.filter(|_| self.plain_texts).unwrap_or(&text).as_bytes())?;
                    self.laid.json += 1;
                }
                Entry::Object(id) if is_bind(key) => {
                    copy(self.store, key, id, &path)?;
                    binds.insert(*id, key);
                    self.laid.copied += 1;
                }
                Entry::Object(id) => {
                    self.link(key, id, path)?;
                    self.laid.linked += 1;
                }
            }
        }
        if !binds.is_empty() {
            folder(&self.root.join(BINDS))?;
        }
        for (id, key) in &binds {
            // A copy doesn't keep its object: Pantavisor's collector would take it, and a clone would miss it.
            self.link(key, id, self.root.join(BINDS).join(id.to_string()))?;
        }
        Ok(())
    }

    /// Makes a file of a key that the state has no place for.
    pub fn plain(&self, key: &StatePath, text: &str) -> Result<(), InstallError> {
        for parent in key.folders() {
            let path = self.root.join(parent);
            if !path.is_dir() {
                folder(&path)?;
            }
        }
        Ok(write(&key.below(self.root), text.as_bytes())?)
    }

    /// Makes another text the document of this folder: one with the keys that were given to [`plain`](Self::plain).
    pub fn document(&self, text: &str) -> Result<(), InstallError> {
        let path = self.root.join(".pvr/json");
        Ok(fs::write(&path, text).on("write", &path)?)
    }

    /// Makes what the boot loader looks for, if the state has any of it.
    pub fn boot_links(&mut self) -> Result<(), InstallError> {
        let pv = self.root.join(".pv");
        for (name, id) in boot_links(self.state) {
            // What the boot loader needs is an object of the state.
            if let Some((key, id)) = self.state.objects().find(|(_, object)| **object == id) {
                if !pv.is_dir() {
                    folder(&pv)?;
                }
                self.link(key, id, pv.join(&name))?;
                self.laid.boot.push(name);
            }
        }
        Ok(())
    }

    /// Makes sure that every name is still that of its object.
    pub fn finish(self) -> Result<Laid, InstallError> {
        // A collector that had looked at an object before it was linked may have removed its name since.
        for (key, id, path) in &self.links {
            same_inode(self.store, key, id, path)?;
        }
        Ok(self.laid)
    }

    fn link(&mut self, key: &'a StatePath, id: &ObjectId, path: PathBuf) -> Result<(), InstallError> {
        link_object(self.store, key, id, &path)?;
        self.links.push((key, *id, path));
        Ok(())
    }
}

/// Links an object to a name in the new revision; from then on no collector removes its bytes.
fn link_object(store: &ObjectStore, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let object = store.path(id);
    for _ in 0..TRIES {
        match link(&object, path) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {
                // Collected in this instant: its second link may bring it back.
                if store.intact(id)?.is_none() {
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
fn same_inode(store: &ObjectStore, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let object = store.path(id);
    for _ in 0..TRIES {
        let linked = fs::symlink_metadata(path).on("look at", path)?;
        match fs::symlink_metadata(&object) {
            Ok(named) if named.ino() == linked.ino() => return Ok(()),
            Ok(_) => {
                unlink(path).on("remove", path)?;
                link_object(store, key, id, path)?;
            }
            Err(_) => match link(path, &object) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).on("link", &object)?,
            },
        }
    }
    Err(StoreError::Contended { path: object }.into())
}

fn copy(store: &ObjectStore, key: &StatePath, id: &ObjectId, path: &Path) -> Result<(), InstallError> {
    let Some((mut from, size)) = store.open_object(id)? else {
        return Err(InstallError::Missing(vec![(key.clone(), *id)]));
    };
    let mut to = create(path)?;
    let copied = std::io::copy(&mut from, &mut to).on("write", path)?;
    if copied != size {
        return Err(StoreError::WrongSize { want: size, got: copied }.into());
    }
    Ok(())
}

pub(super) fn folder(path: &Path) -> Result<(), StoreError> {
    make_folder(path, 0o755).on("create", path)?;
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
