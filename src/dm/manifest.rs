//! The manifest of a volume: `<container>/_dm/<volume>.json`.
//!
//! ```json
//! {"data_device":"root.squashfs","hash_device":"root.squashfs.hash","root_hash":"<hex>","salt":"<hex>",
//!  "type":"dm-verity","uuid":"<uuid>"}
//! ```
//!
//! All six are required, hex in lower case, an empty salt as `-`. The files are in the container's folder. Other members
//! are whoever's who wrote them.

use thiserror::Error;

use super::params::{HashType, ParamError, RootHash, Salt, Uuid};
use super::superblock::Superblock;
use crate::state::path::PathError;
use crate::state::{Object, StatePath, Value};

/// What the member `type` says.
pub const TYPE: &str = "dm-verity";

/// A manifest, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The volume.
    pub data_device: StatePath,
    /// The file of the tree.
    pub hash_device: StatePath,
    /// The digest at the top of the tree.
    pub root_hash: RootHash,
    /// The salt.
    pub salt: Salt,
    /// The name of the tree.
    pub uuid: Uuid,
}

/// What is wrong with a manifest. "the manifest …"
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is something else.
    #[error("is {0}, not an object")]
    NotAnObject(&'static str),
    /// A member is missing.
    #[error("has no \"{0}\"")]
    Missing(&'static str),
    /// A member is of another kind.
    #[error("has {1} for \"{0}\", not a string")]
    NotAString(&'static str, &'static str),
    /// It is that of something else.
    #[error("is not of type {TYPE}")]
    Type,
    /// A member cannot be what it is.
    #[error("has a bad \"{0}\": {1}")]
    Param(&'static str, ParamError),
    /// A file that would lie outside of the container.
    #[error("has a bad \"{0}\": {1}")]
    Path(&'static str, PathError),
    /// One file for both.
    #[error("has one file for data and hashes")]
    OneFile,
    /// It says something else than the superblock.
    #[error("has the {what} {here}, the superblock {there}")]
    Differs {
        /// The member.
        what: &'static str,
        /// What it is here.
        here: String,
        /// What it is there.
        there: String,
    },
    /// Without a salt, a tree of type 0 looks like one of type 1, and nothing else says which of them it is.
    #[error("does not say the hash type, and without a salt type 0 cannot be told from type 1")]
    HashType,
}

/// The container and the volume that a key is the manifest of, if it is one.
pub fn manifest_of(key: &StatePath) -> Option<(&str, &str)> {
    let (container, rest) = key.as_str().split_once("/_dm/")?;
    let volume = rest.strip_suffix(".json")?;
    (!container.is_empty() && !volume.is_empty() && !volume.ends_with('/')).then_some((container, volume))
}

impl Manifest {
    /// Reads one.
    pub fn parse(value: &Value) -> Result<Self, ManifestError> {
        let Value::Object(members) = value else { return Err(ManifestError::NotAnObject(value.kind())) };
        if text(members, "type")? != TYPE {
            return Err(ManifestError::Type);
        }
        let manifest = Self {
            data_device: path(members, "data_device")?,
            hash_device: path(members, "hash_device")?,
            root_hash: RootHash::parse(text(members, "root_hash")?)
                .map_err(|error| ManifestError::Param("root_hash", error))?,
            salt: Salt::parse(text(members, "salt")?).map_err(|error| ManifestError::Param("salt", error))?,
            uuid: Uuid::parse(text(members, "uuid")?).map_err(|error| ManifestError::Param("uuid", error))?,
        };
        if manifest.data_device == manifest.hash_device {
            return Err(ManifestError::OneFile);
        }
        Ok(manifest)
    }

    /// Writes its members over those of `members`; others stay.
    pub fn write_over(&self, members: &mut Object) {
        let own = [
            ("type", TYPE.to_owned()),
            ("data_device", self.data_device.as_str().to_owned()),
            ("hash_device", self.hash_device.as_str().to_owned()),
            ("root_hash", self.root_hash.to_string()),
            ("salt", self.salt.to_string()),
            ("uuid", self.uuid.to_string()),
        ];
        members.extend(own.map(|(name, text)| (name.to_owned(), Value::String(text))));
    }

    /// Whether a superblock says the same.
    pub fn agrees_with(&self, superblock: &Superblock) -> Result<(), ManifestError> {
        let differs = |what, here: String, there: String| Err(ManifestError::Differs { what, here, there });
        let params = &superblock.params;
        if self.uuid != superblock.uuid {
            return differs("uuid", self.uuid.to_string(), superblock.uuid.to_string());
        }
        if self.salt != params.salt {
            return differs("salt", self.salt.to_string(), params.salt.to_string());
        }
        let (here, there) = (self.root_hash.as_bytes().len(), params.algorithm.size());
        if here != there {
            let there = format!("has {there} bytes ({})", params.algorithm.name());
            return differs("root hash", format!("of {here} bytes"), there);
        }
        if params.hash_type == HashType::ChromeOs && params.salt.as_bytes().is_empty() {
            return Err(ManifestError::HashType);
        }
        Ok(())
    }
}

/// A member that is a path within the container.
pub fn path(members: &Object, name: &'static str) -> Result<StatePath, ManifestError> {
    StatePath::parse(text(members, name)?).map_err(|error| ManifestError::Path(name, error))
}

fn text<'a>(members: &'a Object, name: &'static str) -> Result<&'a str, ManifestError> {
    let value = members.get(name).ok_or(ManifestError::Missing(name))?;
    value.as_str().ok_or_else(|| ManifestError::NotAString(name, value.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;
    use crate::state::parse::parse_strict;

    fn value(text: &str) -> Value {
        parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap()
    }

    const ONE: &str = r#"{"data_device":"r","hash_device":"r.hash","root_hash":"00ff","salt":"5a","type":"dm-verity","uuid":"4c15a854-eacc-4283-8e91-0a04504a2d5c","x":1}"#;

    #[test]
    fn what_is_read_is_written_and_the_rest_stays() {
        let manifest = Manifest::parse(&value(ONE)).unwrap();
        let mut members = value(r#"{"x":1,"type":7}"#).as_object().unwrap().clone();
        manifest.write_over(&mut members);
        assert_eq!(crate::state::canonical::to_canonical(&Value::Object(members)).unwrap(), ONE);
    }

    #[test]
    fn all_six_members_are_required_and_of_their_kind() {
        for member in ["data_device", "hash_device", "root_hash", "salt", "type", "uuid"] {
            let mut members = value(ONE).as_object().unwrap().clone();
            members.insert(member.to_owned(), Value::Null);
            let wrong = Manifest::parse(&Value::Object(members.clone())).unwrap_err();
            assert_eq!(wrong, ManifestError::NotAString(member, "null"));
            members.remove(member);
            assert_eq!(Manifest::parse(&Value::Object(members)), Err(ManifestError::Missing(member)));
        }
        for (from, to) in [
            ("5a", "5A"),
            ("5a", ""),
            ("00ff", "00FF"),
            ("4c15", "4C15"),
            ("dm-verity", "dm"),
            ("\"r\"", "\"../r\""),
            ("r.hash", "/r.hash"),
            ("r.hash", "r"),
        ] {
            assert!(Manifest::parse(&value(&ONE.replace(from, to))).is_err(), "{from} {to}");
        }
        assert_eq!(Manifest::parse(&value("[]")), Err(ManifestError::NotAnObject("an array")));
    }

    #[test]
    fn which_keys_are_manifests() {
        for (key, place) in [
            ("app/_dm/root.squashfs.json", Some(("app", "root.squashfs"))),
            ("a/b/_dm/c/d.json", Some(("a/b", "c/d"))),
            ("_dm/root.json", None),
            ("app/_dm/root", None),
            ("app/_dm/.json", None),
            ("app/_dmx/root.json", None),
        ] {
            assert_eq!(manifest_of(&StatePath::parse(key).unwrap()), place, "{key}");
        }
    }
}
