//! dm-verity: a tree of digests over a volume, which the kernel checks each block against as it is read.
//!
//! This module knows bytes and files: it makes trees and checks them. What becomes of a working copy is in `repo::dm`,
//! what a state has to hold in `trails::verity`.
//!
//! # The hash file (`sig-dm.md` §9; what the kernel reads)
//!
//! ```text
//! offset 0      the superblock, 512 bytes: superblock.rs; then zeros to the end of the first hash block
//! hash block 1  the tree: the one block of the top level first, the lowest level last
//! ```
//!
//! Each level holds the digests of the blocks of the level below, the lowest those of the data blocks. A hash block has
//! room for a power of two of digests; what is left of it is zeros. A level of one block is the top, and its digest is the
//! *root hash*. Of one data block there is no tree, and its digest is the root hash.
//!
//! | hash type | digest of a block | room of a digest |
//! |---|---|---|
//! | 1, the usual one | of salt, then block | the next power of two |
//! | 0, as Chrome OS has it | of block, then salt | as long as it is |
//!
//! Bytes of the volume behind its last whole block are covered by nothing.
//!
//! # The manifest
//!
//! `<container>/_dm/<volume>.json` names the two files, the root hash, and what else the superblock says: manifest.rs. It
//! is what a device believes, so it is what everything else is held against.

mod build;
mod check;
mod error;
mod hash;
mod layout;
mod leaves;
mod manifest;
mod params;
mod streams;
mod superblock;
mod tree;

pub use build::{Built, Head, build};
pub use check::{Checked, check, open_superblock};
pub use error::DmError;
pub use hash::Algorithm;
pub use layout::Layout;
pub use leaves::Source;
pub use manifest::{Manifest, ManifestError, TYPE, manifest_of, path as manifest_path};
pub use params::{BlockSize, HashType, ParamError, Params, RootHash, Salt, Uuid};
pub use streams::Outline;
pub use superblock::{SUPERBLOCK_BYTES, Superblock, SuperblockError};
pub use tree::{Bad, Report, verify};
