//! A device by its storage directory.
//!
//! With a Pantavisor behind it, a revision that is installed here is run by whoever asks the daemon to; with none
//! (*stand-alone*), installing makes it the current one at once, so that the next clone sees it. What Pantavisor owns (`.pv/done`,
//! the progress of what has run, the boot loader) is never touched then.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{DeviceError, Runner, RunningFile, Status, Step};
use crate::state::{Entry, ObjectId, Revision, State, clock};
use crate::store::{Sealed, Stage, Writer};
use crate::trails::{Checks, Demands, Install, Progress, RevisionName, StepInfo, Storage, install_if, would_collect};

/// What a progress file may be at most, as we read it.
const MAX_PROGRESS: u64 = 64 * 1024;

/// How long what a collection would set free is good for.
const RECLAIMABLE_FOR: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Stored {
    storage: Storage,
    runner: Runner,
    trail_id: String,
    /// When it was looked up, and what came out.
    reclaimable: Mutex<Option<(Instant, u64)>>,
}

impl Stored {
    /// A device by its storage, as it is. Whoever changes something has to [settle](Self::settle) it before.
    pub(super) fn new(storage: Storage, runner: Runner) -> Result<Self, DeviceError> {
        let trail_id = storage.device_id()?.unwrap_or_else(|| "local".to_owned());
        Ok(Self { storage, runner, trail_id, reclaimable: Mutex::default() })
    }

    /// Removes what others left unfinished, and uploads that no post came for within a day.
    pub(super) fn sweep(&self) -> Result<(), DeviceError> {
        self.storage.sweep()?;
        Ok(())
    }

    /// Finishes or removes what others left half done.
    pub(super) fn settle(&self) -> Result<(), DeviceError> {
        self.sweep()?;
        if self.runner == Runner::Nobody {
            // A disk that is too full for this is no reason not to serve; the next post tries again.
            let _ = self.storage.finish_switch();
        }
        Ok(())
    }

    /// The device's id at the hub, or `local`.
    pub(super) fn trail_id(&self) -> &str {
        &self.trail_id
    }

    /// The storage.
    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The running revision.
    pub(super) fn current(&self) -> Result<RevisionName, DeviceError> {
        if let Some(name) = self.storage.current()? {
            return Ok(name);
        }
        // A storage that no boot has touched yet, or one that has lost its link: what the boot loader would start, and
        // where it says nothing, the factory revision.
        if let Some(name) = self.storage.boot_loader()?.rev
            && self.storage.step(&name)?.is_some()
        {
            return Ok(name);
        }
        if self.storage.current_is_dangling() {
            return Err(DeviceError::NoCurrent);
        }
        let factory = RevisionName::from(Revision::FACTORY);
        self.storage.step(&factory)?.map(|_| factory).ok_or(DeviceError::NoCurrent)
    }

    /// A revision by what a client calls it.
    pub(super) fn resolve(&self, text: &str) -> Result<RevisionName, DeviceError> {
        match text {
            "current" => self.current(),
            text => self.storage.resolve(text)?.ok_or_else(|| DeviceError::NoSuchRevision(text.to_owned())),
        }
    }

    fn resolve_or_current(&self, text: Option<&str>) -> Result<RevisionName, DeviceError> {
        text.map_or_else(|| self.current(), |text| self.resolve(text))
    }

    /// The state of a revision, or of the running one, in canonical form.
    pub(super) fn state_text(&self, rev: Option<&str>) -> Result<String, DeviceError> {
        let name = self.resolve_or_current(rev)?;
        let state = self.storage.state(&name)?.ok_or_else(|| DeviceError::NoSuchRevision(name.to_string()))?;
        state.to_canonical().map_err(DeviceError::failed)
    }

    /// The JSON file at `key` in the running state, be it inline or an object of at most `limit` bytes.
    pub(super) fn running_file(&self, key: &str, limit: u64) -> Result<Option<RunningFile>, DeviceError> {
        let name = match self.current() {
            Err(DeviceError::NoCurrent) => return Ok(None),
            other => other?,
        };
        match self.storage.state(&name)?.as_ref().and_then(|state| state.get(key)) {
            None => Ok(None),
            Some(Entry::Json(value)) => Ok(Some(RunningFile::Json(value.clone()))),
            Some(Entry::Object(id)) => {
                let (file, size) = self.open_object(id)?;
                Ok(Some(RunningFile::Bytes(read(&file, size.min(limit))?)))
            }
        }
    }

    /// All revisions.
    pub(super) fn steps(&self) -> Result<Vec<Step>, DeviceError> {
        Ok(self.storage.list()?.into_iter().map(Step::from).collect())
    }

    /// One revision, or the running one, and the sha256 of its state where it can be read.
    pub(super) fn step(&self, rev: Option<&str>) -> Result<(Step, Option<ObjectId>), DeviceError> {
        let name = self.resolve_or_current(rev)?;
        let step = self.storage.step(&name)?.ok_or_else(|| DeviceError::NoSuchRevision(name.to_string()))?;
        Ok((step.into(), self.state_sha(&name)))
    }

    fn state_sha(&self, name: &RevisionName) -> Option<ObjectId> {
        self.storage.state(name).ok().flatten().and_then(|state| state.sha().ok())
    }

    /// The progress file of a revision, byte for byte.
    pub(super) fn progress_text(&self, rev: &str) -> Result<Vec<u8>, DeviceError> {
        let name = self.resolve(rev)?;
        let absent = || DeviceError::NoSuchRevision(format!("{name} with a progress"));
        let path = self.storage.dir(&name).join(".pv/progress");
        let meta = std::fs::symlink_metadata(&path).map_err(|_| absent())?;
        if !meta.is_file() || meta.len() > MAX_PROGRESS {
            return Err(absent());
        }
        std::fs::read(&path).map_err(DeviceError::failed)
    }

    /// What became of a revision; none where that cannot be read.
    pub(super) fn progress(&self, rev: &str) -> Result<Option<Progress>, DeviceError> {
        let name = self.resolve(rev)?;
        Ok(self.storage.progress(&name)?)
    }

    /// All objects by name, unchecked, and their sizes.
    pub(super) fn objects(&self) -> Result<Vec<(ObjectId, u64)>, DeviceError> {
        Ok(self.storage.store().list()?)
    }

    /// The bytes and the size of an object that is known to be intact; nothing is hashed, nobody waited for. `None`:
    /// [`open_object`](Self::open_object) has to find out.
    pub(super) fn open_known_object(&self, id: &ObjectId) -> Result<Option<(File, u64)>, DeviceError> {
        Ok(self.storage.store().open_known(id)?)
    }

    /// The bytes and the size of an intact object.
    pub(super) fn open_object(&self, id: &ObjectId) -> Result<(File, u64), DeviceError> {
        self.storage.store().open_object(id)?.ok_or(DeviceError::NoSuchObject(*id))
    }

    /// Makes sure that an intact object stays until it is posted. `None`: it is not here.
    pub(super) fn keep_object(&self, id: &ObjectId) -> Result<Option<u64>, DeviceError> {
        Ok(self.storage.store().stage(id)?)
    }

    /// Whether an object of this size would fit.
    pub(super) fn check_space(&self, size: u64) -> Result<(), DeviceError> {
        // A promise that is given back at once: the upload asks for its own.
        match self.storage.store().reserve(size) {
            Ok(_) => Ok(()),
            Err(error) if error.is_full() => {
                let space = self.storage.store().space()?;
                let free = space.free.saturating_sub(space.reserved).saturating_sub(space.promised);
                Err(DeviceError::NoRoom { need: size, free, reclaimable: self.reclaimable()? })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to take an object in. Its space is set aside.
    pub(super) fn begin_upload(&self, id: ObjectId, size: u64) -> Result<Writer, DeviceError> {
        Ok(self.storage.store().begin(Some(id), Some(size))?)
    }

    /// Makes objects durable and names them.
    pub(super) fn publish(&self, sealed: Vec<Sealed>) -> Result<(), DeviceError> {
        self.storage.store().publish(sealed, Stage::Yes)?;
        Ok(())
    }

    /// Installs a revision: whole, durable, and only if all its objects are here.
    pub(super) fn install(
        &self,
        rev: &Revision,
        state: &State,
        commit_msg: Option<&str>,
        make_current: bool,
        (demands, checks): (&Demands, Checks),
    ) -> Result<(), DeviceError> {
        let make_current = make_current && self.runner == Runner::Nobody;
        install_if(&self.storage, Install { rev, state, commit_msg, make_current }, demands, checks)?;
        Ok(())
    }

    /// Whether nobody but us says what runs.
    pub(super) fn is_alone(&self) -> bool {
        self.runner == Runner::Nobody
    }

    /// The state of a revision.
    pub(super) fn state(&self, rev: &Revision) -> Result<State, DeviceError> {
        let name = RevisionName::from(rev.clone());
        self.storage.state(&name)?.ok_or_else(|| DeviceError::NoSuchRevision(rev.to_string()))
    }

    /// The revisions that ran well, dated by when that was said.
    pub(super) fn rollback_points(&self) -> Result<Vec<Step>, DeviceError> {
        let done = self.storage.list()?.into_iter().filter(|info| self.storage.is_done(&info.name)).map(|info| {
            let done = self.storage.dir(&info.name).join(".pv/done");
            let when = std::fs::symlink_metadata(done).ok().map(|meta| clock::modified(&meta));
            Step { date: clock::rfc3339(when.unwrap_or(info.date)), ..Step::from(info) }
        });
        Ok(done.collect())
    }

    /// Whether the name is that of a revision with another state.
    pub(super) fn has_another_state(&self, rev: &Revision, state: &State) -> Result<bool, DeviceError> {
        Ok(self.storage.state(&RevisionName::from(rev.clone()))?.is_some_and(|there| there != *state))
    }

    /// What is said of a revision: its message, and what became of it, as JSON.
    pub(super) fn told(&self, rev: &Revision) -> Result<(String, Vec<u8>), DeviceError> {
        let name = RevisionName::from(rev.clone());
        let progress = self.storage.progress(&name)?.unwrap_or_else(Progress::new).to_bytes();
        Ok((self.storage.commit_msg(&name)?, progress))
    }

    /// How the device is.
    pub(super) fn status(&self) -> Result<Status, DeviceError> {
        let running = match self.current() {
            Ok(name) => Some(name),
            Err(DeviceError::NoCurrent) => None,
            Err(error) => return Err(error),
        };
        let progress = running.as_ref().map(|name| self.storage.progress(name)).transpose()?.flatten();
        Ok(Status {
            state_sha: running.as_ref().and_then(|name| self.state_sha(name)),
            running: running.map(|name| name.to_string()),
            progress: progress.map(|progress| progress.to_bytes()),
            backend: match self.runner {
                Runner::Pantavisor => "storage",
                Runner::Nobody => "storage, stand-alone",
            },
            space: self.storage.store().space()?,
            reclaimable: self.reclaimable()?,
            update: self.storage.update_in_progress()?.map(|name| name.to_string()),
        })
    }

    /// What a collection would set free. Finding out reads every state and wants the storage for itself, so it is
    /// remembered for a while and left alone while others are at work. What is older than that is not said any more.
    fn reclaimable(&self) -> Result<Option<u64>, DeviceError> {
        let mut known = self.reclaimable.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some_and(|(when, _)| when.elapsed() < RECLAIMABLE_FOR) {
            return Ok(known.map(|(_, bytes)| bytes));
        }
        // A storage that cannot be collected has nothing to set free, and a status all the same.
        *known = would_collect(&self.storage).ok().flatten().map(|report| (Instant::now(), report.bytes));
        Ok(known.map(|(_, bytes)| bytes))
    }
}

impl From<StepInfo> for Step {
    fn from(info: StepInfo) -> Self {
        Self {
            name: info.name.to_string(),
            date: clock::rfc3339(info.date),
            commit_msg: info.commit_msg,
            progress: info.progress.map(|progress| progress.to_bytes()),
        }
    }
}

fn read(file: &File, limit: u64) -> Result<Vec<u8>, DeviceError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(DeviceError::failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_that_was_busy_for_long_said_what_had_been_reclaimable_once() {
        let dir = tempfile::tempdir().unwrap();
        let storage = crate::trails::factory::make(dir.path()).unwrap();
        let device = Stored::new(storage.clone(), Runner::Nobody).unwrap();
        let busy = storage.store().lock_shared().unwrap();
        let age = |by: Duration| *device.reclaimable.lock().unwrap() = Instant::now().checked_sub(by).map(|at| (at, 5));
        age(Duration::ZERO);
        assert_eq!(device.reclaimable().unwrap(), Some(5));
        age(RECLAIMABLE_FOR);
        assert_eq!(device.reclaimable().unwrap(), None);
        drop(busy);
        assert_eq!(device.reclaimable().unwrap(), Some(0));
    }
}
