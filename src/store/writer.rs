//! Taking bytes in: hashed while they are written, once, into a file without a name.

use super::error::{Context, StoreError};
use super::space::Reservation;
use super::temp::TempFile;
use super::{ObjectStore, hash::Hasher};
use crate::state::ObjectId;
use rustix::fs::{Advice, FallocateFlags, Mode, fadvise, fallocate, fchmod};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Instant;

/// After this many bytes the kernel is asked to begin writing them out, so that the wait at the end is short and
/// dirty pages don't pile up in a small device's memory.
const WINDOW: u64 = 4 << 20;

/// A file that is growing into an object. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    temp: TempFile,
    hasher: Hasher,
    expect: Option<ObjectId>,
    size: Option<u64>,
    written: u64,
    /// Up to where the kernel has been asked to write out.
    flushed: u64,
    reservation: Option<Reservation>,
    opened: Instant,
    /// For messages.
    at: PathBuf,
}

/// All bytes of an object, checked, in a read-only file that has no name and isn't durable yet.
#[derive(Debug)]
pub struct Sealed {
    pub(super) temp: TempFile,
    pub(super) opened: Instant,
    id: ObjectId,
    size: u64,
    /// Kept until the object has its name, where the file system could not set the blocks aside.
    _reservation: Option<Reservation>,
}

impl ObjectStore {
    /// Begins an object. With a `size`, the space is set aside at once, so a disk that will not do is found full
    /// before the first byte; with `expect`, only these bytes will do.
    pub fn begin(&self, expect: Option<ObjectId>, size: Option<u64>) -> Result<Writer, StoreError> {
        let mut reservation = size.map(|size| self.reserve(size)).transpose()?;
        let temp = TempFile::create(&self.tmp(), self.caps())?;
        if let Some(size) = size.filter(|&size| size > 0) {
            match fallocate(&temp.file, FallocateFlags::KEEP_SIZE, 0, size) {
                // The blocks are ours; the file system itself counts them as used from now on.
                Ok(()) => reservation = None,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(e) => return Err(e).on("set space aside in", &self.tmp()),
            }
        }
        Ok(Writer {
            temp,
            hasher: Hasher::new(),
            expect,
            size,
            written: 0,
            flushed: 0,
            reservation,
            opened: Instant::now(),
            at: self.tmp(),
        })
    }
}

impl Writer {
    /// Appends bytes. [`StoreError::TooLong`] if they are more than announced; nothing of them is written then.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let end = self.written.saturating_add(bytes.len() as u64);
        if let Some(limit) = self.size.filter(|&size| end > size) {
            return Err(StoreError::TooLong { limit });
        }
        self.hasher.update(bytes);
        self.temp.file.write_all(bytes).on("write an object in", &self.at)?;
        self.written = end;
        if let Some(reservation) = &mut self.reservation {
            reservation.spend(bytes.len() as u64);
        }
        if let Some(length) = NonZeroU64::new(self.written - self.flushed).filter(|length| length.get() >= WINDOW) {
            // Advice only: it starts writing, and forgets pages that are clean already.
            let _ = fadvise(&self.temp.file, self.flushed, Some(length), Advice::DontNeed);
            self.flushed = self.written;
        }
        Ok(())
    }

    /// How many bytes have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Checks size and sha256. On an error the bytes are gone.
    pub fn finish(self) -> Result<Sealed, StoreError> {
        let got = self.written;
        if let Some(want) = self.size.filter(|&size| size != got) {
            return Err(StoreError::WrongSize { want, got });
        }
        let id = self.hasher.finish();
        if let Some(want) = self.expect.filter(|&expect| expect != id) {
            return Err(StoreError::WrongHash { want, got: id });
        }
        fchmod(&self.temp.file, Mode::from_raw_mode(0o444)).on("make read-only a file in", &self.at)?;
        Ok(Sealed { temp: self.temp, opened: self.opened, id, size: self.written, _reservation: self.reservation })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map_err(|e| match e {
            StoreError::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealed {
    /// Bytes that were sealed before and have been waiting under a name since.
    pub(super) fn again(temp: TempFile, opened: Instant, id: ObjectId, size: u64) -> Self {
        Self { temp, opened, id, size, _reservation: None }
    }

    /// The sha256 of the bytes.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn file(&self) -> &File {
        &self.temp.file
    }
}
