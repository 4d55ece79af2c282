//! Room on a device that is reached by its control socket: how much there is, and how much the daemon's collector would make.
//!
//! The collector keeps the running revision, the one that is being updated to and the last that ran well; every other revision
//! goes, and with it every object that none of these has (`storage.md` §8): what was just uploaded, and what was posted and not
//! run. So it is run only if that was allowed ([`Socketed::may_collect`]), there is no room otherwise, and nothing of the kind
//! is there, whichever process brought it. What it would give is said in any case: the sizes of the objects that it would
//! remove if every revision that ran well were kept, and the factory's. At least so much: it may keep fewer.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{DeviceError, Socketed};
use crate::pvctrl::{ListedStep, Meta};
use crate::state::{ObjectId, Status};
use crate::store::Space;

/// How long what a collection would set free is good for.
const RECLAIMABLE_FOR: Duration = Duration::from_secs(30);

impl Socketed {
    pub(super) fn space(&self) -> Result<Space, DeviceError> {
        let meta = self.control.metadata(Meta::Device)?;
        let number = |name: &str| meta.get("storage").and_then(|storage| storage.get(name)).and_then(|n| n.as_u64());
        let (Some(total), Some(free)) = (number("total"), number("free")) else {
            return Err(DeviceError::Daemon("it does not say how much room there is".to_owned()));
        };
        let real = number("real_free").unwrap_or(free);
        Ok(Space { total, free, reserved: free.saturating_sub(real), promised: 0 })
    }

    fn free(&self) -> Result<u64, DeviceError> {
        Ok(self.space()?.available())
    }

    /// Whether `size` bytes could be sent now: there is room, and no update is running.
    pub(super) fn check(&self, size: u64) -> Result<(), DeviceError> {
        if let Some(rev) = self.updating()? {
            return Err(DeviceError::Updating(rev));
        }
        let mut free = self.free()?;
        if size > free && self.may_collect {
            free = self.collect(free)?;
        }
        if size > free {
            return Err(DeviceError::NoRoom { need: size, free, reclaimable: self.reclaimable() });
        }
        Ok(())
    }

    /// Has the daemon collect, unless that would take away what somebody means to use. What is free then.
    fn collect(&self, free: u64) -> Result<u64, DeviceError> {
        let Some(_alone) = self.turns.alone()? else { return Ok(free) };
        if !self.nothing_is_waiting()? {
            return Ok(free);
        }
        let reclaimed = self.control.collect()?;
        // What comes under their names again was not seen.
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.reclaimable.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // What the device says of its storage is of a while ago after a collection.
        Ok(self.free()?.max(free.saturating_add(reclaimed)))
    }

    /// Whether a collection would remove nothing that somebody still means to use: no object that was uploaded and not
    /// posted, no revision that was installed and not run.
    fn nothing_is_waiting(&self) -> Result<bool, DeviceError> {
        let never_ran =
            |step: &ListedStep| step.progress.as_ref().is_none_or(|progress| progress.status == Status::New);
        if self.listed()?.iter().any(never_ran) {
            return Ok(false);
        }
        let named: HashSet<ObjectId> = self.state(None)?.objects().map(|(_, id)| *id).collect();
        Ok(!self.turns.waits(&named)?)
    }

    /// Bytes that a collection would set free, at least, as of a while ago. `None`: nobody could look.
    pub(super) fn reclaimable(&self) -> Option<u64> {
        let mut known = self.reclaimable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, bytes)) = *known
            && when.elapsed() < RECLAIMABLE_FOR
        {
            return bytes;
        }
        let bytes = self.would_collect().ok();
        *known = Some((Instant::now(), bytes));
        bytes
    }

    fn would_collect(&self) -> Result<u64, DeviceError> {
        let running = self.current()?;
        let mut kept = HashSet::new();
        // Of each object, by how many files of revisions that would go.
        let mut going: HashMap<ObjectId, u64> = HashMap::new();
        for step in self.listed()? {
            let status = step.progress.map(|progress| progress.status);
            let stays = step.name == running
                || step.name == "0"
                || status.is_some_and(|status| status == Status::Done || status.is_in_progress());
            match self.state(Some(&step.name)) {
                Ok(state) if stays => kept.extend(state.objects().map(|(_, id)| *id)),
                Ok(state) => state.objects().for_each(|(_, id)| *going.entry(*id).or_default() += 1),
                Err(error) if stays => return Err(error),
                Err(_) => {}
            }
        }
        let would_go = |id: &ObjectId| {
            // The daemon looks at links and at nothing else. Others may have made one.
            let links = self.storage.as_ref().map(|storage| storage.store().path(id).symlink_metadata());
            let most = 1 + going.get(id).copied().unwrap_or(0);
            !kept.contains(id) && links.is_none_or(|meta| meta.is_ok_and(|meta| meta.nlink() <= most))
        };
        Ok(self.objects()?.into_iter().filter(|(id, _)| would_go(id)).map(|(_, size)| size).sum())
    }
}
