//! What can go wrong with a tree.

use std::io;

use thiserror::Error;

use super::manifest::ManifestError;
use super::params::{ParamError, RootHash};
use super::superblock::SuperblockError;

/// A tree was not made, or not checked to its end. Which files it is about, the caller knows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DmError {
    /// A system call failed.
    #[error("failed to {verb}: {source}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// There is not one whole block.
    #[error("the volume has {bytes} bytes, which is not one block of {block}\na volume of dm-verity has at least one")]
    TooSmall {
        /// The size of the volume.
        bytes: u64,
        /// The size of a block.
        block: u32,
    },
    /// A tree of so many blocks has no place in 64 bits.
    #[error("a tree over {0} blocks is too large")]
    TooLarge(u64),
    /// Something that somebody gave.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The superblock makes no sense.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The manifest makes no sense, or says something else than the superblock.
    #[error("the manifest {0}")]
    Manifest(#[from] ManifestError),
    /// The superblock counts blocks that are not there.
    #[error("the superblock covers {blocks} blocks of {block} bytes; the volume has {bytes} bytes")]
    Beyond {
        /// How many it covers.
        blocks: u64,
        /// The size of a block.
        block: u32,
        /// The size of the volume.
        bytes: u64,
    },
    /// The hash file is not as long as its tree.
    #[error("the hash file has {have} bytes; that of this tree has {want}")]
    Length {
        /// How long it is.
        have: u64,
        /// How long it has to be.
        want: u64,
    },
    /// The volume is not the one that the manifest is of.
    #[error("the root hash of the volume is {found}; the manifest has {want}")]
    Root {
        /// What the volume has.
        found: RootHash,
        /// What it should have.
        want: RootHash,
    },
    /// The hash file holds something else than the tree of the volume.
    #[error("the tree in the hash file is not that of the volume")]
    Tree,
    /// Bytes of the hash file that belong to nothing.
    #[error("the hash file has a byte at {0} that has to be zero")]
    Padding(u64),
}

impl DmError {
    /// Whether the bytes are at fault, rather than the way to them.
    pub fn is_finding(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Says what was being done.
pub(super) trait Context<T> {
    /// "failed to `verb`".
    fn on(self, verb: &'static str) -> Result<T, DmError>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, verb: &'static str) -> Result<T, DmError> {
        self.map_err(|source| DmError::Io { verb, source })
    }
}
