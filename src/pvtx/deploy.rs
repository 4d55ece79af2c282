//! `deploy`: the state becomes a folder, whole or not at all.
//!
//! The folder is laid out beside the one that it replaces (`trails::layout`), durably, and exchanged with it in one step
//! (`store::swap`). Of the old one only `.pvr/config` is taken over; the rest goes, as with today's program.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{Asked, Context, PvtxError};
use super::objects::{open_store, stage_of};
use super::place;
use super::status::{Phase, Status, Target};
use super::transaction::Transaction;
use crate::state::canonical::{push_string, to_canonical};
use crate::state::document::{MAX_FILES, SPEC_KEY, is_inline};
use crate::state::{Entry, Finding, Object, ObjectId, Spec, State, StateError, StatePath, Value};
use crate::store::swap::{self, Replaced, Swap};
use crate::store::{ObjectStore, Stage};
use crate::trails::{Demands, Layout, absent_boot_files, admit};

/// What has been deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Names in `.pv/` for the boot loader.
    pub boot: Vec<String>,
    /// Keys that `bsp/run.json` wants there and the state has not: it would not boot from this folder.
    pub absent: Vec<String>,
}

impl Transaction {
    /// Makes the state the content of a folder, which has to be there.
    pub fn deploy(&self, folder: &Path) -> Result<Deployed, PvtxError> {
        let (held, status) = self.hold_active(Asked::End)?;
        let Target::Local(objects) = &status.target else { return Err(PvtxError::Remote) };
        let document = self.current()?;
        let content = Content::of(document.object.clone(), document.text(&self.limits)?)?;
        let folder = target(folder)?;
        let store = open_store(objects)?;
        for inside in [store.objects(), &fs::canonicalize(&self.dir).on("resolve", &self.dir)?] {
            if inside.starts_with(&folder) {
                return Err(PvtxError::Inside { inside: inside.to_owned(), folder });
            }
        }
        // What is not here is named by what follows.
        admit(&content.state, &store, &Demands::default(), self.checks)?;
        let (swap, replaced, deployed) = lay_out(&store, objects, &content, &folder)?;
        let ended = Status { phase: Phase::Deployed, target: status.target, queue: None };
        held.set_status(&ended).inspect_err(|_| {
            let _ = swap.undo(&replaced);
        })?;
        if stage_of(&store) == Stage::Yes {
            // Those that stay go with the next sweep.
            let ids: Vec<ObjectId> = content.state.objects().map(|(_, id)| *id).collect();
            store.unstage(&ids).ok();
        }
        remove_leftovers(&folder);
        Ok(deployed)
    }
}

/// What becomes files.
struct Content {
    text: String,
    state: State,
    /// Keys that hold a value where a revision would have an object. Pantavisor runs no such state; today's program makes
    /// files of them, and so does this one.
    plain: Vec<(StatePath, String)>,
}

impl Content {
    fn of(object: Object, text: String) -> Result<Self, PvtxError> {
        let wrong =
            |source| PvtxError::State { what: "the state of the transaction".to_owned(), source: Box::new(source) };
        let finding = |key: &str, why: String| wrong(StateError::Findings(vec![Finding { key: key.to_owned(), why }]));
        let is_object = |value: &Value| value.as_str().is_some_and(|text| ObjectId::parse(text).is_ok());
        let (mut rest, mut plain, mut files) = (Object::new(), Vec::new(), 0);
        for (key, value) in object {
            if key == SPEC_KEY || is_object(&value) || is_inline(&key, &value) {
                rest.insert(key, value);
                continue;
            }
            let path = StatePath::parse(&key).map_err(|error| finding(&key, error.to_string()))?;
            files += 1 + path.folders().count();
            if files > MAX_FILES {
                return Err(finding(
                    &key,
                    format!("with this key the state has more than {MAX_FILES} files and folders"),
                ));
            }
            let text = to_canonical(&value)?;
            let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            plain.push((path, bare.unwrap_or(&text).to_owned()));
        }
        let state = State::from_value(Value::Object(rest), Spec::Any).map_err(wrong)?;
        Ok(Self { text, state, plain })
    }
}

/// The folder itself, without links on the way to it.
fn target(folder: &Path) -> Result<PathBuf, PvtxError> {
    // What an earlier one left, ours or today's program, that died between its two renames.
    swap::settle(folder)?;
    let aside = beside(folder, ".bak");
    if fs::symlink_metadata(folder).is_err() && is_revision(&aside) {
        fs::rename(&aside, folder).on("put back", folder)?;
    }
    match fs::canonicalize(folder) {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory)).on("deploy to", folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PvtxError::NoFolder(folder.to_owned())),
        Err(error) => Err(error).on("resolve", folder),
    }
}

/// Puts the new folder into its place; what it has replaced is there as long as the swap.
fn lay_out(
    store: &ObjectStore,
    objects: &Path,
    content: &Content,
    folder: &Path,
) -> Result<(Swap, Replaced, Deployed), PvtxError> {
    let state = &content.state;
    let swap = Swap::begin(folder)?;
    one_file_system(store, folder)?;
    let new = swap.new_folder();
    let ids: Vec<ObjectId> = state.objects().map(|(_, id)| *id).collect();
    let laid = {
        let _alone = store.lock_install()?;
        let _using = store.lock_shared()?;
        verify(store, state)?;
        let known = store.known(&ids);
        let laid = (|| {
            let mut layout = Layout::new(store, state, &new)?.with_plain_texts();
            layout.keys()?;
            for (key, text) in &content.plain {
                layout.plain(key, text)?;
            }
            layout.document(&content.text)?;
            // What has no members names nothing.
            if matches!(state.get("bsp/run.json"), Some(Entry::Json(Value::Object(_)))) {
                layout.boot_links()?;
            }
            layout.finish()
        })();
        store.refresh(&known);
        laid?
    };
    let pv = new.join(".pv");
    if !pv.is_dir() {
        fs::create_dir(&pv).on("create", &pv)?;
    }
    config(objects, folder, &new)?;
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::chmod(&new, mode).on("set the mode of", &new)?;
    swap.make_durable(store.caps())?;
    let replaced = swap.commit(store.caps())?;
    Ok((swap, replaced, Deployed { boot: laid.boot, absent: absent_boot_files(state) }))
}

/// Whether every object is there and intact; the error names all that are not.
fn verify(store: &ObjectStore, state: &State) -> Result<(), PvtxError> {
    let mut missing = Vec::new();
    for (key, id) in state.objects() {
        let there = match stage_of(store) {
            Stage::Yes => store.stage(id)?,
            Stage::No => store.intact(id)?,
        };
        if there.is_none() {
            missing.push((key.as_str().to_owned(), *id));
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(PvtxError::Missing { dir: store.objects().to_owned(), objects: missing }),
    }
}

/// `.pvr/config`: that of the old folder, else one that names the objects as they were given.
fn config(objects: &Path, old: &Path, new: &Path) -> Result<(), PvtxError> {
    let from = old.join(".pvr/config");
    let bytes = match fs::symlink_metadata(&from) {
        Ok(meta) if meta.is_file() => place::read_file(&from, 1 << 20)?,
        _ => {
            let mut text = String::from("{\"ObjectsDir\": ");
            push_string(&mut text, &objects.to_string_lossy());
            text.push('}');
            text.into_bytes()
        }
    };
    let path = new.join(".pvr/config");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
    file.and_then(|mut file| file.write_all(&bytes)).on("write", &path)
}

fn one_file_system(store: &ObjectStore, folder: &Path) -> Result<(), PvtxError> {
    let parent = folder.parent().unwrap_or(folder);
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).on("look at", path);
    if device(store.objects())? == device(parent)? {
        return Ok(());
    }
    Err(PvtxError::TwoFileSystems { objects: store.objects().to_owned(), folder: folder.to_owned() })
}

fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(end);
    folder.with_file_name(name)
}

fn is_revision(folder: &Path) -> bool {
    folder.join(".pvr/json").is_file()
}

/// What today's program leaves beside a folder when it dies. That it cannot be removed is no failure of this one.
fn remove_leftovers(folder: &Path) {
    for leftover in [".bak", ".tmp"].map(|end| beside(folder, end)) {
        if fs::symlink_metadata(&leftover).is_ok_and(|meta| meta.is_dir()) && is_revision(&leftover) {
            fs::remove_dir_all(&leftover).ok();
        }
    }
}
