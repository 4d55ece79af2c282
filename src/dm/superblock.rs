//! The superblock: what a tree is made with, at the beginning of its file.
//!
//! Little-endian, 512 bytes; what is not named is zero, and has to be.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `verity`, NUL, NUL |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | hash type: 0 or 1 |
//! | 16 | 16 | uuid, in the order in which it is printed |
//! | 32 | 32 | name of the digest |
//! | 64 | 4 | size of a data block |
//! | 68 | 4 | size of a hash block |
//! | 72 | 8 | how many data blocks |
//! | 80 | 2 | bytes of salt |
//! | 88 | 256 | salt |

use thiserror::Error;

use super::hash::Algorithm;
use super::params::{BlockSize, HashType, ParamError, Params, Salt, Uuid};

/// How long one is.
pub const SUPERBLOCK_BYTES: usize = 512;

const SIGNATURE: &[u8; 8] = b"verity\0\0";
const VERSION: u32 = 1;

/// A superblock that makes sense by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Names the tree.
    pub uuid: Uuid,
    /// What it is made with.
    pub params: Params,
    /// How many blocks it covers; at least one.
    pub data_blocks: u64,
}

/// Bytes are no superblock.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuperblockError {
    /// They are too few.
    #[error("the hash file has {0} bytes; a superblock alone has {SUPERBLOCK_BYTES}")]
    Short(u64),
    /// It does not begin like one.
    #[error("the hash file does not begin with a superblock of dm-verity")]
    Signature,
    /// There is but one version.
    #[error("the superblock has version {0}, not {VERSION}")]
    Version(u32),
    /// A member.
    #[error("the superblock cannot be right: {0}")]
    Param(#[from] ParamError),
    /// Too much salt.
    #[error("the superblock cannot be right: its salt has {0} bytes, and room for 256")]
    Salt(u16),
    /// It covers nothing.
    #[error("the superblock cannot be right: it covers no block")]
    Empty,
    /// Zeros that are none.
    #[error("the superblock has a byte at {0} that has to be zero")]
    Padding(usize),
}

impl Superblock {
    /// As bytes.
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_BYTES] {
        let Params { hash_type, algorithm, data_block, hash_block, salt } = &self.params;
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, SIGNATURE);
        put(8, &VERSION.to_le_bytes());
        put(12, &hash_type.number().to_le_bytes());
        put(16, self.uuid.as_bytes());
        put(32, algorithm.name().as_bytes());
        put(64, &data_block.get().to_le_bytes());
        put(68, &hash_block.get().to_le_bytes());
        put(72, &self.data_blocks.to_le_bytes());
        // A salt has 256 bytes at most.
        put(80, &(salt.as_bytes().len() as u16).to_le_bytes());
        put(88, salt.as_bytes());
        bytes
    }

    /// Whether bytes begin like one.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(SIGNATURE)
    }

    /// Reads one from the beginning of a hash file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let Some(bytes) = bytes.first_chunk::<SUPERBLOCK_BYTES>() else {
            return Err(SuperblockError::Short(bytes.len() as u64));
        };
        if !Self::is_one(bytes) {
            return Err(SuperblockError::Signature);
        }
        let version = u32::from_le_bytes(field(bytes, 8));
        if version != VERSION {
            return Err(SuperblockError::Version(version));
        }
        let number = |at| u64::from(u32::from_le_bytes(field(bytes, at)));
        let hash_type = HashType::new(number(12))?;
        let name: [u8; 32] = field(bytes, 32);
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let algorithm = Algorithm::parse(&String::from_utf8_lossy(&name[..end]))?;
        let (data_block, hash_block) = (BlockSize::new(number(64))?, BlockSize::new(number(68))?);
        let data_blocks = u64::from_le_bytes(field(bytes, 72));
        if data_blocks == 0 {
            return Err(SuperblockError::Empty);
        }
        let length = u16::from_le_bytes(field(bytes, 80));
        let salted: [u8; Salt::MOST] = field(bytes, 88);
        let salt = salted.get(..usize::from(length)).ok_or(SuperblockError::Salt(length))?;
        let spare = [32 + end..64, 82..88, 88 + salt.len()..SUPERBLOCK_BYTES];
        if let Some(at) = spare.into_iter().flatten().find(|at| bytes[*at] != 0) {
            return Err(SuperblockError::Padding(at));
        }
        let salt = Salt::new(salt.to_vec())?;
        let params = Params { hash_type, algorithm, data_block, hash_block, salt };
        Ok(Self { uuid: Uuid::from_bytes(field(bytes, 16)), params, data_blocks })
    }
}

fn field<const N: usize>(bytes: &[u8; SUPERBLOCK_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Superblock {
        Superblock {
            uuid: Uuid::parse("4c15a854-eacc-4283-8e91-0a04504a2d5c").unwrap(),
            params: Params::usual(Salt::new((0..32).collect()).unwrap()),
            data_blocks: 129,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (algorithm, salt) in [(Algorithm::Sha1, 0), (Algorithm::Sha256, 256), (Algorithm::Sha512, 1)] {
            let mut superblock = one();
            superblock.params.algorithm = algorithm;
            superblock.params.salt = Salt::new(vec![0; salt]).unwrap();
            assert_eq!(Superblock::parse(&superblock.to_bytes()), Ok(superblock));
        }
        assert_eq!(one().to_bytes()[16], 0x4c);
        assert_eq!(one().to_bytes()[64..80], [0, 16, 0, 0, 0, 16, 0, 0, 129, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_is_told_apart() {
        use SuperblockError as E;
        let with = |at: usize, field: &[u8]| {
            let mut bytes = one().to_bytes();
            bytes[at..at + field.len()].copy_from_slice(field);
            Superblock::parse(&bytes).unwrap_err()
        };
        assert_eq!(Superblock::parse(&one().to_bytes()[..511]), Err(E::Short(511)));
        assert_eq!(with(0, b"V"), E::Signature);
        assert_eq!(with(8, &[2]), E::Version(2));
        assert_eq!(with(12, &[2]), E::Param(ParamError::HashType(2)));
        assert_eq!(with(32, b"sha257"), E::Param(ParamError::Algorithm("sha257".to_owned())));
        assert_eq!(with(32, &[b'a'; 32]), E::Param(ParamError::Algorithm("a".repeat(32))));
        assert_eq!(with(40, &[1]), E::Padding(40));
        assert_eq!(with(64, &[1]), E::Param(ParamError::BlockSize(4097)));
        assert_eq!(with(70, &[2]), E::Param(ParamError::BlockSize(4096 + 131_072)));
        assert_eq!(with(72, &[0]), E::Empty);
        assert_eq!(with(80, &[1, 1]), E::Salt(257));
        assert_eq!(with(80, &[31]), E::Padding(88 + 31));
        for at in [82, 87, 88 + 32, 88 + 255, 344, 511] {
            assert_eq!(with(at, &[1]), E::Padding(at));
        }
    }
}
