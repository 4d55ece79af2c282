//! The working tree as a state, and how it differs from the committed one.
//!
//! The state of the working tree is read from the working tree alone; merge patches only show differences
//! (`cli.md` §11 lists what is lost otherwise).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{Context, RepoError};
use super::hashes::Hashes;
use super::index::Index;
use super::walk::walk;
use super::{DEFAULT_SPEC, Repo};
use crate::state::canonical::to_canonical;
use crate::state::parse::{JsonError, parse_lenient};
use crate::state::{Entry, JsonLimits, ObjectId, Spec, State, StatePath, Value, document, patch};

/// The working tree, read.
#[derive(Debug)]
pub struct Working {
    /// What a commit would make of it, in canonical numbers.
    pub state: State,
    /// Paths that are not tracked, for people.
    pub untracked: Vec<String>,
    /// What was let pass in `.json` files; a line each.
    pub warnings: Vec<String>,
}

/// How the working tree differs from the committed state. Each list is sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Tracked, not committed.
    pub added: Vec<String>,
    /// Committed, not there.
    pub removed: Vec<String>,
    /// Committed with other content.
    pub changed: Vec<String>,
    /// Not tracked.
    pub untracked: Vec<String>,
}

impl Repo {
    /// Reads the working tree.
    pub fn working(&self) -> Result<Working, RepoError> {
        self.look(&self.pristine_or_empty()?, &Index::read(&self.pvr)?)
    }

    /// Reads the working tree, of what is known to be unchanged only the metadata.
    fn look(&self, pristine: &State, index: &Index) -> Result<Working, RepoError> {
        let mut hashes = Hashes::read(&self.pvr, self.hashes);
        let working = self.working_of(pristine, index, &mut hashes)?;
        hashes.save(&self.pvr);
        Ok(working)
    }

    pub(super) fn working_of(
        &self,
        pristine: &State,
        index: &Index,
        hashes: &mut Hashes,
    ) -> Result<Working, RepoError> {
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        let (mut untracked, mut warnings) = (Vec::new(), Vec::new());
        for found in walk(&self.root)? {
            let key = found.path.as_deref().and_then(|path| StatePath::parse(path).ok());
            let tracked = key.filter(|key| pristine.get(key.as_str()).is_some() || index.0.contains_key(key));
            let (Some(key), Some(metadata)) = (tracked, &found.file) else {
                untracked.push(found.shown);
                continue;
            };
            let forced = index.0.get(&key).is_some_and(|added| added.force_object);
            let was_object = matches!(pristine.get(key.as_str()), Some(Entry::Object(_)));
            let path = key.below(&self.root);
            let value = if key.as_str().ends_with(".json") && !forced && !was_object {
                inline(&self.limits, &key, &path, &mut warnings)?
            } else {
                None
            };
            let value = match value {
                Some(value) => value,
                None => hashes.of(&key, &path, metadata)?.to_string().into(),
            };
            entries.insert(key.as_str().to_owned(), value);
        }
        let spec = pristine.spec().unwrap_or(DEFAULT_SPEC);
        entries.insert(document::SPEC_KEY.to_owned(), spec.into());
        let state = State::from_value(Value::Object(entries), Spec::Any).map_err(RepoError::Working)?;
        Ok(Working { state: normal(&state)?, untracked, warnings })
    }

    /// How the working tree differs from the committed state.
    pub fn status(&self) -> Result<(Status, Vec<String>), RepoError> {
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let index = Index::read(&self.pvr)?;
        let working = self.look(&pristine, &index)?;
        let changes = Changes::between(&normal(&pristine)?, &working.state);
        let name = |path: &StatePath| path.as_str().to_owned();
        let spec = pristine.spec().is_none().then(|| document::SPEC_KEY.to_owned());
        let status = Status {
            added: spec.into_iter().chain(changes.added.iter().map(name)).collect(),
            removed: changes.removed.iter().map(name).collect(),
            changed: changes.changed.iter().map(name).collect(),
            untracked: working.untracked,
        };
        Ok((status, working.warnings))
    }

    /// The merge patch from the committed state to the working tree, with what was let pass.
    pub fn diff(&self) -> Result<(Value, Vec<String>), RepoError> {
        let pristine = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let working = self.look(&pristine, &Index::read(&self.pvr)?)?;
        Ok((patch::diff(&normal(&pristine)?.to_value(), &working.state.to_value()), working.warnings))
    }
}

/// Keys that differ between two states with normal numbers.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Vec<StatePath>,
    pub(super) removed: Vec<StatePath>,
    pub(super) changed: Vec<StatePath>,
}

impl Changes {
    pub(super) fn between(from: &State, to: &State) -> Self {
        let mut changes = Self::default();
        for (path, entry) in to.entries() {
            match from.get(path.as_str()) {
                None => changes.added.push(path.clone()),
                Some(before) if before != entry => changes.changed.push(path.clone()),
                Some(_) => {}
            }
        }
        let gone = from.entries().filter(|(path, _)| to.get(path.as_str()).is_none());
        changes.removed.extend(gone.map(|(path, _)| path.clone()));
        changes
    }
}

/// The same state with every number in canonical form, so that equal quantities are equal values.
pub(super) fn normal(state: &State) -> Result<State, RepoError> {
    state.with_json(|values| {
        let text = to_canonical(&Value::Object(values))?;
        // Its author is this program: what a stranger's document may cost was asked when it was read.
        let limits = JsonLimits { bytes: text.len(), depth: JsonLimits::MAX_DEPTH };
        match parse_lenient(text.as_bytes(), &limits).map_err(document::StateError::from)? {
            (Value::Object(values), _) => Ok(values),
            (other, _) => Err(document::StateError::NotAnObject(other.kind()).into()),
        }
    })
}

/// The value of a `.json` file, or `None` where it has to be an object: a text of 64 hex digits would be read as the
/// name of one (`cli.md` §5).
fn inline(
    limits: &JsonLimits,
    key: &StatePath,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<Value>, RepoError> {
    let mut bytes = Vec::new();
    // One byte more than may be, so that the parser sees that it is too much.
    let most = limits.bytes as u64 + 1;
    let file = File::open(path).on("open", path)?;
    let length = file.metadata().on("look at", path)?.len();
    file.take(most).read_to_end(&mut bytes).on("read", path)?;
    let (value, found) = parse_lenient(&bytes, limits).map_err(|mut source| {
        if let JsonError::TooLarge { size, .. } = &mut source {
            *size = usize::try_from(length).unwrap_or(usize::MAX).max(*size);
        }
        RepoError::Json { key: key.clone(), source }
    })?;
    warnings.extend(found.iter().map(|warning| format!("{key}: {warning}")));
    Ok(document::is_inline(key.as_str(), &value).then_some(value))
}

/// Sha256 of a file.
pub(super) fn hash_file(path: &Path) -> Result<ObjectId, RepoError> {
    let mut file = File::open(path).on("open", path)?;
    let (mut hasher, mut buf) = (Sha256::new(), vec![0; 128 * 1024]);
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok(ObjectId::from_bytes(hasher.finalize().into())),
            Ok(got) => hasher.update(&buf[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("read", path),
        }
    }
}
