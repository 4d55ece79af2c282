//! begin, add, remove, show, abort.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::document::Document;
use super::error::{Asked, Context, PvtxError};
use super::merge;
use super::objects::{Objects, Taker, open_store};
use super::package::receive;
use super::place::{self, Held};
use super::status::{Phase, Status, Target};
use crate::pvctrl::{Control, StepName};
use crate::state::document::{KNOWN_SPECS, SPEC_KEY};
use crate::state::{JsonLimits, Object, Value};
use crate::trails::Checks;

/// What a transaction begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The running state, as Pantavisor has it.
    Current,
    /// A state without keys.
    Empty,
    /// A file of JSON, or a folder with `json` or `.pvr/json`.
    Path(PathBuf),
    /// The running state, by somebody who knows it without a control socket.
    State(Vec<u8>),
}

impl Base {
    /// What an argument says; none is the running state.
    pub fn parse(argument: Option<&std::ffi::OsStr>) -> Self {
        match argument.map(|argument| (argument.to_str(), argument)) {
            None | Some((Some("current"), _)) => Self::Current,
            Some((Some("empty"), _)) => Self::Empty,
            Some((_, path)) => Self::Path(PathBuf::from(path)),
        }
    }
}

/// A state as a command has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The state, canonical.
    pub state: String,
    /// Whether it is another one than before.
    pub changed: bool,
}

/// The transaction of one folder. Any number of processes may work on it: each waits for the other.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(super) dir: PathBuf,
    pub(super) limits: JsonLimits,
    pub(super) piece: usize,
    pub(super) checks: Checks,
    control: Option<Control>,
}

impl Transaction {
    /// Bytes of a package that are in memory at a time.
    pub const PIECE: usize = 128 * 1024;

    /// The transaction whose files are in `dir`, which need not be there.
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            limits: JsonLimits::default(),
            piece: Self::PIECE,
            checks: Checks::default(),
            control: None,
        }
    }

    /// The same, with other limits on states.
    #[must_use]
    pub fn with_json_limits(self, limits: JsonLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same, with another number of bytes in memory at a time.
    #[must_use]
    pub fn with_piece(self, piece: usize) -> Self {
        Self { piece: piece.max(512), ..self }
    }

    /// The same, with these checks of what is deployed.
    #[must_use]
    pub fn with_checks(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    /// The same, with a control socket that is not the machine's.
    #[must_use]
    pub fn with_control(self, control: Control) -> Self {
        Self { control: Some(control), ..self }
    }

    /// What is under way.
    pub fn status(&self) -> Result<Option<Status>, PvtxError> {
        place::status(&self.dir)
    }

    /// Begins. `objects` is the folder for the objects of a local transaction; without one they go to Pantavisor. In a
    /// queue, those of the queue count. Returns the state.
    pub fn begin(&self, base: &Base, objects: Option<&Path>) -> Result<String, PvtxError> {
        self.refuse_active(place::status(&self.dir)?.as_ref())?;
        let text = self.base(base)?.text(&self.limits)?;
        let given = objects.map_or(Target::Remote, |dir| Target::Local(dir.to_owned()));
        place::status_bytes(&Status { phase: Phase::Active, target: given.clone(), queue: None })?;
        let held = Held::make(&self.dir)?;
        let before = held.status()?;
        self.refuse_active(before.as_ref())?;
        held.is_replaceable()?;
        held.remove_stale();
        self.start(&held, before, given, &text)?;
        Ok(text)
    }

    /// Writes what makes a transaction. The state comes first: nothing is active before it is there.
    pub(super) fn start(
        &self,
        held: &Held,
        before: Option<Status>,
        given: Target,
        text: &str,
    ) -> Result<(), PvtxError> {
        let status = match before {
            Some(before) if before.phase == Phase::Set => Status { phase: Phase::Active, ..before },
            _ => Status { phase: Phase::Active, target: given, queue: None },
        };
        held.set_current(text)?;
        held.set_status(&status)
    }

    pub(super) fn refuse_active(&self, status: Option<&Status>) -> Result<(), PvtxError> {
        match status {
            Some(status) if status.phase == Phase::Active => Err(PvtxError::Active),
            _ => Ok(()),
        }
    }

    /// The state that a base stands for.
    pub(super) fn base(&self, base: &Base) -> Result<Document, PvtxError> {
        match base {
            Base::Empty => {
                let spec = (SPEC_KEY.to_owned(), Value::from(KNOWN_SPECS[0]));
                Document::of(Object::from([spec]), &self.limits)
            }
            Base::Current => {
                let text = self.control()?.step(&StepName::current(), self.limits.bytes)?;
                Document::parse(&text, &self.limits, "what Pantavisor says is running")
            }
            Base::State(text) => Document::parse(text, &self.limits, "what is running"),
            Base::Path(path) => {
                let file = base_file(path)?;
                let text = place::read_file(&file, self.limits.bytes)?;
                Document::parse(&text, &self.limits, &crate::state::escape(&file.to_string_lossy()))
            }
        }
    }

    /// Whether something could be added: an error where nothing is active.
    pub fn add_is_possible(&self) -> Result<(), PvtxError> {
        self.active(Asked::Add).map(drop)
    }

    /// Lays a package over the state: a tar file, gzipped or not, or the JSON of a state. Of a file, `size` is its size.
    pub fn add(&self, from: &mut dyn Read, size: Option<u64>) -> Result<Changed, PvtxError> {
        let target = self.active(Asked::Add)?.target;
        match &target {
            Target::Remote => {
                let control = self.control()?;
                self.add_into(Objects::Remote(&control), from, size, &target)
            }
            Target::Local(dir) => {
                // A state has no objects, and needs no folder for them.
                let mut from = from;
                match open_store(dir) {
                    Ok(store) => self.add_into(Objects::into(&store, self.piece)?, &mut from, size, &target),
                    Err(error) => self.add_into(Objects::Nowhere(Some(error)), &mut from, size, &target),
                }
            }
        }
    }

    /// The same for a remote transaction, whose objects go where somebody else takes them.
    pub fn add_through(
        &self,
        from: &mut dyn Read,
        size: Option<u64>,
        to: &mut Taker<'_>,
    ) -> Result<Changed, PvtxError> {
        self.add_into(Objects::Through(to), from, size, &Target::Remote)
    }

    fn add_into(
        &self,
        mut objects: Objects<'_>,
        from: &mut dyn Read,
        size: Option<u64>,
        target: &Target,
    ) -> Result<Changed, PvtxError> {
        let incoming = receive(from, size, &self.limits, &mut objects, self.piece)?;
        // What takes long is done; only now others have to wait.
        let (held, status) = self.hold_active(Asked::Add)?;
        if status.target != *target {
            return Err(PvtxError::NotActive { asked: Asked::Add });
        }
        let current = self.current()?;
        let merged = merge::add(&current.object, &current.claims, incoming.object);
        let text = Document::of(merged, &self.limits)?.text(&self.limits)?;
        objects.publish()?;
        self.save(&held, current, text)
    }

    /// Removes a part: a package by its name, or by that of its signature or its configuration; a key; or a folder.
    pub fn remove(&self, part: &str) -> Result<Changed, PvtxError> {
        let (held, _) = self.hold_active(Asked::Remove)?;
        if part.is_empty() {
            return Err(PvtxError::NoPart);
        }
        let current = self.current()?;
        let after = merge::remove(&current.object, &current.claims, part);
        if after == current.object {
            return Ok(Changed { state: current.text(&self.limits)?, changed: false });
        }
        let text = Document::of(after, &self.limits)?.text(&self.limits)?;
        self.save(&held, current, text)
    }

    fn save(&self, held: &Held, before: Document, text: String) -> Result<Changed, PvtxError> {
        held.set_current(&text)?;
        let changed = before.text(&self.limits).map_or(true, |before| before != text);
        Ok(Changed { state: text, changed })
    }

    /// The state, as it is kept.
    pub fn show(&self) -> Result<Vec<u8>, PvtxError> {
        self.active(Asked::End)?;
        place::current(&self.dir, self.limits.bytes)
    }

    /// Ends a transaction or a queue as if it had never begun. Objects and steps stay. False: there was none.
    pub fn abort(&self) -> Result<bool, PvtxError> {
        let Some(held) = Held::existing(&self.dir)? else { return Ok(false) };
        let was = held.status()?.is_some();
        held.clear()?;
        Ok(was)
    }

    /// Removes what a process that died has left, unless somebody is at it.
    pub fn tidy(&self) {
        Held::tidy(&self.dir);
    }

    /// The state of the transaction, checked.
    pub(super) fn current(&self) -> Result<Document, PvtxError> {
        let text = place::current(&self.dir, self.limits.bytes)?;
        Document::parse(&text, &self.limits, "the state of the transaction")
    }

    /// What is active; an error of the command that asked where nothing is.
    pub(super) fn active(&self, asked: Asked) -> Result<Status, PvtxError> {
        let status = place::status(&self.dir)?.filter(|status| status.phase == Phase::Active);
        status.ok_or(PvtxError::NotActive { asked })
    }

    /// The same, with everybody else kept out.
    pub(super) fn hold_active(&self, asked: Asked) -> Result<(Held, Status), PvtxError> {
        let held = Held::existing(&self.dir)?.ok_or(PvtxError::NotActive { asked })?;
        let status = self.active(asked)?;
        Ok((held, status))
    }

    pub(super) fn control(&self) -> Result<Control, PvtxError> {
        match &self.control {
            Some(control) => Ok(control.clone()),
            None => Ok(Control::find()?),
        }
    }
}

fn base_file(path: &Path) -> Result<PathBuf, PvtxError> {
    let meta = match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(PvtxError::NoBase(path.to_owned()));
        }
        meta => meta.on("look at", path)?,
    };
    if !meta.is_dir() {
        return Ok(path.to_owned());
    }
    let inside = ["json", ".pvr/json"].map(|name| path.join(name));
    inside.into_iter().find(|file| file.exists()).ok_or_else(|| PvtxError::NoBase(path.to_owned()))
}
