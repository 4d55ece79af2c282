//! The working copy: a folder with a `.pvr` beside the files (`cli.md` §4, §5).
//!
//! ```text
//! .pvr/json        the committed state, canonical; after init exactly { "#spec": "<spec>" }
//! .pvr/config      addresses and pool: config.rs
//! .pvr/new         what was added since: index.rs
//! .pvr/index       what files held when they were last read: hashes.rs
//! .pvr/commitmsg   message of the last commit
//! .pvr/replaced    the last committed state that a get or an import has replaced and nobody else had, canonical
//! .pvr/known       sha256 of the last states that were got, imported, posted or put, one a line: they are not only here
//! .pvr/objects/    the pool, where the config names no other
//! .pvr/lock, tmp/  see files.rs
//! .pvr/batch/      see batch.rs
//! <pool>/<sha256>  objects, with <pool>/.pvr-agent as working folder: crate::store
//! ```
//!
//! Only the current folder counts; nobody looks upwards for a `.pvr`. Every file is written under another name, made
//! durable and renamed. Keys of states are [`StatePath`](crate::state::StatePath)s, which cannot lead out of the tree;
//! folders that are symbolic links are neither entered nor written through. Objects are verified whenever they are
//! taken in or given out.

mod add;
mod archive;
mod batch;
mod checkout;
mod clone;
mod commit;
mod config;
mod default_keys;
mod deploy;
mod dm;
mod error;
mod export;
mod files;
mod fsck;
mod get;
mod global;
mod hashes;
mod import;
mod index;
mod install;
mod pattern;
mod pool;
mod post;
mod put;
mod reference;
mod sig;
mod source;
mod walk;
mod working;

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use crate::store::ArchiveError;
pub use add::AddAs;
pub use checkout::CheckoutAs;
pub use clone::{Step, clone};
pub use commit::{Checkpoint, Committed};
pub use config::Config;
pub use default_keys::{MAX_ARCHIVE, unpack_default_keys};
pub use deploy::{Deploy, DeployStep, Deployed, Overlay, Untracked};
pub use dm::{Applied, Converted, Making, Verdict, Volume, VolumeInfo};
pub use error::RepoError;
pub(crate) use error::shown;
pub use export::{Exported, Packing};
pub use fsck::{Finding, Report};
pub use get::{GetOptions, Got, How};
pub use global::{GlobalConfig, NoSetting};
pub use import::Imported;
pub use install::{Uploaded, install_archive};
pub use pattern::Pattern;
pub use post::{Plan, PostOptions, Sent, fast_copy};
pub use reference::{DEVICE_PATH, DEVICE_PORT, Place, Reference, ReferenceError};
pub use sig::{signatures, write_elsewhere};
pub use source::{Copied, Fetched, Opened, Run, Source};
pub use working::{Status, Working};

use self::error::Context;
use self::files::Lock;
use crate::state::{JsonLimits, Spec, State, document};
use crate::store::{Hasher, ObjectStore, make_folder, swap};

/// The kind of a state whose repository does not say.
pub const DEFAULT_SPEC: &str = document::KNOWN_SPECS[0];

/// A working copy.
#[derive(Debug)]
pub struct Repo {
    root: PathBuf,
    pvr: PathBuf,
    store: OnceCell<ObjectStore>,
    reading: OnceCell<ObjectStore>,
    limits: JsonLimits,
    hashes: hashes::Use,
}

impl Repo {
    /// The working copy in `root`, whether or not there is one yet.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            pvr: root.join(".pvr"),
            store: OnceCell::new(),
            reading: OnceCell::new(),
            limits: JsonLimits::default(),
            hashes: hashes::Use::Believe,
        }
    }

    /// Makes a repository. `pool` is stored as it is given; an absolute path keeps its meaning when the folder moves.
    pub fn init(root: &Path, spec: &str, pool: &str) -> Result<Self, RepoError> {
        let repo = Self::at(root);
        match make_folder(&repo.pvr, 0o755) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // What an init that was interrupted left has no state yet, and may be finished.
                if !repo.pvr.is_dir() || repo.pvr.join("json").exists() {
                    return Err(RepoError::Exists(repo.pvr));
                }
            }
            result => result.on("create", &repo.pvr)?,
        }
        let lock = repo.lock()?;
        let mut config = Config::default();
        pool.clone_into(&mut config.objects_dir);
        config.write(&repo.pvr, &lock)?;
        let mut quoted = String::new();
        crate::state::canonical::push_string(&mut quoted, spec);
        files::sync_parent(&repo.pvr)?;
        // Last: from here on it is a repository.
        lock.replace(&repo.pvr.join("json"), format!("{{ \"#spec\": {quoted} }}").as_bytes(), 0o644)?;
        drop(lock);
        Ok(repo)
    }

    /// The same repository, with other limits for states.
    #[must_use]
    pub fn with_json_limits(mut self, limits: JsonLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same repository, in which every file is read whenever the tree is looked at.
    #[must_use]
    pub fn without_index(mut self) -> Self {
        self.hashes = hashes::Use::Off;
        self
    }

    /// The folder of the working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads `.pvr/config`.
    pub fn config(&self) -> Result<Config, RepoError> {
        Config::read(&self.pvr)
    }

    /// The pool, opened when it is first asked for.
    pub fn store(&self) -> Result<&ObjectStore, RepoError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = pool::open(&self.config()?.pool(&self.pvr))?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The pool for a command that takes objects out of it: it may lie where nothing can be written.
    fn store_to_read(&self) -> Result<&ObjectStore, RepoError> {
        if let Some(store) = self.reading.get() {
            return Ok(store);
        }
        let store = pool::open_to_read(&self.config()?.pool(&self.pvr))?;
        Ok(self.reading.get_or_init(|| store))
    }

    /// The pool for a command that changes it, or only says what it would do.
    fn store_for(&self, run: Run) -> Result<ObjectStore, RepoError> {
        match run {
            Run::Really => self.store().cloned(),
            Run::Dry => pool::look_at(&self.config()?.pool(&self.pvr)),
        }
    }

    /// The lock of a command that changes the repository; one that only says what it would do leaves no trace.
    fn lock_for(&self, run: Run) -> Result<Option<Lock>, RepoError> {
        match run {
            Run::Really => self.lock().map(Some),
            Run::Dry if self.pvr.is_dir() => Ok(None),
            Run::Dry => Err(RepoError::NotARepo(self.root.clone())),
        }
    }

    /// The committed state, or `None` where nothing has been committed or initialised.
    pub fn pristine(&self) -> Result<Option<State>, RepoError> {
        read_state(&self.pvr, &self.limits)
    }

    /// The committed state; an empty one where there is none.
    pub fn pristine_or_empty(&self) -> Result<State, RepoError> {
        Ok(self.pristine()?.unwrap_or_else(|| State::empty(DEFAULT_SPEC)))
    }

    /// Replaces the committed state; without a lock it only says whether that could be done.
    fn write_pristine(&self, state: &State, lock: Option<&Lock>) -> Result<(), RepoError> {
        let text = state.to_canonical()?;
        // What cannot be read again would lock its owner out of the repository.
        if let Err(source) = State::parse_strict(text.as_bytes(), &self.limits, Spec::Any) {
            return Err(RepoError::Unreadable { source });
        }
        lock.map_or(Ok(()), |lock| lock.replace(&self.pvr.join("json"), text.as_bytes(), 0o644))
    }

    /// Replaces the committed state by one that came, or came in part, from `source`. If something of it is lost that way
    /// which nobody else has, it is kept, and a warning says so.
    fn replace_pristine(
        &self,
        before: &State,
        state: &State,
        changes: &Status,
        source: &State,
        lock: Option<&Lock>,
        warnings: &mut Vec<String>,
    ) -> Result<(), RepoError> {
        // Nothing is noted of one that is refused.
        self.write_pristine(state, None)?;
        let loses = !changes.removed.is_empty() || !changes.changed.is_empty();
        let (known, was) = (files::read_if_there(&self.pvr.join(KNOWN))?.unwrap_or_default(), sha256(before)?);
        let is_known = known.split(|byte| *byte == b'\n').any(|line| line == was);
        let only_here = !before.is_empty() && !is_known;
        if loses && only_here {
            warnings.push("commits that were never posted are replaced; .pvr/replaced keeps what they were".to_owned());
            if let Some(lock) = lock {
                lock.replace(&self.pvr.join("replaced"), before.to_canonical()?.as_bytes(), 0o644)?;
            }
        }
        if let Some(lock) = lock.filter(|_| loses || !only_here || state == source) {
            // Before the state. Whoever dies in between leaves the one before, which is to be told then as it is now.
            let mut lines = sha256(state)?;
            if is_known {
                lines.push(b'\n');
                lines.extend(was);
            }
            lock.replace(&self.pvr.join(KNOWN), &lines, 0o644)?;
        }
        self.write_pristine(state, lock)
    }

    /// Notes that others have this state, too, or what of it they do not have is kept.
    fn note_known(&self, state: &State, lock: &Lock) -> Result<(), RepoError> {
        lock.replace(&self.pvr.join(KNOWN), &sha256(state)?, 0o644)
    }

    fn lock(&self) -> Result<Lock, RepoError> {
        if !self.pvr.is_dir() {
            return Err(RepoError::NotARepo(self.root.clone()));
        }
        Lock::take(&self.pvr)
    }

    /// Forgets what was added.
    fn remove_index(&self) -> Result<(), RepoError> {
        let path = self.pvr.join("new");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", &path),
            _ => Ok(()),
        }
    }
}

/// Clears up after a deploy into `folder` that died, so that it is the old or the new one.
/// The same for files that were to be replaced together.
pub(crate) fn settle(folder: &Path) -> Result<(), RepoError> {
    swap::settle(folder)?;
    batch::settle(folder)
}

/// The current folder. A deploy may have replaced it under whoever stands in it: then it is the new one, which is entered.
pub(crate) fn current_folder() -> Result<PathBuf, RepoError> {
    let here = Path::new(".");
    let process = Path::new("/proc/self/cwd");
    let cwd = match (std::env::current_dir(), fs::read_link(process)) {
        (Ok(cwd), _) => cwd,
        // What the kernel calls a folder that has been removed.
        (Err(_), Ok(link)) if link.to_string_lossy().ends_with(REMOVED) => {
            PathBuf::from(link.to_string_lossy().trim_end_matches(REMOVED))
        }
        (Err(error), _) => return Err(error).on("find", here),
    };
    let followed = swap::follow(&cwd)?;
    if let Some(folder) = &followed {
        std::env::set_current_dir(folder).on("enter", folder)?;
    }
    let cwd = followed.map_or_else(std::env::current_dir, Ok).on("find", here)?;
    settle(&cwd)?;
    Ok(cwd)
}

const REMOVED: &str = " (deleted)";
const KNOWN: &str = "known";

/// The sha256 of a state, as `.pvr/known` has it.
fn sha256(state: &State) -> Result<Vec<u8>, RepoError> {
    let mut hasher = Hasher::new();
    hasher.update(state.to_canonical()?.as_bytes());
    Ok(hasher.finish().to_string().into_bytes())
}

/// The state in a `.pvr` folder.
fn read_state(pvr: &Path, limits: &JsonLimits) -> Result<Option<State>, RepoError> {
    let path = pvr.join("json");
    let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
    match State::parse_strict(&bytes, limits, Spec::Any) {
        Ok(state) => Ok(Some(state)),
        Err(source) => Err(RepoError::Pristine { path, source }),
    }
}
