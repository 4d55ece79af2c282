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

/// What a revision takes besides its objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    /// Sizes of its files of JSON, and of what belongs to it.
    pub(crate) files: Vec<u64>,
    /// Sizes of copies of its objects.
    pub(crate) copies: Vec<u64>,
    /// How many folders.
    pub(crate) folders: usize,
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
        self.promise(bytes, available, &mut promised)
    }

    /// Promises room for what a revision takes besides its objects, rounded to whole blocks, if there are inodes for it as
    /// well.
    ///
    /// What is left free for others is left to them. But a device on which that has been used up can be helped only by
    /// another revision: as long as its objects are all there, that takes a few files of JSON, which may use a tenth of
    /// what is left free for others, if they really fit.
    pub(crate) fn reserve_files(&self, room: &Room) -> Result<Reservation, StoreError> {
        let path = &self.inner.objects;
        let fs = statvfs(path).on("ask for the free space of", path)?;
        let wanted = (room.files.len() + room.copies.len() + room.folders) as u64;
        // File systems without a table of inodes say that they have none.
        if fs.f_files > 0 && wanted > fs.f_favail {
            return Err(StoreError::NoInodes { path: path.clone(), wanted, available: fs.f_favail });
        }
        let block = fs.f_frsize.max(1);
        let bytes = |sizes: &[u64], blocks: u64| {
            let blocks = sizes.iter().map(|size| size.div_ceil(block)).fold(blocks, u64::saturating_add);
            blocks.saturating_mul(block)
        };
        let (small, copies) = (bytes(&room.files, room.folders as u64), bytes(&room.copies, 0));
        let mut promised = self.inner.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let space = self.space_beside(*promised)?;
        let mut available = space.available();
        if small <= space.reserved / 10 && copies <= available {
            available = space.free.saturating_sub(space.promised);
        }
        self.promise(small.saturating_add(copies), available, &mut promised)
    }

    fn promise(&self, bytes: u64, available: u64, promised: &mut u64) -> Result<Reservation, StoreError> {
        if bytes > available {
            return Err(StoreError::NoSpace { path: self.inner.objects.clone(), wanted: bytes, available });
        }
        *promised = promised.saturating_add(bytes);
        Ok(Reservation { bytes, promised: Arc::clone(&self.inner.promised) })
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
