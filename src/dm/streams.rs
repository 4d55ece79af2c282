//! Whether a volume, its hash file and its manifest agree, where files can only be read from the first byte to the last.
//!
//! The hash file comes first, and of each level of its tree a digest is kept. Then the tree of the volume is made, of which
//! nothing is kept but digests of the same kind. So each is read once and nothing of them is held. Which blocks are bad is
//! not told: for that, [`check`](super::check()) wants files.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::build::Tree;
use super::check::is_there;
use super::error::{Context, DmError};
use super::hash::BlockHasher;
use super::layout::Layout;
use super::leaves::{Source, leaves};
use super::manifest::Manifest;
use super::superblock::{SUPERBLOCK_BYTES, Superblock, SuperblockError};

/// What is kept of a hash file.
#[derive(Debug)]
pub struct Outline {
    superblock: Superblock,
    layout: Layout,
    /// One for each level.
    levels: Vec<[u8; 32]>,
}

impl Outline {
    /// Reads a hash file of `length` bytes to its end. A superblock that says what is not so is an error.
    pub fn read(manifest: &Manifest, hash: &mut dyn Read, length: u64) -> Result<Self, DmError> {
        if length < SUPERBLOCK_BYTES as u64 {
            return Err(SuperblockError::Short(length).into());
        }
        let mut first = [0; SUPERBLOCK_BYTES];
        hash.read_exact(&mut first).on("read the hash file")?;
        let superblock = Superblock::parse(&first)?;
        manifest.agrees_with(&superblock)?;
        let layout = Layout::new(&superblock.params, superblock.data_blocks, true)?;
        if length < layout.length() {
            return Err(DmError::Length { have: length, want: layout.length() });
        }
        let mut block = vec![0; layout.block];
        let mut at = SUPERBLOCK_BYTES as u64;
        let mut levels = vec![[0; 32]; layout.levels.len()];
        // The top level is the first in the file.
        for level in (0..levels.len()).rev() {
            at = padding(hash, at, layout.offset(level, 0))?;
            let mut digest = Sha256::new();
            for _ in 0..layout.levels[level].blocks {
                hash.read_exact(&mut block).on("read the hash file")?;
                digest.update(&block);
                at += block.len() as u64;
            }
            levels[level] = digest.finalize().into();
        }
        padding(hash, at, layout.length())?;
        // Whether all of it is what its name says may be known at the end only.
        std::io::copy(hash, &mut std::io::sink()).on("read the hash file")?;
        Ok(Self { superblock, layout, levels })
    }

    /// Reads a volume of `bytes` bytes to its end.
    pub fn agrees_with(&self, manifest: &Manifest, data: &mut (dyn Read + Send), bytes: u64) -> Result<(), DmError> {
        let Superblock { params, data_blocks, .. } = &self.superblock;
        is_there(&self.superblock, bytes)?;
        let hasher = BlockHasher::new(params);
        let mut levels = vec![Sha256::new(); self.levels.len()];
        let mut keep = |level: usize, _: u64, block: &[u8]| {
            levels[level].update(block);
            Ok(())
        };
        let mut tree = Tree::new(&self.layout, &hasher, &mut keep);
        let size = params.algorithm.size();
        leaves(Source::Stream(&mut *data), *data_blocks, params.data_block.len(), &hasher, &mut |_, digests| {
            digests.chunks_exact(size).try_for_each(|digest| tree.push(0, digest))
        })?;
        let found = tree.finish()?;
        std::io::copy(data, &mut std::io::sink()).on("read the volume")?;
        if found != manifest.root_hash {
            return Err(DmError::Root { found, want: manifest.root_hash.clone() });
        }
        let levels = levels.into_iter().map(|digest| <[u8; 32]>::from(digest.finalize()));
        if levels.eq(self.levels.iter().copied()) { Ok(()) } else { Err(DmError::Tree) }
    }
}

/// Reads zeros up to an offset.
fn padding(hash: &mut dyn Read, mut at: u64, end: u64) -> Result<u64, DmError> {
    let mut room = [0; SUPERBLOCK_BYTES];
    while at < end {
        let piece = &mut room[..(end - at).min(SUPERBLOCK_BYTES as u64) as usize];
        hash.read_exact(piece).on("read the hash file")?;
        if let Some(bad) = piece.iter().position(|byte| *byte != 0) {
            return Err(DmError::Padding(at + bad as u64));
        }
        at += piece.len() as u64;
    }
    Ok(at)
}
