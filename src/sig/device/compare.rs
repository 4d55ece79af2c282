//! Where `pvr` and a device make something else of the same patterns. What `pvr` has signed is then not what the device
//! verifies, and the signature is no good there (`storage.md` §6.2: of 69 patterns that `pvr` signed, 25 are).

use serde::Serialize;

use super::header::Header;
use super::raw::{Pair, Raw};
use super::select::Picked;
use super::{Found, find, shown};
use crate::sig::fnmatch::{Pattern, TooMuch, Work};
use crate::sig::glob::Glob;

/// Most comparisons of a pattern with a key.
const MAX_COMPARISONS: usize = 20_000_000;

/// What a signature makes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Selected {
    /// It is signed.
    Included,
    /// It is left out on purpose.
    Excluded,
    /// No pattern is about it.
    NotSeen,
}

/// A key of which the two make something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Disagreement {
    /// The key of the signature.
    pub signature: String,
    /// The key.
    pub key: String,
    /// What `pvr` makes of it.
    pub pvr: Selected,
    /// What a device makes of it.
    pub device: Selected,
    /// The patterns that only one of the two finds to match.
    pub patterns: Vec<String>,
}

/// All of them, for every signature of a state whose patterns can be read.
pub fn disagreements(state: &[u8]) -> Result<Vec<Disagreement>, TooMuch> {
    let mut list = Vec::new();
    let Ok(raw) = Raw::parse(state) else { return Ok(list) };
    let pairs = raw.pairs().unwrap_or_default();
    let mut left = MAX_COMPARISONS;
    for found in pairs.iter().enumerate().filter_map(|(at, pair)| find(at, pair)) {
        compare(&found, &pairs, &mut left, &mut list)?;
    }
    Ok(list)
}

fn compare(
    found: &Found<'_>,
    pairs: &[Pair<'_>],
    left: &mut usize,
    list: &mut Vec<Disagreement>,
) -> Result<(), TooMuch> {
    let Some(header) = found.parts.ok().and_then(|parts| Header::parse(parts.protected).ok()) else { return Ok(()) };
    let selection = &header.selection;
    let patterns = selection.include.len() + selection.exclude.len();
    *left = left.checked_sub(patterns.saturating_mul(pairs.len())).ok_or(TooMuch)?;
    let keys: Vec<String> = pairs.iter().map(|pair| shown(pair.key)).collect();
    let mut work = Work(super::MAX_WORK);
    let device = selection.pick(pairs, &mut work)?;
    let mut pvr = vec![Picked::No; pairs.len()];
    let mut at_fault: Vec<Vec<String>> = vec![Vec::new(); pairs.len()];
    for (patterns, as_) in [(&selection.include, Picked::Included), (&selection.exclude, Picked::Excluded)] {
        for raw in patterns {
            let text = shown(raw);
            // One that pvr can't read selects nothing there.
            let glob = Glob::parse(&text).ok();
            let pattern = Pattern::of_signature(raw);
            for (at, pair) in pairs.iter().enumerate() {
                let ours = glob.as_ref().is_some_and(|glob| glob.matches(&keys[at]));
                if ours {
                    pvr[at] = as_;
                }
                if ours != pattern.matches(pair.key, &mut work)? {
                    at_fault[at].push(text.clone());
                }
            }
        }
    }
    for (at, patterns) in at_fault.into_iter().enumerate().filter(|(at, _)| pvr[*at] != device[*at]) {
        list.push(Disagreement {
            signature: shown(pairs[found.at].key),
            key: keys[at].clone(),
            pvr: pvr[at].into(),
            device: device[at].into(),
            patterns,
        });
    }
    Ok(())
}

impl From<Picked> for Selected {
    fn from(picked: Picked) -> Self {
        match picked {
            Picked::No => Self::NotSeen,
            Picked::Included => Self::Included,
            Picked::Excluded => Self::Excluded,
        }
    }
}
