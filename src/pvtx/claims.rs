//! What the signatures of a state claim.
//!
//! A signature is a value under `_sigs/` with a text `protected`: the base64url of a JSON header whose `pvs` has two lists of
//! patterns, `include` and `exclude`. To a transaction both say the same: *this key belongs to that signature*. A pattern
//! counts up to its first `*`, and claims every key that begins so.

use std::collections::{BTreeMap, BTreeSet};

use super::error::PvtxError;
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, Value};

/// Folder of the signatures.
pub const SIGNATURES: &str = "_sigs/";

/// The signatures of a state, in the order of their keys.
#[derive(Debug, Default)]
pub struct Claims {
    signatures: Vec<String>,
    /// What packages are called, by their signatures.
    names: BTreeMap<String, usize>,
    /// What claimed keys begin with, and who says so.
    prefixes: BTreeMap<String, BTreeSet<usize>>,
    lengths: BTreeSet<usize>,
}

impl Claims {
    /// Reads the signatures of a state. One whose header cannot be read is an error: what belongs to it cannot be told.
    pub fn of(state: &Object, limits: &JsonLimits) -> Result<Self, PvtxError> {
        let mut claims = Self::default();
        for (key, value) in state.range(SIGNATURES.to_owned()..).take_while(|(key, _)| key.starts_with(SIGNATURES)) {
            let Some(protected) = value.get("protected").and_then(Value::as_str) else { continue };
            let header = decode(protected)
                .and_then(|bytes| parse_strict(&bytes, limits).ok())
                .ok_or_else(|| PvtxError::Signature { key: key.clone() })?;
            let number = claims.signatures.len();
            claims.signatures.push(key.clone());
            let own = &key[SIGNATURES.len()..];
            // The first of two that have one name counts.
            for name in [Some(own), own.strip_suffix(".json")].into_iter().flatten() {
                claims.names.entry(name.to_owned()).or_insert(number);
            }
            for pattern in patterns(&header) {
                let prefix = pattern.split('*').next().unwrap_or_default();
                claims.lengths.insert(prefix.len());
                claims.prefixes.entry(prefix.to_owned()).or_default().insert(number);
            }
        }
        Ok(claims)
    }

    /// Which signatures claim a key.
    pub fn on(&self, key: &str) -> BTreeSet<usize> {
        let prefixes = self.lengths.iter().map_while(|&length| (length <= key.len()).then(|| key.get(..length)));
        prefixes.flatten().filter_map(|prefix| self.prefixes.get(prefix)).flatten().copied().collect()
    }

    /// The signature that `name` stands for when a package is named: the key of a signature, of a configuration or a part.
    pub fn named(&self, name: &str) -> Option<usize> {
        let name = name.strip_prefix("_config/").or_else(|| name.strip_prefix(SIGNATURES)).unwrap_or(name);
        if name.is_empty() { None } else { self.names.get(name).copied() }
    }

    /// The key of a signature.
    pub fn key(&self, number: usize) -> &str {
        &self.signatures[number]
    }
}

/// The texts of both lists.
fn patterns(header: &Value) -> impl Iterator<Item = &str> {
    let pvs = header.get("pvs");
    ["include", "exclude"]
        .into_iter()
        .filter_map(move |list| match pvs?.get(list)? {
            Value::Array(items) => Some(items),
            _ => None,
        })
        .flatten()
        .filter_map(Value::as_str)
}

/// Base64 in either alphabet, with or without padding, as the device reads it. `None` where it is neither, or nothing.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits: u32 = 0;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'-' | b'+' => 62,
                b'_' | b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..=bytes]);
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_and_padding() {
        for (text, bytes) in [
            ("e30", Some(&b"{}"[..])),
            ("e30=", Some(b"{}")),
            ("-_-_", Some(b"\xfb\xff\xbf")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("YQ", Some(b"a")),
            ("YWI", Some(b"ab")),
            ("YWJj", Some(b"abc")),
            ("Y", None),
            ("", None),
            ("====", None),
            ("Y Q", None),
            ("YQ\n", None),
        ] {
            assert_eq!(decode(text).as_deref(), bytes, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_claimed_by_what_it_begins_with() {
        // {"pvs":{"include":["a/**","b/*/c",7,"é*"],"exclude":["a/src.json"]}}
        let header = "eyJwdnMiOnsiaW5jbHVkZSI6WyJhLyoqIiwiYi8qL2MiLDcsIsOpKiJdLCJleGNsdWRlIjpbImEvc3JjLmpzb24iXX19";
        let text = format!(r#"{{"_sigs/a.json":{{"protected":"{header}"}},"_sigs/b":{{"protected":7}},"x":1}}"#);
        let limits = JsonLimits::default();
        let Value::Object(state) = parse_strict(text.as_bytes(), &limits).unwrap() else { panic!() };
        let claims = Claims::of(&state, &limits).unwrap();
        for (key, claimed) in
            [("a/x", true), ("a/src.json", true), ("a", false), ("b/x", true), ("é", true), ("è", false), ("x", false)]
        {
            assert_eq!(claims.on(key).len(), usize::from(claimed), "{key}");
        }
        for (name, number) in [
            ("a", Some(0)),
            ("a.json", Some(0)),
            ("_sigs/a.json", Some(0)),
            ("_config/a", Some(0)),
            ("", None),
            ("_sigs/", None),
            ("_config/", None),
            ("a.", None),
            ("b", None),
        ] {
            assert_eq!(claims.named(name), number, "{name:?}");
        }
    }
}
