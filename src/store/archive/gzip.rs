//! gzip, packed on all processors.
//!
//! One gzip member. The input is cut into blocks of 512 KiB, each deflated by itself and ended at a byte boundary, so their
//! outputs follow one another in one stream. What comes out depends on the input alone, not on how many threads there were.
//! A block whose beginning does not shrink (compressed root file systems) is stored: that keeps up with any disk.
//!
//! The header has no time and no name: `1f 8b 08 00`, five zeros, `ff`.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::error::ArchiveError;
use super::{Behind, Cap};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const BLOCK: usize = 512 * 1024;
/// So much of a block is tried.
const PROBE: usize = 16 * 1024;
const MAX_THREADS: usize = 8;

/// Whether a gzip stream comes.
pub(crate) fn is_gzip(reader: &mut impl BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.starts_with(&MAGIC))
}

/// The unpacked bytes; several members after one another are one stream.
pub(crate) fn reader<R: BufRead>(packed: R, behind: Behind) -> Unpacked<R> {
    match behind {
        Behind::Refused => Unpacked::Strict(MultiGzDecoder::new(packed)),
        Behind::Ignored => Unpacked::Lenient(Some(GzDecoder::new(packed))),
    }
}

/// What [`reader`] makes.
#[derive(Debug)]
pub(crate) enum Unpacked<R> {
    /// What follows a member has to be one.
    Strict(MultiGzDecoder<R>),
    /// What follows a member and is none is the end, as for `gzip -d`. Nothing, once that has been reached.
    Lenient(Option<GzDecoder<R>>),
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let member = match self {
            Self::Strict(decoder) => return decoder.read(buf),
            Self::Lenient(member) => member,
        };
        while let Some(decoder) = member {
            let got = decoder.read(buf)?;
            if got > 0 || buf.is_empty() {
                return Ok(got);
            }
            // Its sum and its length were right.
            let Some(mut packed) = member.take().map(GzDecoder::into_inner) else { break };
            if is_gzip(&mut packed)? {
                *member = Some(GzDecoder::new(packed));
            }
        }
        Ok(0)
    }
}

/// A reader that ends with an error where more comes than may.
#[derive(Debug)]
pub(crate) struct Capped<R> {
    inner: R,
    out: u64,
    cap: Cap,
}

impl<R: Read> Capped<R> {
    pub(crate) fn new(inner: R, cap: Cap) -> Self {
        Self { inner, out: 0, cap }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf)?;
        self.out = self.out.saturating_add(got as u64);
        let cap = self.cap.now();
        if self.out > cap { Err(ArchiveError::Bomb { cap }.into()) } else { Ok(got) }
    }
}

type Packed = io::Result<Vec<u8>>;
type Job = (Vec<u8>, SyncSender<Packed>);

/// Packs what is written to it. [`finish`](Self::finish) makes it a whole file.
pub(crate) struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    /// The results of blocks that are being packed, in their order.
    waiting: VecDeque<Receiver<Packed>>,
    workers: Vec<(SyncSender<Job>, JoinHandle<()>)>,
    /// Whose turn it is.
    next: usize,
    sum: Crc,
}

impl<W: Write> GzipWriter<W> {
    /// Begins a file with as many threads as there are processors, up to eight.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        Self::with_threads(out, thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS))
    }

    fn with_threads(mut out: W, threads: usize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (sender, jobs) = sync_channel::<Job>(1);
            let work = move || {
                for (block, result) in jobs {
                    // Nobody waits any more after an error.
                    result.send(pack(&block)).ok();
                }
            };
            let spawned = thread::Builder::new().name("gzip".to_owned()).spawn(work);
            match spawned {
                Ok(thread) => workers.push((sender, thread)),
                // One thread packs as well as many; none would not.
                Err(error) if workers.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Self { out, block: Vec::new(), waiting: VecDeque::new(), workers, next: 0, sum: Crc::new() })
    }

    /// Ends the file, and gives back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.hand_over()?;
        while !self.waiting.is_empty() {
            self.collect()?;
        }
        // An empty last block.
        self.out.write_all(&[0x03, 0x00])?;
        self.out.write_all(&self.sum.sum().to_le_bytes())?;
        self.out.write_all(&self.sum.amount().to_le_bytes())?;
        for (jobs, thread) in self.workers {
            drop(jobs);
            thread.join().map_err(|_| io::Error::other("packing failed"))?;
        }
        Ok(self.out)
    }

    /// Gives the block to the next thread, and writes what must not wait longer.
    fn hand_over(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.sum.update(&block);
        let (result, waiting) = sync_channel(1);
        let (worker, _) = &self.workers[self.next];
        worker.send((block, result)).map_err(|_| io::Error::other("packing failed"))?;
        self.next = (self.next + 1) % self.workers.len();
        self.waiting.push_back(waiting);
        if self.waiting.len() > self.workers.len() { self.collect() } else { Ok(()) }
    }

    /// Writes the oldest block.
    fn collect(&mut self) -> io::Result<()> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        let packed = oldest.recv().map_err(|_| io::Error::other("packing failed"))??;
        self.out.write_all(&packed)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.hand_over()?;
        }
        Ok(taken)
    }

    /// Blocks go out when they are full: a reader in between would have nothing of half a block.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Deflates a block, up to a byte boundary.
fn pack(block: &[u8]) -> Packed {
    let probe = &block[..block.len().min(PROBE)];
    let shrinks = deflate(probe, Compression::fast())?.len() < probe.len() - probe.len() / 32;
    deflate(block, if shrinks { Compression::default() } else { Compression::none() })
}

fn deflate(block: &[u8], level: Compression) -> Packed {
    let mut state = Compress::new(level, false);
    let mut out = Vec::with_capacity(block.len() + block.len() / 1024 + 64);
    loop {
        let taken = usize::try_from(state.total_in()).map_err(io::Error::other)?;
        let before = out.len();
        let status = state.compress_vec(&block[taken..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        let all = state.total_in() == block.len() as u64;
        // Room left over means that nothing more is to come.
        if all && (out.len() < out.capacity() || out.len() == before) {
            return Ok(out);
        }
        if status == Status::StreamEnd {
            return Err(io::Error::other("packing ended early"));
        }
        out.reserve(BLOCK / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8], threads: usize) -> Vec<u8> {
        let mut writer = GzipWriter::with_threads(Vec::new(), threads).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_is_packed_is_unpacked_and_does_not_depend_on_the_threads() {
        let text: Vec<u8> = b"a line of text\n".iter().copied().cycle().take(3 * BLOCK + 17).collect();
        let mixed = [noise(BLOCK), text.clone(), vec![0; BLOCK]].concat();
        for bytes in
            [vec![], vec![7], vec![0; BLOCK], vec![0; BLOCK - 1], vec![0; BLOCK + 1], noise(BLOCK * 2 + 3), text, mixed]
        {
            let one = packed(&bytes, 1);
            assert_eq!(one[..10], HEADER);
            assert!(one == packed(&bytes, 3), "{} bytes", bytes.len());
            let mut back = Vec::new();
            // A reader of one member, which all gunzips are.
            flate2::read::GzDecoder::new(one.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let bytes = noise(4 * BLOCK);
        let size = packed(&bytes, 2).len();
        assert!(size >= bytes.len() && size < bytes.len() + bytes.len() / 500, "{size}");
        assert!(packed(&vec![0; 4 * BLOCK], 2).len() < BLOCK / 64);
    }

    #[test]
    fn a_cap_is_a_cap() {
        let bytes = [0; 100];
        let read = |cap| Capped::new(bytes.as_slice(), Cap::Bytes(cap)).read_to_end(&mut Vec::new());
        assert_eq!(read(100).unwrap(), 100);
        assert!(matches!(ArchiveError::from(read(99).unwrap_err()), ArchiveError::Bomb { cap: 99 }));
    }
}
