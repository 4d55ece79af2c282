//! Building a revision's folder where nobody looks: in a locked folder below `tmp/`.

use super::error::InstallError;
use super::layout::{Laid, Layout, folder, write};
use super::{Install, Storage, current};
use crate::state::Progress;
use crate::state::{ObjectId, State};
use crate::store::TempDir;
use std::path::{Path, PathBuf};

/// A revision that is whole and has no name yet.
#[derive(Debug)]
pub(super) struct Built {
    /// Holds `rev/`, the revision, and what making it current takes, if asked for. Vanishes with this value.
    pub(super) dir: TempDir,
    pub(super) linked: usize,
    pub(super) json: usize,
    pub(super) copied: usize,
}

impl Built {
    pub(super) fn revision(&self) -> PathBuf {
        self.dir.path().join("rev")
    }
}

/// Builds a revision and makes it durable. The objects have been found intact.
pub(super) fn build(storage: &Storage, job: &Install<'_>) -> Result<Built, InstallError> {
    let dir = TempDir::create(&storage.store().tmp())?;
    let root = dir.path().join("rev");
    let mut layout = Layout::new(storage.store(), job.state, &root)?;
    layout.keys()?;
    folder(&root.join(".pv"))?;
    write(&root.join(".pvr/config"), config(storage.store().objects()).as_bytes())?;
    write(&root.join(".pv/progress"), &Progress::new().to_bytes())?;
    if let Some(msg) = job.commit_msg.filter(|msg| !msg.is_empty()) {
        write(&root.join(".pv/commitmsg"), msg.as_bytes())?;
    }
    layout.boot_links()?;
    if job.make_current {
        current::prepare(storage, &job.rev.clone().into(), dir.path())?;
    }
    let Laid { linked, json, copied, .. } = layout.finish()?;
    dir.make_durable(storage.store().caps())?;
    Ok(Built { dir, linked, json, copied })
}

/// The text of `.pvr/config`.
fn config(objects: &Path) -> String {
    let path = serde_json::Value::from(objects.to_string_lossy());
    format!(r#"{{"ObjectsDir": {path}}}"#)
}

/// The objects of a state, each once.
pub(super) fn object_ids(state: &State) -> Vec<ObjectId> {
    let mut ids: Vec<_> = state.objects().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
