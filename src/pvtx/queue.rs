//! A queue: steps that are collected first and become one transaction later (step.rs has their names).

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::error::{Asked, Context, PvtxError};
use super::merge;
use super::objects::{Objects, open_store};
use super::package::receive;
use super::place::{self, Held};
use super::status::{Phase, QueueStatus, Status, Target};
use super::step::{self, Step};
use super::transaction::{Base, Transaction};
use crate::state::ObjectId;
use crate::store::sync_folder;

const TEMPORARY: &str = ".pvtx.tmp";

/// The folders of a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueFolders<'a> {
    /// For its steps.
    pub queue: &'a Path,
    /// For its objects.
    pub objects: &'a Path,
}

impl Transaction {
    /// Defines a queue. Its folder is made; steps that are there stay, and the next one comes after them.
    pub fn queue_new(&self, folders: QueueFolders<'_>) -> Result<(), PvtxError> {
        let active = |status: Option<Status>| match status {
            Some(Status { phase: Phase::Active, .. }) => Err(PvtxError::ActiveQueue),
            _ => Ok(()),
        };
        active(place::status(&self.dir)?)?;
        for given in [folders.queue, folders.objects] {
            if given.as_os_str().is_empty() {
                return Err(PvtxError::StepName(String::new()));
            }
        }
        let status = |next| Status {
            phase: Phase::Set,
            target: Target::Local(folders.objects.to_owned()),
            queue: Some(QueueStatus { dir: folders.queue.to_owned(), next }),
        };
        place::status_bytes(&status(0))?;
        let there = folders.queue.is_dir();
        DirBuilder::new().recursive(true).mode(0o775).create(folders.queue).on("create", folders.queue)?;
        let defined = (|| {
            let held = Held::make(&self.dir)?;
            active(held.status()?)?;
            held.is_replaceable()?;
            held.remove_stale();
            held.set_status(&status(step::next(folders.queue)?))?;
            held.forget_current();
            Ok(())
        })();
        if defined.is_err() && !there {
            fs::remove_dir(folders.queue).ok();
        }
        defined
    }

    /// Adds a step that removes a part. Returns its name.
    pub fn queue_remove(&self, part: &str) -> Result<String, PvtxError> {
        let (held, status, queue) = self.hold_queue(Asked::Queue)?;
        if part.is_empty() {
            return Err(PvtxError::NoPart);
        }
        let name = step::removal(queue.next, part)?;
        let path = queue.dir.join(&name);
        File::create_new(&path).on("create", &path)?;
        self.count(&held, status, queue).inspect_err(|_| {
            fs::remove_file(&path).ok();
        })?;
        Ok(name)
    }

    /// Whether a step could be added: an error where there is no queue.
    pub fn queue_is_there(&self) -> Result<(), PvtxError> {
        self.hold_queue(Asked::Queue).map(drop)
    }

    /// Adds a step that adds a package or a state; objects go to the folder of the queue at once. Returns its name.
    pub fn queue_unpack(&self, called: &str, from: &mut dyn Read, size: Option<u64>) -> Result<String, PvtxError> {
        let objects = {
            let (_, status, queue) = self.hold_queue(Asked::Queue)?;
            step::addition(queue.next, called)?;
            status.target
        };
        let Target::Local(objects) = objects else { return Err(PvtxError::Remote) };
        DirBuilder::new().recursive(true).mode(0o775).create(&objects).on("create", &objects)?;
        let store = open_store(&objects)?;
        let mut sink = Objects::into(&store, self.piece)?;
        let document = receive(from, size, &self.limits, &mut sink, self.piece)?;
        let text = document.text(&self.limits)?;
        // What takes long is done; the number is the one that is next by now.
        let (held, status, queue) = self.hold_queue(Asked::Queue)?;
        let name = step::addition(queue.next, called)?;
        sink.publish()?;
        let temporary = queue.dir.join(TEMPORARY);
        remove_all(&temporary)?;
        DirBuilder::new().mode(0o755).create(&temporary).on("create", &temporary)?;
        let made = place::replace(&temporary.join(TEMPORARY), &temporary.join("json"), text.as_bytes());
        let path = queue.dir.join(&name);
        let placed = made.and_then(|()| {
            if fs::symlink_metadata(&path).is_ok() {
                return Err(PvtxError::StepName(name.clone()));
            }
            fs::rename(&temporary, &path).on("create", &path)
        });
        if placed.is_err() {
            fs::remove_dir_all(&temporary).ok();
        }
        placed?;
        self.count(&held, status, queue).inspect_err(|_| {
            fs::remove_dir_all(&path).ok();
        })?;
        Ok(name)
    }

    /// Counts a step that has been made, when it is durable.
    fn count(&self, held: &Held, status: Status, queue: QueueStatus) -> Result<(), PvtxError> {
        let next = queue.next.checked_add(1).filter(|next| i32::try_from(*next).is_ok());
        let next = next.ok_or(PvtxError::TooManySteps)?;
        sync_folder(&queue.dir)?;
        held.set_status(&Status { queue: Some(QueueStatus { next, ..queue }), ..status })
    }

    /// Makes all steps of the queue part of the transaction, or none. With folders, a queue is defined first; with a base,
    /// the transaction begins with it. Returns the state.
    pub fn queue_process(&self, base: Option<&Base>, folders: Option<QueueFolders<'_>>) -> Result<String, PvtxError> {
        if let Some(folders) = folders {
            self.queue_new(folders)?;
        }
        let (held, status, queue) = self.hold_queue(Asked::Process)?;
        let mut state = match base {
            Some(base) => {
                self.refuse_active(Some(&status))?;
                self.base(base)?
            }
            None if status.phase == Phase::Active => self.current()?,
            None => return Err(PvtxError::NotActive { asked: Asked::Process }),
        };
        let Target::Local(objects) = &status.target else { return Err(PvtxError::Remote) };
        let mut brought = Vec::new();
        for step::Named { name, step } in step::steps(&queue.dir)? {
            let done = self.apply(&state, step, &mut brought);
            state = done.map_err(|source| PvtxError::Step { step: name, source: Box::new(source) })?;
        }
        let text = state.text(&self.limits)?;
        if !brought.is_empty() {
            self.bring(objects, &brought)?;
        }
        match base {
            Some(_) => self.start(&held, Some(status), Target::Remote, &text)?,
            None => held.set_current(&text)?,
        }
        // They are in the folder of the objects, where those of the other steps are.
        for (path, _) in brought {
            fs::remove_file(path).ok();
        }
        Ok(text)
    }

    fn apply(
        &self,
        state: &Document,
        step: Step,
        brought: &mut Vec<(PathBuf, ObjectId)>,
    ) -> Result<Document, PvtxError> {
        let after = match step {
            Step::Remove(part) => merge::remove(&state.object, &state.claims, &part),
            Step::Add(folder) => {
                let json = folder.join("json");
                if fs::symlink_metadata(&json).is_err() {
                    return Err(PvtxError::NoJson);
                }
                let text = place::read_file(&json, self.limits.bytes)?;
                let incoming = Document::parse(&text, &self.limits, "its json")?;
                brought.extend(objects_of(&folder)?);
                merge::add(&state.object, &state.claims, incoming.object)
            }
        };
        Document::of(after, &self.limits)
    }

    /// Takes objects that lie in steps into the folder of the queue's objects, hashed on the way.
    fn bring(&self, objects: &Path, brought: &[(PathBuf, ObjectId)]) -> Result<(), PvtxError> {
        let store = open_store(objects)?;
        let mut sink = Objects::into(&store, self.piece)?;
        for (path, id) in brought {
            let mut file = File::open(path).on("open", path)?;
            let size = file.metadata().on("look at", path)?.len();
            sink.take(*id, size, &mut file)?;
        }
        sink.check()?;
        sink.publish()
    }

    /// The queue, with everybody else kept out. Its folder has to be there.
    fn hold_queue(&self, asked: Asked) -> Result<(Held, Status, QueueStatus), PvtxError> {
        let none = |dir: &Path| PvtxError::NoQueue { dir: dir.to_owned(), asked };
        let held = Held::existing(&self.dir)?.ok_or_else(|| none(Path::new("")))?;
        let open = |status: &Status| matches!(status.phase, Phase::Set | Phase::Active);
        let status = held.status()?.filter(open).ok_or_else(|| none(Path::new("")))?;
        let mut queue = status.queue.clone().ok_or_else(|| none(Path::new("")))?;
        if !queue.dir.is_dir() {
            return Err(none(&queue.dir));
        }
        // One that was killed may have made a step, and not counted it.
        queue.next = queue.next.max(step::next(&queue.dir)?);
        Ok((held, status, queue))
    }
}

/// The objects that lie in a step.
fn objects_of(folder: &Path) -> Result<Vec<(PathBuf, ObjectId)>, PvtxError> {
    let objects = folder.join("objects");
    let entries = match fs::read_dir(&objects) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.on("list", &objects)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.on("list", &objects)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = ObjectId::parse(&name).map_err(|_| PvtxError::ObjectName(name))?;
        if !fs::symlink_metadata(&path).on("look at", &path)?.is_file() {
            return Err(PvtxError::NotAFile(path));
        }
        found.push((path, id));
    }
    found.sort();
    Ok(found)
}

fn remove_all(path: &Path) -> Result<(), PvtxError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", path),
    }
}
