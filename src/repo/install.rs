//! An export onto a device, through its control socket: objects as they come out of the archive, then the state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::archive::{Archive, Sink};
use super::error::RepoError;
use crate::pvctrl::Control;
use crate::state::{JsonLimits, ObjectId, Revision};

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Objects that the device did not have.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What was left out of the archive; a line each.
    pub warnings: Vec<String>,
}

/// Sends what the device lacks of an export, then its state as `revision`. Nothing is unpacked to a disk, and nothing but
/// the state is in memory as a whole. Unless all objects are there afterwards, the state is not sent.
pub fn install_archive(
    control: &Control,
    path: &Path,
    revision: &Revision,
    limits: &JsonLimits,
) -> Result<Sent, RepoError> {
    let archive = Archive::open(path)?;
    let state = archive.state(limits)?;
    let named: BTreeSet<ObjectId> = state.objects().map(|(_, id)| *id).collect();
    let listed: BTreeMap<ObjectId, u64> =
        control.objects()?.into_iter().map(|object| (object.id, object.size)).collect();
    let mut sent = Sent::default();
    let mut take = |id: ObjectId, size: u64, bytes: &mut dyn std::io::Read| {
        // Of another size, it is what is left of an upload that broke off.
        if listed.get(&id) == Some(&size) {
            return Ok(());
        }
        control.put_object(&id, size, bytes)?;
        sent.objects += 1;
        sent.bytes += size;
        Ok(())
    };
    let contents = archive.contents(&|id| named.contains(id), &mut Sink::Each(&mut take))?;
    for (key, id) in state.objects() {
        if !contents.sizes.contains_key(id) && !listed.contains_key(id) {
            return Err(RepoError::NotInArchive { path: path.to_owned(), key: key.clone(), id: *id });
        }
    }
    let canonical = state.to_canonical()?;
    // Sent a second time, it is there, unless the first time broke off.
    let there = control.step(&revision.into(), limits.bytes).is_ok_and(|bytes| bytes == canonical.as_bytes());
    if !there {
        control.replace_step(revision, canonical.as_bytes())?;
    }
    sent.warnings = contents.left.lines();
    Ok(sent)
}
