//! Where the blocks of a tree are in its file.

use super::error::DmError;
use super::params::{HashType, Params};
use super::superblock::SUPERBLOCK_BYTES;

/// The shape of a tree over so many data blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How many digests a hash block has, as a power of two.
    pub(super) bits: u32,
    /// How far apart they begin.
    pub(super) stride: usize,
    /// The lowest first.
    pub(super) levels: Vec<Level>,
    /// How many data blocks.
    pub(super) data_blocks: u64,
    /// Bytes of a hash block.
    pub(super) block: usize,
    length: u64,
}

/// The blocks of a level, which lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The first, counted from the beginning of the file.
    pub(super) first: u64,
    pub(super) blocks: u64,
}

/// `veritysetup` leaves a file without a tree no longer than this, however large hash blocks are.
const SHORTEST: u64 = 4096;

impl Layout {
    /// The tree over `data_blocks`, of which there is at least one, behind a superblock or at the beginning of its file.
    pub fn new(params: &Params, data_blocks: u64, superblock: bool) -> Result<Self, DmError> {
        let too_large = || DmError::TooLarge(data_blocks);
        let (digest, block) = (params.algorithm.size(), params.hash_block.len());
        // The smallest block has room for eight of the longest.
        let bits = (block / digest).ilog2();
        let stride = match params.hash_type {
            HashType::Normal => digest.next_power_of_two(),
            HashType::ChromeOs => digest,
        };
        let mut sizes = Vec::new();
        let mut below = data_blocks;
        while below > 1 {
            below = below.div_ceil(1 << bits);
            sizes.push(below);
        }
        let head = if superblock { SUPERBLOCK_BYTES.div_ceil(block) as u64 } else { 0 };
        let mut levels = Vec::new();
        let mut next = head;
        for blocks in sizes.into_iter().rev() {
            levels.push(Level { first: next, blocks });
            next = next.checked_add(blocks).ok_or_else(too_large)?;
        }
        levels.reverse();
        let mut length = next.checked_mul(block as u64).ok_or_else(too_large)?;
        if levels.is_empty() {
            length = length.min(SHORTEST);
        }
        Ok(Self { bits, stride, levels, data_blocks, block, length })
    }

    /// How long the file is.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many blocks the tree has.
    pub fn hash_blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks).sum()
    }

    /// Where a block of a level begins.
    pub(super) fn offset(&self, level: usize, index: u64) -> u64 {
        (self.levels[level].first + index) * self.block as u64
    }

    /// How many digests a block of a level has.
    pub(super) fn digests(&self, level: usize, index: u64) -> usize {
        let below = level.checked_sub(1).map_or(self.data_blocks, |lower| self.levels[lower].blocks);
        // At most 2048, and there is at least one.
        below.saturating_sub(index << self.bits).min(1 << self.bits) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::{Algorithm, BlockSize, Salt};

    fn params(algorithm: Algorithm, hash_type: HashType, block: u64) -> Params {
        let hash_block = BlockSize::new(block).unwrap();
        Params { algorithm, hash_type, hash_block, ..Params::usual(Salt::new(Vec::new()).unwrap()) }
    }

    #[test]
    fn the_top_level_comes_first() {
        let usual = params(Algorithm::Sha256, HashType::Normal, 4096);
        for (blocks, levels, length) in [
            (1, &[][..], 4096),
            (2, &[(1, 1)], 8192),
            (128, &[(1, 1)], 8192),
            (129, &[(2, 2), (1, 1)], 16384),
            (16384, &[(2, 128), (1, 1)], 4096 * 130),
            (16385, &[(4, 129), (2, 2), (1, 1)], 544_768),
        ] {
            let layout = Layout::new(&usual, blocks, true).unwrap();
            let found: Vec<_> = layout.levels.iter().map(|level| (level.first, level.blocks)).collect();
            assert_eq!((found.as_slice(), layout.length()), (levels, length), "{blocks}");
            let without = Layout::new(&usual, blocks, false).unwrap();
            assert_eq!(without.length(), length - 4096, "{blocks}");
        }
    }

    #[test]
    fn room_is_a_power_of_two() {
        for (algorithm, hash_type, block, bits, stride) in [
            (Algorithm::Sha1, HashType::Normal, 4096, 7, 32),
            (Algorithm::Sha1, HashType::ChromeOs, 4096, 7, 20),
            (Algorithm::Sha1, HashType::ChromeOs, 512, 4, 20),
            (Algorithm::Sha512, HashType::Normal, 512, 3, 64),
            (Algorithm::Sha256, HashType::Normal, 65536, 11, 32),
        ] {
            let layout = Layout::new(&params(algorithm, hash_type, block), 5, true).unwrap();
            assert_eq!((layout.bits, layout.stride), (bits, stride), "{algorithm:?} {block}");
        }
        // Without a tree, as veritysetup leaves it.
        assert_eq!(Layout::new(&params(Algorithm::Sha256, HashType::Normal, 65536), 1, true).unwrap().length(), 4096);
        assert_eq!(Layout::new(&params(Algorithm::Sha256, HashType::Normal, 512), 1, true).unwrap().length(), 512);
    }

    #[test]
    fn no_number_of_blocks_is_too_much_to_ask() {
        for blocks in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 62] {
            for block in [512, 4096, 65536] {
                // An error or a length, and no overflow.
                Layout::new(&params(Algorithm::Sha512, HashType::Normal, block), blocks, true).ok();
            }
        }
        assert!(Layout::new(&params(Algorithm::Sha512, HashType::Normal, 512), u64::MAX, true).is_err());
    }

    #[test]
    fn the_last_block_of_a_level_has_fewer_digests() {
        let layout = Layout::new(&params(Algorithm::Sha256, HashType::Normal, 4096), 16385, true).unwrap();
        let counts = [(0, 0, 128), (0, 127, 128), (0, 128, 1), (1, 0, 128), (1, 1, 1), (2, 0, 2)];
        for (level, index, digests) in counts {
            assert_eq!(layout.digests(level, index), digests, "{level} {index}");
        }
    }
}
