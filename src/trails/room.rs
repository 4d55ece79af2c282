//! The room that a revision takes besides its objects, asked for before the first byte of it is written.
//!
//! Hardlinks cost nothing here. (Some file systems take an inode for each; there, building may still find that the disk
//! is full, and leaves nothing.)

use super::error::InstallError;
use super::layout::is_bind;
use super::{Install, Storage};
use crate::state::canonical::to_canonical;
use crate::state::{Entry, Progress, State};
use crate::store::{ObjectStore, Reservation, Room};
use std::collections::BTreeSet;

/// What is there in any revision: the folder that it is built in, its own, `.pvr` and `.pv`.
const FOLDERS: usize = 4;

/// `.pvr/config`; when it becomes current, `.pv/done`, and the link before and after. More than they have.
const SMALL: [u64; 4] = [4096, 1, 1, 1];

/// Sets the room aside for building a revision. Its objects are there.
pub(super) fn reserve(storage: &Storage, job: &Install<'_>) -> Result<Reservation, InstallError> {
    let progress = [Progress::new(), Progress::done()].map(|progress| progress.to_bytes().len() as u64);
    let more: Vec<u64> = progress.into_iter().chain(job.commit_msg.map(|msg| msg.len() as u64)).collect();
    reserve_layout(storage.store(), job.state, &more)
}

/// Sets the room aside for a folder with the files of a state, whose objects are there, and files of the sizes in `more`.
pub(crate) fn reserve_layout(store: &ObjectStore, state: &State, more: &[u64]) -> Result<Reservation, InstallError> {
    let mut room = Room { files: SMALL.to_vec(), ..Room::default() };
    let mut folders = BTreeSet::new();
    for (key, entry) in state.entries() {
        folders.extend(key.folders());
        match entry {
            Entry::Json(value) => room.files.push(to_canonical(value)?.len() as u64),
            Entry::Object(id) if is_bind(key) => {
                room.copies.push(store.stamp_of(&store.path(id)).map_or(0, |stamp| stamp.size));
            }
            Entry::Object(_) => {}
        }
    }
    room.files.push(state.to_canonical()?.len() as u64);
    room.files.extend(more);
    room.folders = FOLDERS + usize::from(!room.copies.is_empty()) + folders.len();
    Ok(store.reserve_files(&room)?)
}
