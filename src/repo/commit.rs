//! `commit`: the working tree becomes the committed state.
//!
//! Objects first, durably; then `.pvr/json`, which is the commit; then `.pvr/new` goes and the message is noted. A crash
//! in between leaves the old commit, or the new one with files in `.pvr/new` that it has already.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Repo;
use super::error::{Context, RepoError};
use super::get::between;
use super::hashes::{Hashes, Use};
use super::index::{Added, Index};
use super::source::{Fetched, Run};
use super::working::{Changes, Status, hash_file, normal};
use crate::state::clock;
use crate::state::parse::parse_strict;
use crate::state::{Entry, JsonLimits, ObjectId, Spec, State, StatePath, Value, escape_text};
use crate::store::{ObjectStore, Sealed, gauge};

/// Objects that are made durable together.
const BATCH: usize = 32;
const CHECKPOINT: &str = "checkpoint.json";

/// Whether the device is to treat the revision as one to fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// A revision like any other.
    No,
    /// Writes `checkpoint.json`.
    Yes,
}

/// What a commit did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// One line for each change, as today's program prints them.
    pub lines: Vec<String>,
    /// Objects of what was added and changed, and what was let pass in `.json` files.
    pub fetched: Fetched,
    /// What changes in the committed state.
    pub changes: Status,
    /// The pool.
    pub pool: PathBuf,
}

impl Repo {
    /// Commits the working tree.
    pub fn commit(&self, message: &str, checkpoint: Checkpoint, run: Run) -> Result<Committed, RepoError> {
        let lock = self.lock_for(run)?;
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut index = Index::read(&self.pvr)?;
        // What is committed was read for it; the looks that follow need not read it again.
        let how = if self.hashes == Use::Off || run == Run::Dry { Use::Off } else { Use::Write };
        let mut hashes = Hashes::read(&self.pvr, how);
        let checkpoint = StatePath::parse(CHECKPOINT).ok().filter(|_| checkpoint == Checkpoint::Yes);
        let text = format!("{{\"major\":\"{}\"}}", clock::rfc3339(clock::now()));
        if let (Some(key), Some(lock)) = (&checkpoint, &lock) {
            let path = key.below(&self.root);
            lock.replace(&path, text.as_bytes(), 0o640)?;
            index.0.insert(key.clone(), Added { force_object: false, sha: hash_file(&path)?.to_string() });
        }
        let mut working = self.working_of(&pristine, &index, &mut hashes)?;
        if let (Some(key), Run::Dry) = (&checkpoint, run) {
            working.state = with_checkpoint(&working.state, key, &text, &self.limits)?;
        }
        let store = &self.store_for(run)?;
        let mut taking = Taking { store, sealed: Vec::new(), taken: BTreeSet::new(), committed: Committed::default() };
        let state = self.take_changes(&pristine, &working.state, run, &mut taking)?;
        let Taking { sealed, mut committed, .. } = taking;
        store.publish(sealed, store.staging())?;
        committed.changes = between(&pristine, &state)?;
        committed.fetched.warnings = working.warnings;
        store.objects().clone_into(&mut committed.pool);
        self.write_pristine(&state, lock.as_ref())?;
        if let Some(lock) = &lock {
            // It is committed. Files in `.pvr/new` that it has already do no harm, and the message is a note.
            self.remove_index().ok();
            lock.replace(&self.pvr.join("commitmsg"), message.as_bytes(), 0o644).ok();
            hashes.save_holding(&self.pvr, lock);
        }
        Ok(committed)
    }

    /// Brings the objects of what has changed into the pool; the state that comes of it.
    fn take_changes(
        &self,
        pristine: &State,
        working: &State,
        run: Run,
        taking: &mut Taking<'_>,
    ) -> Result<State, RepoError> {
        let changes = Changes::between(&normal(pristine)?, working);
        let mut members = match working.to_value() {
            Value::Object(members) => members,
            _ => crate::state::Object::new(),
        };
        let paths = changes.changed.iter().map(|p| (p, false)).chain(changes.added.iter().map(|p| (p, true)));
        for (path, is_new) in paths {
            let file = path.below(&self.root);
            let (abs, key) = (file.to_string_lossy(), path.as_str());
            let Some(Entry::Object(id)) = working.get(key) else {
                let line = if is_new { format!("Adding inline {key}") } else { format!("Committing (inline): {abs}") };
                taking.committed.say(&line);
                continue;
            };
            let id = taking.object(id, &file, run)?;
            // The file may have changed since it was looked at: what was read for the pool is what is committed.
            members.insert(key.to_owned(), id.to_string().into());
            let line = if is_new { format!("Adding raw {abs} with {id}") } else { format!("Committing (raw): {abs}") };
            taking.committed.say(&line);
        }
        changes.removed.iter().for_each(|path| taking.committed.say(&format!("Removing {}", path.as_str())));
        State::from_value(Value::Object(members), Spec::Any).map_err(RepoError::Working)
    }
}

/// A commit on its way.
struct Taking<'a> {
    store: &'a ObjectStore,
    sealed: Vec<Sealed>,
    /// Objects that were taken in, named or not.
    taken: BTreeSet<ObjectId>,
    committed: Committed,
}

impl Committed {
    /// A line for people and for the scripts of today: names as they are, but for what a terminal would act upon.
    fn say(&mut self, line: &str) {
        self.lines.push(escape_text(line).into_owned());
    }
}

impl Taking<'_> {
    /// Takes a file in, if the pool lacks it: as which object.
    fn object(&mut self, id: &ObjectId, file: &Path, run: Run) -> Result<ObjectId, RepoError> {
        let fetched = &mut self.committed.fetched;
        fetched.objects += 1;
        if self.taken.contains(id) {
            return Ok(*id);
        }
        if self.store.keep(id)?.is_some() {
            fetched.reused += usize::from(self.taken.insert(*id));
            return Ok(*id);
        }
        let (id, size) = match run {
            Run::Dry => (*id, std::fs::metadata(file).on("look at", file)?.len()),
            Run::Really => {
                let object = take_in(self.store, file)?;
                let taken = (object.id(), object.size());
                self.sealed.push(object);
                taken
            }
        };
        // Another file may have become the same meanwhile.
        if self.taken.insert(id) {
            fetched.added.push(id);
        }
        fetched.bytes = Some(fetched.bytes.unwrap_or_default() + size);
        if self.sealed.len() >= BATCH {
            self.store.publish(std::mem::take(&mut self.sealed), self.store.staging())?;
        }
        Ok(id)
    }
}

/// The state with the file that a checkpoint writes.
fn with_checkpoint(state: &State, key: &StatePath, text: &str, limits: &JsonLimits) -> Result<State, RepoError> {
    let Value::Object(mut members) = state.to_value() else { return Ok(state.clone()) };
    let value = parse_strict(text.as_bytes(), limits).map_err(|source| RepoError::Json { key: key.clone(), source })?;
    members.insert(key.as_str().to_owned(), value);
    State::from_value(Value::Object(members), Spec::Any).map_err(RepoError::Working)
}

/// Copies a file into the pool.
fn take_in(store: &ObjectStore, path: &Path) -> Result<Sealed, RepoError> {
    let mut file = File::open(path).on("open", path)?;
    gauge::plan(file.metadata().on("look at", path)?.len());
    let mut writer = store.begin(None, None)?;
    let mut buf = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok(writer.finish()?),
            Ok(got) => {
                writer.write_all(&buf[..got])?;
                gauge::done(got as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("read", path),
        }
    }
}
