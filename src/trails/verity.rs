//! Whether the volumes of a state are what their manifests say: data, tree and manifest agree.
//!
//! A state names its files by their sha256, so what is found holds wherever and whenever it is installed: nothing is locked
//! meanwhile, and objects that are not here are not looked at. That they are missing is found by whoever needs them.

use std::collections::BTreeSet;
use std::io::Read;

use super::error::InstallError;
use crate::dm::{DmError, Manifest, check, manifest_of};
use crate::state::parse::parse_strict;
use crate::state::{Entry, Finding, JsonLimits, ObjectId, State, StatePath, Value, escape};
use crate::store::{Context, ObjectStore, StoreError};

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
pub(super) fn check_volumes(store: &ObjectStore, state: &State, verity: Verity) -> Result<(), InstallError> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, entry) in state.entries().filter(|_| verity == Verity::Check) {
        let Some((container, _)) = manifest_of(key).filter(|(container, _)| is_container(container)) else { continue };
        match volume(store, state, container, key, entry, &mut seen) {
            Ok(()) => {}
            Err(Wrong::Volume(why)) => findings.push(Finding { key: key.as_str().to_owned(), why }),
            Err(Wrong::Storage(error)) => return Err(error.into()),
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
    Storage(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

/// Manifests of the same words over the same objects are checked once.
type Seen = BTreeSet<(ObjectId, ObjectId, String)>;

fn volume(
    store: &ObjectStore,
    state: &State,
    container: &str,
    key: &StatePath,
    entry: &Entry,
    seen: &mut Seen,
) -> Result<(), Wrong> {
    let Some(manifest) = manifest(store, key, entry)? else { return Ok(()) };
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
    let (Some((data, _)), Some((hash, _))) = (store.open_object(&data)?, store.open_object(&hash)?) else {
        return Ok(());
    };
    let checked = match check(&manifest, &data, &hash) {
        Ok(checked) => checked,
        Err(DmError::Io { verb, source }) => {
            return Err(StoreError::Io { verb, path: store.objects().to_owned(), source }.into());
        }
        Err(error) => return Err(Wrong::Volume(error.to_string())),
    };
    let report = checked.report;
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
fn manifest(store: &ObjectStore, key: &StatePath, entry: &Entry) -> Result<Option<Value>, Wrong> {
    let id = match entry {
        Entry::Json(value) => return Ok(Some(value.clone())),
        Entry::Object(id) => id,
    };
    let Some((file, size)) = store.open_object(id)? else { return Ok(None) };
    if size > MOST {
        return Err(Wrong::Volume(format!("the manifest has {size} bytes, more than {MOST}")));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).on("read", &key.below(store.objects()))?;
    let parsed = parse_strict(&bytes, &JsonLimits::default());
    parsed.map(Some).map_err(|error| Wrong::Volume(format!("the manifest is not JSON: {error}")))
}
