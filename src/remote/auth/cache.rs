//! `auth.json`: tokens from one command to the next (`cli.md` §4).
//!
//! ```text
//! {"spec":"1","tokens":{"<endpoint> realm=<realm>":{"Name":"","access-token":"…","refresh-token":"…"}}}
//! ```
//!
//! Indented by four blanks, 0600, replaced whole under a lock on its folder. Members that are not known here stay.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AuthError;
use crate::state::escape;
use crate::store::give_to_owner;

const SPEC: &str = "1";

/// What is kept for one endpoint and realm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "access-token")]
    pub(super) access: String,
    #[serde(rename = "refresh-token")]
    pub(super) refresh: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Document {
    spec: String,
    tokens: BTreeMap<String, Entry>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The file in this folder, whether or not there is one.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("auth.json")
    }

    /// What is kept under this name.
    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, AuthError> {
        Ok(self.read()?.tokens.remove(key))
    }

    /// Everything that is kept.
    pub(super) fn all(&self) -> Result<Vec<(String, Entry)>, AuthError> {
        Ok(self.read()?.tokens.into_iter().collect())
    }

    /// Keeps a token.
    pub(super) fn set(&self, key: &str, token: &str) -> Result<(), AuthError> {
        self.change(|tokens| {
            let entry = tokens.entry(key.to_owned()).or_default();
            token.clone_into(&mut entry.access);
            token.clone_into(&mut entry.refresh);
            true
        })
    }

    /// Forgets a token; says whether there was one.
    pub(super) fn remove(&self, key: &str) -> Result<bool, AuthError> {
        let mut was = false;
        self.change(|tokens| {
            was = tokens.remove(key).is_some();
            was
        })?;
        Ok(was)
    }

    fn read(&self) -> Result<Document, AuthError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.failed(&path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Document::default()),
            Err(error) => Err(self.failed(&path, &error)),
        }
    }

    fn change(&self, with: impl FnOnce(&mut BTreeMap<String, Entry>) -> bool) -> Result<(), AuthError> {
        let folder = File::open(&self.folder).map_err(|error| self.failed(&self.folder, &error))?;
        while let Err(error) = flock(&folder, FlockOperation::LockExclusive) {
            if error != rustix::io::Errno::INTR {
                return Err(self.failed(&self.folder, &error));
            }
        }
        let mut document = self.read()?;
        if !with(&mut document.tokens) {
            return Ok(());
        }
        SPEC.clone_into(&mut document.spec);
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let path = self.path();
        document
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|error| self.failed(&path, &error))?;
        // Only the holder of the lock makes this file, so that what is there was left by one that died.
        let temporary = self.folder.join("auth.json.tmp");
        let write = || {
            fs::remove_file(&temporary).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            // Else one command of root would shut the owner of the folder out of their tokens.
            give_to_owner(&file, &self.folder).ok();
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            folder.sync_all()
        };
        write().map_err(|error| self.failed(&path, &error))
    }

    fn failed(&self, path: &Path, error: &dyn std::fmt::Display) -> AuthError {
        AuthError::Cache {
            path: escape(&path.to_string_lossy()).into_owned(),
            why: escape(&error.to_string()).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_login_of_root_shut_the_owner_of_the_folder_out() {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = tempfile::tempdir().unwrap();
        if chown(folder.path(), Some(65534), Some(65534)).is_err() {
            return eprintln!("SKIPPED: a_login_of_root_shut_the_owner_of_the_folder_out: needs root");
        }
        let cache = Cache::new(folder.path().to_owned());
        cache.set("realm", "token").unwrap();
        let meta = fs::metadata(cache.path()).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (65534, 0o600));
    }

    #[test]
    fn the_file_is_spelled_as_recorded_and_keeps_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        assert_eq!(cache.get("k").unwrap(), None);
        assert!(!cache.remove("k").unwrap());
        assert!(!folder.path().join("auth.json").exists(), "made on the first token only");
        cache.set("http://h/auth realm=r", "TOK1").unwrap();
        let text = "{\n    \"spec\": \"1\",\n    \"tokens\": {\n        \"http://h/auth realm=r\": {\n            \
                    \"Name\": \"\",\n            \"access-token\": \"TOK1\",\n            \
                    \"refresh-token\": \"TOK1\"\n        }\n    }\n}";
        let path = folder.path().join("auth.json");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{\"later\":1,\"tokens\":{\"x\":{\"access-token\":\"a\",\"more\":2}}}").unwrap();
        // What a process that was killed left does not stop anybody.
        fs::write(folder.path().join("auth.json.tmp"), "half").unwrap();
        cache.set("y", "b").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"later\": 1") && text.contains("\"more\": 2"), "{text}");
        assert!(cache.remove("x").unwrap());
        assert_eq!(cache.all().unwrap().len(), 1);
        fs::write(&path, "{").unwrap();
        assert!(matches!(cache.get("y"), Err(AuthError::Cache { .. })));
    }
}
