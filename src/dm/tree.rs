//! Checking a volume against a tree.
//!
//! From the root hash down: a hash block is good if its parent is and has its digest. What a bad one says is not believed,
//! so of the blocks below it nothing is said. Each block of the tree, and of the volume, is read once; one block of each
//! level is held.

use std::fs::File;
use std::os::unix::fs::FileExt;

use serde::Serialize;

use super::error::{Context, DmError};
use super::hash::BlockHasher;
use super::layout::Layout;
use super::leaves::{Source, leaves};
use super::params::{Params, RootHash};

/// Blocks that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// The first, counted from the beginning of its file.
    pub block: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many.
    pub count: u64,
}

impl Bad {
    fn add(found: &mut Option<Self>, block: u64, size: usize) {
        let bad = found.get_or_insert(Self { block, offset: block * size as u64, count: 0 });
        if block < bad.block {
            (bad.block, bad.offset) = (block, block * size as u64);
        }
        bad.count += 1;
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Blocks of the volume.
    pub data: Option<Bad>,
    /// Blocks of the tree.
    pub tree: Option<Bad>,
    /// Blocks of the volume of which nothing can be said, because the tree above them is bad.
    pub unknown: u64,
}

impl Report {
    /// Whether every block is what it should be.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks a volume. Its tree, and its blocks, are known to be there.
pub fn verify(
    data: Source<'_>,
    tree: &File,
    params: &Params,
    layout: &Layout,
    root: &RootHash,
) -> Result<Report, DmError> {
    let hasher = BlockHasher::new(params);
    let mut walk = Walk::new(layout, &hasher, tree, params.algorithm.size(), root);
    // Nothing else can be good then, and a large volume takes its time.
    if let Some(top) = layout.levels.len().checked_sub(1)
        && !walk.open(top, 0)?
    {
        walk.report.unknown = layout.data_blocks;
        return Ok(walk.report);
    }
    let (size, block) = (params.algorithm.size(), params.data_block.len());
    leaves(data, layout.data_blocks, block, &hasher, &mut |first, digests| {
        for (index, digest) in (first..).zip(digests.chunks_exact(size)) {
            match walk.holds(0, index, digest)? {
                Some(true) => {}
                Some(false) => Bad::add(&mut walk.report.data, index, block),
                None => walk.report.unknown += 1,
            }
        }
        Ok(())
    })?;
    Ok(walk.report)
}

struct Walk<'a> {
    layout: &'a Layout,
    hasher: &'a BlockHasher,
    tree: &'a File,
    digest: usize,
    root: &'a RootHash,
    levels: Vec<Cursor>,
    report: Report,
}

/// The block of a level that was looked at last.
struct Cursor {
    index: Option<u64>,
    bytes: Vec<u8>,
    good: bool,
}

impl<'a> Walk<'a> {
    fn new(layout: &'a Layout, hasher: &'a BlockHasher, tree: &'a File, digest: usize, root: &'a RootHash) -> Self {
        let cursor = || Cursor { index: None, bytes: vec![0; layout.block], good: false };
        let levels = layout.levels.iter().map(|_| cursor()).collect();
        Self { layout, hasher, tree, digest, root, levels, report: Report::default() }
    }

    /// Whether a level says that a block below it has this digest; `None`: what it says is not to be believed.
    fn holds(&mut self, level: usize, below: u64, digest: &[u8]) -> Result<Option<bool>, DmError> {
        if level == self.levels.len() {
            return Ok(Some(self.root.as_bytes() == digest));
        }
        if !self.open(level, below >> self.layout.bits)? {
            return Ok(None);
        }
        // Less than the digests of one block.
        let at = (below & ((1 << self.layout.bits) - 1)) as usize * self.layout.stride;
        Ok(Some(self.levels[level].bytes[at..at + self.digest] == *digest))
    }

    /// Reads a block of a level, unless it is at hand, and says whether it is good.
    fn open(&mut self, level: usize, index: u64) -> Result<bool, DmError> {
        if self.levels[level].index == Some(index) {
            return Ok(self.levels[level].good);
        }
        let offset = self.layout.offset(level, index);
        let mut bytes = std::mem::take(&mut self.levels[level].bytes);
        self.tree.read_exact_at(&mut bytes, offset).on("read the hash file")?;
        let digest = self.hasher.digest(&bytes);
        let said = self.holds(level + 1, index, &digest)?;
        let right = said == Some(true) && self.is_spare(level, index, &bytes);
        if said.is_some() && !right {
            Bad::add(&mut self.report.tree, offset / self.layout.block as u64, self.layout.block);
        }
        self.levels[level] = Cursor { index: Some(index), bytes, good: right };
        Ok(right)
    }

    /// Whether what is no digest is zero.
    fn is_spare(&self, level: usize, index: u64, bytes: &[u8]) -> bool {
        let digests = self.layout.digests(level, index);
        let mut rooms = bytes.chunks(self.layout.stride).enumerate();
        rooms.all(|(at, room)| room[if at < digests { self.digest } else { 0 }..].iter().all(|byte| *byte == 0))
    }
}
