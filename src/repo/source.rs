//! Where a state and its objects come from: an endpoint, another repository's `.pvr`, or an export.
//!
//! `open` reads the state; `fetch` brings what is wanted of its objects into a pool, each of them verified. Nothing of a
//! source is believed: the pool that its config names is only looked into, and what is found there is hashed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::{Archive, Contents, Sink};
use super::error::RepoError;
use super::{Config, read_state};
use crate::remote::{Observer, Remote};
use crate::state::{JsonLimits, ObjectId, State, StatePath};
use crate::store::{ObjectStore, Sealed, StoreError, gauge};

/// Where a state comes from.
#[derive(Debug)]
pub enum Source<'a> {
    /// An endpoint.
    Remote(&'a Remote),
    /// On this machine: another repository's `.pvr`, or an export.
    Local(&'a Path),
}

/// An object out of a local source: was it in the pool before?
pub type Copied<'a> = &'a mut dyn FnMut(&StatePath, bool);

/// A source whose state has been read.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The state.
    pub state: State,
    from: From<'a>,
}

#[derive(Debug)]
enum From<'a> {
    Remote(&'a Remote),
    /// The folders in which its objects may be.
    Folder([PathBuf; 2]),
    Archive(Archive, &'a Path),
}

/// Whether objects are brought, or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Does it.
    Really,
    /// Says what it would do. Local sources are read to their end and verified all the same.
    Dry,
}

/// What came of a fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Today's count: downloads from an endpoint, keys with objects from a local source.
    pub objects: usize,
    /// Objects that were not in the pool.
    pub added: Vec<ObjectId>,
    /// Objects that were.
    pub reused: usize,
    /// Bytes of those that were not; unknown before they come from an endpoint that does not tell.
    pub bytes: Option<u64>,
    /// What was left out of an archive; a line each.
    pub warnings: Vec<String>,
}

impl<'a> Source<'a> {
    /// The whole state that is there.
    pub fn state(&self, limits: &JsonLimits) -> Result<State, RepoError> {
        self.open(limits).map(|opened| opened.state)
    }

    /// Reads the state.
    pub fn open(&self, limits: &JsonLimits) -> Result<Opened<'a>, RepoError> {
        match *self {
            Source::Remote(remote) => {
                let state = remote.state(limits)?;
                // What the hub answers for a revision that does not exist would otherwise wipe everything.
                if state.is_empty() && state.spec().is_none() {
                    return Err(RepoError::EmptyState(remote.to_string()));
                }
                Ok(Opened { state, from: From::Remote(remote) })
            }
            Source::Local(path) if path.is_file() => {
                let archive = Archive::open(path)?;
                let state = archive.state(limits)?;
                Ok(Opened { state, from: From::Archive(archive, path) })
            }
            Source::Local(path) => {
                let inside = path.join(".pvr/json").is_file();
                let state =
                    read_state(path, limits)?.ok_or_else(|| RepoError::NoSource { path: path.to_owned(), inside })?;
                // A path without a parent component (`.pvr`) is relative to the current folder.
                let own = Config::read(path)?.pool(&path.canonicalize().unwrap_or_else(|_| path.to_owned()));
                Ok(Opened { state, from: From::Folder([path.join("objects"), own]) })
            }
        }
    }
}

impl Opened<'_> {
    /// Brings the objects of `wanted` into the pool, or says what that would take.
    pub fn fetch(
        &self,
        store: &ObjectStore,
        wanted: &[(&StatePath, &ObjectId)],
        run: Run,
        observer: &dyn Observer,
        copied: Copied<'_>,
    ) -> Result<Fetched, RepoError> {
        let ids: BTreeSet<ObjectId> = wanted.iter().map(|(_, id)| **id).collect();
        let mut absent = BTreeSet::new();
        for id in &ids {
            if store.keep(id)?.is_none() {
                absent.insert(*id);
            }
        }
        let mut fetched = Fetched {
            objects: wanted.len(),
            added: absent.iter().copied().collect(),
            reused: ids.len() - absent.len(),
            ..Fetched::default()
        };
        match &self.from {
            From::Remote(remote) if run == Run::Dry => {
                fetched.objects = absent.len();
                fetched.bytes = remote.bytes(absent)?;
            }
            From::Remote(remote) => {
                fetched.objects = remote.download(store, wanted.to_vec(), observer)?;
                let sizes = absent.iter().map(|id| Ok(store.intact(id)?.unwrap_or_default()));
                fetched.bytes = Some(sizes.sum::<Result<u64, StoreError>>()?);
            }
            From::Folder(pools) => {
                let mut left = absent;
                let mut bytes = 0;
                gauge::plan(left.iter().map(|id| size_in(pools, id)).sum());
                for (key, id) in wanted {
                    let cached = !left.remove(*id);
                    if !cached {
                        bytes += from_folder(store, pools, key, id, run)?;
                    }
                    copied(key, cached);
                }
                fetched.bytes = Some(bytes);
            }
            From::Archive(archive, path) => {
                let contents = from_archive(store, archive, path, wanted, &absent, run)?;
                let mut left = absent;
                wanted.iter().for_each(|(key, id)| copied(key, !left.remove(*id)));
                fetched.bytes = Some(contents.sizes.values().sum());
                fetched.warnings = contents.left.lines();
            }
        }
        Ok(fetched)
    }
}

/// The size of what goes by the name of an object, if there is something.
fn size_in(pools: &[PathBuf; 2], id: &ObjectId) -> u64 {
    let mut sizes = pools.iter().filter_map(|pool| Some(pool.join(id.to_string()).metadata().ok()?.len()));
    sizes.next().unwrap_or_default()
}

/// Copies an object out of another repository, verified; says how many bytes it has.
fn from_folder(
    store: &ObjectStore,
    pools: &[PathBuf; 2],
    key: &StatePath,
    id: &ObjectId,
    run: Run,
) -> Result<u64, RepoError> {
    let from = pools.iter().find(|pool| pool.join(id.to_string()).is_file()).unwrap_or(&pools[1]);
    let path = from.join(id.to_string());
    let result = match run {
        Run::Really => copy(store, &path, id).and_then(|sealed| {
            let size = sealed.size();
            store.publish(vec![sealed], store.staging()).map(|_| size)
        }),
        Run::Dry => look(&path, id),
    };
    result.map_err(|source| RepoError::SourceObject {
        id: *id,
        key: key.clone(),
        from: from.clone(),
        source: Box::new(source),
    })
}

fn copy(store: &ObjectStore, from: &Path, id: &ObjectId) -> Result<Sealed, StoreError> {
    let failed = |verb, source| StoreError::Io { verb, path: from.to_owned(), source };
    let mut file = File::open(from).map_err(|error| failed("open", error))?;
    let size = file.metadata().map_err(|error| failed("look at", error))?.len();
    let mut writer = store.begin(Some(*id), Some(size))?;
    let mut buf = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return writer.finish(),
            Ok(got) => {
                writer.write_all(&buf[..got])?;
                gauge::done(got as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", error)),
        }
    }
}

/// Hashes a file that is to be an object.
fn look(path: &Path, id: &ObjectId) -> Result<u64, StoreError> {
    let failed = |verb, source| StoreError::Io { verb, path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| failed("open", error))?;
    let size = file.metadata().map_err(|error| failed("look at", error))?.len();
    match crate::store::hash(file).map_err(|error| failed("read", error))? {
        got if got == *id => Ok(size),
        got => Err(StoreError::WrongHash { want: *id, got }),
    }
}

/// Takes what is absent out of an archive: all of it, or nothing. The archive is read to its end either way.
fn from_archive(
    store: &ObjectStore,
    archive: &Archive,
    path: &Path,
    wanted: &[(&StatePath, &ObjectId)],
    absent: &BTreeSet<ObjectId>,
    run: Run,
) -> Result<Contents, RepoError> {
    let needed = |id: &ObjectId| absent.contains(id);
    let complete = |contents: &Contents| {
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(_, id)| absent.contains(id) && !contents.sizes.contains_key(id))
            .map(|(key, id)| ((*key).clone(), **id))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(RepoError::Objects { pool: path.to_owned(), objects: missing }) }
    };
    if run == Run::Dry {
        let contents = archive.contents(&needed, &mut Sink::Check)?;
        return complete(&contents).map(|()| contents);
    }
    let mut parked = store.park()?;
    let contents = archive.contents(&needed, &mut Sink::Park(&mut parked))?;
    complete(&contents)?;
    parked.publish(store.staging())?;
    Ok(contents)
}
