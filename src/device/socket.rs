//! A device by Pantavisor's control socket.
//!
//! - An object is intact if the daemon lists it with the size that was declared; it hashes what it takes in, and what it was
//!   sent by us was hashed here as well. One that is not of the running state and was sent by somebody else is read once,
//!   and hashed, before a state that names it is sent: an upload that broke off stays under its final name.
//! - Whether there is room, whether an update is running and whether a name is taken is looked up before anything is sent: the
//!   daemon says 200 on a full disk, and a state that it refuses takes the revision of that name with it.
//! - Its collector removes what was just uploaded, and every revision that has not run. It is run only if that was allowed
//!   ([`Socketed::may_collect`]), there is no room otherwise, and there is nothing of the kind.
//!
//! Where the storage is mounted as well, objects are read there.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::upload::Gate;
use super::{Content, DeviceError, OnPost, RunningFile, Status, Step, Upload};
use crate::pvctrl::{Command, Control, ControlError, MAX_COMMIT_MESSAGE, Meta, StepName, Waits};
use crate::state::{Entry, JsonLimits, ObjectId, Progress, Revision, Spec, State, StatePath};
use crate::store::Space;
use crate::trails::Storage;

/// How long an answer to "is an update running" is good for: it is asked before each of many objects.
const UPDATING_FOR: Duration = Duration::from_secs(2);

/// How often a command is given again while another one is in the daemon's hands, and after how long.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Socketed {
    control: Control,
    storage: Option<Storage>,
    limits: JsonLimits,
    trail_id: String,
    may_collect: bool,
    /// Objects that were hashed on their way in, or since.
    whole: Mutex<HashSet<ObjectId>>,
    gate: Arc<Gate>,
    updating: Mutex<Option<(Instant, Option<String>)>>,
}

impl Socketed {
    /// `storage`: the daemon's, if it is mounted here. Nothing is written there.
    pub fn new(control: Control, storage: Option<Storage>, limits: JsonLimits) -> Result<Self, DeviceError> {
        let id = storage.as_ref().map(Storage::device_id).transpose()?.flatten();
        Ok(Self {
            control,
            storage,
            limits,
            trail_id: id.unwrap_or_else(|| "local".to_owned()),
            may_collect: false,
            whole: Mutex::default(),
            gate: Arc::default(),
            updating: Mutex::default(),
        })
    }

    /// Whether the daemon's collector may be run where there is no room.
    #[must_use]
    pub fn may_collect(mut self, may: bool) -> Self {
        self.may_collect = may;
        self
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
    fn current(&self) -> Result<String, DeviceError> {
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

    fn state(&self, rev: Option<&str>) -> Result<State, DeviceError> {
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

    pub(super) fn steps(&self) -> Result<Vec<Step>, DeviceError> {
        let steps = self.control.steps()?.into_iter().map(|step| Step {
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
        Ok(self.control.progress(&name(&rev)?)?.to_bytes())
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

    pub(super) fn keep_object(&self, id: &ObjectId, size: u64) -> Result<Option<u64>, DeviceError> {
        Ok(self.control.object_size(id)?.filter(|listed| *listed == size))
    }

    fn space(&self) -> Result<Space, DeviceError> {
        let meta = self.control.metadata(Meta::Device)?;
        let number = |name: &str| meta.get("storage").and_then(|storage| storage.get(name)).and_then(|n| n.as_u64());
        let (Some(total), Some(free)) = (number("total"), number("free")) else {
            return Err(DeviceError::Daemon("it does not say how much room there is".to_owned()));
        };
        let real = number("real_free").unwrap_or(free);
        Ok(Space { total, free, reserved: free.saturating_sub(real), promised: 0 })
    }

    /// Whether `size` bytes could be sent now: there is room, and no update is running.
    pub(super) fn check(&self, size: u64) -> Result<(), DeviceError> {
        if let Some(rev) = self.updating()? {
            return Err(DeviceError::Updating(rev));
        }
        let mut free = self.free()?;
        if size > free && self.may_collect && self.nothing_is_waiting()? {
            self.control.collect()?;
            free = self.free()?;
        }
        if size > free { Err(DeviceError::NoRoom { need: size, free, reclaimable: None }) } else { Ok(()) }
    }

    fn free(&self) -> Result<u64, DeviceError> {
        let space = self.space()?;
        Ok(space.free.saturating_sub(space.reserved))
    }

    /// Whether a collection would remove nothing that somebody still means to use: no object that was uploaded and not
    /// posted, no revision that was installed and not run.
    fn nothing_is_waiting(&self) -> Result<bool, DeviceError> {
        let never_ran = |progress: &Progress| progress.status == crate::state::Status::New;
        if self.control.steps()?.iter().any(|step| step.progress.as_ref().is_none_or(never_ran)) {
            return Ok(false);
        }
        let named: HashSet<ObjectId> = self.state(None)?.objects().map(|(_, id)| *id).collect();
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(whole.iter().all(|id| named.contains(id)))
    }

    /// The revision on its way, as of a moment ago.
    fn updating(&self) -> Result<Option<String>, DeviceError> {
        let mut known = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, rev)) = known.as_ref()
            && when.elapsed() < UPDATING_FOR
        {
            return Ok(rev.clone());
        }
        let rev = self.on_its_way()?;
        *known = Some((Instant::now(), rev.clone()));
        Ok(rev)
    }

    fn on_its_way(&self) -> Result<Option<String>, DeviceError> {
        let under_way = |progress: &Progress| progress.status.is_in_progress();
        let mut steps = self.control.steps()?.into_iter();
        let step = steps.find(|step| step.progress.as_ref().is_some_and(under_way));
        Ok(step.map(|step| crate::state::escape(&step.name).into_owned()))
    }

    pub(super) fn begin_upload(&self, id: ObjectId, size: u64) -> Result<Upload, DeviceError> {
        self.check(size)?;
        Upload::through(self.control.clone(), &self.gate, id, size)
    }

    /// That the daemon has all of it.
    pub(super) fn is_whole(&self, id: ObjectId) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
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
    ) -> Result<(), DeviceError> {
        self.check(text.len() as u64)?;
        let step = StepName::from(rev);
        let running = self.current().ok();
        let runs = running.as_deref() == Some(step.as_str());
        let there = self.control.has_step(&step)?;
        let same = there && !self.has_another_state(rev, state)?;
        if runs {
            // The same again is no change.
            return if same { Ok(()) } else { Err(DeviceError::Running(rev.clone())) };
        }
        if there && !same {
            let progress = self.control.progress(&step);
            let never_ran = progress.as_ref().is_ok_and(|progress| progress.status == crate::state::Status::New);
            if !never_ran {
                return Err(DeviceError::Exists(rev.clone()));
            }
        }
        self.check_objects(state)?;
        if !same {
            self.control.put_step(rev, text.as_bytes())?;
            let stored = self.control.step(&step, self.limits.bytes)?;
            if stored != text.as_bytes() {
                return Err(DeviceError::Daemon(format!("revision {rev} was not stored as it was sent")));
            }
        }
        if let Some(message) = commit_msg.map(shortened).filter(|message| !message.is_empty()) {
            self.control.put_commit_message(rev, message)?;
        }
        let command = match on_post {
            OnPost::Install => return Ok(()),
            OnPost::Run => Command::LocalRun(step),
            OnPost::RunCommit => Command::LocalRunCommit(step),
        };
        let given = self.give(&command);
        if given.is_ok() {
            // From now on, a revision names them.
            let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole.retain(|id| !state.objects().any(|(_, named)| named == id));
        }
        *self.updating.lock().unwrap_or_else(PoisonError::into_inner) = None;
        given
    }

    /// Has a revision run that is there.
    pub(super) fn run(&self, rev: &str, how: OnPost) -> Result<(), DeviceError> {
        if let Some(rev) = self.on_its_way()? {
            return Err(DeviceError::Updating(rev));
        }
        let step = name(rev)?;
        match how {
            OnPost::Install => Ok(()),
            OnPost::Run => self.give(&Command::LocalRun(step)),
            OnPost::RunCommit => self.give(&Command::LocalRunCommit(step)),
        }
    }

    /// Gives a command as soon as the daemon has done the one before.
    fn give(&self, command: &Command) -> Result<(), DeviceError> {
        for _ in 1..TRIES {
            match self.control.command(command) {
                Err(ControlError::Busy { updating: false, .. }) => sleep(BETWEEN),
                other => return Ok(other?),
            }
        }
        Ok(self.control.command(command)?)
    }

    /// Every object of a state has to be there and whole.
    fn check_objects(&self, state: &State) -> Result<(), DeviceError> {
        let listed: HashSet<ObjectId> = self.control.objects()?.into_iter().map(|object| object.id).collect();
        let verified: HashSet<ObjectId> =
            self.state(None).map(|running| running.objects().map(|(_, id)| *id).collect()).unwrap_or_default();
        let mut missing: Vec<(StatePath, ObjectId)> = Vec::new();
        for (key, id) in state.objects() {
            let there = listed.contains(id);
            let known = || self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
            if !there || !(verified.contains(id) || known() || self.hash(id)?) {
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
            Ok(_) => {
                self.is_whole(*id);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(DeviceError::Unreachable(error.to_string())),
        }
    }

    pub(super) fn told(&self, rev: &Revision) -> Result<(String, Vec<u8>), DeviceError> {
        let step = self.control.steps()?.into_iter().find(|step| step.name == rev.to_string());
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
            // What it would remove depends on links that only the storage shows, and on what the daemon is about to do.
            reclaimable: None,
            update: self.on_its_way()?,
        })
    }
}

fn name(text: &str) -> Result<StepName, DeviceError> {
    StepName::parse(text).map_err(|_| DeviceError::NoSuchRevision(text.to_owned()))
}

/// As much of a message as the daemon takes.
fn shortened(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_COMMIT_MESSAGE)).unwrap_or_default()
}
