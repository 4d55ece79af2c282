//! `.pvr/new`: files that were added and wait for a commit.
//!
//! Canonical JSON, `{"<path>":{"ForceObject":<bool>,"Sha":"<hex>"}}`.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::RepoError;
use super::files::{Lock, read_if_there};
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, StatePath, Value};

/// One added file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    /// Committed as an object even if its name ends in `.json`.
    pub(super) force_object: bool,
    /// Sha256 when it was added. For others to read; a commit takes the file as it is then.
    pub(super) sha: String,
}

/// All added files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index(pub(super) BTreeMap<StatePath, Added>);

impl Index {
    pub(super) fn read(pvr: &Path) -> Result<Self, RepoError> {
        let path = pvr.join("new");
        let Some(bytes) = read_if_there(&path)? else { return Ok(Self::default()) };
        let damaged = |why: String| RepoError::Damaged { path: path.clone(), why };
        // Its author is this program: what a stranger's document may cost is no measure of how many files may be added.
        let limits = JsonLimits { bytes: usize::MAX, ..JsonLimits::default() };
        let value = parse_strict(&bytes, &limits).map_err(|error| damaged(error.to_string()))?;
        let members = value.as_object().ok_or_else(|| damaged("it is not a JSON object".to_owned()))?;
        let mut index = Self::default();
        for (key, value) in members {
            let key = StatePath::parse(key).map_err(|error| damaged(error.to_string()))?;
            let force_object = matches!(value.get("ForceObject"), Some(Value::Bool(true)));
            let sha = value.get("Sha").and_then(Value::as_str).unwrap_or_default().to_owned();
            index.0.insert(key, Added { force_object, sha });
        }
        Ok(index)
    }

    pub(super) fn write(&self, pvr: &Path, lock: &Lock) -> Result<(), RepoError> {
        lock.replace(&pvr.join("new"), self.text()?.as_bytes(), 0o644)
    }

    /// The file.
    pub(super) fn text(&self) -> Result<String, RepoError> {
        let members = self.0.iter().map(|(key, added)| {
            let mut entry = Object::new();
            entry.insert("ForceObject".to_owned(), Value::Bool(added.force_object));
            entry.insert("Sha".to_owned(), added.sha.as_str().into());
            (key.as_str().to_owned(), Value::Object(entry))
        });
        Ok(to_canonical(&Value::Object(members.collect()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20,000 files take 2.5 MB here and 160,000 values, and no more than 1.8 MB in the state.
    #[test]
    fn more_added_files_than_a_state_has_values_locked_their_owner_out() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let added = |n: u32| {
            let added = Added { force_object: n.is_multiple_of(2), sha: format!("{n:064x}") };
            (StatePath::parse(&format!("app/file{n}")).unwrap(), added)
        };
        let index = Index((0..20_000).map(added).collect());
        index.write(folder.path(), &lock).unwrap();
        assert!(index.text().unwrap().len() > JsonLimits::default().bytes);
        assert!(Index::read(folder.path()).unwrap() == index);
    }
}
