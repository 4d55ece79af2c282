//! `import`: an export becomes the committed state. The working tree stays as it is.
//!
//! All objects of the state have to be in the archive or in the pool. They are verified while they are unpacked and get
//! their names together, after the last of them; then the state is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Context, RepoError};
use super::get::between;
use super::source::{Fetched, Run, Source};
use super::{Repo, Status};
use crate::remote::Silent;
use crate::state::{ObjectId, StatePath};

/// What an import did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Objects and bytes.
    pub fetched: Fetched,
    /// What changes in the committed state; nothing is untracked.
    pub changes: Status,
    /// The pool.
    pub pool: PathBuf,
}

impl Repo {
    /// Takes the state of the archive `path`, and its objects.
    pub fn import(&self, path: &Path, run: Run) -> Result<Imported, RepoError> {
        if !self.pvr.join("json").exists() {
            return Err(RepoError::NotARepo(self.root.clone()));
        }
        if fs::metadata(path).on("open", path)?.is_dir() {
            return Err(RepoError::ImportFolder(path.to_owned()));
        }
        let opened = Source::Local(path).open(&self.limits)?;
        let store = &self.store_for(run)?;
        let wanted: Vec<(&StatePath, &ObjectId)> = opened.state.objects().collect();
        let mut fetched = opened.fetch(store, &wanted, run, &Silent, &mut |_, _| {})?;
        let lock = self.lock_for(run)?;
        let before = self.pristine_or_empty()?;
        let changes = between(&before, &opened.state)?;
        let (state, warnings) = (&opened.state, &mut fetched.warnings);
        self.replace_pristine(&before, state, &changes, state, lock.as_ref(), warnings)?;
        Ok(Imported { fetched, changes, pool: store.objects().to_owned() })
    }
}
