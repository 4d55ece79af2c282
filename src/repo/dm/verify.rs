//! `dm-verify` and `dm-info`: the trees of the working tree, looked at.

use serde::Serialize;

use super::convert::{Tracked, devices};
use super::{Volume, absolute, files};
use crate::dm::{Bad, Checked, DmError, Layout, Manifest, Params, Superblock, check, manifest_of, open_superblock};
use crate::repo::Repo;
use crate::repo::error::RepoError;
use crate::state::{StatePath, Value};

/// What is said of a volume.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// The folder.
    pub container: String,
    /// The file in it.
    pub volume: String,
    /// Whether data, tree, superblock and manifest agree.
    pub ok: bool,
    /// Why it could not be checked to its end; more than one line, where something can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether that is the fault of what was read, not of the way to it.
    #[serde(skip)]
    pub told: bool,
    /// Bad blocks of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Bad>,
    /// Bad blocks of the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Bad>,
    /// Blocks of the volume of which a bad tree says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u64>,
    /// How many blocks the tree covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Their size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Bytes of the volume that it does not cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncovered: Option<u64>,
    /// Bytes of the hash file that belong to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<u64>,
}

/// What superblock and manifest of a volume say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeInfo {
    /// The folder.
    pub container: String,
    /// The file in it.
    pub volume: String,
    /// The manifest's name of the volume.
    pub data_device: String,
    /// The manifest's name of the hash file.
    pub hash_device: String,
    /// The manifest's.
    pub root_hash: String,
    /// The superblock's, as all that follows.
    pub uuid: String,
    /// 0 or 1.
    pub hash_type: u32,
    /// The digest.
    pub algorithm: &'static str,
    /// Blocks of the volume.
    pub data_blocks: u64,
    /// Their size.
    pub data_block_size: u32,
    /// Blocks of the tree.
    pub hash_blocks: u64,
    /// Their size.
    pub hash_block_size: u32,
    /// In hex; `-` for none.
    pub salt: String,
}

impl Repo {
    /// Checks the volumes of all tracked manifests, of a container, or one: `container/volume`.
    pub fn dm_verify(&self, which: Option<&str>) -> Result<Vec<Verdict>, RepoError> {
        let judged = self.chosen(which)?.into_iter().map(|(key, volume)| {
            let verdict = Verdict {
                container: volume.container().to_owned(),
                volume: volume.name().to_owned(),
                told: true,
                ..Verdict::default()
            };
            match self.checked(&key, &volume) {
                Ok(Checked { superblock, report, uncovered, stale }) => Verdict {
                    ok: report.is_clean() && stale == 0,
                    data: report.data,
                    tree: report.tree,
                    unknown: Some(report.unknown).filter(|blocks| *blocks > 0),
                    blocks: Some(superblock.data_blocks),
                    block_size: Some(superblock.params.data_block.get()),
                    uncovered: Some(uncovered).filter(|bytes| *bytes > 0),
                    stale: Some(stale).filter(|bytes| *bytes > 0),
                    ..verdict
                },
                Err(error) => Verdict { told: is_finding(&error), error: Some(error.to_string()), ..verdict },
            }
        });
        Ok(judged.collect())
    }

    /// What superblocks and manifests say, unchecked. The first that cannot be read is an error.
    pub fn dm_info(&self, which: Option<&str>) -> Result<Vec<VolumeInfo>, RepoError> {
        self.chosen(which)?.iter().map(|(key, volume)| self.info(key, volume)).collect()
    }

    fn chosen(&self, which: Option<&str>) -> Result<Vec<(StatePath, Volume)>, RepoError> {
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut chosen = Vec::new();
        for key in self.manifests("", &Tracked::read(self, &pristine)?)? {
            let Some((container, name)) = manifest_of(&key) else { continue };
            let rest = which.map(|which| which.trim_end_matches('/')).map(|which| which.strip_prefix(container));
            let is_chosen = match rest {
                None => true,
                Some(Some(rest)) => rest.is_empty() || rest.strip_prefix('/') == Some(name),
                Some(None) => false,
            };
            if is_chosen {
                let volume = Volume::new(container, name)?;
                chosen.push((key, volume));
            }
        }
        match which {
            Some(which) if chosen.is_empty() => Err(RepoError::NoVolume(which.to_owned())),
            _ => Ok(chosen),
        }
    }

    fn checked(&self, key: &StatePath, volume: &Volume) -> Result<Checked, RepoError> {
        let path = absolute(&self.root, key);
        let manifest = self.read_manifest(key)?;
        let data = absolute(&self.root, &volume.key(manifest.data_device.as_str())?);
        let hash = absolute(&self.root, &volume.key(manifest.hash_device.as_str())?);
        let (data, hash_file) = (files::open(&data)?, files::open(&hash)?);
        check(&manifest, &data, &hash_file).map_err(|error| match &error {
            DmError::Manifest(_) => files::wrong(&path, error),
            _ => files::wrong(&hash, error),
        })
    }

    fn read_manifest(&self, key: &StatePath) -> Result<Manifest, RepoError> {
        let path = absolute(&self.root, key);
        let members = files::object(&path, &self.limits)?.map(|(members, _)| members).unwrap_or_default();
        devices(&path, &members)?;
        Manifest::parse(&Value::Object(members)).map_err(|error| files::wrong(&path, error.into()))
    }

    fn info(&self, key: &StatePath, volume: &Volume) -> Result<VolumeInfo, RepoError> {
        let manifest = self.read_manifest(key)?;
        let hash = absolute(&self.root, &volume.key(manifest.hash_device.as_str())?);
        let wrong = |error: DmError| files::wrong(&hash, error);
        let Superblock { uuid, params, data_blocks } = open_superblock(&files::open(&hash)?).map_err(wrong)?;
        let hash_blocks = Layout::new(&params, data_blocks, true).map_err(wrong)?.hash_blocks();
        let Params { hash_type, algorithm, data_block, hash_block, salt } = params;
        Ok(VolumeInfo {
            container: volume.container().to_owned(),
            volume: volume.name().to_owned(),
            data_device: manifest.data_device.as_str().to_owned(),
            hash_device: manifest.hash_device.as_str().to_owned(),
            root_hash: manifest.root_hash.to_string(),
            uuid: uuid.to_string(),
            hash_type: hash_type.number(),
            algorithm: algorithm.name(),
            data_blocks,
            data_block_size: data_block.get(),
            hash_blocks,
            hash_block_size: hash_block.get(),
            salt: salt.to_string(),
        })
    }
}

/// Whether the files are at fault: they say what is not so, or are not there.
fn is_finding(error: &RepoError) -> bool {
    match error {
        RepoError::Dm { source, .. } => source.is_finding(),
        RepoError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        RepoError::Container { .. } | RepoError::NotAFile(_) | RepoError::Name { .. } => true,
        _ => false,
    }
}
