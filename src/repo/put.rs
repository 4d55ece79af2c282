//! `put` and `putobjects`: the committed state in place of another one, or only its objects somewhere else.

use std::path::Path;

use super::error::RepoError;
use super::get::between;
use super::post::{Plan, Sent, baseline, objects_in};
use super::source::{Copied, Fetched, Run, Source};
use super::working::Status;
use super::{Repo, read_state};
use crate::remote::{Objects, Observer, Remote, Resend, Silent};
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
    ) -> Result<Sent, RepoError> {
        let state = self.committed()?;
        let there = baseline(remote.state(&self.limits))?;
        synched(there.is_some());
        let there = objects_in(there.as_ref());
        let unknown = state.objects().filter(|(_, id)| !there.contains(id));
        let uploaded = remote.upload(self.store_to_read()?, unknown, resend, observer)?;
        observer.waits(true);
        let put = remote.put(&state, &self.limits);
        observer.waits(false);
        put?;
        let mut sent =
            Sent { uploaded, known: objects_in(Some(&state)).intersection(&there).count(), warnings: Vec::new() };
        sent.warnings.extend(
            self.remember_put(uri, &state).err().map(|error| format!("the address is not remembered: {error}")),
        );
        Ok(sent)
    }

    fn remember_put(&self, uri: &str, state: &State) -> Result<(), RepoError> {
        let lock = self.lock()?;
        self.note_known(state, &lock)?;
        let mut config = self.config()?;
        config.default_put_url = uri.to_owned();
        for other in [&mut config.default_get_url, &mut config.default_post_url] {
            if other.is_empty() {
                uri.clone_into(other);
            }
        }
        config.write(&self.pvr, &lock)
    }

    /// What a put would send, and what would come of it. Changes nothing on either side.
    pub fn would_put(&self, remote: &Remote, resend: Resend) -> Result<Plan, RepoError> {
        let mut plan = self.plan(remote, &self.committed()?, resend)?;
        plan.disk = remote.disk()?;
        Ok(plan)
    }

    /// Puts the committed state into another repository, whose `.pvr` this is: its objects first, each verified. The
    /// working tree there stays as it is. Says what that took, or would take, and what changes in the state there.
    pub fn put_local(&self, pvr: &Path, run: Run, copied: Copied<'_>) -> Result<(Fetched, Status), RepoError> {
        let state = self.committed()?;
        let mut other = Self::at(pvr).with_json_limits(self.limits);
        pvr.clone_into(&mut other.pvr);
        let Some(before) = read_state(pvr, &self.limits)? else {
            return Err(RepoError::NoSource { path: pvr.to_owned(), inside: pvr.join(".pvr/json").is_file() });
        };
        let wanted: Vec<(&StatePath, &ObjectId)> = state.objects().collect();
        let own = Source::Local(&self.pvr).open(&self.limits)?;
        let fetched = own.fetch(&other.store_for(run)?, &wanted, run, &Silent, copied)?;
        let lock = other.lock_for(run)?;
        other.write_pristine(&state, lock.as_ref())?;
        drop(lock);
        // As with an address, it is no failure that this cannot be noted.
        if let Some(lock) = self.lock_for(run).ok().flatten() {
            self.note_known(&state, &lock).ok();
        }
        Ok((fetched, between(&before, &state)?))
    }

    /// Sends the objects of the committed state, and nothing else.
    pub fn put_objects(&self, objects: &Objects, resend: Resend, observer: &dyn Observer) -> Result<(), RepoError> {
        let state = self.committed()?;
        objects.upload(self.store_to_read()?, state.objects(), resend, observer)?;
        Ok(())
    }

    fn committed(&self) -> Result<State, RepoError> {
        self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))
    }
}
