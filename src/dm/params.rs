//! What a tree is made with: parsed once, from a superblock, a manifest or a command line.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::hash::Algorithm;
use crate::state::{ObjectId, escape};

/// Something that a tree is made with cannot be so.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamError {
    /// A block size.
    #[error("the block size {0} is not one\nit is a power of two from 512 to 65536")]
    BlockSize(u64),
    /// A hash type.
    #[error("the hash type {0} is neither 0 nor 1")]
    HashType(u64),
    /// A digest.
    #[error("the hash algorithm \"{}\" is none of sha256, sha512, sha1", escape(.0))]
    Algorithm(String),
    /// A salt, as a text.
    #[error("the salt \"{}\" is not one\nit is lower-case hex, two digits for each of at most 256 bytes, or - for none", escape(.0))]
    Salt(String),
    /// A salt, by its length.
    #[error("a salt of {0} bytes is longer than 256")]
    SaltLength(usize),
    /// An uuid.
    #[error("the uuid \"{}\" is not one\nit is 32 lower-case hex digits in groups of 8-4-4-4-12", escape(.0))]
    Uuid(String),
    /// A root hash.
    #[error("the root hash \"{}\" is not lower-case hex", escape(.0))]
    RootHash(String),
}

/// How many bytes a block has: a power of two from 512 to 65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockSize(u32);

impl BlockSize {
    /// What everybody uses.
    pub const USUAL: Self = Self(4096);

    /// Takes a number that somebody gave.
    pub fn new(bytes: u64) -> Result<Self, ParamError> {
        match u32::try_from(bytes) {
            Ok(bytes @ 512..=65536) if bytes.is_power_of_two() => Ok(Self(bytes)),
            _ => Err(ParamError::BlockSize(bytes)),
        }
    }

    /// In bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    /// In bytes.
    pub(super) fn len(self) -> usize {
        self.0 as usize
    }
}

/// How a block is hashed, and digests lie in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashType {
    /// 0: the salt comes last, digests lie side by side.
    ChromeOs,
    /// 1: the salt comes first, digests have a power of two of room.
    Normal,
}

impl HashType {
    /// Takes a number that somebody gave.
    pub fn new(number: u64) -> Result<Self, ParamError> {
        match number {
            0 => Ok(Self::ChromeOs),
            1 => Ok(Self::Normal),
            other => Err(ParamError::HashType(other)),
        }
    }

    /// As the superblock has it.
    pub fn number(self) -> u32 {
        match self {
            Self::ChromeOs => 0,
            Self::Normal => 1,
        }
    }
}

/// Bytes that are hashed with every block; at most 256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// How long one is that nobody gave.
    const USUAL: usize = 32;
    /// What a superblock has room for.
    pub const MOST: usize = 256;

    /// Takes bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, ParamError> {
        if bytes.len() > Self::MOST { Err(ParamError::SaltLength(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// Parses lower-case hex, or `-` for none.
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let bytes = match text {
            "-" => Some(Vec::new()),
            "" => None,
            hex => unhex(hex),
        };
        bytes.and_then(|bytes| Self::new(bytes).ok()).ok_or_else(|| ParamError::Salt(start(text)))
    }

    /// 32 bytes that nobody foresees.
    pub fn random() -> io::Result<Self> {
        let mut bytes = vec![0; Self::USUAL];
        random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The salt of a volume with this sha256, wherever and whenever it is converted (`--reproducible`).
    pub fn of_volume(id: &ObjectId) -> Self {
        Self(derive("salt", id).to_vec())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("-") } else { hex(&self.0, f) }
    }
}

/// Names a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uuid([u8; 16]);

/// Where a printed uuid has dashes.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uuid {
    /// Takes bytes, in the order in which they are printed.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses `4c15a854-eacc-4283-8e91-0a04504a2d5c`.
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let refuse = || ParamError::Uuid(start(text));
        let is_laid_out =
            text.len() == 36 && text.bytes().enumerate().all(|(at, b)| (b == b'-') == DASHES.contains(&at));
        if !is_laid_out {
            return Err(refuse());
        }
        let bytes = unhex(&text.replace('-', "")).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(refuse)
    }

    /// A random one (version 4).
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        random(&mut bytes)?;
        Ok(Self(versioned(bytes, 4)))
    }

    /// That of a volume with this sha256 (version 8, RFC 9562 §5.8).
    pub fn of_volume(id: &ObjectId) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&derive("uuid", id)[..16]);
        Self(versioned(bytes, 8))
    }

    /// In the order in which they are printed.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

fn versioned(mut bytes: [u8; 16], version: u8) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// The digest at the top of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootHash(Vec<u8>);

impl RootHash {
    pub(super) fn from_digest(digest: &[u8]) -> Self {
        Self(digest.to_vec())
    }

    /// Parses lower-case hex.
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let digest = unhex(text).filter(|digest| (1..=64).contains(&digest.len()));
        digest.map(Self).ok_or_else(|| ParamError::RootHash(start(text)))
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// All that a tree depends on besides the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// How blocks are hashed.
    pub hash_type: HashType,
    /// With what.
    pub algorithm: Algorithm,
    /// Size of a data block.
    pub data_block: BlockSize,
    /// Size of a block of the tree.
    pub hash_block: BlockSize,
    /// What is hashed with each.
    pub salt: Salt,
}

impl Params {
    /// What `veritysetup` and the kernel take for granted.
    pub fn usual(salt: Salt) -> Self {
        Self {
            hash_type: HashType::Normal,
            algorithm: Algorithm::Sha256,
            data_block: BlockSize::USUAL,
            hash_block: BlockSize::USUAL,
            salt,
        }
    }
}

/// Lower-case hex digits in pairs.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// As much of a text as a message shows.
fn start(text: &str) -> String {
    text.chars().take(80).collect()
}

fn derive(what: &str, id: &ObjectId) -> [u8; 32] {
    Sha256::new()
        .chain_update("pvr-agent dm-verity ")
        .chain_update(what)
        .chain_update([0])
        .chain_update(id.as_bytes())
        .finalize()
        .into()
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_printed_alike() {
        let uuid = "4c15a854-eacc-4283-8e91-0a04504a2d5c";
        assert_eq!(Uuid::parse(uuid).unwrap().to_string(), uuid);
        for salt in ["-", "00", &"5a".repeat(256)] {
            assert_eq!(Salt::parse(salt).unwrap().to_string(), salt);
        }
        assert_eq!(RootHash::parse("00ff").unwrap().to_string(), "00ff");
    }

    #[test]
    fn what_is_not_is_refused() {
        let long = "5a".repeat(257);
        for salt in ["", "0", "0g", "AB", " 00", "--", "é0", &long] {
            assert!(Salt::parse(salt).is_err(), "{salt}");
        }
        for uuid in [
            "",
            "4C15A854-eacc-4283-8e91-0a04504a2d5c",
            "4c15a854eacc-4283-8e91-0a04504a2d5c-",
            "4c15a854-eacc-4283-8e91-0a04504a2d5",
            "4c15a854-eacc-4283-8e91-0a04504a2d5c0",
            "4c15a854-eacc-4283-8e91-0a04504a2-5c",
            "4c15a854-eacc-4283-8e91-0a04504a2dé",
        ] {
            assert!(Uuid::parse(uuid).is_err(), "{uuid}");
        }
        for size in [0, 1, 256, 511, 513, 4095, 6144, 131_072, u64::from(u32::MAX) + 1 + 4096, u64::MAX] {
            assert!(BlockSize::new(size).is_err(), "{size}");
        }
        for (hash, why) in [("", "empty"), ("0", "odd"), ("AB", "upper case"), (&"00".repeat(65), "long")] {
            assert!(RootHash::parse(hash).is_err(), "{why}");
        }
        assert!(HashType::new(2).is_err());
    }

    #[test]
    fn one_volume_has_one_salt_and_one_uuid() {
        let (one, other) = (ObjectId::from_bytes([1; 32]), ObjectId::from_bytes([2; 32]));
        assert_eq!(Salt::of_volume(&one), Salt::of_volume(&one));
        assert_ne!(Salt::of_volume(&one), Salt::of_volume(&other));
        // Fixed for ever: images that are built again have to be those that were built before.
        assert_eq!(Uuid::of_volume(&one).to_string(), DERIVED.0);
        assert_eq!(Salt::of_volume(&one).to_string(), DERIVED.1);
        assert_ne!(Salt::random().unwrap(), Salt::random().unwrap());
        let random = Uuid::random().unwrap().to_string();
        assert_eq!(&random[14..15], "4");
        assert!("89ab".contains(&random[19..20]), "{random}");
    }

    const DERIVED: (&str, &str) =
        ("4ed5cbcd-c214-8623-948c-6ccaf31395a2", "fda030e0c624b94ec546e3b9014b4246236f1d76680d7b27be00a78d75ccabe4");
}
