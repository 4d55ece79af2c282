//! Making a state a revision: the one way in which a post, a put, a deploy and a new storage do it.
//!
//! What happens to a name that exists:
//!
//! | the revision of that name | same state | another state |
//! |---|---|---|
//! | runs, is being tried, or is a rollback point | nothing to do | refused |
//! | the same, and its files are not what its state says | refused | refused |
//! | never ran, whole | nothing to do | replaced whole |
//! | never ran, not whole (the daemon fills in files only when it runs one) | replaced whole | replaced whole |
//!
//! A revision is always installed as NEW. Where it is to run at once, `current.rs` makes it so when it is in its place.

use super::build::{build, object_ids};
use super::check::{is_damaged, is_whole};
use super::checks::{Checks, admit};
use super::demand::Demands;
use super::error::{InstallError, TrailsError};
use super::name::RevisionName;
use super::place::{discard, place, undo};
use super::{Storage, current, room};
use crate::state::Status;
use crate::state::{ObjectId, Revision, State, StatePath};
use crate::store::StoreError;
use std::time::Duration;

/// How often a revision without a progress is looked at again, and how long after.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// What is to be installed.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    /// Under which name.
    pub rev: &'a Revision,
    /// Which state.
    pub state: &'a State,
    /// What its author says of it.
    pub commit_msg: Option<&'a str>,
    /// Whether it is the running revision from now on: where no Pantavisor decides that.
    pub make_current: bool,
}

/// What installing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The name was free.
    New,
    /// The very state was there already.
    Same,
    /// A revision that never ran has been replaced.
    Replaced,
}

/// An installed revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub rev: Revision,
    /// The sha256 of its canonical state.
    pub state_sha: ObjectId,
    /// Keys that are hardlinks to objects.
    pub linked: usize,
    /// Keys that are files of JSON.
    pub json: usize,
    /// Keys that are copies.
    pub copied: usize,
    /// What was there before.
    pub outcome: Outcome,
}

/// The objects of a state that are absent or not what they should be, each once, with the first key that has it.
pub fn missing(storage: &Storage, state: &State) -> Result<Vec<(StatePath, ObjectId)>, StoreError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut missing = Vec::new();
    for (key, id) in state.objects() {
        if seen.insert(*id) && storage.store().intact(id)?.is_none() {
            missing.push((key.clone(), *id));
        }
    }
    Ok(missing)
}

/// Installs a state of which nothing is demanded. Returns when it is durable. After an error everything is as it was.
pub fn install(storage: &Storage, job: Install<'_>) -> Result<Installed, InstallError> {
    install_if(storage, job, &Demands::default(), Checks::default())
}

/// The same with a state that is what is demanded and passes these checks.
pub fn install_if(
    storage: &Storage,
    job: Install<'_>,
    demands: &Demands,
    checks: Checks,
) -> Result<Installed, InstallError> {
    let store = storage.store();
    admit(job.state, store, demands, checks)?;
    let _alone = store.lock_install()?;
    let _using = store.lock_shared()?;
    storage.settle_replaced()?;
    if job.make_current {
        current::finish(storage)?;
    }
    let mut installed = Installed {
        rev: job.rev.clone(),
        state_sha: job.state.sha()?,
        linked: 0,
        json: 0,
        copied: 0,
        outcome: Outcome::New,
    };
    let name = RevisionName::from(job.rev.clone());
    installed.outcome = examine(storage, &name, &job)?;
    let missing = missing(storage, job.state)?;
    if !missing.is_empty() {
        return Err(InstallError::Missing(missing));
    }
    if installed.outcome == Outcome::Same {
        if job.make_current {
            current::make_current(storage, &name)?;
        }
        return Ok(installed);
    }
    let ids = object_ids(job.state);
    // Links come and go in what follows, whether it succeeds or not.
    let known = store.known(&ids);
    let result = put(storage, &name, &job, installed, &ids);
    store.refresh(&known);
    result
}

fn put(
    storage: &Storage,
    name: &RevisionName,
    job: &Install<'_>,
    mut installed: Installed,
    ids: &[ObjectId],
) -> Result<Installed, InstallError> {
    let room = room::reserve(storage, job)?;
    let built = build(storage, job)?;
    // It is on the disk now, which counts it itself.
    drop(room);
    (installed.linked, installed.json, installed.copied) = (built.linked, built.json, built.copied);
    let Some(placed) = place(storage, &built, name, installed.outcome == Outcome::Replaced)? else {
        return Err(InstallError::Exists { rev: job.rev.clone() });
    };
    if job.make_current
        && let Err(failed) = current::switch(storage, name, built.dir.path())
    {
        if !failed.stuck {
            // Should it stay, it is one that never ran.
            let _ = undo(storage, &built, name, &placed);
        }
        return Err(failed.cause.into());
    }
    discard(&placed);
    for id in ids {
        // One that stays goes with the next sweep.
        let _ = storage.store().remove_staged(id);
    }
    Ok(installed)
}

/// What is to be done about a name.
fn examine(storage: &Storage, name: &RevisionName, job: &Install<'_>) -> Result<Outcome, InstallError> {
    let dir = storage.dir(name);
    if std::fs::symlink_metadata(&dir).is_err() {
        return Ok(Outcome::New);
    }
    let exists = || InstallError::Exists { rev: job.rev.clone() };
    if !storage.is_folder(name) {
        return Err(exists());
    }
    let same = match storage.state(name) {
        Ok(Some(state)) => state.to_canonical()? == job.state.to_canonical()?,
        Ok(None) | Err(TrailsError::State { .. } | TrailsError::TooLarge { .. }) => false,
        Err(e) => return Err(e.into()),
    };
    let running = storage.current()?.as_ref() == Some(name);
    if running || may_have_run(storage, name)? {
        // The daemon may be filling in the files of one that it is about to try.
        let under_way = storage.progress(name)?.is_some_and(|progress| progress.status.is_in_progress());
        return match same {
            true if !under_way && is_damaged(storage, &dir, job.state)? => {
                Err(InstallError::Damaged { rev: job.rev.clone() })
            }
            true => Ok(Outcome::Same),
            false if running => Err(InstallError::Running { rev: job.rev.clone() }),
            false => Err(exists()),
        };
    }
    Ok(if same && is_whole(storage, &dir, job.state)? { Outcome::Same } else { Outcome::Replaced })
}

/// Whether anything says that a revision ran, or is about to. In doubt, it did.
fn may_have_run(storage: &Storage, name: &RevisionName) -> Result<bool, TrailsError> {
    if storage.is_done(name) || storage.boot_loader()?.names(name) {
        return Ok(true);
    }
    let dir = storage.dir(name);
    for _ in 0..LOOKS {
        if let Some(progress) = storage.progress(name)? {
            return Ok(progress.status != Status::New);
        }
        // Without a state it cannot have run: a folder made for a commit message, an upload cut short.
        if !dir.join(".pvr/json").exists() && !dir.join(".pv/progress").exists() {
            return Ok(false);
        }
        // A state without a progress may be one that Pantavisor's collector is removing, file by file.
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}
