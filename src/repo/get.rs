//! `get`: the committed state, or parts of it, come from somewhere else. The working tree stays as it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::RepoError;
use super::{Config, Repo, read_state};
use crate::remote::{Observer, Remote};
use crate::state::{JsonLimits, ObjectId, PartSelection, State, StatePath, part};
use crate::store::{ObjectStore, Sealed, Stage, StoreError};

/// Where a `get` comes from.
#[derive(Debug)]
pub enum Source<'a> {
    /// An endpoint.
    Remote(&'a Remote),
    /// Another repository's `.pvr`.
    Local(&'a Path),
}

impl Source<'_> {
    /// The whole state that is there.
    pub fn state(&self, limits: &JsonLimits) -> Result<State, RepoError> {
        match self {
            Source::Remote(remote) => {
                let state = remote.state(limits)?;
                // What the hub answers for a revision that does not exist would otherwise wipe everything.
                if state.is_empty() && state.spec().is_none() {
                    return Err(RepoError::EmptyState(remote.to_string()));
                }
                Ok(state)
            }
            Source::Local(pvr) => local_state(pvr, limits),
        }
    }
}

/// What a `get` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Objects that were downloaded, or keys whose objects came from the other repository.
    pub objects: usize,
    /// The pool.
    pub pool: PathBuf,
}

/// An object out of another repository: was it in the pool before?
pub type Copied<'a> = &'a mut dyn FnMut(&StatePath, bool);

impl Repo {
    /// Takes the selected parts of `source`. `uri` is what is remembered as the place they came from.
    pub fn get(
        &self,
        source: &Source<'_>,
        uri: &str,
        selection: &PartSelection,
        observer: &dyn Observer,
        copied: Copied<'_>,
    ) -> Result<Got, RepoError> {
        let store = self.store()?;
        let incoming = source.state(&self.limits)?;
        let objects = fetch(store, source, &incoming, &|key| selection.selects(key), observer, copied)?;
        let lock = self.lock()?;
        let state = part::replace(&self.pristine_or_empty()?, &incoming, selection)?;
        self.write_pristine(&state, &lock)?;
        let mut config = self.config()?;
        let is_remote = matches!(source, Source::Remote(_));
        config.default_get_url = uri.to_owned();
        for other in [&mut config.default_put_url, &mut config.default_post_url] {
            if is_remote && other.is_empty() {
                uri.clone_into(other);
            }
        }
        config.write(&self.pvr, &lock)?;
        Ok(Got { objects, pool: store.objects().to_owned() })
    }
}

/// Takes the objects of the keys that are wanted into the pool, verified. Says how many, as [`Got`] counts them.
pub(super) fn fetch(
    store: &ObjectStore,
    source: &Source<'_>,
    incoming: &State,
    wanted: &dyn Fn(&str) -> bool,
    observer: &dyn Observer,
    copied: Copied<'_>,
) -> Result<usize, RepoError> {
    let wanted: Vec<(&StatePath, &ObjectId)> = incoming.objects().filter(|(path, _)| wanted(path.as_str())).collect();
    match source {
        Source::Remote(remote) => Ok(remote.download(store, wanted, observer)?),
        Source::Local(pvr) => copy(store, pvr, &wanted, copied),
    }
}

fn local_state(pvr: &Path, limits: &JsonLimits) -> Result<State, RepoError> {
    let inside = pvr.join(".pvr/json").is_file();
    if !pvr.is_dir() {
        return Err(RepoError::NoSource { path: pvr.to_owned(), inside: false });
    }
    read_state(pvr, limits)?.ok_or_else(|| RepoError::NoSource { path: pvr.to_owned(), inside })
}

/// Copies objects out of another repository, verified. Says for how many keys.
pub(super) fn copy(
    store: &ObjectStore,
    pvr: &Path,
    wanted: &[(&StatePath, &ObjectId)],
    copied: Copied<'_>,
) -> Result<usize, RepoError> {
    // A path without a parent component (`.pvr`) is relative to the current folder.
    let pools = [pvr.join("objects"), Config::read(pvr)?.pool(&pvr.canonicalize().unwrap_or_else(|_| pvr.to_owned()))];
    for (key, id) in wanted {
        let cached = store.intact(id)?.is_some();
        if !cached {
            let from = pools.iter().find(|pool| pool.join(id.to_string()).is_file()).unwrap_or(&pools[1]);
            let sealed = copy_one(store, &from.join(id.to_string()), id).map_err(|source| RepoError::SourceObject {
                id: **id,
                key: (*key).clone(),
                from: from.clone(),
                source: Box::new(source),
            })?;
            store.publish(vec![sealed], Stage::No)?;
        }
        copied(key, cached);
    }
    Ok(wanted.len())
}

fn copy_one(store: &ObjectStore, from: &Path, id: &ObjectId) -> Result<Sealed, StoreError> {
    let failed = |verb, source| StoreError::Io { verb, path: from.to_owned(), source };
    let mut file = File::open(from).map_err(|error| failed("open", error))?;
    let mut writer = store.begin(Some(*id), None)?;
    let mut buf = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return writer.finish(),
            Ok(got) => writer.write_all(&buf[..got])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", error)),
        }
    }
}
