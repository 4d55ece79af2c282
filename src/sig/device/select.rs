//! Which keys a signature selects, and the text it signs (`storage.md` §6.1, §6.2, §11).

use super::raw::{Kind, Pair};
use crate::sig::fnmatch::{Pattern, TooMuch, Work};

/// What a signature makes of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picked {
    /// No pattern matches.
    No,
    /// It is signed.
    Included,
    /// It is not signed, and the daemon counts it as covered all the same.
    Excluded,
}

/// The patterns of a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selection {
    pub(super) include: Vec<Vec<u8>>,
    pub(super) exclude: Vec<Vec<u8>>,
}

impl Selection {
    /// What becomes of each key. An exclude counts whether or not an include matches before it.
    pub(super) fn pick(&self, pairs: &[Pair<'_>], work: &mut Work) -> Result<Vec<Picked>, TooMuch> {
        let mut picked = vec![Picked::No; pairs.len()];
        for (patterns, as_) in [(&self.include, Picked::Included), (&self.exclude, Picked::Excluded)] {
            for pattern in patterns {
                let pattern = Pattern::of_signature(pattern);
                for (pair, picked) in pairs.iter().zip(&mut picked) {
                    if pattern.matches(pair.key, work)? {
                        *picked = as_;
                    }
                }
            }
        }
        Ok(picked)
    }
}

/// The text that a signature signs: the selected members in the order of the document, names and values as they are
/// written, what is no object and no array in quotes. With nothing selected, the daemon loses the opening brace.
pub(super) fn payload(pairs: &[Pair<'_>], picked: &[Picked]) -> Vec<u8> {
    let mut text = Vec::new();
    for (pair, _) in pairs.iter().zip(picked).filter(|(_, picked)| **picked == Picked::Included) {
        text.push(if text.is_empty() { b'{' } else { b',' });
        text.push(b'"');
        text.extend_from_slice(pair.key);
        text.extend_from_slice(b"\":");
        match pair.kind {
            Kind::Object | Kind::Array => text.extend_from_slice(pair.value),
            Kind::String | Kind::Primitive => {
                text.push(b'"');
                text.extend_from_slice(pair.value);
                text.push(b'"');
            }
        }
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use super::super::raw::Raw;
    use super::*;

    fn signed(text: &str, include: &[&str], exclude: &[&str]) -> String {
        let bytes = |list: &[&str]| list.iter().map(|text| text.as_bytes().to_vec()).collect();
        let selection = Selection { include: bytes(include), exclude: bytes(exclude) };
        let raw = Raw::parse(text.as_bytes()).unwrap();
        let pairs = raw.pairs().unwrap();
        let picked = selection.pick(&pairs, &mut Work(1_000)).unwrap();
        String::from_utf8(payload(&pairs, &picked)).unwrap()
    }

    #[test]
    fn what_is_signed() {
        let text = r##"{"b/x":"1", "a/y" : {"z":1, "a":[]}, "a/n":5,"a/x":null,"#spec":"s"}"##;
        for (include, exclude, want) in [
            (&["a/**"][..], &[][..], r#"{"a/y":{"z":1, "a":[]},"a/n":"5","a/x":"null"}"#),
            (&["a/**", "b/*"], &["a/?"], r#"{"b/x":"1"}"#),
            (&["#spec"], &[], r##"{"#spec":"s"}"##),
            (&["**"], &[], "}"),
            (&[], &["a/**"], "}"),
            (&["*/**"], &["*/**"], "}"),
        ] {
            assert_eq!(signed(text, include, exclude), want, "{include:?} {exclude:?}");
        }
    }
}
