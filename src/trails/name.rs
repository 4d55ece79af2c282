//! The names of folders below `trails/`: those that we would give, and those that are there anyway.
//!
//! A folder that exists under a name which is no [`Revision`] can be listed and read, never created. Its name is
//! shown and asked for in escaped form: every byte outside `A-Za-z0-9._-` as `=` and two upper-case hex digits,
//! so that it passes through URLs, terminals and logs as it is.

use crate::state::Revision;
use serde::{Serialize, Serializer};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The name of a revision that was found on disk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevisionName {
    /// A name that we would give.
    Known(Revision),
    /// Any other.
    Foreign(Foreign),
}

/// A folder's name that is no [`Revision`]: below `trails/`, or below `trails/locals/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Foreign {
    local: bool,
    /// One path component; neither empty nor `.` nor `..`.
    raw: Box<[u8]>,
}

impl RevisionName {
    /// The name of a folder in `trails/` or, if `local`, in `trails/locals/`. None where listings skip it.
    pub(super) fn of_folder(local: bool, name: &OsStr) -> Option<Self> {
        let raw = name.as_bytes();
        if raw.is_empty() || raw.contains(&b'/') || matches!(raw, b"." | b"..") {
            return None;
        }
        if !local && matches!(raw, b"current" | b"locals") {
            return None;
        }
        let prefix = if local { "locals/" } else { "" };
        let known = name.to_str().and_then(|name| Revision::parse(&format!("{prefix}{name}")).ok());
        // A number below `locals/` is a local name; a name with `locals/` cannot come from `trails/` itself.
        Some(known.map_or_else(|| Self::Foreign(Foreign { local, raw: raw.into() }), Self::Known))
    }

    /// What a symlink such as `current`, or a boot loader variable, means: a path relative to `trails/`.
    pub(super) fn of_path(path: &[u8]) -> Option<Self> {
        let path = path.strip_prefix(b"./").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        match path.strip_prefix(b"locals/") {
            Some(name) => Self::of_folder(true, OsStr::from_bytes(name)),
            None => Self::of_folder(false, OsStr::from_bytes(path)),
        }
    }

    /// Reads back what [`Display`](fmt::Display) has written. Whether such a folder exists is another question.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(revision) = Revision::parse(text) {
            return Some(Self::Known(revision));
        }
        let (local, name) = match text.strip_prefix("locals/") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let raw = unescape(name)?;
        Self::of_folder(local, OsStr::from_bytes(&raw)).filter(|name| name.to_string() == text)
    }

    /// Where it is, relative to `trails/`.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Known(revision) => PathBuf::from(revision.to_string()),
            Self::Foreign(Foreign { local, raw }) => {
                Path::new(if *local { "locals" } else { "" }).join(OsStr::from_bytes(raw))
            }
        }
    }

    /// The revision, where the name is one that we would give.
    pub fn known(&self) -> Option<&Revision> {
        match self {
            Self::Known(revision) => Some(revision),
            Self::Foreign(_) => None,
        }
    }

    /// Whether it lies below `trails/locals/`.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Known(revision) => revision.local_name().is_some(),
            Self::Foreign(foreign) => foreign.local,
        }
    }
}

impl From<Revision> for RevisionName {
    fn from(revision: Revision) -> Self {
        Self::Known(revision)
    }
}

impl PartialEq<Revision> for RevisionName {
    fn eq(&self, other: &Revision) -> bool {
        self.known() == Some(other)
    }
}

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(revision) => write!(f, "{revision}"),
            Self::Foreign(Foreign { local, raw }) => {
                write!(f, "{}{}", if *local { "locals/" } else { "" }, escape(raw))
            }
        }
    }
}

impl fmt::Debug for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RevisionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name as one word of letters, digits, `.`, `_`, `-` and `=`.
pub(super) fn escape(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for &byte in raw {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("={byte:02X}"));
        }
    }
    out
}

/// The inverse of [`escape`]. None: no such word.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut raw = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'=' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            raw.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            raw.push(*first);
            rest = tail;
        }
    }
    (escape(&raw) == text).then_some(raw)
}

/// A revision's whole name as the name of one file.
pub(super) fn to_file_name(name: &RevisionName) -> String {
    escape(&name.path().into_os_string().into_vec())
}

/// The inverse of [`to_file_name`].
pub(super) fn of_file_name(name: &OsStr) -> Option<RevisionName> {
    RevisionName::of_path(&unescape(name.to_str()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_survive_escaping_and_nothing_else_is_taken_for_one() {
        for (local, raw, shown) in [
            (false, &b"0"[..], "0"),
            (false, b"017", "017"),
            (false, b".pv", ".pv"),
            (false, b"a=b", "a=3Db"),
            (true, b"x", "locals/x"),
            (true, b"a b\n", "locals/a=20b=0A"),
            (true, b"\xff/"[..1].as_ref(), "locals/=FF"),
            (true, b"progress", "locals/progress"),
            (true, b"current", "locals/current"),
        ] {
            let name = RevisionName::of_folder(local, OsStr::from_bytes(raw)).unwrap();
            assert_eq!(name.to_string(), shown);
            assert_eq!(RevisionName::parse(shown).as_ref(), Some(&name), "{shown}");
            assert_eq!(of_file_name(OsStr::new(&to_file_name(&name))), Some(name), "{shown}");
        }
        for bad in ["", ".", "..", "locals", "locals/", "locals/..", "locals/=2E=2E", "=2E", "=2e.x", "a/b", "a=2Fb"] {
            assert_eq!(RevisionName::parse(bad), None, "{bad}");
        }
        for bad in ["=", "=4", "=zz", "=+1", "=61", "a b", "locals/a/b", "current", "/0", "../0", "locals/=41"] {
            assert_eq!(RevisionName::parse(bad), None, "{bad}");
        }
    }
}
