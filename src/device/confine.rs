//! What a server gives up once it has all that it needs, and before it listens to anybody.
//!
//! | given up | what is kept |
//! |---|---|
//! | capabilities, in every set (effective, permitted, inheritable, bounding, ambient) | `CAP_DAC_OVERRIDE`, if without it something would be out of reach: files of a storage that are not the server's own or have odd modes, or a control socket of somebody else's; `CAP_FOWNER` beside it for a storage of somebody else's |
//! | new privileges by running a program (`no_new_privs`) | |
//! | files (Landlock, from Linux 5.19 on) | what [`Reach`] names, and what a process may know of itself; no program can be run |
//! | TCP connections to others, and other ports (Linux 6.7) | what has been opened before |
//!
//! All of it is the kernel's for a thread and those that it starts: it has to be done before there are others. What the kernel
//! doesn't have, or doesn't allow, is left as it is, and said: a start never fails because of this.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

mod files;
mod user;

pub use user::{User, UserError};

/// What a server has to be able to reach while it serves.
#[derive(Debug, Default)]
pub struct Reach {
    /// Folders with all that is in them, to change. One that is not there is made later: the folder that it will be in counts.
    pub change: Vec<PathBuf>,
    /// Folders with all that is in them, to read.
    pub read: Vec<PathBuf>,
    /// A socket to connect to.
    pub socket: Option<PathBuf>,
    /// Revisions are made and removed here, by others as well: their owners and modes are not known beforehand.
    pub storage: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// The user that the server runs as.
    pub user: u32,
    /// And the group.
    pub group: u32,
    /// The capabilities that it has kept, by their names.
    pub capabilities: Vec<String>,
    /// Whether the bounding set was emptied, too.
    pub bounded: bool,
    /// Whether it can't get more by running a program.
    #[serde(rename = "no-new-privileges")]
    pub no_new_privileges: bool,
    /// What became of access to files: `confined`, `partly`, or why not.
    pub landlock: String,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.capabilities.is_empty() { "none".to_owned() } else { self.capabilities.join(", ") };
        let bounded = if self.bounded { "" } else { " (others could come back by running a program)" };
        let new = if self.no_new_privileges { "no new privileges" } else { "new privileges are possible" };
        write!(f, "user {}, capabilities {kept}{bounded}, {new}, files {}", self.user, self.landlock)
    }
}

/// Gives up what is not needed to reach this.
pub fn confine(reach: &Reach) -> Confined {
    let no_new_privileges = set_no_new_privs(true).is_ok();
    let landlock = files::confine(reach);
    let (kept, bounded) = drop_capabilities(reach);
    Confined {
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
        capabilities: kept.iter_names().map(|(name, _)| format!("CAP_{name}")).collect(),
        bounded,
        no_new_privileges,
        landlock,
    }
}

/// Returns what is left, and whether nothing else can come back.
fn drop_capabilities(reach: &Reach) -> (CapabilitySet, bool) {
    let Ok(had) = capabilities(None) else { return (CapabilitySet::empty(), false) };
    // Without any, to see what is out of reach.
    let raise = |effective| set_capabilities(None, CapabilitySets { effective, ..had });
    let _ = raise(CapabilitySet::empty());
    let mut keep = CapabilitySet::empty();
    if !within_reach(reach) {
        keep |= CapabilitySet::DAC_OVERRIDE;
        if reach.storage.as_deref().is_some_and(|storage| !is_own(storage)) {
            keep |= CapabilitySet::FOWNER;
        }
    }
    keep &= had.permitted;
    let _ = raise(had.effective);
    let _ = clear_ambient_capability_set();
    let mut bounded = true;
    // Those that this kernel knows, and those that are yet to come: from the first on that it doesn't know, there are none.
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) if !keep.contains(one) => bounded &= remove_capability_from_bounding_set(one).is_ok(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    let _ = set_capabilities(None, sets);
    let left = capabilities(None).map_or(had.permitted, |now| now.permitted);
    (left, bounded)
}

/// Whether everything can be reached as things are. Of a storage nobody knows: Pantavisor makes folders in it that their owner
/// can't look into.
fn within_reach(reach: &Reach) -> bool {
    let can = |path: &Path, how| !path.exists() || accessat(CWD, path, how, AtFlags::EACCESS).is_ok();
    let root = geteuid().is_root();
    reach.storage.as_ref().is_none_or(|storage| !root && can(storage, Access::WRITE_OK | Access::EXEC_OK))
        && reach.socket.as_ref().is_none_or(|socket| can(socket, Access::WRITE_OK))
        && reach.change.iter().all(|path| can(path, Access::WRITE_OK))
        && reach.read.iter().all(|path| can(path, Access::READ_OK))
}

fn is_own(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.uid() == geteuid().as_raw())
}
