//! What can stand in a path of the control socket.
//!
//! The daemon splits a path at `/` (empty parts are dropped, at most ten are read), decodes nothing, takes a query for part
//! of the last name, and dies of a part of 3,000 bytes. So a name is used as it is or not at all.

use std::fmt;

use crate::state::Revision;

/// A text cannot be a name on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" cannot be a name on the control socket: {why}", crate::state::escape(.name))]
pub struct NameError {
    /// The text, cut to a length that can be shown.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// One part of a path: the name of a container, a daemon, a driver, or the key of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment(Box<str>);

impl Segment {
    /// Longest name. Files are named like that, and files have 255 bytes.
    pub const MAX: usize = 255;

    /// Takes a name that the daemon reads as it is.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError { name: text.chars().take(80).collect(), why });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > Self::MAX {
            return refuse("it is longer than 255 bytes");
        }
        if text == "." || text == ".." {
            return refuse("it leads to another folder");
        }
        if text.contains('/') {
            return refuse("it has a slash in it");
        }
        // A character outside ASCII is sent as it is, which the daemon takes; it would not decode it.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has blanks or control characters in it, and the daemon decodes nothing");
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a revision that is asked about: any that the daemon lists and finds again, and `current`.
///
/// What we create has a stricter name, [`Revision`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepName(Box<str>);

impl StepName {
    /// The running revision.
    pub fn current() -> Self {
        Self("current".into())
    }

    /// Parses `current`, `0`, `17`, `locals/<name>`, or what else a folder may be called.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = |why| NameError { name: text.chars().take(80).collect(), why };
        let name = text.strip_prefix("locals/").unwrap_or(text);
        let segment = Segment::parse(name).map_err(|error| refuse(error.why))?;
        let name = segment.as_str();
        // Wherever they are in the path, the daemon cuts the name there.
        if name.starts_with("progress") || name.starts_with("commitmsg") {
            return Err(refuse("the daemon takes it for a part of a revision"));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Revision> for StepName {
    fn from(revision: &Revision) -> Self {
        Self(revision.to_string().into())
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, StepName};

    #[test]
    fn names_that_are_read_as_they_are() {
        for good in ["a", "a.b", "a%20b", "é", "a?b=c", ".hidden", "...", &"x".repeat(255)] {
            assert_eq!(Segment::parse(good).unwrap().as_str(), good);
            assert_eq!(StepName::parse(good).unwrap().as_str(), good);
            assert_eq!(StepName::parse(&format!("locals/{good}")).unwrap().as_str(), format!("locals/{good}"));
        }
        for bad in ["", ".", "..", "a b", "a\tb", "a\nb", "a\u{1b}b", "a\u{a0}b", "a\0", "/a", "a/b", &"x".repeat(256)]
        {
            assert!(Segment::parse(bad).is_err(), "{bad:?}");
            assert!(StepName::parse(bad).is_err(), "{bad:?}");
            assert!(StepName::parse(&format!("locals/{bad}")).is_err(), "{bad:?}");
        }
        for bad in ["progress", "progressive", "commitmsg", "locals/progress", "locals/commitmsgs", "locals/../0"] {
            assert!(StepName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
