//! `add`: files are tracked from here on.

use super::Repo;
use super::error::RepoError;
use super::index::{Added, Index};
use super::pattern::Pattern;
use super::walk::{Found, walk};
use super::working::hash_file;
use crate::state::StatePath;

/// What an added `.json` file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddAs {
    /// Part of the state itself.
    Inline,
    /// An object, like every other file (`--raw`).
    Object,
}

impl Repo {
    /// Tracks the files that fit one of `patterns`; all files where there is none, or just `.`.
    pub fn add(&self, patterns: &[String], add_as: AddAs) -> Result<(), RepoError> {
        let patterns = match patterns {
            [] => None,
            [dot] if dot == "." => None,
            patterns => Some(patterns.iter().map(|p| self.pattern(p)).collect::<Result<Vec<_>, _>>()?),
        };
        let lock = self.lock()?;
        let mut index = Index::read(&self.pvr)?;
        for found in walk(&self.root)? {
            // The recorded program leaves out whatever begins like its own folders, `.pvrfoo` too.
            if found.file.is_none() || found.shown.starts_with(".pv") {
                continue;
            }
            let wanted = |path: &str| {
                patterns.as_ref().is_none_or(|list| list.iter().flatten().any(|pattern| pattern.matches(path)))
            };
            if !wanted(found.path.as_deref().unwrap_or(&found.shown)) {
                continue;
            }
            let key = key_of(&found)?;
            let sha = hash_file(&key.below(&self.root))?.to_string();
            index.0.insert(key, Added { force_object: add_as == AddAs::Object, sha });
        }
        index.write(&self.pvr, &lock)
    }

    /// A pattern, made relative to the root. One that leads out of it fits nothing.
    fn pattern(&self, text: &str) -> Result<Option<Pattern>, RepoError> {
        let bad = || RepoError::Pattern(text.to_owned());
        Pattern::parse(text).ok_or_else(bad)?;
        let relative = match text.strip_prefix('/') {
            None => text,
            Some(_) => match self.root.to_str().and_then(|root| text.strip_prefix(root)?.strip_prefix('/')) {
                Some(rest) => rest,
                None => return Ok(None),
            },
        };
        let mut parts = Vec::new();
        for part in relative.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Ok(None);
                    }
                }
                part => parts.push(part),
            }
        }
        Pattern::parse(&parts.join("/")).ok_or_else(bad).map(Some)
    }
}

fn key_of(found: &Found) -> Result<StatePath, RepoError> {
    let name = || found.shown.clone();
    let path = found.path.as_deref();
    let path = path.ok_or_else(|| RepoError::Name { name: name(), why: "the name is not UTF-8".to_owned() })?;
    StatePath::parse(path).map_err(|error| RepoError::Name { name: name(), why: error.to_string() })
}
