//! Room on the disk: how much there is, and promising it to one writer only.
//!
//! Bytes are promised; inodes are only looked at, because uploads take one each and give it back, and whoever needs
//! many at once holds the lock on installing.

use super::ObjectStore;
use super::error::{Context, StoreError};
use rustix::fs::statvfs;
use std::sync::{Arc, Mutex, PoisonError};

/// What a store has room for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What is free on it.
    pub free: u64,
    /// What is left free for others: 5 % of a device's storage, as the daemon keeps it (`storage.md` §8).
    pub reserved: u64,
    /// What writers of this process have been promised and haven't written yet.
    pub promised: u64,
}

impl Space {
    /// What can be promised to one more writer.
    pub fn available(&self) -> u64 {
        self.free.saturating_sub(self.reserved).saturating_sub(self.promised)
    }
}

/// Bytes promised to one writer; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    promised: Arc<Mutex<u64>>,
}

impl Reservation {
    /// Gives back what has been written: from then on the file system counts it as used.
    pub fn spend(&mut self, written: u64) {
        let part = written.min(self.bytes);
        self.bytes -= part;
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        *promised = promised.saturating_sub(part);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spend(u64::MAX);
    }
}

impl ObjectStore {
    /// The room there is.
    pub fn space(&self) -> Result<Space, StoreError> {
        let promised = *self.inner.promised.lock().unwrap_or_else(PoisonError::into_inner);
        self.space_beside(promised)
    }

    /// Promises `bytes` to one writer. [`StoreError::NoSpace`] if others have been promised too much already.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let mut promised = self.inner.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let available = self.space_beside(*promised)?.available();
        if bytes > available {
            return Err(StoreError::NoSpace { path: self.inner.objects.clone(), wanted: bytes, available });
        }
        *promised = promised.saturating_add(bytes);
        Ok(Reservation { bytes, promised: Arc::clone(&self.inner.promised) })
    }

    /// Promises room for new files of these sizes and for new folders, all rounded to whole blocks, if there are
    /// inodes for them as well.
    pub(crate) fn reserve_files(&self, sizes: &[u64], folders: usize) -> Result<Reservation, StoreError> {
        let path = &self.inner.objects;
        let fs = statvfs(path).on("ask for the free space of", path)?;
        let wanted = (sizes.len() + folders) as u64;
        // File systems without a table of inodes say that they have none.
        if fs.f_files > 0 && wanted > fs.f_favail {
            return Err(StoreError::NoInodes { path: path.clone(), wanted, available: fs.f_favail });
        }
        let block = fs.f_frsize.max(1);
        let blocks = |size: &u64| size.div_ceil(block);
        let blocks = sizes.iter().map(blocks).fold(folders as u64, u64::saturating_add);
        self.reserve(blocks.saturating_mul(block))
    }

    fn space_beside(&self, promised: u64) -> Result<Space, StoreError> {
        let fs = statvfs(&self.inner.objects).on("ask for the free space of", &self.inner.objects)?;
        let total = fs.f_blocks.saturating_mul(fs.f_frsize);
        Ok(Space {
            total,
            free: fs.f_bavail.saturating_mul(fs.f_frsize),
            reserved: total / 100 * u64::from(self.inner.reserve_percent),
            promised,
        })
    }
}
