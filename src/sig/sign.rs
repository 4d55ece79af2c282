//! What `pvr sig add` signs: from the words of the command to the patterns of a header (`sig-dm.md` §2).
//!
//! | | `--part P` | `--raw NAME` |
//! |---|---|---|
//! | file | `_sigs/P.json` | `_sigs/NAME.json` |
//! | include | each below `P/`, then `_config/P/**` | as given |
//! | exclude | each below `P/`, then the file itself | as given, then the file itself |

use super::jws::Patterns;
use crate::state::path::PathError;
use crate::state::{StatePath, escape};

/// What is covered where nothing else is said.
pub const DEFAULT_INCLUDE: &str = "**";
/// What is left out where nothing else is said.
pub const DEFAULT_EXCLUDE: &str = "src.json";

/// What a signature is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// A part of the state, and its configuration where that is wanted.
    Part {
        /// Its name.
        name: &'a str,
        /// Whether `_config/<name>/` belongs to it.
        config: bool,
    },
    /// Whatever the patterns say.
    Raw {
        /// The name of the signature.
        name: &'a str,
    },
}

/// A signature cannot have that name.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("a signature cannot be named \"{}\": {why}", escape(.name))]
pub struct NameError {
    name: String,
    why: PathError,
}

impl About<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Part { name, .. } | Self::Raw { name } => name,
        }
    }

    /// Where the signature is.
    pub fn key(&self) -> Result<StatePath, NameError> {
        let name = self.name();
        let wrong = |why| NameError { name: name.to_owned(), why };
        // By itself too: `_sigs/` before it would make a path of an empty name, and one of an absolute one.
        StatePath::parse(name).map_err(wrong)?;
        StatePath::parse(&format!("_sigs/{name}.json")).map_err(wrong)
    }

    /// The header's patterns.
    pub fn patterns(&self, include: &[String], exclude: &[String]) -> Result<Patterns, NameError> {
        let own = self.key()?.as_str().to_owned();
        Ok(match self {
            Self::Part { name, config } => {
                let below =
                    |list: &[String]| list.iter().map(|glob| clean(&format!("{name}/{glob}"))).collect::<Vec<_>>();
                let (mut include, mut exclude) = (below(include), below(exclude));
                include.extend(config.then(|| format!("_config/{name}/**")));
                exclude.push(own);
                Patterns { include, exclude }
            }
            Self::Raw { .. } => {
                let exclude = exclude.iter().cloned().chain([own]).collect();
                Patterns { include: include.to_vec(), exclude }
            }
        })
    }
}

/// A path without `.`, `..` and empty components, by its text alone.
fn clean(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if out.last().is_some_and(|last| *last != "..") => drop(out.pop()),
            component => out.push(component),
        }
    }
    if out.is_empty() { ".".to_owned() } else { out.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_part_and_of_a_name() {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let part = About::Part { name: "app", config: true };
        let patterns = part.patterns(&list(&["**"]), &list(&["src.json"])).unwrap();
        assert_eq!(patterns.include, ["app/**", "_config/app/**"]);
        assert_eq!(patterns.exclude, ["app/src.json", "_sigs/app.json"]);
        let bare = About::Part { name: "app", config: false }.patterns(&list(&["./a//b/", "../x/*"]), &[]).unwrap();
        assert_eq!(bare.include, ["app/a/b", "x/*"]);
        assert_eq!(bare.exclude, ["_sigs/app.json"]);
        let raw = About::Raw { name: "all" }.patterns(&list(&["**"]), &list(&["src.json"])).unwrap();
        assert_eq!((raw.include, raw.exclude), (list(&["**"]), list(&["src.json", "_sigs/all.json"])));
    }

    #[test]
    fn names_that_lead_elsewhere() {
        for name in ["", "app/", "/app", "../app", "a/../../b", ".", "a//b", "a\0"] {
            assert!(About::Raw { name }.key().is_err(), "{name}");
        }
        assert_eq!(About::Raw { name: "a/b" }.key().unwrap().as_str(), "_sigs/a/b.json");
    }
}
