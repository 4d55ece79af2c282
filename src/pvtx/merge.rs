//! What becomes of a state when a package is added or removed.
//!
//! Work is on the keys of the top level. For each key *K* of what comes (or the one part that is to go):
//!
//! 1. *K* names the key *E* that is there if it is *E*, or a folder that *E* lies in.
//! 2. If *K* is called like a signature that is there (see [`Claims::named`]), all that this signature claims goes with it.
//! 3. *E* goes if it is named, or goes with that signature; unless more other signatures claim *E* than *K* names it: one,
//!    where *K* names it, none where it doesn't.
//!
//! That is the rule of today's program, which counts: *E* goes if the patterns of *K* that fit it are at least one and not
//! fewer than all patterns of all signatures that fit it. It is the same for every key that is not named itself. A key
//! that is named, and that one signature claims by several patterns, today's program cannot remove; here a signature counts
//! once.

use std::collections::BTreeSet;

use super::claims::Claims;
use crate::state::document::{KNOWN_SPECS, SPEC_KEY};
use crate::state::{Object, Value};

/// The state after a package has been laid over it.
pub fn add(state: &Object, claims: &Claims, incoming: Object) -> Object {
    let chosen: BTreeSet<usize> = incoming.keys().filter_map(|key| claims.named(key)).collect();
    let goes = |key: &str| {
        let by = claims.on(key);
        let unnamed = || chosen.iter().any(|signature| by.len() == 1 && by.contains(signature));
        let named = || {
            names(key).filter(|name| incoming.contains_key(*name)).any(|name| stays_with(&by, claims.named(name)) <= 1)
        };
        unnamed() || named()
    };
    let mut after: Object = kept(state, goes);
    after.extend(incoming);
    finished(after)
}

/// The state without a part.
pub fn remove(state: &Object, claims: &Claims, part: &str) -> Object {
    let chosen = claims.named(part);
    let goes = |key: &str| {
        let mut by = claims.on(key);
        if let Some(signature) = chosen.filter(|signature| claims.key(*signature) == key) {
            // A signature goes with what it signs, whether it lists itself or not: without that, it fails.
            by.insert(signature);
        }
        let with = chosen.is_some_and(|signature| by.contains(&signature));
        let named = names(key).any(|name| name == part);
        (with || named) && stays_with(&by, chosen) <= usize::from(named)
    };
    finished(kept(state, goes))
}

/// How many signatures claim a key besides the one that goes.
fn stays_with(by: &BTreeSet<usize>, chosen: Option<usize>) -> usize {
    by.iter().filter(|signature| Some(**signature) != chosen).count()
}

/// What names a key: itself, and each folder above it, with and without the slash at its end.
fn names(key: &str) -> impl Iterator<Item = &str> {
    let folders = key.match_indices('/').flat_map(|(at, _)| [&key[..at], &key[..=at]]);
    // The empty text is a key like any other, not the folder of those that begin with a slash.
    folders.filter(|name| !name.is_empty()).chain([key])
}

fn kept(state: &Object, goes: impl Fn(&str) -> bool) -> Object {
    let stays = state.iter().filter(|(key, _)| !goes(key));
    stays.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What a transaction writes is always of the first kind, whatever came.
fn finished(mut state: Object) -> Object {
    state.insert(SPEC_KEY.to_owned(), Value::from(KNOWN_SPECS[0]));
    state
}
