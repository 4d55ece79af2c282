//! `config.json` in the folder of what all repositories share. Ours reads nothing from it; other versions do.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

use super::error::{Context, RepoError};
use super::export::{Part, sweep};

const NAME: &str = "config.json";

/// What all repositories share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GlobalConfig {
    spec: String,
    auto_upgrade: bool,
    distribution_tag: String,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self { spec: "1".to_owned(), auto_upgrade: true, distribution_tag: "develop".to_owned() }
    }
}

/// A value that a setting cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {wanted}, not {}", crate::state::escape(.value))]
pub struct NoSetting {
    name: &'static str,
    wanted: &'static str,
    value: String,
}

impl GlobalConfig {
    /// The settings in this folder; the usual ones where there are none.
    pub fn read(folder: &Path) -> Result<Self, RepoError> {
        let path = folder.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from).on("read", &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).on("read", &path),
        }
    }

    /// Sets one, by the name that it has in the file. False: there is none of that name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, NoSetting> {
        let truth = match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let wrong = |name, wanted| NoSetting { name, wanted, value: value.to_owned() };
        match (name, truth) {
            ("AutoUpgrade", Some(on)) => self.auto_upgrade = on,
            ("AutoUpgrade", None) => return Err(wrong("AutoUpgrade", "true or false")),
            ("Spec", None) => value.clone_into(&mut self.spec),
            ("Spec", Some(_)) => return Err(wrong("Spec", "a text")),
            ("DistributionTag", None) => value.clone_into(&mut self.distribution_tag),
            ("DistributionTag", Some(_)) => return Err(wrong("DistributionTag", "a text")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// For people: indented with four spaces.
    pub fn pretty(&self) -> String {
        let mut out = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
        // Texts and a truth value, into memory: nothing that could fail.
        self.serialize(&mut serializer).ok();
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Replaces the file, durably.
    pub fn write(&self, folder: &Path) -> Result<(), RepoError> {
        let path = folder.join(NAME);
        let text = serde_json::to_vec(self).map_err(io::Error::from).on("write", &path)?;
        sweep(&path);
        let mut part = Part::create(&path)?;
        part.file.write_all(&text).and_then(|()| part.file.sync_all()).on("write", &path)?;
        part.keep(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_the_wrong_kind_was_a_crash() {
        let mut config = GlobalConfig::default();
        assert_eq!(config.set("AutoUpgrade", "false"), Ok(true));
        assert_eq!(config.set("DistributionTag", "a=b"), Ok(true));
        assert_eq!(config.set("autoupgrade", "x"), Ok(false));
        assert!(config.set("AutoUpgrade", "no").is_err() && config.set("Spec", "true").is_err());
        let folder = tempfile::tempdir().unwrap();
        config.write(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(text, "{\"Spec\":\"1\",\"AutoUpgrade\":false,\"DistributionTag\":\"a=b\"}");
        assert_eq!(GlobalConfig::read(folder.path()).unwrap(), config);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let pretty = "{\n    \"Spec\": \"1\",\n    \"AutoUpgrade\": true,\n    \"DistributionTag\": \"develop\"\n}";
        assert_eq!(GlobalConfig::default().pretty(), pretty);
    }
}
