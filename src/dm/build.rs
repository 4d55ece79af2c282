//! Making a tree.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::{Context, DmError};
use super::hash::BlockHasher;
use super::layout::Layout;
use super::leaves::{Source, leaves};
use super::params::{Params, RootHash, Uuid};
use super::superblock::Superblock;

/// What is at the beginning of a hash file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A superblock that names the tree so.
    Superblock(Uuid),
    /// The tree itself: whoever reads it knows what it was made with.
    None,
}

/// A tree that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest at its top.
    pub root: RootHash,
    /// How many blocks it covers.
    pub data_blocks: u64,
    /// Bytes at the end of the volume that are no whole block, and not covered.
    pub uncovered: u64,
    /// How long its file is.
    pub length: u64,
}

/// Makes the tree of a volume of `bytes` bytes and writes it to a file, which is empty. The volume is read once, in order.
pub fn build(data: Source<'_>, bytes: u64, params: &Params, head: Head, out: &File) -> Result<Built, DmError> {
    let block = params.data_block.get();
    let data_blocks = bytes / u64::from(block);
    if data_blocks == 0 {
        return Err(DmError::TooSmall { bytes, block });
    }
    let layout = Layout::new(params, data_blocks, head != Head::None)?;
    let hasher = BlockHasher::new(params);
    let mut write = |level: usize, index: u64, block: &[u8]| {
        out.write_all_at(block, layout.offset(level, index)).on("write the hash file")
    };
    let mut tree = Tree::new(&layout, &hasher, &mut write);
    let size = params.algorithm.size();
    leaves(data, data_blocks, params.data_block.len(), &hasher, &mut |_, digests| {
        digests.chunks_exact(size).try_for_each(|digest| tree.push(0, digest))
    })?;
    let root = tree.finish()?;
    // Zeros from the superblock to the tree, and up to the end where there is none.
    out.set_len(layout.length()).on("write the hash file")?;
    if let Head::Superblock(uuid) = head {
        let superblock = Superblock { uuid, params: params.clone(), data_blocks };
        out.write_all_at(&superblock.to_bytes(), 0).on("write the hash file")?;
    }
    Ok(Built { root, data_blocks, uncovered: bytes % u64::from(block), length: layout.length() })
}

/// Takes a block of a level, and which one it is. Those of a level come in order.
pub(super) type Keep<'a> = dyn FnMut(usize, u64, &[u8]) -> Result<(), DmError> + Send + 'a;

/// One unfinished block for each level.
pub(super) struct Tree<'a> {
    layout: &'a Layout,
    hasher: &'a BlockHasher,
    keep: &'a mut Keep<'a>,
    levels: Vec<Growing>,
    root: Vec<u8>,
}

struct Growing {
    bytes: Vec<u8>,
    digests: usize,
    /// Which block of its level it is.
    index: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(layout: &'a Layout, hasher: &'a BlockHasher, keep: &'a mut Keep<'a>) -> Self {
        let growing = || Growing { bytes: vec![0; layout.block], digests: 0, index: 0 };
        let levels = layout.levels.iter().map(|_| growing()).collect();
        Self { layout, hasher, keep, levels, root: Vec::new() }
    }

    /// Takes the digest of the next block below a level.
    pub(super) fn push(&mut self, level: usize, digest: &[u8]) -> Result<(), DmError> {
        let Some(growing) = self.levels.get_mut(level) else {
            self.root = digest.to_vec();
            return Ok(());
        };
        let at = growing.digests * self.layout.stride;
        growing.bytes[at..at + digest.len()].copy_from_slice(digest);
        growing.digests += 1;
        if growing.digests == 1 << self.layout.bits { self.end(level) } else { Ok(()) }
    }

    fn end(&mut self, level: usize) -> Result<(), DmError> {
        let growing = &mut self.levels[level];
        (self.keep)(level, growing.index, &growing.bytes)?;
        let digest = self.hasher.digest(&growing.bytes);
        growing.bytes.fill(0);
        growing.digests = 0;
        growing.index += 1;
        self.push(level + 1, &digest)
    }

    /// Ends what is unfinished, from below.
    pub(super) fn finish(mut self) -> Result<RootHash, DmError> {
        for level in 0..self.levels.len() {
            if self.levels[level].digests > 0 {
                self.end(level)?;
            }
        }
        Ok(RootHash::from_digest(&self.root))
    }
}
