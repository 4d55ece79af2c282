//! `get` and `merge`: the committed state, or parts of it, come from somewhere else. The working tree stays as it is, and
//! what the committed state was is kept in `.pvr/replaced` where anything of it goes that was never posted.

use std::path::PathBuf;

use super::error::RepoError;
use super::source::{Copied, Fetched, Run, Source};
use super::working::{Changes, normal};
use super::{Repo, Status};
use crate::remote::Observer;
use crate::state::{ObjectId, PartSelection, State, StatePath, part};

/// What becomes of the parts that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They become those of the source.
    Replace,
    /// The source's are laid over them; only what the selection takes out goes.
    Merge,
}

/// What to take, and what to do with it.
#[derive(Debug, Clone, Copy)]
pub struct GetOptions<'a> {
    /// What is remembered as the place it came from.
    pub uri: &'a str,
    /// Which parts.
    pub selection: &'a PartSelection,
    /// What becomes of those that are there.
    pub how: How,
    /// Whether to do it.
    pub run: Run,
}

/// What a `get` did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Objects and bytes.
    pub fetched: Fetched,
    /// What changes in the committed state; nothing is untracked.
    pub changes: Status,
    /// The pool.
    pub pool: PathBuf,
}

impl Repo {
    /// Takes the selected parts of `source`.
    pub fn get(
        &self,
        source: &Source<'_>,
        options: GetOptions<'_>,
        observer: &dyn Observer,
        copied: Copied<'_>,
    ) -> Result<Got, RepoError> {
        let GetOptions { uri, selection, how, run } = options;
        let store = &self.store_for(run)?;
        let opened = source.open(&self.limits)?;
        let is_wanted = |path: &StatePath| match how {
            How::Replace => selection.selects(path.as_str()),
            // What is taken out goes from the local state, before the other is laid over it.
            How::Merge => selection.includes(path.as_str()),
        };
        let wanted: Vec<(&StatePath, &ObjectId)> = opened.state.objects().filter(|(path, _)| is_wanted(path)).collect();
        let mut fetched = opened.fetch(store, &wanted, run, observer, copied)?;
        let lock = self.lock_for(run)?;
        let before = self.pristine_or_empty()?;
        let state = match how {
            How::Replace => part::replace(&before, &opened.state, selection)?,
            How::Merge => part::merge(&before, &opened.state, selection)?,
        };
        let changes = between(&before, &state)?;
        let was = self.config()?;
        if let Some(lock) = &lock {
            let mut config = was.clone();
            let is_remote = matches!(source, Source::Remote(_));
            config.default_get_url = uri.to_owned();
            for other in [&mut config.default_put_url, &mut config.default_post_url] {
                if is_remote && other.is_empty() {
                    uri.clone_into(other);
                }
            }
            config.write(&self.pvr, lock)?;
        }
        let lock = lock.as_ref();
        self.replace_pristine(&before, &state, &changes, &opened.state, lock, &mut fetched.warnings).inspect_err(
            |_| {
                let _ = lock.map(|lock| was.write(&self.pvr, lock));
            },
        )?;
        Ok(Got { fetched, changes, pool: store.objects().to_owned() })
    }
}

/// How one committed state differs from another.
pub(super) fn between(before: &State, after: &State) -> Result<Status, RepoError> {
    let changes = Changes::between(&normal(before)?, &normal(after)?);
    let names = |paths: &[StatePath]| paths.iter().map(|path| path.as_str().to_owned()).collect();
    Ok(Status {
        added: names(&changes.added),
        removed: names(&changes.removed),
        changed: names(&changes.changed),
        untracked: Vec::new(),
    })
}
