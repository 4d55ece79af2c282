//! Files of a container, as far as a command reads them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::dm::{DmError, Superblock, open_superblock};
use crate::repo::Repo;
use crate::repo::batch::{Batch, Target};
use crate::repo::error::{Context, RepoError};
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_lenient;
use crate::state::{JsonLimits, Object, StatePath, Value, escape};

/// Opens a regular file, or one that a link leads to. A pipe would be waited for.
pub(super) fn open(path: &Path) -> Result<File, RepoError> {
    if !fs::metadata(path).on("open", path)?.is_file() {
        return Err(RepoError::NotAFile(path.to_owned()));
    }
    File::open(path).on("open", path)
}

/// A file of JSON that holds an object, and its bytes; `None` where there is no such file.
pub(super) fn object(path: &Path, limits: &JsonLimits) -> Result<Option<(Object, Vec<u8>)>, RepoError> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    open(path)?.take(limits.bytes as u64 + 1).read_to_end(&mut bytes).on("read", path)?;
    let unusable = |why: String| RepoError::Container { path: path.to_owned(), why };
    match parse_lenient(&bytes, limits) {
        Ok((Value::Object(members), _)) => Ok(Some((members, bytes))),
        Ok((other, _)) => Err(unusable(format!("it is {}, not an object", other.kind()))),
        Err(error) => Err(unusable(escape(&error.to_string()).into_owned())),
    }
}

/// The superblock that a hash file has, if it is one.
pub(super) fn superblock(path: &Path) -> Result<Option<Superblock>, RepoError> {
    match fs::metadata(path) {
        Err(_) => Ok(None),
        Ok(_) => match open_superblock(&open(path)?) {
            Ok(superblock) => Ok(Some(superblock)),
            Err(error) if error.is_finding() => Ok(None),
            Err(error) => Err(wrong(path, error)),
        },
    }
}

/// The mode of a file, or that of a new one.
pub(super) fn mode(path: &Path, new: u32) -> u32 {
    fs::metadata(path).map_or(new, |metadata| metadata.mode() & 0o777)
}

/// Replaces a file of JSON by its canonical form.
pub(super) fn replace(
    batch: &mut Batch<'_>,
    key: &StatePath,
    was: Option<&[u8]>,
    members: Object,
) -> Result<Vec<u8>, RepoError> {
    let text = to_canonical(&Value::Object(members))?.into_bytes();
    if was != Some(&text) {
        batch.write(Target::Key(key.clone()), was, &text, 0o644)?;
    }
    Ok(text)
}

pub(super) fn wrong(path: &Path, source: DmError) -> RepoError {
    RepoError::Dm { path: path.to_owned(), source: Box::new(source) }
}

impl Repo {
    /// Warns of a volume that a commit would leave out.
    pub(super) fn untracked(&self, key: &StatePath, is_tracked: bool) -> Option<String> {
        (!is_tracked).then(|| format!("{key} is not tracked: pvr add it, or a device has the tree without the volume"))
    }
}
