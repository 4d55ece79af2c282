//! `checkout`: the committed state becomes files.
//!
//! Every object is looked at before the first file is touched. Each file is complete and durable under a name in
//! `.pvr/tmp` before it takes its place, so what stood there stays whole until then. Files that the state does not have
//! are left alone.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::Repo;
use super::error::{Context, RepoError};
use super::files::{Lock, create, rename};
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};
use crate::state::{Entry, ObjectId, State, StatePath, Value};
use crate::store::{ObjectStore, gauge};

/// How files are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutAs {
    /// JSON indented for people, objects copied.
    Pretty,
    /// JSON in canonical form, objects copied.
    Canonical,
    /// JSON in canonical form, objects as hardlinks of the pool's (read-only) files.
    Hardlink,
}

impl Repo {
    /// Writes every file of the committed state, and forgets what was added.
    pub fn checkout(&self, checkout_as: CheckoutAs) -> Result<(), RepoError> {
        let lock = self.lock()?;
        let state = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let store = self.store_to_read()?;
        verify(store, &state, checkout_as)?;
        let mut work = Work { repo: self, store, lock: &lock, checkout_as, folders: BTreeSet::new() };
        for (path, entry) in state.entries() {
            work.folders_of(path)?;
            match entry {
                Entry::Json(value) => work.json(path, value)?,
                Entry::Object(id) => work.object(path, id)?,
            }
        }
        work.sync()?;
        self.remove_index()
    }
}

/// Whether every object is in the pool and intact; the error names all that are not.
fn verify(store: &ObjectStore, state: &State, checkout_as: CheckoutAs) -> Result<(), RepoError> {
    let mut missing = Vec::new();
    let mut bytes = 0;
    for (path, id) in state.objects() {
        match store.intact(id)? {
            Some(size) => bytes += size,
            None => missing.push((path.clone(), *id)),
        }
    }
    if !missing.is_empty() {
        return Err(RepoError::Objects { pool: store.objects().to_owned(), objects: missing });
    }
    if checkout_as != CheckoutAs::Hardlink {
        gauge::plan(bytes);
    }
    Ok(())
}

struct Work<'a> {
    repo: &'a Repo,
    store: &'a ObjectStore,
    lock: &'a Lock,
    checkout_as: CheckoutAs,
    /// Folders that are known to be folders, and in which names have changed.
    folders: BTreeSet<PathBuf>,
}

impl Work<'_> {
    /// Makes the folders above a file. A symbolic link among them would lead out of the tree.
    fn folders_of(&mut self, path: &StatePath) -> Result<(), RepoError> {
        self.folders.insert(self.repo.root.clone());
        for folder in path.folders() {
            let folder = self.repo.root.join(folder);
            if self.folders.contains(&folder) {
                continue;
            }
            match fs::symlink_metadata(&folder) {
                Ok(metadata) if metadata.is_symlink() => return Err(RepoError::LinkInTheWay(folder)),
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)).on("enter", &folder),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o755).create(&folder).on("create", &folder)?;
                }
                Err(error) => return Err(error).on("look at", &folder),
            }
            self.folders.insert(folder);
        }
        Ok(())
    }

    fn json(&self, path: &StatePath, value: &Value) -> Result<(), RepoError> {
        let text = match self.checkout_as {
            CheckoutAs::Pretty => pretty(value, Style::WORKING_TREE)?,
            CheckoutAs::Canonical | CheckoutAs::Hardlink => to_canonical(value)?,
        };
        let temporary = self.lock.temporary();
        let mut file = create(&temporary, 0o644)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).on("write", &temporary)?;
        rename(&temporary, &path.below(&self.repo.root))
    }

    fn object(&self, path: &StatePath, id: &ObjectId) -> Result<(), RepoError> {
        let temporary = self.lock.temporary();
        if self.checkout_as == CheckoutAs::Hardlink {
            let object = self.store.path(id);
            fs::hard_link(&object, &temporary).on("link", &object)?;
        } else {
            let gone =
                || RepoError::Objects { pool: self.store.objects().to_owned(), objects: vec![(path.clone(), *id)] };
            let (mut object, _) = self.store.open_object(id)?.ok_or_else(gone)?;
            let mut file = create(&temporary, 0o666)?;
            let copied = io::copy(&mut object, &mut file).and_then(|copied| file.sync_all().map(|()| copied));
            gauge::done(copied.on("write", &temporary)?);
        }
        rename(&temporary, &path.below(&self.repo.root))
    }

    /// Makes the new names durable.
    fn sync(&self) -> Result<(), RepoError> {
        for folder in &self.folders {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).on("make durable", folder)?;
        }
        Ok(())
    }
}
