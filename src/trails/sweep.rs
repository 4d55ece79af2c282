//! Removing what interrupted processes have left behind, revisions included.

use super::Storage;
use super::error::TrailsError;
use super::name::of_file_name;
use super::place::parent;
use crate::store::{Absent, Context, StoreError, swap, sync_folder};
use rustix::fs::rename;
use std::fs;

/// What a sweep has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files and folders that belonged to no living process, removed.
    pub temporaries: usize,
    /// Second links of objects that no revision came for, removed.
    pub staged: usize,
    /// Revisions that had been set aside for one that never came, put back.
    pub restored: usize,
    /// Revisions that had been set aside and have been replaced, removed.
    pub discarded: usize,
}

impl Storage {
    /// Clears away what processes that were killed have left. Every start of anything calls this; it costs two
    /// listings where there is nothing to do. What is in use at the moment stays.
    pub fn sweep(&self) -> Result<Swept, TrailsError> {
        let mut swept = Swept::default();
        if let Some(_alone) = self.store().try_lock_install()? {
            (swept.restored, swept.discarded) = self.settle_replaced()?;
            swap::settle_all(self.store().agent())?;
        }
        let store = self.store().sweep()?;
        (swept.temporaries, swept.staged) = (store.temporaries, store.staged);
        Ok(swept)
    }

    /// Puts back or removes what waits in `replaced/`. The caller holds the lock on installing, so whoever set it
    /// aside is dead.
    pub(super) fn settle_replaced(&self) -> Result<(usize, usize), StoreError> {
        let (mut restored, mut discarded) = (0, 0);
        for (path, _) in self.store().entries("replaced")? {
            let Some(name) = path.file_name().and_then(of_file_name) else {
                continue;
            };
            let home = self.dir(&name);
            if fs::symlink_metadata(&home).absent_ok().on("look at", &home)?.is_some() {
                fs::remove_dir_all(&path).absent_ok().on("remove", &path)?;
                discarded += 1;
            } else {
                rename(&path, &home).on("put back", &home)?;
                sync_folder(&parent(self, &name))?;
                restored += 1;
            }
        }
        Ok((restored, discarded))
    }
}
