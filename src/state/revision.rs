//! The name of a revision: `0` (factory), `17` (from the hub) or `locals/<name>` (made on the device).
//!
//! This is the strict form, of which we create folders. What else may already lie under `trails/` is listed and
//! read by another type (`trails::RevisionName`), never created.

use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// A revision's name, safe to join to `trails/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(Kind);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Number(u32),
    Local(Box<str>),
}

/// A text is not the name of a revision.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error(
    "\"{}\" is not a revision name\na revision is a number, or locals/<name> with 1 to 64 characters of \
     A-Z a-z 0-9 . _ -, the first a letter or digit, not beginning with progress or commitmsg", super::escape(.0)
)]
pub struct RevisionError(
    /// The text, cut to a length that can be shown.
    pub String,
);

impl Revision {
    /// Longest name after `locals/` (`pvctrl.md` §4.3).
    pub const MAX_LOCAL_NAME: usize = 64;

    /// The revision that a device leaves the factory with.
    pub const FACTORY: Self = Self(Kind::Number(0));

    /// Parses `0`, `17` or `locals/<name>`.
    pub fn parse(text: &str) -> Result<Self, RevisionError> {
        if let Some(name) = text.strip_prefix("locals/") {
            return Self::local(name).map_err(|_| refuse(text));
        }
        let plain = text == "0" || !text.starts_with('0');
        match text.parse() {
            Ok(number) if plain && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(Kind::Number(number))),
            _ => Err(refuse(text)),
        }
    }

    /// The local revision `name`. The daemon takes names that begin with `progress` or `commitmsg` for its own
    /// sub-resources (`pvctrl.md` §4.3), so they are refused here.
    pub fn local(name: &str) -> Result<Self, RevisionError> {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let taken = name.starts_with("progress") || name.starts_with("commitmsg");
        if !first || !plain || taken || name.len() > Self::MAX_LOCAL_NAME {
            return Err(refuse(name));
        }
        Ok(Self(Kind::Local(name.into())))
    }

    /// Whether this is revision 0.
    pub fn is_factory(&self) -> bool {
        self.0 == Kind::Number(0)
    }

    /// The name after `locals/`, for a local revision.
    pub fn local_name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Local(name) => Some(name),
            Kind::Number(_) => None,
        }
    }

    /// The number, for a revision that has one.
    pub fn number(&self) -> Option<u32> {
        match &self.0 {
            Kind::Number(number) => Some(*number),
            Kind::Local(_) => None,
        }
    }
}

fn refuse(text: &str) -> RevisionError {
    RevisionError(text.chars().take(80).collect())
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Number(number) => write!(f, "{number}"),
            Kind::Local(name) => write!(f, "locals/{name}"),
        }
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Revision;

    #[test]
    fn names_are_parsed_strictly() {
        let longest = format!("locals/{}", "a".repeat(64));
        for good in ["0", "1", "17", "4294967295", "locals/x", "locals/0", "locals/a.b_c-d", &longest] {
            assert_eq!(Revision::parse(good).unwrap().to_string(), good);
        }
        let long = format!("locals/{}", "a".repeat(65));
        for bad in [
            "",
            "00",
            "01",
            "-1",
            "+1",
            "1.0",
            " 1",
            "4294967296",
            "x",
            "current",
            "locals",
            "locals/",
            "locals/..",
            "locals/.x",
            "locals/-x",
            "locals/_x",
            "locals/a/b",
            "locals/a b",
            "locals/é",
            "locals/a%20",
            "../0",
            "/0",
            "locals/progress",
            "locals/progressive",
            "locals/commitmsg",
            "remotes/a",
            "locals/a\0",
            &long,
        ] {
            assert!(Revision::parse(bad).is_err(), "{bad:?}");
        }
    }
}
