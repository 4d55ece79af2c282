//! The room that a revision takes besides its objects, asked for before the first byte of it is written.
//!
//! Hardlinks cost nothing here. (Some file systems take an inode for each; there, building may still find that the disk
//! is full, and leaves nothing.)

use super::error::InstallError;
use super::layout::is_bind;
use super::{Install, Storage};
use crate::state::Entry;
use crate::state::Progress;
use crate::state::canonical::to_canonical;
use crate::store::Reservation;
use std::collections::BTreeSet;

/// What is there in any revision: the folder that it is built in, its own, `.pvr` and `.pv`.
const FOLDERS: usize = 4;

/// `.pvr/config`; when it becomes current, `.pv/done`, and the link before and after. More than they have.
const SMALL: [u64; 4] = [4096, 1, 1, 1];

/// Sets the room aside for building a revision. Its objects are there.
pub(super) fn reserve(storage: &Storage, job: &Install<'_>) -> Result<Reservation, InstallError> {
    let mut sizes = SMALL.to_vec();
    let mut folders = BTreeSet::new();
    let mut binds = 0;
    for (key, entry) in job.state.entries() {
        folders.extend(key.folders());
        match entry {
            Entry::Json(value) => sizes.push(to_canonical(value)?.len() as u64),
            Entry::Object(id) if is_bind(key) => {
                binds = 1;
                sizes.push(storage.store().stamp_of(&storage.store().path(id)).map_or(0, |stamp| stamp.size));
            }
            Entry::Object(_) => {}
        }
    }
    sizes.push(job.state.to_canonical()?.len() as u64);
    sizes.extend([Progress::new(), Progress::done()].map(|progress| progress.to_bytes().len() as u64));
    sizes.extend(job.commit_msg.map(|msg| msg.len() as u64));
    Ok(storage.store().reserve_files(&sizes, FOLDERS + binds + folders.len())?)
}
