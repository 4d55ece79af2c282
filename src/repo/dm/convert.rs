//! `dm-convert`: a volume of a container becomes one of dm-verity.

use std::io::Seek;
use std::path::{Path, PathBuf};

use super::{Earlier, Making, Volume, absolute, files, run_json, src_json};
use crate::dm::{Built, HashType, Head, Manifest, ManifestError, Salt, Source, Uuid, build, manifest_path};
use crate::repo::Repo;
use crate::repo::batch::{Batch, Target};
use crate::repo::error::{Context, RepoError};
use crate::repo::index::{Added, Index};
use crate::repo::working::hash_file;
use crate::repo::{Run, Status};
use crate::state::{Object, ObjectId, State, StatePath};

/// What a conversion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// The manifest, and `run.json` where there is one.
    pub updated: Vec<PathBuf>,
    /// Files that are others than before.
    pub changes: Status,
    /// What is done, and not all that was meant.
    pub warnings: Vec<String>,
}

/// A volume of which a tree is made, and where the tree goes.
pub(super) struct Job<'a> {
    pub(super) data: StatePath,
    pub(super) hash: StatePath,
    pub(super) data_device: StatePath,
    pub(super) hash_device: StatePath,
    pub(super) earlier: &'a Object,
}

/// The tree, in the batch.
pub(super) struct Tree {
    pub(super) manifest: Manifest,
    pub(super) sha: ObjectId,
    pub(super) warning: Option<String>,
}

impl Repo {
    /// Converts a volume: all of it, or nothing has changed.
    pub fn dm_convert(&self, volume: &Volume, making: &Making, run: Run) -> Result<Converted, RepoError> {
        let lock = self.lock_for(run)?;
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut batch = Batch::begin(self, lock.as_ref())?;
        let mut added = Tracked::read(self, &pristine)?;
        let key = volume.manifest()?;
        let path = absolute(&self.root, &key);
        let before = files::object(&path, &self.limits)?;
        let (mut members, bytes) = before.map_or_else(Default::default, |(members, bytes)| (members, Some(bytes)));
        let hash_device = |name: &StatePath| format!("{}.hash", name.as_str());
        let job = Job {
            data: volume.data()?,
            hash: volume.key(&hash_device(&volume.name))?,
            data_device: volume.name.clone(),
            hash_device: StatePath::parse(&hash_device(&volume.name))
                .map_err(|why| RepoError::Name { name: hash_device(&volume.name), why: why.to_string() })?,
            earlier: &members,
        };
        let (data, hash) = (job.data.clone(), job.hash.clone());
        let tree = self.tree(&mut batch, job, making)?;
        let warnings = tree.warning.into_iter().collect();
        let mut converted = Converted { updated: vec![path], changes: Status::default(), warnings };
        tree.manifest.write_over(&mut members);
        let text = files::replace(&mut batch, &key, bytes.as_deref(), members)?;
        converted.warnings.extend(self.untracked(&data, added.is_tracked(&data)));
        added.add(hash, tree.sha);
        added.add(key, crate::store::hash(text.as_slice()).on("read", &self.root)?);
        self.run_json(&mut batch, volume, &mut converted)?;
        self.src_json(&mut batch, volume)?;
        added.write(&mut batch)?;
        converted.changes = batch.commit()?;
        Ok(converted)
    }

    fn run_json(&self, batch: &mut Batch<'_>, volume: &Volume, converted: &mut Converted) -> Result<(), RepoError> {
        let key = volume.key("run.json")?;
        let path = absolute(&self.root, &key);
        let mut named = false;
        if let Some((mut members, bytes)) = files::object(&path, &self.limits)? {
            named = run_json::convert(&mut members, volume.name());
            files::replace(batch, &key, Some(&bytes), members)?;
            converted.updated.push(path);
        }
        if !named {
            let text = format!("{key} does not name {}: nothing mounts it by its tree", volume.name);
            converted.warnings.push(text);
        }
        Ok(())
    }

    fn src_json(&self, batch: &mut Batch<'_>, volume: &Volume) -> Result<(), RepoError> {
        let key = volume.key("src.json")?;
        let path = absolute(&self.root, &key);
        let Some((mut members, bytes)) = files::object(&path, &self.limits)? else { return Ok(()) };
        let unusable = |why: String| RepoError::Container { path: path.clone(), why };
        src_json::enable(&mut members, volume.name()).map_err(unusable)?;
        let text = src_json::text(&members)?;
        if text.as_bytes() == bytes {
            return Ok(());
        }
        batch.write(Target::Key(key), Some(&bytes), text.as_bytes(), 0o644)
    }

    /// Makes a tree in a batch.
    pub(super) fn tree(&self, batch: &mut Batch<'_>, job: Job<'_>, making: &Making) -> Result<Tree, RepoError> {
        let (data_path, hash_path) = (absolute(&self.root, &job.data), absolute(&self.root, &job.hash));
        let data = files::open(&data_path)?;
        let superblock = files::superblock(&hash_path)?;
        if superblock.is_none() && job.hash_device.as_str() != format!("{}.hash", job.data_device.as_str()) {
            free(&hash_path)?;
        }
        let text = |name: &str| job.earlier.get(name).and_then(|value| value.as_str());
        let earlier = Earlier {
            salt: text("salt").and_then(|text| Salt::parse(text).ok()),
            uuid: text("uuid").and_then(|text| Uuid::parse(text).ok()),
            params: superblock.map(|superblock| superblock.params),
        };
        let (params, uuid) = making.of(earlier, || hash_file(&data_path), &data_path)?;
        if params.hash_type == HashType::ChromeOs && params.salt.as_bytes().is_empty() {
            return Err(files::wrong(&data_path, ManifestError::HashType.into()));
        }
        let bytes = data.metadata().on("look at", &data_path)?.len();
        let (out, out_path) = batch.file(Target::Key(job.hash.clone()), files::mode(&hash_path, 0o600))?;
        let Built { root, uncovered, .. } = build(Source::File(&data), bytes, &params, Head::Superblock(uuid), &out)
            .map_err(|error| files::wrong(&data_path, error))?;
        (&out).rewind().on("read", &out_path)?;
        let sha = crate::store::hash(out).on("read", &out_path)?;
        batch.becomes(sha);
        let block = params.data_block.get();
        let warning = (uncovered > 0).then(|| {
            format!(
                "the last {uncovered} bytes of {} are not covered by its tree: its length is no multiple of {block}",
                job.data
            )
        });
        let Job { data_device, hash_device, .. } = job;
        let manifest = Manifest { data_device, hash_device, root_hash: root, salt: params.salt, uuid };
        Ok(Tree { manifest, sha, warning })
    }
}

/// A file that a manifest names for hashes, and that holds something else, is somebody's.
fn free(hash: &Path) -> Result<(), RepoError> {
    match std::fs::metadata(hash) {
        Ok(metadata) if metadata.len() > 0 => Err(RepoError::Container {
            path: hash.to_owned(),
            why: "a manifest names it for hashes, and it is no hash file\nremove one of the two".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The members of a manifest that say which files it is of.
pub(super) fn devices(path: &Path, members: &Object) -> Result<(StatePath, StatePath), RepoError> {
    let wrong = |error: ManifestError| files::wrong(path, error.into());
    let data = manifest_path(members, "data_device").map_err(wrong)?;
    let hash = manifest_path(members, "hash_device").map_err(wrong)?;
    if data == hash { Err(wrong(ManifestError::OneFile)) } else { Ok((data, hash)) }
}

/// `.pvr/new`, on its way to its successor.
pub(super) struct Tracked {
    index: Index,
    bytes: Option<Vec<u8>>,
    committed: Vec<StatePath>,
}

impl Tracked {
    pub(super) fn read(repo: &Repo, pristine: &State) -> Result<Self, RepoError> {
        let bytes = crate::repo::files::read_if_there(&repo.pvr.join("new"))?;
        let committed = pristine.entries().map(|(key, _)| key.clone()).collect();
        Ok(Self { index: Index::read(&repo.pvr)?, bytes, committed })
    }

    pub(super) fn is_tracked(&self, key: &StatePath) -> bool {
        self.index.0.contains_key(key) || self.committed.binary_search(key).is_ok()
    }

    pub(super) fn add(&mut self, key: StatePath, sha: ObjectId) {
        self.index.0.insert(key, Added { force_object: false, sha: sha.to_string() });
    }

    pub(super) fn write(&self, batch: &mut Batch<'_>) -> Result<(), RepoError> {
        batch.write(Target::Index, self.bytes.as_deref(), self.index.text()?.as_bytes(), 0o644)
    }
}
