//! `pvr fsck`: can the repository be read, and is every object what its name says?
//!
//! | finding | what |
//! |---|---|
//! | `json`, `config`, `new` | the file in `.pvr` cannot be read |
//! | `missing`, `damaged` | an object that the committed state names is not in the pool, or is not what its name says |
//! | `pool` | so is an object of the pool that the committed state does not name: another repository may |
//! | `unfinished` | what a process that died left; the next that writes removes it |
//!
//! Nothing is changed, and nothing remembered is believed: every byte is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::error::{Context, RepoError, shown};
use super::index::Index;
use super::{Repo, pool};
use crate::state::{ObjectId, StatePath};
use crate::store::{self, ObjectStore, gauge};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind; see the module.
    pub kind: &'static str,
    /// The file or the key.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Keys of the committed state.
    pub keys: usize,
    /// Objects in the pool.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects in the pool that the committed state does not name.
    pub unnamed: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    fn found(&mut self, kind: &'static str, path: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { kind, path: path.into(), what: what.into() });
    }
}

impl Repo {
    /// Checks the repository and its pool.
    pub fn fsck(&self) -> Result<Report, RepoError> {
        if !self.pvr.is_dir() {
            return Err(RepoError::NotARepo(self.root.clone()));
        }
        let mut report = Report::default();
        let state = match self.pristine() {
            Ok(Some(state)) => Some(state),
            Ok(None) => {
                report.found("json", ".pvr/json", "it is not there");
                None
            }
            Err(error @ RepoError::Io { .. }) => return Err(error),
            Err(error) => {
                report.found("json", ".pvr/json", error.to_string());
                None
            }
        };
        if let Err(error) = Index::read(&self.pvr) {
            report.found("new", ".pvr/new", error.to_string());
        }
        unfinished(&self.pvr.join("tmp"), &mut report)?;
        let mut named: BTreeMap<ObjectId, Vec<&StatePath>> = BTreeMap::new();
        for (key, id) in state.iter().flat_map(|state| state.objects()) {
            named.entry(*id).or_default().push(key);
        }
        report.keys = state.as_ref().map_or(0, |state| state.len());
        match self.config() {
            Ok(config) => check_pool(&config.pool(&self.pvr), &named, &mut report)?,
            Err(error @ RepoError::Io { .. }) => return Err(error),
            Err(error) => report.found("config", ".pvr/config", error.to_string()),
        }
        Ok(report)
    }
}

/// Every object of the pool, and every object that ought to be in it.
fn check_pool(
    folder: &Path,
    named: &BTreeMap<ObjectId, Vec<&StatePath>>,
    report: &mut Report,
) -> Result<(), RepoError> {
    let mut missing = named.clone();
    if folder.is_dir() {
        let store = pool::look_at(folder)?;
        let listed = store.list()?;
        gauge::plan(listed.iter().map(|(_, size)| size).sum());
        for (id, size) in listed {
            report.objects += 1;
            report.bytes += size;
            let keys = missing.remove(&id);
            report.unnamed += usize::from(keys.is_none());
            let path = store.path(&id);
            let wrong = match File::open(&path).and_then(store::hash) {
                Ok(got) if got == id => continue,
                Ok(got) => format!("its bytes have the sha256 {got}"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => error.to_string(),
            };
            match keys {
                Some(keys) => {
                    keys.iter().for_each(|key| report.found("damaged", key.as_str(), format!("{id}: {wrong}")))
                }
                None => report.found("pool", shown(&path), wrong),
            }
        }
        unfinished_in(&store, report)?;
    }
    for (id, keys) in missing {
        keys.iter().for_each(|key| report.found("missing", key.as_str(), format!("{id} is not in {}", shown(folder))));
    }
    Ok(())
}

/// Files in `.pvr/tmp` belong to whoever holds the lock of the repository; nobody does while this can have it.
fn unfinished(tmp: &Path, report: &mut Report) -> Result<(), RepoError> {
    let Some(pvr) = tmp.parent() else { return Ok(()) };
    let lock = pvr.join("lock");
    let held = File::open(&lock)
        .is_ok_and(|lock| rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_err());
    if held {
        return Ok(());
    }
    match fs::read_dir(tmp) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        entries => {
            for entry in entries.on("list", tmp)? {
                let path = entry.on("list", tmp)?.path();
                report.found("unfinished", shown(&path), "nobody is writing it");
            }
        }
    }
    Ok(())
}

fn unfinished_in(store: &ObjectStore, report: &mut Report) -> Result<(), RepoError> {
    for path in store.unowned()? {
        report.found("unfinished", shown(&path), "nobody is writing it");
    }
    Ok(())
}
