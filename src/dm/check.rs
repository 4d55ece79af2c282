//! A volume, its hash file and its manifest: whether they agree.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::{Context, DmError};
use super::layout::Layout;
use super::leaves::Source;
use super::manifest::Manifest;
use super::superblock::{SUPERBLOCK_BYTES, Superblock, SuperblockError};
use super::tree::{Report, verify};

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The superblock.
    pub superblock: Superblock,
    /// What is bad.
    pub report: Report,
    /// Bytes at the end of the volume that the tree does not cover.
    pub uncovered: u64,
    /// Bytes at the end of the hash file that belong to no tree: today's tools leave them when a volume has shrunk.
    pub stale: u64,
}

/// Reads the superblock of a hash file.
pub fn open_superblock(hash: &File) -> Result<Superblock, DmError> {
    let length = hash.metadata().on("look at the hash file")?.len();
    if length < SUPERBLOCK_BYTES as u64 {
        return Err(SuperblockError::Short(length).into());
    }
    let mut bytes = [0; SUPERBLOCK_BYTES];
    hash.read_exact_at(&mut bytes, 0).on("read the hash file")?;
    Ok(Superblock::parse(&bytes)?)
}

/// Checks a volume: everything that can be wrong without reading it first. What is bad in volume and tree is in the report;
/// a superblock or a manifest that says what is not so is an error.
pub fn check(manifest: &Manifest, data: &File, hash: &File) -> Result<Checked, DmError> {
    let superblock = open_superblock(hash)?;
    manifest.agrees_with(&superblock)?;
    let uncovered = is_there(&superblock, data.metadata().on("look at the volume")?.len())?;
    let Superblock { params, data_blocks, .. } = &superblock;
    let layout = Layout::new(params, *data_blocks, true)?;
    let have = hash.metadata().on("look at the hash file")?.len();
    let Some(stale) = have.checked_sub(layout.length()) else {
        return Err(DmError::Length { have, want: layout.length() });
    };
    let end = layout.length().min(u64::from(params.hash_block.get()));
    let mut rest = vec![0; (end as usize).saturating_sub(SUPERBLOCK_BYTES)];
    hash.read_exact_at(&mut rest, SUPERBLOCK_BYTES as u64).on("read the hash file")?;
    if let Some(at) = rest.iter().position(|byte| *byte != 0) {
        return Err(DmError::Padding((SUPERBLOCK_BYTES + at) as u64));
    }
    let report = verify(Source::File(data), hash, params, &layout, &manifest.root_hash)?;
    Ok(Checked { superblock, report, uncovered, stale })
}

/// Whether a volume of `bytes` bytes has the blocks that a superblock counts; how many bytes it has besides.
pub(super) fn is_there(superblock: &Superblock, bytes: u64) -> Result<u64, DmError> {
    let (blocks, block) = (superblock.data_blocks, superblock.params.data_block.get());
    let covered = blocks.checked_mul(u64::from(block));
    covered.and_then(|covered| bytes.checked_sub(covered)).ok_or(DmError::Beyond { blocks, block, bytes })
}
