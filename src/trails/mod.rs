//! Revisions on disk.
//!
//! # Layout (`storage.md` §1–§3)
//!
//! ```text
//! <storage>/objects/<sha256>           see store
//! <storage>/trails/<rev>/              one folder per revision: 0, 17, locals/<name>
//!     <key>                            object: a hardlink to objects/<sha256>. JSON: a file (0644) that holds exactly
//!                                      the value's canonical bytes. A key that ends in .bind: a copy (0644) of the
//!                                      object, because containers write to it
//!     .pvr/json                        the state, canonical: what signatures are computed over
//!     .pvr/config                      {"ObjectsDir": "<storage>/objects"}
//!     .pvr/bind/<sha256>               ours: a hardlink for each copied object, which would have no other
//!     .pv/progress, .pv/commitmsg      what became of it; what its author says of it
//!     .pv/done                         empty; there if it is a rollback point
//!     .pv/pv-kernel.img, …             hardlinks for the boot loader: see boot.rs
//! <storage>/trails/current             a relative symlink to the running revision
//! <storage>/boot/, config/             read only: what the boot loader and the hub call things
//! <storage>/.pvr-agent/                our working folder: see store
//! ```
//!
//! A revision appears whole or not at all: [`install()`] builds it in `.pvr-agent/tmp/<random>/`, makes it durable
//! and moves it into place. Where one that never ran is replaced, the two are exchanged; where the file system
//! cannot exchange, the old one waits in `.pvr-agent/replaced/` and [`Storage::sweep`] brings it back if its
//! place is empty.

mod boot;
mod build;
mod check;
mod checks;
mod current;
mod demand;
mod error;
pub mod factory;
mod finding;
mod fsck;
mod gc;
mod install;
mod layout;
mod name;
mod place;
mod read;
mod restart;
mod room;
mod sweep;
mod verity;

pub use crate::state::{Progress, Status};
pub use boot::{BootLoader, absent_boot_files, boot_link_names, is_boot_link};
pub use checks::{Checks, Objects, Opened, admit};
pub use demand::{Demands, Refused, Signatures, Unmet};
pub use error::{InstallError, TrailsError};
pub use finding::{Finding, Kind};
pub use fsck::{Report as FsckReport, fsck};
pub use gc::{Kept, RemovedObject, RemovedRevision, Report as GcReport, Rollbacks, gc, gc_keeping, would_collect};
pub use install::{Install, Installed, Outcome, install, install_if, missing};
pub use layout::{Laid, Layout, is_bind};
pub use name::RevisionName;
pub use read::StepInfo;
pub use restart::Restart;
pub(crate) use room::reserve_layout;
pub use sweep::Swept;
pub use verity::Verity;

use crate::state::JsonLimits;
use crate::store::{Capabilities, Context, ObjectStore, Options, sync_folder};
use std::fs;
use std::path::{Path, PathBuf};

/// The share of the disk that the daemon leaves free (`PV_STORAGE_GC_RESERVED`), and so do we.
const RESERVED_PERCENT: u8 = 5;

/// A device's storage.
#[derive(Debug, Clone)]
pub struct Storage {
    root: PathBuf,
    store: ObjectStore,
    limits: JsonLimits,
}

impl Storage {
    /// Opens a storage and makes its working folder if it has none. Doesn't [sweep](Storage::sweep).
    pub fn open(root: &Path) -> Result<Self, TrailsError> {
        Self::open_with(root, None)
    }

    /// As [`open`](Storage::open), with fewer capabilities than the system has.
    pub fn open_with(root: &Path, capabilities: Option<Capabilities>) -> Result<Self, TrailsError> {
        Self::open_as(
            root,
            Options { capabilities, reserve_percent: RESERVED_PERCENT, read_only: false, collected: true },
        )
    }

    /// Opens a storage to look at it; nothing is created or changed.
    pub fn open_read_only(root: &Path) -> Result<Self, TrailsError> {
        let options =
            Options { capabilities: None, reserve_percent: RESERVED_PERCENT, read_only: true, collected: true };
        Self::open_as(root, options)
    }

    /// Makes an empty storage: folders, no revision. One that is there already is opened.
    pub fn create(root: &Path) -> Result<Self, TrailsError> {
        for folder in ["objects", "trails/locals"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).on("create", &folder)?;
        }
        sync_folder(&root.join("trails"))?;
        sync_folder(root)?;
        Self::open(root)
    }

    fn open_as(root: &Path, options: Options) -> Result<Self, TrailsError> {
        for lacks in ["objects", "trails"] {
            if !root.join(lacks).is_dir() {
                return Err(TrailsError::NotAStorage { path: root.to_owned(), lacks });
            }
        }
        // Revisions record the absolute path of the objects.
        let root = fs::canonicalize(root).on("resolve", root)?;
        let store = ObjectStore::open_with(&root.join("objects"), &root.join(".pvr-agent"), options)?;
        Ok(Self { root, store, limits: JsonLimits::default() })
    }

    /// Where a storage is if nobody says: `/storage` as on every device, else `./pvroot` as `serve` makes it.
    pub fn usual_place() -> PathBuf {
        let device = Path::new("/storage");
        if device.join("trails").is_dir() { device.to_owned() } else { PathBuf::from("pvroot") }
    }

    /// The folder, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same storage, with other limits for the states it holds.
    #[must_use]
    pub fn with_json_limits(mut self, limits: JsonLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How large and how deep a state may be.
    pub fn json_limits(&self) -> &JsonLimits {
        &self.limits
    }

    /// Its objects.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// The folder of the revisions.
    pub fn trails_dir(&self) -> PathBuf {
        self.root.join("trails")
    }

    /// The folder of one revision, whether it exists or not.
    pub fn dir(&self, name: &RevisionName) -> PathBuf {
        self.trails_dir().join(name.path())
    }
}
