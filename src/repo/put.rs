//! `put` and `putobjects`: the committed state in place of another one, or only its objects somewhere else.

use std::path::Path;

use super::error::RepoError;
use super::get::{Copied, copy};
use super::post::baseline;
use super::{Repo, read_state};
use crate::remote::{Objects, Observer, Remote, Resend};
use crate::state::{ObjectId, State, StatePath};

impl Repo {
    /// Sends what the endpoint lacks, then the committed state in place of the endpoint's own. `uri` is remembered.
    /// `synched` is called once the endpoint's own state is known.
    pub fn put(
        &self,
        remote: &Remote,
        uri: &str,
        resend: Resend,
        observer: &dyn Observer,
        synched: &mut dyn FnMut(bool),
    ) -> Result<(), RepoError> {
        let state = self.committed()?;
        let there = baseline(remote.state(&self.limits))?;
        synched(there.is_some());
        let there = there.unwrap_or_default();
        remote.upload(self.store()?, state.objects().filter(|(_, id)| !there.contains(id)), resend, observer)?;
        remote.put(&state, &self.limits)?;
        let lock = self.lock()?;
        let mut config = self.config()?;
        config.default_put_url = uri.to_owned();
        for other in [&mut config.default_get_url, &mut config.default_post_url] {
            if other.is_empty() {
                uri.clone_into(other);
            }
        }
        config.write(&self.pvr, &lock)
    }

    /// Puts the committed state into another repository, whose `.pvr` this is: its objects first, each verified. The
    /// working tree there stays as it is. Says how many keys had objects.
    pub fn put_local(&self, pvr: &Path, copied: Copied<'_>) -> Result<usize, RepoError> {
        let state = self.committed()?;
        let mut other = Self::at(pvr).with_json_limits(self.limits);
        pvr.clone_into(&mut other.pvr);
        if read_state(pvr, &self.limits)?.is_none() {
            return Err(RepoError::NoSource { path: pvr.to_owned(), inside: pvr.join(".pvr/json").is_file() });
        }
        let wanted: Vec<(&StatePath, &ObjectId)> = state.objects().collect();
        let objects = copy(other.store()?, &self.pvr, &wanted, copied)?;
        let lock = other.lock()?;
        other.write_pristine(&state, &lock)?;
        Ok(objects)
    }

    /// Sends the objects of the committed state, and nothing else.
    pub fn put_objects(&self, objects: &Objects, resend: Resend, observer: &dyn Observer) -> Result<(), RepoError> {
        let state = self.committed()?;
        Ok(objects.upload(self.store()?, state.objects(), resend, observer)?)
    }

    fn committed(&self) -> Result<State, RepoError> {
        self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))
    }
}
