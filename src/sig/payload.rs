//! What a signature of pvr covers: the members of a state that its patterns select (`sig-dm.md` §3).
//!
//! Each member of the document, `#spec` too, is excluded if any `exclude` fits its key, selected if any `include` does, and
//! not seen otherwise. The payload is the canonical form of those that are selected.

use super::glob::{Glob, GlobError};
use super::jws::Patterns;
use crate::state::canonical::{CanonicalError, to_canonical};
use crate::state::{Object, Value};

/// The keys of a state, parted. Each list is in canonical order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those that the payload has.
    pub selected: Vec<String>,
    /// Those that are left out by name.
    pub excluded: Vec<String>,
    /// All others.
    pub not_seen: Vec<String>,
}

impl Selection {
    /// Parts the keys of a state.
    pub fn of(state: &Object, patterns: &Patterns) -> Result<Self, GlobError> {
        let parse = |list: &[String]| list.iter().map(|pattern| Glob::parse(pattern)).collect::<Result<Vec<_>, _>>();
        let (include, exclude) = (parse(&patterns.include)?, parse(&patterns.exclude)?);
        let mut found = Self::default();
        for key in state.keys() {
            let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(key));
            let list = if any(&exclude) {
                &mut found.excluded
            } else if any(&include) {
                &mut found.selected
            } else {
                &mut found.not_seen
            };
            list.push(key.clone());
        }
        Ok(found)
    }

    /// What is signed.
    pub fn payload(&self, state: &Object) -> Result<String, CanonicalError> {
        let members = self.selected.iter().filter_map(|key| Some((key.clone(), state.get(key)?.clone())));
        to_canonical(&Value::Object(members.collect()))
    }
}
