//! Exports as a stream: tar, gzipped or not, that holds a state and objects.
//!
//! ```text
//! json                the state, canonical; 0600
//! objects/<sha256>    each object once, in the order of their names; 0644
//! ```
//!
//! Whoever has a file may read it twice (repo/archive.rs), whoever has a pipe once (pvtx/package.rs); what a name, a header
//! and the end of an archive are is told here for both. Nothing is believed before the stream has been read to its end.

mod error;
mod gzip;
mod header;
mod members;

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

pub use error::ArchiveError;
pub(crate) use gzip::GzipWriter;
pub(crate) use header::{BLOCK, END, OBJECTS, STATE, build, looks_like_tar, padding};
pub(crate) use members::{Left, Members, Name};

use self::gzip::Capped;

/// What may stand behind the end of an archive, or of its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing but zeros.
    Refused,
    /// Anything; it is passed over.
    Ignored,
}

/// How much an archive may grow when it is unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    /// Bytes that may come out of an archive of any size.
    pub(crate) free: u64,
    /// Beyond those: bytes for each byte of the archive.
    pub(crate) times: u64,
}

impl Ratio {
    /// Root file systems are compressed already; what shrinks more than this is empty. The format's own limit is 1032.
    const USUAL: Self = Self { free: 256 << 20, times: 200 };

    /// The usual, or what `PVR_AGENT_MAX_RATIO` says, for archives of any size.
    pub(crate) fn from_env() -> Self {
        let given = std::env::var("PVR_AGENT_MAX_RATIO").ok().and_then(|text| text.parse().ok());
        given.map_or(Self::USUAL, |times| Self { free: 1 << 20, times })
    }

    /// For an archive of so many bytes.
    pub(crate) fn cap(self, packed: u64) -> u64 {
        self.free.max(packed.saturating_mul(self.times))
    }
}

/// How many bytes of an archive have been read, by [`Counting`].
pub(crate) type ReadSoFar = Rc<Cell<u64>>;

/// How much may come out of an archive.
#[derive(Debug)]
pub(crate) enum Cap {
    /// So many bytes.
    Bytes(u64),
    /// What the ratio has for as many bytes as have been read: nobody knows how many there are.
    Growing(Ratio, ReadSoFar),
}

impl Cap {
    /// Bytes that may have come out by now.
    fn now(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => *bytes,
            Self::Growing(ratio, read) => ratio.cap(read.get()),
        }
    }
}

/// A reader that counts what is read of it.
#[derive(Debug)]
pub(crate) struct Counting<R> {
    inner: R,
    read: ReadSoFar,
}

impl<R> Counting<R> {
    pub(crate) fn new(inner: R) -> (Self, ReadSoFar) {
        let read = ReadSoFar::default();
        (Self { inner, read: Rc::clone(&read) }, read)
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf)?;
        self.read.set(self.read.get().saturating_add(got as u64));
        Ok(got)
    }
}

/// The tar stream in what may be gzip; no more of it than `cap` has.
pub(crate) fn unpacked<'a>(mut reader: impl BufRead + 'a, behind: Behind, cap: Cap) -> io::Result<Box<dyn Read + 'a>> {
    if !gzip::is_gzip(&mut reader)? {
        return Ok(Box::new(reader));
    }
    Ok(Box::new(Capped::new(gzip::reader(reader, behind), cap)))
}
