//! The disk as a power cut would leave it.

use crate::black_box::Dice;
use crate::fuse::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a disk writes whole, or not at all.
const BLOCK: usize = 4096;
/// What is passed over where it is zero.
const PIECE: usize = 64 << 10;

/// One power cut: between two flushes.
#[derive(Clone, Copy)]
pub struct Cut {
    /// The flush before it, counted from 0.
    pub flush: usize,
    /// Whether some of what was written since reached the disk.
    pub some: bool,
}

/// What images can be made of a log.
pub struct Images<'a> {
    log: &'a [Entry],
    /// Where the flushes are in it.
    flushes: Vec<usize>,
}

impl<'a> Images<'a> {
    pub fn new(log: &'a [Entry]) -> Self {
        let flushes = log.iter().enumerate().filter(|(_, entry)| **entry == Entry::Flush).map(|(at, _)| at).collect();
        Self { log, flushes }
    }

    pub fn flushes(&self) -> usize {
        self.flushes.len()
    }

    pub fn writes(&self) -> usize {
        self.log.len() - self.flushes.len()
    }

    /// Two for each flush from a moment on; one where nothing was written until the next.
    pub fn cuts(&self, begun: usize) -> Vec<Cut> {
        let first = self.flushes.partition_point(|at| *at < begun).saturating_sub(1);
        let all = (first..self.flushes.len()).flat_map(|flush| [false, true].map(|some| Cut { flush, some }));
        all.filter(|cut| !cut.some || !self.since(*cut).is_empty()).collect()
    }

    /// Up to where the log goes that a cut may be the end of: the next flush.
    pub fn moment(&self, cut: Cut) -> usize {
        self.flushes.get(cut.flush + 1).copied().unwrap_or(self.log.len())
    }

    fn since(&self, cut: Cut) -> &'a [Entry] {
        &self.log[self.flushes[cut.flush] + 1..self.moment(cut)]
    }
}

/// How much of what was written after the last flush is on an image.
pub struct Made {
    pub kept: usize,
    pub lost: usize,
}

/// A disk in a file, made anew for each cut. Cuts come in their order.
pub struct Disk<'a> {
    images: &'a Images<'a>,
    /// What is durable.
    durable: Vec<u8>,
    /// Up to where the log has been replayed.
    replayed: usize,
    path: PathBuf,
}

impl<'a> Disk<'a> {
    pub fn new(images: &'a Images<'a>, empty: Vec<u8>, path: PathBuf) -> Self {
        Self { images, durable: empty, replayed: 0, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn make(&mut self, cut: Cut, dice: &mut Dice) -> Made {
        let end = self.images.flushes[cut.flush];
        assert!(end >= self.replayed, "cuts come in their order");
        for entry in &self.images.log[self.replayed..end] {
            if let Entry::Write { at, bytes } = entry {
                self.durable[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        self.replayed = end;
        // Anew, because what was mounted has been written to.
        let file = File::create(&self.path).expect("make a disk");
        file.set_len(self.durable.len() as u64).expect("set its size");
        for (index, piece) in self.durable.chunks(PIECE).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, (index * PIECE) as u64).expect("write the disk");
            }
        }
        let mut made = Made { kept: 0, lost: 0 };
        if cut.some {
            // Of two writes to a block the later one counts, if both arrive; else any may be missing.
            let share = dice.below(100);
            for entry in self.images.since(cut) {
                let Entry::Write { at, bytes } = entry else { continue };
                for (index, block) in bytes.chunks(BLOCK).enumerate() {
                    if dice.below(100) < share {
                        file.write_all_at(block, (at + index * BLOCK) as u64).expect("write the disk");
                        made.kept += 1;
                    } else {
                        made.lost += 1;
                    }
                }
            }
        }
        made
    }
}
