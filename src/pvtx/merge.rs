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
        let unnamed = || by.len() == 1 && by.first().is_some_and(|signature| chosen.contains(signature));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::collections::BTreeMap;

    const KEYS: [&str; 14] = [
        "app",
        "app/a",
        "app/run.json",
        "app/src.json",
        "app2/a",
        "app2/run.json",
        "ap",
        "b",
        "b/c/d",
        "_config/app/x",
        "_config/app2/x",
        "_config/b/x",
        "",
        "#other",
    ];
    const NAMES: [&str; 6] = ["app", "app2", "b", "ap", "x", ""];
    const PATTERNS: [&str; 14] = [
        "app/**",
        "app/*",
        "app/src.json",
        "_config/app/**",
        "_sigs/app.json",
        "_sigs/app2.json",
        "app2/**",
        "app",
        "b/*/d",
        "**",
        "_sigs/b.json",
        "b",
        "_config/**",
        "zz",
    ];

    /// A state: plain keys, and signatures with what they include and exclude.
    #[derive(Debug, Clone)]
    struct Model {
        keys: BTreeMap<String, i64>,
        signatures: BTreeMap<String, (Vec<String>, Vec<String>)>,
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::new();
        for group in bytes.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            (0..=group.len()).for_each(|at| out.push(char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63])));
        }
        out
    }

    impl Model {
        fn object(&self) -> Object {
            let plain = self.keys.iter().map(|(key, value)| (key.clone(), Value::from(*value)));
            let signed = self.signatures.iter().map(|(key, (include, exclude))| {
                let header =
                    serde_json::json!({"pvs": {"include": include, "exclude": exclude}, "typ": "PVS"}).to_string();
                let protected = Value::from(base64(header.as_bytes()));
                (key.clone(), Value::Object(Object::from([("protected".to_owned(), protected)])))
            });
            let spec = (SPEC_KEY.to_owned(), Value::from(KNOWN_SPECS[0]));
            plain.chain(signed).chain([spec]).collect()
        }

        /// The patterns of a signature, cut at their first `*`.
        fn patterns(&self, key: &str) -> Vec<&str> {
            let (include, exclude) = &self.signatures[key];
            include.iter().chain(exclude).map(|pattern| pattern.split('*').next().unwrap()).collect()
        }

        fn all(&self) -> Vec<String> {
            self.keys.keys().chain(self.signatures.keys()).cloned().collect()
        }

        /// The signature that a name stands for: today's program takes the first that begins so, ours one that is called so.
        fn chosen(&self, name: &str) -> Option<&str> {
            let name = name.strip_prefix("_config/").or(name.strip_prefix("_sigs/")).unwrap_or(name);
            let is_it = |key: &&String| **key == format!("_sigs/{name}") || **key == format!("_sigs/{name}.json");
            self.signatures.keys().filter(|_| !name.is_empty()).find(is_it).map(String::as_str)
        }

        /// pvtx.md §5.2, word for word, for one name: which keys go. And whether the name itself is one of the reasons.
        fn removed_by(&self, name: &str) -> Vec<(String, bool, bool)> {
            let mut own: Vec<&str> = Vec::new();
            if let Some(signature) = self.chosen(name) {
                own.extend(self.patterns(signature));
            }
            let folder = format!("{}/", name.trim_end_matches('/'));
            let names = |key: &str| key == name || (!name.is_empty() && key.starts_with(&folder));
            let mut decided = Vec::new();
            for key in self.all() {
                let n = usize::from(names(&key)) + own.iter().filter(|pattern| key.starts_with(**pattern)).count();
                let every = self.signatures.keys().flat_map(|signature| self.patterns(signature));
                let m = every.filter(|pattern| key.starts_with(*pattern)).count();
                decided.push((key.clone(), n >= 1 && m <= n, names(&key)));
            }
            decided
        }

        /// How many signatures besides the chosen one claim a key.
        fn others(&self, name: &str, key: &str) -> usize {
            let chosen = self.chosen(name);
            let others = self.signatures.keys().filter(|signature| Some(signature.as_str()) != chosen);
            others.filter(|signature| self.patterns(signature).iter().any(|pattern| key.starts_with(pattern))).count()
        }
    }

    fn model() -> impl Strategy<Value = Model> {
        let list = || vec(select(&PATTERNS[..]).prop_map(str::to_owned), 0..4);
        let signature = select(&NAMES[..])
            .prop_flat_map(|name| prop_oneof![Just(format!("_sigs/{name}.json")), Just(format!("_sigs/{name}"))]);
        let keys = btree_map(select(&KEYS[..]).prop_map(str::to_owned), 0_i64..9, 0..10);
        (keys, btree_map(signature, (list(), list()), 0..4)).prop_map(|(keys, signatures)| Model { keys, signatures })
    }

    fn claims(object: &Object) -> Claims {
        Claims::of(object, &JsonLimits::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn a_part_goes_as_today_counts_it(state in model(), part in select(&KEYS[..]), end in select(&["", "/", ".json"][..])) {
            let part = format!("{part}{end}");
            let object = state.object();
            let after = remove(&object, &claims(&object), &part);
            for (key, goes, named) in state.removed_by(&part) {
                let gone = !after.contains_key(&key);
                let chosen = state.chosen(&part) == Some(&key);
                if named {
                    // Today's count, but each signature once.
                    prop_assert_eq!(gone, state.others(&part, &key) <= 1, "{}", key);
                    prop_assert!(gone || !goes, "{}", key);
                } else if chosen {
                    // It goes with what it signs, unless another one claims it.
                    prop_assert_eq!(gone, state.others(&part, &key) == 0, "{}", key);
                    prop_assert!(gone || !goes, "{}", key);
                } else {
                    prop_assert_eq!(gone, goes, "{}", key);
                }
            }
            for (key, value) in &after {
                prop_assert!(object.get(key) == Some(value), "{}", key);
            }
        }

        #[test]
        fn a_package_takes_the_place_of_what_today_counts(state in model(), package in model()) {
            let (object, incoming) = (state.object(), package.object());
            let after = add(&object, &claims(&object), incoming.clone());
            for key in state.all() {
                let mut decisions = incoming.keys().map(|name| {
                    let (_, goes, named) = state.removed_by(name).into_iter().find(|it| it.0 == key).unwrap();
                    if named { state.others(name, &key) <= 1 } else { goes }
                });
                let goes = decisions.any(|goes| goes);
                let stays = after.get(&key) == object.get(&key);
                match incoming.get(&key) {
                    Some(value) => prop_assert!(after.get(&key) == Some(value), "{}", key),
                    None => prop_assert_eq!(stays, !goes, "{}", key),
                }
            }
            for (key, value) in &incoming {
                prop_assert!(after.get(key) == Some(value), "{}", key);
            }
            for key in after.keys() {
                prop_assert!(object.contains_key(key) || incoming.contains_key(key), "{}", key);
            }
        }
    }
}
