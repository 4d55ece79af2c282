//! `.pvr/config`: where a repository comes from and goes to, and its pool (`cli.md` §4).
//!
//! Tab-indented JSON without a newline at the end. Members that are not known here are kept as they are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::RepoError;
use super::files::{Lock, read_if_there};
use crate::state::escape;

/// The members of `.pvr/config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Where `get` without an argument would have come from.
    pub default_get_url: String,
    /// Where `put`, and today's `get` and `merge` without an argument, go.
    pub default_put_url: String,
    /// Where `post` without an argument goes.
    pub default_post_url: String,
    /// The pool; relative to the repository's root, empty for `.pvr/objects`.
    pub objects_dir: String,
    access_tokens: Map<String, Value>,
    refresh_tokens: Map<String, Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Config {
    /// Reads the file in this `.pvr`; one that is not there is an empty one.
    pub fn read(pvr: &Path) -> Result<Self, RepoError> {
        let path = pvr.join("config");
        let Some(bytes) = read_if_there(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes)
            .map_err(|error| RepoError::Damaged { path, why: escape(&error.to_string()).into_owned() })
    }

    /// The text of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Strings and maps into a Vec: there is nothing in this that can fail.
        self.serialize(&mut serializer).ok();
        bytes
    }

    /// Replaces the file in this `.pvr`.
    pub(super) fn write(&self, pvr: &Path, lock: &Lock) -> Result<(), RepoError> {
        lock.replace(&pvr.join("config"), &self.to_bytes(), 0o644)
    }

    /// The folder of the pool of the repository whose `.pvr` this is.
    pub(super) fn pool(&self, pvr: &Path) -> PathBuf {
        if self.objects_dir.is_empty() {
            return pvr.join("objects");
        }
        pvr.parent().unwrap_or(Path::new(".")).join(&self.objects_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_spelled_as_recorded_and_keeps_what_it_does_not_know() {
        let config = Config { objects_dir: "/HOME/.pvr/objects".to_owned(), ..Config::default() };
        let text = "{\n\t\"DefaultGetUrl\": \"\",\n\t\"DefaultPutUrl\": \"\",\n\t\"DefaultPostUrl\": \"\",\n\
                    \t\"ObjectsDir\": \"/HOME/.pvr/objects\",\n\t\"AccessTokens\": {},\n\t\"RefreshTokens\": {}\n}";
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
        let other: Config = serde_json::from_str("{\"ObjectsDir\":\"../o\",\"Later\":[1]}").unwrap();
        assert!(String::from_utf8(other.to_bytes()).unwrap().contains("\"Later\": [\n"));
        assert_eq!(other.pool(Path::new("/w/.pvr")), Path::new("/w/../o"));
        assert_eq!(Config::default().pool(Path::new("/w/.pvr")), Path::new("/w/.pvr/objects"));
        assert_eq!(config.pool(Path::new("/w/.pvr")), Path::new("/HOME/.pvr/objects"));
    }
}
