//! `commit`: the working tree becomes the committed state.
//!
//! Objects first, durably; then `.pvr/json`, which is the commit; then `.pvr/new` goes and the message is noted. A crash
//! in between leaves the old commit, or the new one with files in `.pvr/new` that it has already.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{Context, RepoError};
use super::hashes::{Hashes, Use};
use super::index::{Added, Index};
use super::working::{Changes, hash_file, normal};
use super::{Repo, shown};
use crate::state::clock;
use crate::state::{Entry, Spec, State, StatePath, Value};
use crate::store::{ObjectStore, Sealed, Stage};

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

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// One line for each change, as today's program prints them.
    pub lines: Vec<String>,
    /// What was let pass in `.json` files.
    pub warnings: Vec<String>,
}

impl Repo {
    /// Commits the working tree.
    pub fn commit(&self, message: &str, checkpoint: Checkpoint) -> Result<Committed, RepoError> {
        let lock = self.lock()?;
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut index = Index::read(&self.pvr)?;
        if checkpoint == Checkpoint::Yes
            && let Ok(key) = StatePath::parse(CHECKPOINT)
        {
            let path = key.below(&self.root);
            lock.replace(&path, format!("{{\"major\":\"{}\"}}", clock::rfc3339(clock::now())).as_bytes(), 0o640)?;
            index.0.insert(key, Added { force_object: false, sha: hash_file(&path)?.to_string() });
        }
        // What is committed was read for it; the looks that follow need not read it again.
        let how = if self.hashes == Use::Off { Use::Off } else { Use::Write };
        let mut hashes = Hashes::read(&self.pvr, how);
        let working = self.working_of(&pristine, &index, &mut hashes)?;
        let changes = Changes::between(&normal(&pristine)?, &working.state);
        let Value::Object(mut members) = working.state.to_value() else { return Ok(Committed::default()) };
        let mut committed = Committed { lines: Vec::new(), warnings: working.warnings };
        let store = self.store()?;
        let mut sealed = Vec::new();
        for (path, is_new) in changes.changed.iter().map(|p| (p, false)).chain(changes.added.iter().map(|p| (p, true)))
        {
            let file = path.below(&self.root);
            let Some(Entry::Object(id)) = working.state.get(path.as_str()) else {
                let abs = shown(&file);
                let line = if is_new { format!("Adding inline {path}") } else { format!("Committing (inline): {abs}") };
                committed.lines.push(line);
                continue;
            };
            let mut id = *id;
            if store.intact(&id)?.is_none() {
                let object = take_in(store, &file)?;
                // The file may have changed since it was looked at: what was read now is what is committed.
                id = object.id();
                members.insert(path.as_str().to_owned(), id.to_string().into());
                sealed.push(object);
            }
            committed.lines.push(if is_new {
                format!("Adding raw {} with {id}", shown(&file))
            } else {
                format!("Committing (raw): {}", shown(&file))
            });
            if sealed.len() >= BATCH {
                store.publish(std::mem::take(&mut sealed), Stage::No)?;
            }
        }
        store.publish(sealed, Stage::No)?;
        committed.lines.extend(changes.removed.iter().map(|path| format!("Removing {path}")));
        let state = State::from_value(Value::Object(members), Spec::Any).map_err(RepoError::Working)?;
        self.write_pristine(&state, &lock)?;
        self.remove_index()?;
        lock.replace(&self.pvr.join("commitmsg"), message.as_bytes(), 0o644)?;
        hashes.save_holding(&self.pvr, &lock);
        Ok(committed)
    }
}

/// Copies a file into the pool.
fn take_in(store: &ObjectStore, path: &Path) -> Result<Sealed, RepoError> {
    let mut file = File::open(path).on("open", path)?;
    let mut writer = store.begin(None, None)?;
    let mut buf = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok(writer.finish()?),
            Ok(got) => writer.write_all(&buf[..got])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("read", path),
        }
    }
}
