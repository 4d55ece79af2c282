//! Signatures of a working copy (`sig-dm.md` §2, §5): they cover the committed state, and are files of the working tree, which
//! `add` and `commit` take in like any other.

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use super::error::{Context, RepoError};
use super::{Repo, Run, Status};
use crate::sig::jws;
use crate::state::{Object, StatePath, Value};

impl Repo {
    /// The committed state, as what is signed.
    pub fn signed_state(&self) -> Result<Object, RepoError> {
        let state = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        match state.to_value() {
            Value::Object(members) => Ok(members),
            _ => Ok(Object::new()),
        }
    }

    /// The path of a file within the working copy, whether it is given as one or from elsewhere; none where it lies outside.
    pub fn key_of(&self, path: &str) -> Option<StatePath> {
        let absolute = self.root.join(path);
        let mut clean = PathBuf::new();
        for component in absolute.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => drop(clean.pop()),
                other => clean.push(other),
            }
        }
        StatePath::parse(clean.strip_prefix(&self.root).ok()?.to_str()?).ok()
    }

    /// The file of a signature, as it lies in the working tree; none where there is no such file.
    pub fn signature_file(&self, key: &StatePath) -> Result<Option<Vec<u8>>, RepoError> {
        let path = key.below(&self.root);
        match fs::metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error).on("look at", &path),
            // Nobody waits for a FIFO.
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")).on("read", &path);
            }
            Ok(_) => {}
        }
        // One byte more than a parser takes is enough for it to say so.
        let limit = self.limits.bytes as u64 + 1;
        let mut bytes = Vec::new();
        fs::File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).on("read", &path)?;
        Ok(Some(bytes))
    }

    /// Puts the file of a signature into the working tree, whole and durable, in place of what was there. What that changes
    /// goes into `changes`.
    pub fn write_signature(
        &self,
        key: &StatePath,
        text: &str,
        run: Run,
        changes: &mut Status,
    ) -> Result<(), RepoError> {
        let lock = self.lock_for(run)?;
        let mut made = Vec::new();
        for folder in key.folders() {
            let folder = self.root.join(folder);
            match fs::symlink_metadata(&folder) {
                Ok(metadata) if metadata.is_symlink() => return Err(RepoError::LinkInTheWay(folder)),
                Ok(metadata) if metadata.is_dir() => continue,
                Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)).on("enter", &folder),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).on("look at", &folder),
            }
            if run == Run::Dry {
                break;
            }
            DirBuilder::new().mode(0o755).create(&folder).on("create", &folder)?;
            made.push(folder);
        }
        match self.signature_file(key) {
            Ok(None) => changes.added.push(key.to_string()),
            Ok(Some(was)) if was == text.as_bytes() => {}
            // Whatever else it is, it is replaced.
            Ok(Some(_)) | Err(_) => changes.changed.push(key.to_string()),
        }
        let path = key.below(&self.root);
        match lock {
            Some(lock) => {
                let durable = made.iter().try_for_each(|folder| super::files::sync_parent(folder));
                durable.and_then(|()| lock.replace(&path, text.as_bytes(), 0o644)).inspect_err(|_| {
                    made.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
                })
            }
            None if path.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)).on("replace", &path),
            None => Ok(()),
        }
    }
}

/// The keys of a state that are signatures, in their order.
pub fn signatures(state: &Object) -> impl Iterator<Item = (&String, &Value)> {
    state.iter().filter(|(_, value)| value.get("#spec").and_then(Value::as_str) == Some(jws::SPEC))
}

/// Writes a file in place of what was there, like a shell's `>` does: through a link, and with the permissions that the old
/// one had; but whole or not at all, where the folder lets it. A device or a FIFO is written into.
pub fn write_elsewhere(path: &Path, text: &str) -> Result<(), RepoError> {
    let there = fs::metadata(path);
    if there.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, text).on("write", path);
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", super::files::random_name()));
    let temporary = target.with_file_name(name);
    let write = || -> Result<(), RepoError> {
        let mut file = super::files::create(&temporary, 0o644)?;
        io::Write::write_all(&mut file, text.as_bytes()).on("write", &temporary)?;
        if let Ok(metadata) = &there {
            file.set_permissions(metadata.permissions()).on("write", &temporary)?;
        }
        file.sync_all().on("write", &temporary)?;
        super::files::rename(&temporary, &target)
    };
    match write() {
        Ok(()) => Ok(()),
        Err(error) => {
            fs::remove_file(&temporary).ok();
            // A file in a folder that nobody may write to, or mounted on its own, can only be written into.
            if there.is_ok() { fs::write(path, text).on("write", path) } else { Err(error) }
        }
    }
}
