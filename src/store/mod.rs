//! Content-addressed objects on disk.
//!
//! # Tree
//!
//! ```text
//! <objects>/<sha256>        one file per object, named by 64 lower-case hex digits; 0444
//! <agent>/                  0700, on the same file system; <storage>/.pvr-agent or <pool>/.pvr-agent
//!     tmp/<random>          files and half-built folders in the making; each is locked by its owner
//!     staged/<sha256>       a second hardlink of an object that no revision names yet
//!     replaced/<revision>   a revision that is being replaced, where folders can't be exchanged (see trails)
//!     deploys/<16 hex>/     a revision that is being deployed: see swap.rs
//!     intact                which files have been hashed: see memo.rs
//!     lock, install.lock    see lock.rs
//! ```
//!
//! # Objects
//!
//! A name that this program gives means that the file holds exactly those bytes, durably, from the instant the
//! name appears. Bytes are hashed once, while they are written to a file that has no name (`O_TMPFILE`; a locked
//! name in `tmp/` where the file system has no such thing); then they are made durable, many objects by one
//! `syncfs` where that reports errors, else by `fsync` on each; then linked; then the folders are made durable.
//! No object is ever opened for writing, because the files of revisions are the same inodes.
//!
//! A name that somebody else gave (the daemon writes under the final name, other tools don't hash) promises
//! nothing. Such a file is hashed once before it is relied on, and `intact` remembers that by inode, size, mtime
//! and ctime. One that fails counts as absent, and is replaced by rename when its bytes come; one that is right and
//! may be written to becomes 0444.
//!
//! # Staging
//!
//! Pantavisor's collector deletes objects with a link count of one, at any instant, under no lock. An object that
//! has been taken in for a revision to come therefore has a second link in `staged/`, made before its name. If
//! the name vanishes nevertheless (the collector looked before the second link was made), whoever asks for the
//! object next brings it back from there. Installing a revision gives the second links up; a sweep drops those
//! that have waited for 24 hours.
//!
//! # Collection
//!
//! Whatever a process leaves in `tmp/` when it dies is unlocked, and the next start of anything removes it. A
//! collector of ours (see trails) holds both locks, moves a revision into `tmp/` before it deletes it, and
//! deletes objects that nothing links to and no state names.
//!
//! # Concurrency
//!
//! Any number of processes and threads. Two that bring the same object race for its name by `link`, which one of
//! them wins; the other finds an intact object. Naming, checking and linking is done under a shared lock,
//! collecting under the exclusive one; arriving bytes need neither. Nothing here relies on the locks being
//! respected by anybody else: every look at a name is repeated when the name changes under it.

pub(crate) mod archive;
mod caps;
mod durable;
mod error;
pub mod gauge;
mod hash;
mod lock;
mod memo;
#[cfg(test)]
pub(crate) mod moment;
mod owner;
mod park;
pub(crate) mod pool;
mod publish;
mod space;
pub(crate) mod swap;
mod sweep;
mod temp;
mod verify;
mod writer;

pub use archive::ArchiveError;
pub use caps::Capabilities;
pub use durable::written_by_others;
pub use error::StoreError;
pub use lock::Lock;
pub use park::Parked;
pub use publish::{Stage, Stored};
pub use space::{Reservation, Space};
pub use sweep::{STAGED_FOR, Swept};
pub use writer::{Sealed, Writer};

pub(crate) use durable::{WAS, folder as sync_folder, put};
pub(crate) use error::{Absent, Context, Shown};
pub(crate) use hash::{Hasher, hash};
pub(crate) use owner::{give_to_owner, make_folder, make_folders, open_or_make, open_or_make_as};
pub(crate) use space::Room;
pub(crate) use temp::TempDir;

use crate::state::ObjectId;
use memo::Memo;
use rustix::fs::{Mode, chmod};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A folder of objects, and the working folder beside it. Clones share what they know.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    objects: PathBuf,
    agent: PathBuf,
    options: Options,
    caps: Capabilities,
    reserve_percent: u8,
    memo: Memo,
    /// Held while a name is given.
    naming: Mutex<()>,
    /// Held while an unknown object is hashed; objects are spread over them.
    hashing: [Mutex<()>; 4],
    promised: Arc<Mutex<u64>>,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What may be used; detected if not given.
    pub capabilities: Option<Capabilities>,
    /// How much of the file system is left free for others, in per cent.
    pub reserve_percent: u8,
    /// Only look: nothing is created, brought back or remembered.
    pub read_only: bool,
    /// Collectors that know nothing of this program work here: these are the objects of a storage.
    pub collected: bool,
}

impl ObjectStore {
    /// Opens, and where need be creates, the objects of a pool.
    pub fn open(objects: &Path, agent: &Path) -> Result<Self, StoreError> {
        Self::open_with(objects, agent, Options::default())
    }

    /// As [`open`](ObjectStore::open), with everything that can be chosen.
    pub fn open_with(objects: &Path, agent: &Path, options: Options) -> Result<Self, StoreError> {
        if !options.read_only {
            make_folders(objects, 0o777).on("create", objects)?;
            make_folders(agent, 0o777).on("create", agent)?;
            let meta = agent.metadata().on("look at", agent)?;
            if meta.mode() & 0o777 != 0o700 {
                chmod(agent, Mode::from_raw_mode(0o700)).on("make private", agent)?;
            }
            for folder in ["tmp", "staged", "replaced"] {
                let folder = agent.join(folder);
                make_folders(&folder, 0o777).on("create", &folder)?;
            }
            if objects.metadata().on("look at", objects)?.dev() != meta.dev() {
                return Err(StoreError::TwoFileSystems { objects: objects.to_owned(), agent: agent.to_owned() });
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                objects: objects.to_owned(),
                agent: agent.to_owned(),
                options,
                caps: options.capabilities.unwrap_or_else(|| Capabilities::detect(objects)),
                reserve_percent: options.reserve_percent.min(100),
                memo: Memo::new(agent.join("intact")),
                naming: Mutex::default(),
                hashing: Default::default(),
                promised: Arc::default(),
            }),
        })
    }

    /// Where an object of this name is, or would be.
    pub fn path(&self, id: &ObjectId) -> PathBuf {
        self.inner.objects.join(id.to_string())
    }

    /// All objects and their sizes, in the order of their names. Not checked. Other files are left out.
    pub fn list(&self) -> Result<Vec<(ObjectId, u64)>, StoreError> {
        let folder = &self.inner.objects;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).on("list", folder)? {
            let entry = entry.on("list", folder)?;
            let Some(id) = entry.file_name().to_str().and_then(|name| ObjectId::parse(name).ok()) else {
                continue;
            };
            let path = entry.path();
            match fs::symlink_metadata(&path).absent_ok().on("look at", &path)? {
                Some(meta) if meta.is_file() => found.push((id, meta.len())),
                _ => {}
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The folder of the objects.
    pub fn objects(&self) -> &Path {
        &self.inner.objects
    }

    /// The working folder.
    pub fn agent(&self) -> &Path {
        &self.inner.agent
    }

    /// What a new object needs here while no revision names it.
    pub fn staging(&self) -> Stage {
        if self.inner.options.collected { Stage::Yes } else { Stage::No }
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.inner.agent.join("tmp")
    }

    pub(crate) fn staged(&self, id: &ObjectId) -> PathBuf {
        self.inner.agent.join("staged").join(id.to_string())
    }

    pub(crate) fn caps(&self) -> Capabilities {
        self.inner.caps
    }

    pub(crate) fn writes(&self) -> bool {
        !self.inner.options.read_only
    }
}
