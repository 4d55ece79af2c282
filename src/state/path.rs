//! A key of a state as what it becomes: a file below a folder of ours.
//!
//! `cli.md` §13.1 and §13.2 list what happens when keys are joined to a folder unchecked. The rule here is about
//! where a path leads, never about how its characters look: a name with a newline is odd, `..` is an attack.

use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// A relative path that stays below the folder it is joined to and off the folders that are ours.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatePath(Box<str>);

/// Why a text is no [`StatePath`].
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// The empty text.
    #[error("the key is empty")]
    Empty,
    /// It begins with a slash.
    #[error("the key is an absolute path")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("the key has an empty path component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("the key has a path component \".\" or \"..\"")]
    Dots,
    /// It holds a NUL, which no file name can.
    #[error("the key holds a NUL character")]
    Nul,
    /// A component has more than 255 bytes.
    #[error("the key has a path component of more than 255 bytes")]
    LongComponent,
    /// The whole has more than [`StatePath::MAX_BYTES`] bytes.
    #[error("the key has more than 3072 bytes")]
    Long,
    /// It lies in `.pvr/` or `.pv/`, where revisions and working copies keep their own records.
    #[error("the key lies in .pvr/ or .pv/, which are reserved")]
    Reserved,
}

impl StatePath {
    /// Longest path in bytes: what `PATH_MAX` (4096) leaves after the folder it is joined to.
    pub const MAX_BYTES: usize = 3072;

    /// Parses a key.
    pub fn parse(key: &str) -> Result<Self, PathError> {
        if key.is_empty() {
            return Err(PathError::Empty);
        }
        if key.contains('\0') {
            return Err(PathError::Nul);
        }
        if key.starts_with('/') {
            return Err(PathError::Absolute);
        }
        for component in key.split('/') {
            match component {
                "" => return Err(PathError::EmptyComponent),
                "." | ".." => return Err(PathError::Dots),
                long if long.len() > 255 => return Err(PathError::LongComponent),
                _ => {}
            }
        }
        if key.len() > Self::MAX_BYTES {
            return Err(PathError::Long);
        }
        if matches!(key.split('/').next(), Some(".pvr" | ".pv")) {
            return Err(PathError::Reserved);
        }
        Ok(Self(key.into()))
    }

    /// The key as the state has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders that have to exist for this file, outermost first: `a` and `a/b` for `a/b/c`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path below `folder`.
    pub fn below(&self, folder: &std::path::Path) -> std::path::PathBuf {
        folder.join(&*self.0)
    }
}

impl fmt::Display for StatePath {
    /// Escaped, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::escape(&self.0))
    }
}

impl fmt::Debug for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for StatePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for StatePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{PathError, StatePath};

    #[test]
    fn what_leads_out_of_the_folder_is_refused() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(1600) + "x";
        for (key, why) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("//a", PathError::Absolute),
            ("../x", PathError::Dots),
            ("a/../../x", PathError::Dots),
            ("a/..", PathError::Dots),
            ("./a", PathError::Dots),
            (".", PathError::Dots),
            ("a//b", PathError::EmptyComponent),
            ("a/", PathError::EmptyComponent),
            ("a\0b", PathError::Nul),
            (&long, PathError::LongComponent),
            (&deep, PathError::Long),
            (".pvr/config", PathError::Reserved),
            (".pv/done", PathError::Reserved),
            (".pvr", PathError::Reserved),
            (".pv", PathError::Reserved),
        ] {
            assert_eq!(StatePath::parse(key), Err(why), "{key:.40}");
        }
    }

    #[test]
    fn odd_names_are_ordinary() {
        let longest = "x".repeat(255);
        for key in [
            "a",
            "a b/c d",
            "a\\b",
            "a\"b",
            "a\nb",
            "\u{1b}[2J",
            "..a",
            "a..",
            "...",
            ".pvrx/a",
            ".pvfoo",
            "a/.pvr/b",
            "%2e%2e/x",
            "-rf",
            "~",
            "C:\\x",
            "_config/é",
            &longest,
        ] {
            assert_eq!(StatePath::parse(key).unwrap().as_str(), key);
        }
    }

    #[test]
    fn folders_come_outermost_first() {
        let path = StatePath::parse("a/b/c").unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.file_name(), "c");
    }
}
