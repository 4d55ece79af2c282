//! Digests of blocks.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::params::{HashType, ParamError, Params};

/// A digest that the kernel knows by this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// For trees that others made: collisions can be had.
    Sha1,
    /// What everybody uses.
    Sha256,
    /// Twice as long.
    Sha512,
}

impl Algorithm {
    /// Finds one by its name.
    pub fn parse(name: &str) -> Result<Self, ParamError> {
        match name {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => Err(ParamError::Algorithm(other.chars().take(80).collect())),
        }
    }

    /// Its name, in a superblock and everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a digest.
    pub fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// Hashes blocks with a salt. One that comes first is hashed once, and what came of it taken up for each block.
#[derive(Debug, Clone)]
pub(super) struct BlockHasher {
    begun: Begun,
    after: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Begun {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl BlockHasher {
    pub(super) fn new(params: &Params) -> Self {
        let salt = params.salt.as_bytes();
        let (before, after) = match params.hash_type {
            HashType::Normal => (salt, &[][..]),
            HashType::ChromeOs => (&[][..], salt),
        };
        let begun = match params.algorithm {
            Algorithm::Sha1 => Begun::Sha1(Sha1::new_with_prefix(before)),
            Algorithm::Sha256 => Begun::Sha256(Sha256::new_with_prefix(before)),
            Algorithm::Sha512 => Begun::Sha512(Sha512::new_with_prefix(before)),
        };
        Self { begun, after: after.to_vec() }
    }

    /// Appends the digest of each block of `size` bytes.
    pub(super) fn digests(&self, blocks: &[u8], size: usize, out: &mut Vec<u8>) {
        match &self.begun {
            Begun::Sha1(begun) => each(begun, blocks, size, &self.after, out),
            Begun::Sha256(begun) => each(begun, blocks, size, &self.after, out),
            Begun::Sha512(begun) => each(begun, blocks, size, &self.after, out),
        }
    }

    /// Bytes of a digest.
    pub(super) fn size(&self) -> usize {
        match self.begun {
            Begun::Sha1(_) => Algorithm::Sha1.size(),
            Begun::Sha256(_) => Algorithm::Sha256.size(),
            Begun::Sha512(_) => Algorithm::Sha512.size(),
        }
    }

    /// The digest of one block.
    pub(super) fn digest(&self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.digests(block, block.len(), &mut out);
        out
    }
}

fn each<D: Digest + Clone>(begun: &D, blocks: &[u8], size: usize, after: &[u8], out: &mut Vec<u8>) {
    for block in blocks.chunks_exact(size) {
        out.extend_from_slice(&begun.clone().chain_update(block).chain_update(after).finalize());
    }
}
