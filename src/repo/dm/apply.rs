//! `dm-apply`: the trees of volumes whose data may have changed are made again.

use std::path::PathBuf;

use super::convert::{Job, Tracked, devices};
use super::{Making, Volume, absolute, files};
use crate::dm::{ManifestError, manifest_of};
use crate::repo::batch::Batch;
use crate::repo::error::RepoError;
use crate::repo::walk::walk;
use crate::repo::{Repo, Run, Status};
use crate::state::{ObjectId, StatePath};

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// The manifests.
    pub updated: Vec<PathBuf>,
    /// Files that are others than before.
    pub changes: Status,
    /// What is done, and not all that was meant.
    pub warnings: Vec<String>,
    /// Volumes that are as they were, and why.
    pub failed: Vec<(PathBuf, RepoError)>,
}

impl Repo {
    /// Makes the trees of all tracked manifests, or of those below `prefix`, again. Those that can't be made are named in
    /// what is returned; the others take their places together.
    pub fn dm_apply(&self, prefix: &str, making: &Making, run: Run) -> Result<Applied, RepoError> {
        let lock = self.lock_for(run)?;
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut batch = Batch::begin(self, lock.as_ref())?;
        let mut tracked = Tracked::read(self, &pristine)?;
        let mut applied = Applied::default();
        for key in self.manifests(prefix, &tracked)? {
            let path = absolute(&self.root, &key);
            let begun = batch.len();
            match self.apply(&mut batch, &key, making) {
                Ok(Done { hash, sha, warning }) => {
                    tracked.add(hash, sha);
                    applied.warnings.extend(warning);
                    applied.updated.push(path);
                }
                Err(error) => {
                    batch.truncate(begun)?;
                    applied.failed.push((path, error));
                }
            }
        }
        if !applied.updated.is_empty() {
            tracked.write(&mut batch)?;
            applied.changes = batch.commit()?;
        }
        Ok(applied)
    }

    /// Tracked manifests of the working tree: all, or those of a folder, or the one of that name. In byte order.
    pub(super) fn manifests(&self, prefix: &str, tracked: &Tracked) -> Result<Vec<StatePath>, RepoError> {
        let prefix = prefix.trim_end_matches('/');
        let below = |key: &str| key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut found = Vec::new();
        for file in walk(&self.root)?.into_iter().filter(|found| found.file.is_some()) {
            let Some(key) = file.path.and_then(|path| StatePath::parse(&path).ok()) else { continue };
            if manifest_of(&key).is_some() && tracked.is_tracked(&key) && (prefix.is_empty() || below(key.as_str())) {
                found.push(key);
            }
        }
        Ok(found)
    }

    fn apply(&self, batch: &mut Batch<'_>, key: &StatePath, making: &Making) -> Result<Done, RepoError> {
        let path = absolute(&self.root, key);
        let gone = || files::wrong(&path, ManifestError::Missing("data_device").into());
        let (container, name) = manifest_of(key).ok_or_else(gone)?;
        let volume = Volume::new(container, name)?;
        let (mut members, bytes) = files::object(&path, &self.limits)?.ok_or_else(gone)?;
        let (data_device, hash_device) = devices(&path, &members)?;
        let (data, hash) = (volume.key(data_device.as_str())?, volume.key(hash_device.as_str())?);
        let job = Job { data, hash: hash.clone(), data_device, hash_device, earlier: &members };
        let tree = self.tree(batch, job, making)?;
        tree.manifest.write_over(&mut members);
        files::replace(batch, key, Some(&bytes), members)?;
        Ok(Done { hash, sha: tree.sha, warning: tree.warning })
    }
}

/// A tree that is in the batch.
struct Done {
    hash: StatePath,
    sha: ObjectId,
    warning: Option<String>,
}
