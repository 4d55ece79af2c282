//! dm-verity volumes of a working copy (`sig-dm.md` §7, §8).
//!
//! ```text
//! <container>/<volume>              the data
//! <container>/<volume>.hash         superblock and tree: crate::dm
//! <container>/_dm/<volume>.json     the manifest: what the device mounts dm:<volume> by
//! <container>/run.json              names the volume as dm:<volume>
//! <container>/src.json              "dm_enabled":{"<volume>":true}
//! ```
//!
//! What a command changes takes its place together with all else that it changes (`batch`).

mod apply;
mod convert;
mod files;
mod run_json;
mod src_json;
mod verify;

use std::path::{Path, PathBuf};

pub use apply::Applied;
pub use convert::Converted;
pub use verify::{Verdict, VolumeInfo};

use super::error::RepoError;
use crate::dm::{Algorithm, BlockSize, HashType, Params, Salt, Uuid};
use crate::state::path::PathError;
use crate::state::{ObjectId, StatePath};

/// A volume of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    container: StatePath,
    name: StatePath,
}

impl Volume {
    /// Takes names from a command line.
    pub fn new(container: &str, volume: &str) -> Result<Self, RepoError> {
        let parse =
            |text: &str| -> Result<StatePath, PathError> { StatePath::parse(text.strip_suffix('/').unwrap_or(text)) };
        let bad = |name: &str, why: PathError| RepoError::Name { name: name.to_owned(), why: why.to_string() };
        let container = parse(container).map_err(|why| bad(container, why))?;
        let name = StatePath::parse(volume).map_err(|why| bad(volume, why))?;
        // The longest of its files.
        let volume = Self { container, name };
        volume.key(&format!("_dm/{}.json", volume.name.as_str()))?;
        Ok(volume)
    }

    /// The folder.
    pub fn container(&self) -> &str {
        self.container.as_str()
    }

    /// The file in it.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    fn key(&self, below: &str) -> Result<StatePath, RepoError> {
        let name = format!("{}/{below}", self.container.as_str());
        StatePath::parse(&name).map_err(|why| RepoError::Name { name, why: why.to_string() })
    }

    fn data(&self) -> Result<StatePath, RepoError> {
        self.key(self.name.as_str())
    }

    fn manifest(&self) -> Result<StatePath, RepoError> {
        self.key(&format!("_dm/{}.json", self.name.as_str()))
    }
}

/// What a tree is made with: what is not said stays as it is, and is the usual where there is none yet.
#[derive(Debug, Clone, Default)]
pub struct Making {
    /// The salt.
    pub salt: Option<Salt>,
    /// The name of the tree.
    pub uuid: Option<Uuid>,
    /// The digest.
    pub algorithm: Option<Algorithm>,
    /// The size of a data block.
    pub data_block: Option<BlockSize>,
    /// The size of a hash block.
    pub hash_block: Option<BlockSize>,
    /// The hash type.
    pub hash_type: Option<HashType>,
    /// Salt and uuid, where they are not given, come of the volume's sha256 and of nothing else.
    pub reproducible: bool,
}

/// What an earlier tree of the volume was made with.
#[derive(Debug, Clone, Default)]
struct Earlier {
    salt: Option<Salt>,
    uuid: Option<Uuid>,
    params: Option<Params>,
}

impl Making {
    /// `id` is asked for the sha256 of the volume, if that matters.
    fn of(
        &self,
        earlier: Earlier,
        id: impl FnOnce() -> Result<ObjectId, RepoError>,
        path: &Path,
    ) -> Result<(Params, Uuid), RepoError> {
        let random = |source| RepoError::Io { verb: "get random bytes for", path: path.to_owned(), source };
        let (mut salt, mut uuid) = (self.salt.clone(), self.uuid);
        if self.reproducible && (salt.is_none() || uuid.is_none()) {
            let id = id()?;
            salt = salt.or_else(|| Some(Salt::of_volume(&id)));
            uuid = uuid.or_else(|| Some(Uuid::of_volume(&id)));
        }
        let salt = match salt.or(earlier.salt) {
            Some(salt) => salt,
            None => Salt::random().map_err(random)?,
        };
        let uuid = match uuid.or(earlier.uuid) {
            Some(uuid) => uuid,
            None => Uuid::random().map_err(random)?,
        };
        let Params { hash_type, algorithm, data_block, hash_block, salt } = match earlier.params {
            Some(params) => Params { salt, ..params },
            None => Params::usual(salt),
        };
        let params = Params {
            hash_type: self.hash_type.unwrap_or(hash_type),
            algorithm: self.algorithm.unwrap_or(algorithm),
            data_block: self.data_block.unwrap_or(data_block),
            hash_block: self.hash_block.unwrap_or(hash_block),
            salt,
        };
        Ok((params, uuid))
    }
}

/// A path of the working tree, for lines that name it.
fn absolute(root: &Path, key: &StatePath) -> PathBuf {
    key.below(root)
}
