//! The digests of a volume's blocks: read once, in order, hashed on all cores, given on in order.
//!
//! Each worker takes the next piece of the volume, reads and hashes it without holding anything, and hands the digests in.
//! Whoever brings those that are due gives them on, with all that wait behind them. A worker that is too far ahead waits.
//! So what is held is a piece for each worker and the digests of a few: the same for every volume. What comes as a stream
//! has one place from which it goes on, so it is read by one worker at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::error::{Context, DmError};
use super::hash::BlockHasher;

/// How much is read at a time: fits into a core's cache with all that belongs to it.
const PIECE: usize = 256 << 10;
/// How many workers at most; more would wait for the disk.
const WORKERS: usize = 8;
/// How many bytes of digests may wait for a worker that has been held up: on a busy machine, that is for many pieces.
const WAITING: usize = 1 << 20;

/// Where the bytes of a volume come from.
pub enum Source<'a> {
    /// A file, from its beginning.
    File(&'a File),
    /// What can only be read from where it stands.
    Stream(&'a mut (dyn Read + Send)),
}

/// Takes digests, side by side; the first of them is that of the block with this number. An error ends the reading.
pub(super) type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), DmError> + Send + 'a;

struct Work<'a, 's> {
    hasher: &'a BlockHasher,
    block: usize,
    per_piece: u64,
    /// How many pieces a worker may be ahead.
    ahead: u64,
    pieces: Mutex<Pieces<'s>>,
    sink: Mutex<Sink<'a>>,
    turn: Condvar,
}

struct Pieces<'s> {
    data: Source<'s>,
    /// The next one.
    next: u64,
    /// Blocks that are still to be read.
    left: u64,
}

struct Sink<'a> {
    each: &'a mut Each<'a>,
    /// The piece that is due.
    due: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    failed: Option<DmError>,
}

/// Hashes `blocks` blocks of `block` bytes.
pub(super) fn leaves<'a>(
    data: Source<'_>,
    blocks: u64,
    block: usize,
    hasher: &'a BlockHasher,
    each: &'a mut Each<'a>,
) -> Result<(), DmError> {
    let per_piece = (PIECE / block) as u64;
    let ahead = (WAITING / (PIECE / block * hasher.size())).max(2);
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS) as u64;
    let work = Work {
        hasher,
        block,
        per_piece,
        ahead: ahead as u64,
        pieces: Mutex::new(Pieces { data, next: 0, left: blocks }),
        sink: Mutex::new(Sink { each, due: 0, waiting: BTreeMap::new(), failed: None }),
        turn: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 1..cores.min(blocks.div_ceil(per_piece)) {
            // A machine that has no thread left goes on with those that there are.
            if thread::Builder::new().spawn_scoped(scope, || work.run()).is_err() {
                break;
            }
        }
        work.run();
    });
    let sink = work.sink.into_inner().unwrap_or_else(PoisonError::into_inner);
    sink.failed.map_or(Ok(()), Err)
}

impl<'a> Work<'a, '_> {
    fn run(&self) {
        let mut piece = vec![0; PIECE.max(self.block)];
        while let Some((number, length)) = self.read(&mut piece) {
            let mut digests = Vec::with_capacity(length / self.block * self.hasher.size());
            self.hasher.digests(&piece[..length], self.block, &mut digests);
            if !self.hand_in(number, digests) {
                return;
            }
        }
    }

    /// The next piece: its number and how many bytes it has.
    fn read(&self, into: &mut [u8]) -> Option<(u64, usize)> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = pieces.left.min(self.per_piece);
        if blocks == 0 {
            return None;
        }
        let number = pieces.next;
        pieces.next += 1;
        pieces.left -= blocks;
        // A piece has 512 blocks at most.
        let length = blocks as usize * self.block;
        let into = &mut into[..length];
        let got = match &mut pieces.data {
            Source::File(file) => {
                let file = *file;
                drop(pieces);
                file.read_exact_at(into, number * self.per_piece * self.block as u64)
            }
            Source::Stream(stream) => stream.read_exact(into),
        };
        match got.on("read the volume") {
            Ok(()) => Some((number, length)),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    fn sink(&self) -> MutexGuard<'_, Sink<'a>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: DmError) {
        self.sink().failed.get_or_insert(error);
        self.turn.notify_all();
    }

    /// Whether there is any use in going on.
    fn hand_in(&self, number: u64, digests: Vec<u8>) -> bool {
        let mut sink = self.sink();
        while number >= sink.due + self.ahead && sink.failed.is_none() {
            sink = self.turn.wait(sink).unwrap_or_else(PoisonError::into_inner);
        }
        if sink.failed.is_some() {
            return false;
        }
        sink.waiting.insert(number, digests);
        let Sink { each, due, waiting, failed } = &mut *sink;
        while let Some(digests) = waiting.remove(due) {
            if let Err(error) = each(*due * self.per_piece, &digests) {
                *failed = Some(error);
                break;
            }
            *due += 1;
        }
        let goes_on = failed.is_none();
        drop(sink);
        self.turn.notify_all();
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;
    use crate::dm::{Params, Salt};

    /// Gives as many bytes as it likes at a time, and counts them.
    struct Uneven {
        given: u64,
        end: u64,
    }

    impl Read for Uneven {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1 + (self.given % 7919) as usize).min((self.end - self.given) as usize);
            for byte in &mut into[..length] {
                *byte = (self.given / 4096 % 251) as u8;
                self.given += 1;
            }
            Ok(length)
        }
    }

    #[test]
    fn digests_come_in_order_and_every_byte_is_read_once() {
        let hasher = BlockHasher::new(&Params::usual(Salt::new(vec![7]).unwrap()));
        for blocks in [1, 63, 64, 65, 1000] {
            let mut data = Uneven { given: 0, end: u64::MAX };
            let mut seen = Vec::new();
            leaves(Source::Stream(&mut data), blocks, 4096, &hasher, &mut |first, digests| {
                assert_eq!(first, seen.len() as u64 / 32);
                seen.extend_from_slice(digests);
                Ok(())
            })
            .unwrap();
            assert_eq!(data.given, blocks * 4096);
            assert_eq!(seen.len() as u64, blocks * 32);
            let mut file = tempfile::tempfile().unwrap();
            for block in 0..blocks {
                let bytes = [(block % 251) as u8; 4096];
                assert_eq!(seen[block as usize * 32..][..32], hasher.digest(&bytes), "{block} of {blocks}");
                file.write_all(&bytes).unwrap();
            }
            // A file is read from its beginning, wherever it stands.
            let mut from_file = Vec::new();
            leaves(Source::File(&file), blocks, 4096, &hasher, &mut |_, digests| {
                from_file.extend_from_slice(digests);
                Ok(())
            })
            .unwrap();
            assert!(from_file == seen, "{blocks}");
        }
    }

    #[test]
    fn an_error_on_either_side_ends_it() {
        let hasher = BlockHasher::new(&Params::usual(Salt::new(Vec::new()).unwrap()));
        let mut data = Uneven { given: 0, end: 1000 * 4096 - 1 };
        let ended = leaves(Source::Stream(&mut data), 1000, 4096, &hasher, &mut |_, _| Ok(()));
        assert!(matches!(ended, Err(DmError::Io { .. })), "{ended:?}");

        let file = tempfile::tempfile().unwrap();
        file.set_len(1000 * 4096 - 1).unwrap();
        let ended = leaves(Source::File(&file), 1000, 4096, &hasher, &mut |_, _| Ok(()));
        assert!(matches!(ended, Err(DmError::Io { .. })), "{ended:?}");

        let mut data = Uneven { given: 0, end: u64::MAX };
        let ended = leaves(Source::Stream(&mut data), 1 << 40, 4096, &hasher, &mut |first, _| match first {
            0..640 => Ok(()),
            _ => Err(DmError::TooLarge(first)),
        });
        assert!(matches!(ended, Err(DmError::TooLarge(640))), "{ended:?}");
        assert!(data.given < 1 << 30, "it went on for {} bytes", data.given);
    }
}
