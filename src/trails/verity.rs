//! Whether the volumes of a state are what their manifests say: data, tree and manifest agree.
//!
//! A state names its files by their sha256, so what is found holds wherever and whenever it is installed: nothing is locked
//! meanwhile, and objects that are not here are not looked at. That they are missing is found by whoever needs them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use super::checks::{Objects, Opened};
use super::error::InstallError;
use crate::dm::{DmError, Manifest, Outline, check, manifest_of};
use crate::state::parse::parse_strict;
use crate::state::{Entry, Finding, JsonLimits, ObjectId, State, StatePath, Value, escape};

/// Whether the dm-verity volumes of a state are checked before it becomes a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verity {
    /// Their trees have to be right.
    Check,
    /// They are taken as they are.
    Trust,
}

/// What a manifest may be at most.
const MOST: u64 = 64 << 10;

/// Checks the volumes of a state, each read once. The error names every one that is not right.
pub(super) fn check_volumes(objects: &dyn Objects, state: &State, verity: Verity) -> Result<(), InstallError> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, entry) in state.entries().filter(|_| verity == Verity::Check) {
        let Some((container, _)) = manifest_of(key).filter(|(container, _)| is_container(container)) else { continue };
        match volume(objects, state, container, entry, &mut seen) {
            Ok(()) => {}
            Err(Wrong::Volume(why)) => findings.push(Finding { key: key.as_str().to_owned(), why }),
            Err(Wrong::Unread(why)) => return Err(InstallError::Unread { key: key.clone(), why }),
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(InstallError::Verity(findings)) }
}

/// Whether a folder is one that a device mounts volumes of. Below others, anything may be called `_dm`.
fn is_container(folder: &str) -> bool {
    !folder.contains('/') && !matches!(folder, "_config" | "_sigs")
}

/// Whose fault it is.
enum Wrong {
    Volume(String),
    Unread(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Unread(error.to_string())
    }
}

impl From<DmError> for Wrong {
    fn from(error: DmError) -> Self {
        match &error {
            // A stream says so that is not what its name stands for.
            DmError::Io { source, .. } if source.kind() != io::ErrorKind::InvalidData => {
                Self::Unread(error.to_string())
            }
            _ => Self::Volume(error.to_string()),
        }
    }
}

/// Manifests of the same words over the same objects are checked once.
type Seen = BTreeSet<(ObjectId, ObjectId, String)>;

fn volume(objects: &dyn Objects, state: &State, container: &str, entry: &Entry, seen: &mut Seen) -> Result<(), Wrong> {
    let Some(manifest) = manifest(objects, entry)? else { return Ok(()) };
    let manifest = Manifest::parse(&manifest).map_err(|error| Wrong::Volume(format!("the manifest {error}")))?;
    let object = |device: &StatePath| {
        let name = format!("{container}/{}", device.as_str());
        match state.get(&name) {
            Some(Entry::Object(id)) => Ok(*id),
            Some(Entry::Json(_)) => Err(Wrong::Volume(format!("\"{}\" is JSON, not a file of bytes", escape(&name)))),
            None => Err(Wrong::Volume(format!("the state has no \"{}\", which the manifest names", escape(&name)))),
        }
    };
    let (data, hash) = (object(&manifest.data_device)?, object(&manifest.hash_device)?);
    let words = format!("{} {} {}", manifest.root_hash, manifest.salt, manifest.uuid);
    if !seen.insert((data, hash, words)) {
        return Ok(());
    }
    let Some((hash_file, hash_size)) = objects.open(&hash)? else { return Ok(()) };
    // Of two streams, the second is asked for when the first has been read: whoever sends them may do one at a time.
    let (hash_file, opened) = match hash_file {
        Opened::File(file) => match objects.open(&data)? {
            Some((Opened::File(data_file), _)) => return files(&manifest, &data_file, &file),
            other => (Opened::File(file), Some(other)),
        },
        stream => (stream, None),
    };
    let outline = Outline::read(&manifest, &mut *reader(hash_file), hash_size)?;
    let opened = match opened {
        Some(opened) => opened,
        None => objects.open(&data)?,
    };
    let Some((data_file, size)) = opened else { return Ok(()) };
    Ok(outline.agrees_with(&manifest, &mut *reader(data_file), size)?)
}

fn reader(opened: Opened) -> Box<dyn Read + Send> {
    match opened {
        Opened::File(file) => Box::new(file),
        Opened::Stream(stream) => stream,
    }
}

/// The same of two files, with the number of bad blocks and the first of them.
fn files(manifest: &Manifest, data: &File, hash: &File) -> Result<(), Wrong> {
    let report = check(manifest, data, hash)?.report;
    let bad = |what, bad: Option<crate::dm::Bad>| {
        bad.map(|bad| {
            format!("{} bad blocks of {what}, the first is {} at offset {}", bad.count, bad.block, bad.offset)
        })
    };
    match bad("data", report.data).into_iter().chain(bad("the tree", report.tree)).reduce(|all, one| all + "; " + &one)
    {
        Some(why) => Err(Wrong::Volume(why)),
        None => Ok(()),
    }
}

/// The manifest, be it in the state or an object. `None`: the object is not here.
fn manifest(objects: &dyn Objects, entry: &Entry) -> Result<Option<Value>, Wrong> {
    let id = match entry {
        Entry::Json(value) => return Ok(Some(value.clone())),
        Entry::Object(id) => id,
    };
    let Some((opened, size)) = objects.open(id)? else { return Ok(None) };
    if size > MOST {
        return Err(Wrong::Volume(format!("the manifest has {size} bytes, more than {MOST}")));
    }
    let mut bytes = Vec::new();
    reader(opened)
        .take(MOST)
        .read_to_end(&mut bytes)
        .map_err(|source| DmError::Io { verb: "read the manifest", source })?;
    let parsed = parse_strict(&bytes, &JsonLimits::default());
    parsed.map(Some).map_err(|error| Wrong::Volume(format!("the manifest is not JSON: {error}")))
}
