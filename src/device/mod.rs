//! What the endpoint acts on: a device, reached through its storage directory.
//!
//! Reading, taking objects in, installing a revision: the endpoint asks for these and doesn't know how they are
//! done. With a Pantavisor behind it, a revision that is installed here is run by whoever asks the daemon to; with
//! none (*stand-alone*), installing makes it the current one at once, so that the next clone sees it.
//!
//! Everything here blocks.

mod error;
mod post;

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use error::DeviceError;
pub use post::{Post, Posted};

use crate::state::{Entry, ObjectId, Revision, Value};
use crate::store::{Sealed, Space, Stage, Writer};
use crate::trails::{Demands, RevisionName, StepInfo, Storage, would_collect};

/// Where the socket of a running Pantavisor is, seen from a container, from the host, and from older containers.
const CONTROL_SOCKETS: [&str; 3] = ["/run/pantavisor/pv/pv-ctrl", "/pv/pv-ctrl", "/pantavisor/pv-ctrl"];

/// What a progress file may be at most, as we read it.
const MAX_PROGRESS: u64 = 64 * 1024;

/// How long [`Status::reclaimable`] is good for.
pub const RECLAIMABLE_FOR: Duration = Duration::from_secs(30);

/// Who runs what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// A Pantavisor.
    Pantavisor,
    /// Nobody: the newest revision counts as running.
    Nobody,
}

impl Runner {
    /// Looks for the control socket of a Pantavisor.
    pub fn detect() -> Self {
        match CONTROL_SOCKETS.iter().any(|socket| Path::new(socket).exists()) {
            true => Self::Pantavisor,
            false => Self::Nobody,
        }
    }
}

/// A device.
#[derive(Debug)]
pub struct Device {
    storage: Storage,
    runner: Runner,
    trail_id: String,
    demands: Demands,
    /// When it was looked up, and what came out.
    reclaimable: Mutex<Option<(Instant, u64)>>,
}

/// A revision as listings show it.
#[derive(Clone, Debug)]
pub struct Step {
    /// `0`, `locals/x`, or the escaped name of a folder that somebody else made.
    pub name: String,
    /// When its folder was last changed.
    pub date: SystemTime,
    /// What its author says of it.
    pub commit_msg: String,
    /// Its progress, as JSON.
    pub progress: Option<Vec<u8>>,
}

/// How a device is.
#[derive(Clone, Debug)]
pub struct Status {
    /// The running revision.
    pub running: Option<String>,
    /// The sha256 of its canonical state.
    pub state_sha: Option<ObjectId>,
    /// What became of it.
    pub progress: Option<Vec<u8>>,
    /// How the device is reached.
    pub backend: &'static str,
    /// Bytes.
    pub space: Space,
    /// Bytes that a collector would set free, as of at most [`RECLAIMABLE_FOR`] ago; `None`: nobody could look since.
    pub reclaimable: Option<u64>,
    /// A revision on its way.
    pub update: Option<String>,
}

impl Device {
    /// A device by its storage. Removes what others left unfinished.
    pub fn open(storage: Storage, runner: Runner) -> Result<Self, DeviceError> {
        let trail_id = storage.device_id()?.unwrap_or_else(|| "local".to_owned());
        storage.sweep()?;
        if runner == Runner::Nobody {
            // A disk that is too full for this is no reason not to serve; the next post tries again.
            let _ = storage.finish_switch();
        }
        Ok(Self { storage, runner, trail_id, demands: Demands::default(), reclaimable: Mutex::default() })
    }

    /// Takes only states that are what is demanded.
    pub fn demanding(self, demands: Demands) -> Self {
        Self { demands, ..self }
    }

    /// What is demanded of states before they are installed.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Removes what others left unfinished, and uploads that no post came for within a day.
    pub fn sweep(&self) -> Result<(), DeviceError> {
        self.storage.sweep()?;
        Ok(())
    }

    /// The device's id at the hub, or `local`.
    pub fn trail_id(&self) -> &str {
        &self.trail_id
    }

    /// Who runs what is installed.
    pub fn runner(&self) -> Runner {
        self.runner
    }

    /// The storage.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The running revision.
    pub fn current(&self) -> Result<RevisionName, DeviceError> {
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
    pub fn resolve(&self, text: &str) -> Result<RevisionName, DeviceError> {
        match text {
            "current" => self.current(),
            text => self.storage.resolve(text)?.ok_or_else(|| DeviceError::NoSuchRevision(text.to_owned())),
        }
    }

    fn resolve_or_current(&self, text: Option<&str>) -> Result<RevisionName, DeviceError> {
        text.map_or_else(|| self.current(), |text| self.resolve(text))
    }

    /// The state of a revision, or of the running one, in canonical form.
    pub fn state_text(&self, rev: Option<&str>) -> Result<String, DeviceError> {
        let name = self.resolve_or_current(rev)?;
        let state = self.storage.state(&name)?.ok_or_else(|| DeviceError::NoSuchRevision(name.to_string()))?;
        state.to_canonical().map_err(DeviceError::failed)
    }

    /// The JSON file at `key` in the running state, be it inline or an object of at most `limit` bytes.
    pub fn running_file(&self, key: &str, limit: u64) -> Result<Option<RunningFile>, DeviceError> {
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
    pub fn steps(&self) -> Result<Vec<Step>, DeviceError> {
        Ok(self.storage.list()?.into_iter().map(Step::from).collect())
    }

    /// One revision, or the running one, and the sha256 of its state where it can be read.
    pub fn step(&self, rev: Option<&str>) -> Result<(Step, Option<ObjectId>), DeviceError> {
        let name = self.resolve_or_current(rev)?;
        let step = self.storage.step(&name)?.ok_or_else(|| DeviceError::NoSuchRevision(name.to_string()))?;
        Ok((step.into(), self.state_sha(&name)))
    }

    fn state_sha(&self, name: &RevisionName) -> Option<ObjectId> {
        self.storage.state(name).ok().flatten().and_then(|state| state.sha().ok())
    }

    /// The progress file of a revision, byte for byte.
    pub fn progress_text(&self, rev: &str) -> Result<Vec<u8>, DeviceError> {
        let name = self.resolve(rev)?;
        let absent = || DeviceError::NoSuchRevision(format!("{name} with a progress"));
        let path = self.storage.dir(&name).join(".pv/progress");
        let meta = std::fs::symlink_metadata(&path).map_err(|_| absent())?;
        if !meta.is_file() || meta.len() > MAX_PROGRESS {
            return Err(absent());
        }
        std::fs::read(&path).map_err(DeviceError::failed)
    }

    /// All objects by name, unchecked, and their sizes.
    pub fn objects(&self) -> Result<Vec<(ObjectId, u64)>, DeviceError> {
        Ok(self.storage.store().list()?)
    }

    /// The bytes and the size of an object that is known to be intact; nothing is hashed, nobody waited for. `None`:
    /// [`open_object`](Self::open_object) has to find out.
    pub fn open_known_object(&self, id: &ObjectId) -> Result<Option<(File, u64)>, DeviceError> {
        Ok(self.storage.store().open_known(id)?)
    }

    /// The bytes and the size of an intact object.
    pub fn open_object(&self, id: &ObjectId) -> Result<(File, u64), DeviceError> {
        self.storage.store().open_object(id)?.ok_or(DeviceError::NoSuchObject(*id))
    }

    /// Makes sure that an intact object stays until it is posted. `None`: it is not here.
    pub fn keep_object(&self, id: &ObjectId) -> Result<Option<u64>, DeviceError> {
        Ok(self.storage.store().stage(id)?)
    }

    /// Whether an object of this size would fit.
    pub fn check_space(&self, size: u64) -> Result<(), DeviceError> {
        // A promise that is given back at once: the upload asks for its own.
        self.storage.store().reserve(size).map(drop).map_err(DeviceError::from)
    }

    /// Begins to take an object in. Its space is set aside.
    pub fn begin_upload(&self, id: ObjectId, size: u64) -> Result<Writer, DeviceError> {
        Ok(self.storage.store().begin(Some(id), Some(size))?)
    }

    /// Checks an object that has come whole.
    pub fn finish_upload(&self, writer: Writer) -> Result<Sealed, DeviceError> {
        Ok(writer.finish()?)
    }

    /// Makes objects durable and names them.
    pub fn publish(&self, sealed: Vec<Sealed>) -> Result<(), DeviceError> {
        self.storage.store().publish(sealed, Stage::Yes)?;
        Ok(())
    }

    /// How the device is.
    pub fn status(&self) -> Result<Status, DeviceError> {
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

/// A file of the running state.
#[derive(Clone, Debug)]
pub enum RunningFile {
    /// Inline.
    Json(Value),
    /// The bytes of an object.
    Bytes(Vec<u8>),
}

impl From<StepInfo> for Step {
    fn from(info: StepInfo) -> Self {
        Self {
            name: info.name.to_string(),
            date: info.date,
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
        let device = Device::open(storage.clone(), Runner::Nobody).unwrap();
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
