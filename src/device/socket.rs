//! A device by Pantavisor's control socket.
//!
//! - An object is intact if the daemon lists it with the size that was declared; it hashes what it takes in, and what it was
//!   sent by us was hashed here as well. One that is not of the running state and was sent by somebody else is read once,
//!   and hashed, before a state that names it is sent: an upload that broke off stays under its final name.
//! - Whether there is room, whether an update is running and whether a name is taken is looked up before anything is sent: the
//!   daemon says 200 on a full disk, and a state that it refuses takes the revision of that name with it. The name is looked up
//!   once more when the state is sent, which one process does at a time (`turns`), until the command has been given.
//! - Its collector removes what was just uploaded, and every revision that has not run. It is run only if that was allowed
//!   ([`Socketed::may_collect`]), there is no room otherwise, and there is nothing of the kind.
//!
//! Where the storage is mounted as well, objects are read there.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::turns::Turns;
use super::{Content, DeviceError, OnPost, RunningFile, Status, Step, Upload};
use crate::pvctrl::{Command, Control, ControlError, ListedStep, MAX_COMMIT_MESSAGE, Meta, StepName, Waits};
use crate::state::Status as Outcome;
use crate::state::Status::{Done, Error, New, Testing, Updated, WontGo};
use crate::state::{Entry, JsonLimits, ObjectId, Progress, Revision, Spec, State, StatePath};
use crate::store::written_by_others;
use crate::trails::{Checks, Demands, Storage};

/// How often a command is given again while another one is in the daemon's hands, and after how long.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Socketed {
    pub(super) control: Control,
    pub(super) storage: Option<Storage>,
    limits: JsonLimits,
    trail_id: String,
    pub(super) may_collect: bool,
    /// Objects that were hashed on their way in, or since, and their sizes.
    pub(super) whole: Mutex<HashMap<ObjectId, u64>>,
    pub(super) turns: Turns,
    pub(super) updating: Mutex<Option<(Instant, Option<String>)>>,
    /// When it was looked up, and what came out.
    pub(super) reclaimable: Mutex<Option<(Instant, Option<u64>)>>,
}

/// What is left of a revision that doesn't run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// There is none.
    Nothing,
    /// It never ran.
    Waiting,
    /// It failed, or a power cut has left a part of it: nobody can use it, and its name is free.
    Failed,
    /// It ran well.
    InUse,
}

impl Socketed {
    /// `storage`: the daemon's, if it is mounted here. Nothing is written there.
    pub fn new(control: Control, storage: Option<Storage>, limits: JsonLimits) -> Result<Self, DeviceError> {
        let id = storage.as_ref().map(Storage::device_id).transpose()?.flatten();
        Ok(Self {
            turns: Turns::new(control.socket(), None),
            control,
            storage,
            limits,
            trail_id: id.unwrap_or_else(|| "local".to_owned()),
            may_collect: false,
            whole: Mutex::default(),
            updating: Mutex::default(),
            reclaimable: Mutex::default(),
        })
    }

    /// Whether the daemon's collector may be run where there is no room.
    #[must_use]
    pub fn may_collect(mut self, may: bool) -> Self {
        self.may_collect = may;
        self
    }

    /// Where locks are, and what waits for its post.
    #[must_use]
    pub fn state_folder(self, folder: Option<PathBuf>) -> Self {
        Self { turns: Turns::new(self.control.socket(), folder), ..self }
    }

    pub(super) fn trail_id(&self) -> &str {
        &self.trail_id
    }

    pub(super) fn path(&self) -> &Path {
        self.control.socket()
    }

    pub(super) fn storage(&self) -> Option<&Storage> {
        self.storage.as_ref()
    }

    /// The running revision, as the daemon says.
    pub(super) fn current(&self) -> Result<String, DeviceError> {
        let meta = self.control.metadata(Meta::Device)?;
        let name = meta.get("pantavisor.revision").and_then(|value| value.as_str().map(str::to_owned));
        name.filter(|name| !name.is_empty()).ok_or(DeviceError::NoCurrent)
    }

    pub(super) fn resolve(&self, text: &str) -> Result<String, DeviceError> {
        if text == "current" {
            return self.current();
        }
        let there = self.control.has_step(&name(text)?)?;
        if there { Ok(text.to_owned()) } else { Err(DeviceError::NoSuchRevision(text.to_owned())) }
    }

    pub(super) fn state(&self, rev: Option<&str>) -> Result<State, DeviceError> {
        let name = rev.filter(|rev| *rev != "current").map_or_else(|| Ok(StepName::current()), name)?;
        let bytes = match self.control.step(&name, self.limits.bytes) {
            Err(ControlError::NotFound { .. }) if rev.is_none() => return Err(DeviceError::NoCurrent),
            other => other?,
        };
        State::parse_strict(&bytes, &self.limits, Spec::Any).map_err(DeviceError::failed)
    }

    pub(super) fn state_text(&self, rev: Option<&str>) -> Result<String, DeviceError> {
        self.state(rev)?.to_canonical().map_err(DeviceError::failed)
    }

    pub(super) fn running_file(&self, key: &str, limit: u64) -> Result<Option<RunningFile>, DeviceError> {
        let state = match self.state(None) {
            Err(DeviceError::NoCurrent) => return Ok(None),
            other => other?,
        };
        match state.get(key) {
            None => Ok(None),
            Some(Entry::Json(value)) => Ok(Some(RunningFile::Json(value.clone()))),
            Some(Entry::Object(id)) => {
                let mut bytes = Vec::new();
                self.control.open_object(id)?.take(limit).read_to_end(&mut bytes).map_err(DeviceError::failed)?;
                Ok(Some(RunningFile::Bytes(bytes)))
            }
        }
    }

    /// The revisions. In its list the daemon shows no progress of more than 512 bytes, which is one with a log, or with downloads.
    pub(super) fn listed(&self) -> Result<Vec<ListedStep>, DeviceError> {
        let mut steps = self.control.steps()?;
        for step in steps.iter_mut().filter(|step| step.progress.is_none()) {
            let Ok(name) = StepName::parse(&step.name) else { continue };
            step.progress = match self.control.progress(&name) {
                // There is none, or a power cut has left a part of it.
                Err(ControlError::NotFound { .. } | ControlError::BadAnswer(_) | ControlError::Refused(_)) => None,
                progress => Some(progress?),
            };
        }
        Ok(steps)
    }

    pub(super) fn steps(&self) -> Result<Vec<Step>, DeviceError> {
        let steps = self.listed()?.into_iter().map(|step| Step {
            // It goes into URLs and terminals; one that we couldn't ask for is shown as text.
            name: crate::state::escape(&step.name).into_owned(),
            date: step.date,
            commit_msg: step.commit_message,
            progress: step.progress.map(|progress| progress.to_bytes()),
        });
        Ok(steps.collect())
    }

    pub(super) fn step(&self, rev: Option<&str>) -> Result<(Step, Option<ObjectId>), DeviceError> {
        let name = self.resolve(rev.unwrap_or("current"))?;
        let step = self.steps()?.into_iter().find(|step| step.name == name);
        let step = step.ok_or_else(|| DeviceError::NoSuchRevision(name.clone()))?;
        Ok((step, self.state(Some(&name)).ok().and_then(|state| state.sha().ok())))
    }

    pub(super) fn progress_text(&self, rev: &str) -> Result<Vec<u8>, DeviceError> {
        let rev = self.resolve(rev)?;
        match self.control.progress(&name(&rev)?) {
            // A power cut has left a part of it. What runs has come to an end; of what doesn't, nobody knows which.
            Err(ControlError::BadAnswer(_)) if self.current()? == rev => Ok(lost(Updated, "it runs").to_bytes()),
            Err(ControlError::BadAnswer(_)) => Ok(lost(Error, "it does not run").to_bytes()),
            progress => Ok(progress?.to_bytes()),
        }
    }

    /// The same for whoever asks again and again: it doesn't wait for long while nobody answers. None where it cannot be read.
    pub(super) fn progress_in_short(&self, rev: &str) -> Result<Option<Progress>, DeviceError> {
        let waits = Waits { connect: Duration::from_secs(1), answer: Duration::from_secs(4), ..self.control.waits() };
        match Control::with_waits(self.control.socket(), waits).progress(&name(rev)?) {
            Ok(progress) => Ok(Some(progress)),
            Err(ControlError::BadAnswer(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn objects(&self) -> Result<Vec<(ObjectId, u64)>, DeviceError> {
        Ok(self.control.objects()?.into_iter().map(|object| (object.id, object.size)).collect())
    }

    pub(super) fn open_object(&self, id: &ObjectId) -> Result<(Content, u64), DeviceError> {
        if let Some(storage) = &self.storage
            && let Some((file, size)) = storage.store().open_object(id)?
        {
            return Ok((Content::File(file), size));
        }
        let size = self.control.object_size(id)?.ok_or(DeviceError::NoSuchObject(*id))?;
        Ok((Content::Stream(Box::new(self.control.open_object(id)?)), size))
    }

    /// To be here, an object has to be listed with its size and to be what its name says: after a power cut, a file has its
    /// length and not its bytes on some file systems, and a client that is told that it is here never sends it.
    pub(super) fn keep_object(&self, id: &ObjectId, size: u64) -> Result<Option<u64>, DeviceError> {
        if self.control.object_size(id)? != Some(size) {
            return Ok(None);
        }
        let runs = self.state(None).is_ok_and(|running| running.objects().any(|(_, named)| named == id));
        if !(runs || self.was_whole(id, size) || self.hash(id)?) {
            return Ok(None);
        }
        self.turns.promise(id)?;
        Ok(Some(size))
    }

    pub(super) fn begin_upload(&self, id: ObjectId, size: u64) -> Result<Upload, DeviceError> {
        let turn = self.turns.take(&id)?.ok_or(DeviceError::NotYet(id))?;
        match self.check(size) {
            Ok(()) => Upload::through(self.control.clone(), turn, id, size),
            Err(error) => turn.end(false).and(Err(error)),
        }
    }

    /// That the daemon has all of it.
    pub(super) fn is_whole(&self, id: ObjectId, size: u64) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(id, size);
    }

    /// Whether it was, when it had this size.
    fn was_whole(&self, id: &ObjectId, size: u64) -> bool {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).get(id) == Some(&size)
    }

    /// The daemon syncs nothing of what it is sent. The kernel does, for whoever asks: of the storage, where it is mounted
    /// here, else of everything.
    pub(super) fn make_durable(&self) -> Result<(), DeviceError> {
        Ok(written_by_others(self.storage.as_ref().map(Storage::root))?)
    }

    pub(super) fn sweep(&self) -> Result<(), DeviceError> {
        self.turns.sweep()
    }

    pub(super) fn has_another_state(&self, rev: &Revision, state: &State) -> Result<bool, DeviceError> {
        if !self.control.has_step(&StepName::from(rev))? {
            return Ok(false);
        }
        // One that cannot be read is another one.
        Ok(self.state(Some(&rev.to_string())).ok().is_none_or(|there| there != *state))
    }

    /// Sends a state and has it run. What is there under its name is replaced only if it never ran.
    pub(super) fn install(
        &self,
        rev: &Revision,
        state: &State,
        text: &str,
        commit_msg: Option<&str>,
        on_post: OnPost,
        (demands, checks): (&Demands, Checks),
    ) -> Result<(), DeviceError> {
        self.check(text.len() as u64)?;
        let step = StepName::from(rev);
        if self.place_for(rev, &step, state)?.is_none() {
            return Ok(());
        }
        self.admit(state, demands, checks)?;
        let _using = self.turns.using()?;
        self.check_objects(state)?;
        // That may take long, and another process may have posted meanwhile.
        let _installing = self.turns.installing()?;
        let Some((same, left)) = self.place_for(rev, &step, state)? else { return Ok(()) };
        if let Some(rev) = self.on_its_way()? {
            return Err(DeviceError::Updating(rev));
        }
        if !same && left == Left::Waiting && self.turns.is_to_run(step.as_str())? {
            return Err(DeviceError::Updating(rev.to_string()));
        }
        if !same || left == Left::Failed {
            if left != Left::Nothing {
                self.control.remove_step(rev)?;
            }
            self.control.put_step(rev, text.as_bytes())?;
            let stored = self.control.step(&step, self.limits.bytes)?;
            if stored != text.as_bytes() {
                return Err(DeviceError::Daemon(format!("revision {rev} was not stored as it was sent")));
            }
        }
        if let Some(message) = commit_msg.map(shortened).filter(|message| !message.is_empty()) {
            self.control.put_commit_message(rev, message)?;
        }
        self.make_durable()?;
        if on_post == OnPost::Install {
            return Ok(());
        }
        let given = self.give(step, on_post);
        if given.is_ok() {
            // From now on, a revision names them.
            let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole.retain(|id, _| !state.objects().any(|(_, named)| named == id));
            self.turns.posted(state.objects().map(|(_, id)| id))?;
        }
        self.look_again();
        given
    }

    /// Whether this state is what the revision has, and what is left of it. `None`: it runs, and the same again is no change.
    fn place_for(&self, rev: &Revision, step: &StepName, state: &State) -> Result<Option<(bool, Left)>, DeviceError> {
        let runs = || self.current().ok().as_deref() == Some(step.as_str());
        let ran = runs();
        let there = self.control.has_step(step)?;
        let same = there && !self.has_another_state(rev, state)?;
        if ran {
            return if same { Ok(None) } else { Err(DeviceError::Running(rev.clone())) };
        }
        let left = if there { self.what_is_left(step)? } else { Left::Nothing };
        if !same && left == Left::InUse {
            return Err(DeviceError::Exists(rev.clone()));
        }
        // One that is tested now, since it was looked at first, has not failed.
        if left == Left::Failed && runs() {
            return Err(DeviceError::Updating(rev.to_string()));
        }
        Ok(Some((same, left)))
    }

    /// What there is of a revision that doesn't run.
    fn what_is_left(&self, step: &StepName) -> Result<Left, DeviceError> {
        let status = match self.control.progress(step) {
            Ok(progress) => Some(progress.status),
            // It never had one, or a power cut has taken it.
            Err(ControlError::NotFound { .. } | ControlError::BadAnswer(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let whole = match self.control.step(step, self.limits.bytes) {
            Ok(bytes) => State::parse_strict(&bytes, &self.limits, Spec::Any).is_ok(),
            Err(ControlError::NotFound { .. } | ControlError::Refused(_)) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(match status {
            Some(Done) => Left::InUse,
            None | Some(WontGo | Error | Testing) => Left::Failed,
            _ if !whole => Left::Failed,
            Some(New) => Left::Waiting,
            Some(_) => Left::InUse,
        })
    }

    /// Has a revision run that is there.
    pub(super) fn run(&self, rev: &str, how: OnPost) -> Result<(), DeviceError> {
        let _installing = self.turns.installing()?;
        if let Some(rev) = self.on_its_way()? {
            return Err(DeviceError::Updating(rev));
        }
        let step = name(rev)?;
        let given = self.give(step, how);
        *self.updating.lock().unwrap_or_else(PoisonError::into_inner) = None;
        given
    }

    /// Has a revision run as soon as the daemon has done what it was told before.
    fn give(&self, step: StepName, how: OnPost) -> Result<(), DeviceError> {
        let name = step.as_str().to_owned();
        let command = match how {
            OnPost::Install => return Ok(()),
            OnPost::Run => Command::LocalRun(step),
            OnPost::RunCommit => Command::LocalRunCommit(step),
        };
        let mut tries = 1..TRIES;
        loop {
            match self.control.command(&command) {
                Err(ControlError::Busy { updating, .. }) if !updating && tries.next().is_some() => sleep(BETWEEN),
                // An answer may be lost that says yes.
                told @ (Ok(_) | Err(ControlError::NoAnswer(_) | ControlError::BadAnswer(_))) => {
                    // It is told, whether or not there is room to note it.
                    self.turns.runs_next(&name).ok();
                    return Ok(told?);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Every object of a state has to be there and whole.
    fn check_objects(&self, state: &State) -> Result<(), DeviceError> {
        let listed: HashMap<ObjectId, u64> = self.objects()?.into_iter().collect();
        let verified: HashSet<ObjectId> =
            self.state(None).map(|running| running.objects().map(|(_, id)| *id).collect()).unwrap_or_default();
        let mut missing: Vec<(StatePath, ObjectId)> = Vec::new();
        for (key, id) in state.objects() {
            let whole = match listed.get(id) {
                None => false,
                Some(size) => verified.contains(id) || self.was_whole(id, *size) || self.hash(id)?,
            };
            if !whole {
                missing.push((key.clone(), *id));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(DeviceError::Missing(missing)) }
    }

    /// Reads an object that somebody else has sent. False: it is not what its name says.
    fn hash(&self, id: &ObjectId) -> Result<bool, DeviceError> {
        let mut body = match self.control.open_object(id) {
            Err(ControlError::NoObject(_)) => return Ok(false),
            other => other?,
        };
        match io::copy(&mut body, &mut io::sink()) {
            Ok(size) => {
                self.is_whole(*id, size);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(DeviceError::Unreachable(error.to_string())),
        }
    }

    pub(super) fn told(&self, rev: &Revision) -> Result<(String, Vec<u8>), DeviceError> {
        let step = self.listed()?.into_iter().find(|step| step.name == rev.to_string());
        let (message, progress) = step.map_or_else(Default::default, |step| (step.commit_message, step.progress));
        Ok((message, progress.unwrap_or_else(Progress::new).to_bytes()))
    }

    pub(super) fn status(&self) -> Result<Status, DeviceError> {
        let running = match self.current() {
            Ok(name) => Some(name),
            Err(DeviceError::NoCurrent) => None,
            Err(error) => return Err(error),
        };
        let progress = running.as_deref().and_then(|rev| self.progress_text(rev).ok());
        Ok(Status {
            state_sha: self.state(None).ok().and_then(|state| state.sha().ok()),
            running,
            progress,
            backend: if self.storage.is_some() { "control socket, with the storage" } else { "control socket" },
            space: self.space()?,
            reclaimable: self.reclaimable(),
            update: self.on_its_way()?,
        })
    }
}

/// In the place of a progress that cannot be read.
fn lost(status: Outcome, known: &str) -> Progress {
    let status_msg = format!("What is said of this revision cannot be read; {known}");
    Progress { status, status_msg, progress: 100, ..Progress::new() }
}

fn name(text: &str) -> Result<StepName, DeviceError> {
    StepName::parse(text).map_err(|_| DeviceError::NoSuchRevision(text.to_owned()))
}

/// As much of a message as the daemon takes.
fn shortened(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_COMMIT_MESSAGE)).unwrap_or_default()
}
