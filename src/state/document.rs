//! A whole state, checked once.
//!
//! After [`State::from_value`] every key is a safe path, every value is of its kind and no file stands where a
//! folder has to be: whoever holds a [`State`] can expand it into a folder without asking again. What is wrong
//! with a document is found all at once, so that its author can mend it in one go.

use super::canonical::{CanonicalError, members_within};
use super::id::ObjectId;
use super::json::{Object, Value};
use super::parse::{JsonError, JsonLimits, parse_strict};
use super::path::StatePath;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The key that names the kind of a state.
pub const SPEC_KEY: &str = "#spec";

/// The kinds that devices and the hub know (`cli.md` §5), the one to use first.
pub const KNOWN_SPECS: [&str; 3] =
    ["pantavisor-service-system@1", "pantavisor-multi-platform@1", "pantavisor-service-embed@1"];

/// Most files and folders that a state may come to. The folders of a key cost two bytes each in a state and an inode each
/// on a disk: a document of 2 MiB could name a million of them.
pub const MAX_FILES: usize = 65_536;

/// How much is demanded of `#spec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// One of [`KNOWN_SPECS`]: what a device may be asked to run.
    Known,
    /// Any text, or none: what a working copy may hold.
    Any,
}

/// What a key of a state stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file whose bytes have this sha256.
    Object(ObjectId),
    /// A file that holds the canonical form of this value.
    Json(Value),
}

/// A checked state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    spec: Option<String>,
    entries: BTreeMap<StatePath, Entry>,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The key, as the document has it.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

/// A document is not a state.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is no JSON that we would take.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It has no canonical form within the limit.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// It is JSON but not an object.
    #[error("a state is a JSON object, not {0}")]
    NotAnObject(&'static str),
    /// Keys or values are wrong; at least one.
    #[error("{}", summary(.0))]
    Findings(Vec<Finding>),
}

fn summary(findings: &[Finding]) -> String {
    let mut text = String::from("the state has keys that cannot be used:");
    for finding in findings.iter().take(20) {
        text.push_str(&format!("\n\"{}\": {}", super::escape(&finding.key), finding.why));
    }
    if findings.len() > 20 {
        text.push_str(&format!("\nand {} more", findings.len() - 20));
    }
    text
}

/// Whether `key` holds its file's content itself (`cli.md` §5): it ends in `.json` and is not a sha256.
pub fn is_inline(key: &str, value: &Value) -> bool {
    key.ends_with(".json") && !value.as_str().is_some_and(looks_like_id)
}

/// 64 hex digits of either case. Only lower case names an object, but upper case is no text of a file either.
fn looks_like_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl State {
    /// A state with a kind and nothing else.
    pub fn empty(spec: &str) -> Self {
        Self { spec: Some(spec.to_owned()), entries: BTreeMap::new() }
    }

    /// Parses and checks what came from a wire, an archive or a device.
    pub fn parse_strict(bytes: &[u8], limits: &JsonLimits, spec: Spec) -> Result<Self, StateError> {
        let state = Self::from_value(parse_strict(bytes, limits)?, spec)?;
        // What is stored must be readable again under the same limit, and `1e9` grows when it is written out.
        state.to_canonical_within(limits.bytes)?;
        Ok(state)
    }

    /// Checks a document.
    pub fn from_value(value: Value, rule: Spec) -> Result<Self, StateError> {
        let Value::Object(members) = value else {
            return Err(StateError::NotAnObject(value.kind()));
        };
        let mut findings = Vec::new();
        let mut state = Self::default();
        if rule == Spec::Known && !members.contains_key(SPEC_KEY) {
            findings.push(finding(SPEC_KEY, format!("it is missing; it has to be {}", KNOWN_SPECS[0])));
        }
        for (key, value) in members {
            if key == SPEC_KEY {
                match spec_of(value, rule) {
                    Ok(spec) => state.spec = Some(spec),
                    Err(why) => findings.push(finding(SPEC_KEY, why)),
                }
                continue;
            }
            match entry_of(&key, value) {
                Ok((path, entry)) => {
                    state.entries.insert(path, entry);
                }
                Err(why) => findings.push(finding(&key, why)),
            }
        }
        for path in state.entries.keys() {
            if let Some(folder) = path.folders().find(|folder| state.entries.contains_key(*folder)) {
                let why = format!("\"{}\" is a file of the same state", super::escape(folder));
                findings.push(finding(path.as_str(), why));
            }
        }
        findings.extend(state.too_many_files());
        if findings.is_empty() {
            return Ok(state);
        }
        Err(StateError::Findings(findings))
    }

    /// What is wrong if laying the state out takes more files and folders than [`MAX_FILES`].
    fn too_many_files(&self) -> Option<Finding> {
        let mut folders = BTreeSet::new();
        for path in self.entries.keys() {
            for folder in path.folders() {
                folders.insert(folder);
                // Not counted to the end: there may be a million.
                if self.entries.len() + folders.len() > MAX_FILES {
                    let why = format!("with this key the state has more than {MAX_FILES} files and folders");
                    return Some(finding(path.as_str(), why));
                }
            }
        }
        None
    }

    /// The value of `#spec`.
    pub fn spec(&self) -> Option<&str> {
        self.spec.as_deref()
    }

    /// Sets `#spec`.
    pub fn set_spec(&mut self, spec: Option<String>) {
        self.spec = spec;
    }

    /// Every key but `#spec`, in canonical order.
    pub fn entries(&self) -> impl Iterator<Item = (&StatePath, &Entry)> {
        self.entries.iter()
    }

    /// How many keys there are but `#spec`.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key but `#spec`.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What `key` stands for.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The keys that are objects, in canonical order; an object may come more than once.
    pub fn objects(&self) -> impl Iterator<Item = (&StatePath, &ObjectId)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::Object(id) => Some((path, id)),
            Entry::Json(_) => None,
        })
    }

    /// The keys that hold their content themselves, in canonical order.
    pub fn json(&self) -> impl Iterator<Item = (&StatePath, &Value)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::Object(_) => None,
            Entry::Json(value) => Some((path, value)),
        })
    }

    /// The same state with other values in place of those that are inline; `normal` is asked for all of them at once, by
    /// key. A value that it leaves out, or makes the name of an object of, stays as it is.
    pub fn with_json<E>(&self, normal: impl FnOnce(Object) -> Result<Object, E>) -> Result<Self, E> {
        let mut state = self.clone();
        let values: Object = self.json().map(|(path, value)| (path.as_str().to_owned(), value.clone())).collect();
        if values.is_empty() {
            return Ok(state);
        }
        for (key, value) in normal(values)? {
            if let Some(Entry::Json(old)) = state.entries.get_mut(key.as_str())
                && is_inline(&key, &value)
            {
                *old = value;
            }
        }
        Ok(state)
    }

    /// The document.
    pub fn to_value(&self) -> Value {
        let spec = self.spec.iter().map(|spec| (SPEC_KEY.to_owned(), Value::from(spec.as_str())));
        let entries = self.entries.iter().map(|(path, entry)| {
            let value = match entry {
                Entry::Object(id) => Value::from(id.to_string()),
                Entry::Json(value) => value.clone(),
            };
            (path.as_str().to_owned(), value)
        });
        Value::Object(spec.chain(entries).collect::<Object>())
    }

    /// What is stored, signed and hashed.
    pub fn to_canonical(&self) -> Result<String, CanonicalError> {
        self.to_canonical_within(super::canonical::MAX_BYTES)
    }

    /// Without a copy of the values: as a tree, a state takes many times the memory of its text.
    fn to_canonical_within(&self, limit: usize) -> Result<String, CanonicalError> {
        fn member<'a>((path, entry): (&'a StatePath, &'a Entry)) -> (&'a str, Cow<'a, Value>) {
            let value = match entry {
                Entry::Object(id) => Cow::Owned(Value::from(id.to_string())),
                Entry::Json(value) => Cow::Borrowed(value),
            };
            (path.as_str(), value)
        }
        let spec = self.spec.iter().map(|spec| (SPEC_KEY, Cow::Owned(Value::from(spec.as_str()))));
        let before = self.entries.iter().take_while(|(path, _)| path.as_str() < SPEC_KEY).map(member);
        let after = self.entries.iter().skip_while(|(path, _)| path.as_str() < SPEC_KEY).map(member);
        members_within(before.chain(spec).chain(after), limit)
    }

    /// The `state-sha` of the wire: the sha256 of the canonical form.
    pub fn sha(&self) -> Result<ObjectId, CanonicalError> {
        let canonical = self.to_canonical()?;
        Ok(ObjectId::from_bytes(Sha256::digest(canonical).into()))
    }
}

fn finding(key: &str, why: String) -> Finding {
    Finding { key: key.to_owned(), why }
}

fn spec_of(value: Value, rule: Spec) -> Result<String, String> {
    let Value::String(spec) = value else {
        return Err(format!("it is {}, not a string", value.kind()));
    };
    if rule == Spec::Known && !KNOWN_SPECS.contains(&spec.as_str()) {
        return Err(format!("\"{}\" is not one of {}", super::escape(&spec), KNOWN_SPECS.join(", ")));
    }
    Ok(spec)
}

fn entry_of(key: &str, value: Value) -> Result<(StatePath, Entry), String> {
    let path = StatePath::parse(key).map_err(|error| error.to_string())?;
    if is_inline(key, &value) {
        return Ok((path, Entry::Json(value)));
    }
    let Some(text) = value.as_str() else {
        return Err(format!("the value is {}; it has to be the sha256 of an object", value.kind()));
    };
    let id = ObjectId::parse(text)
        .map_err(|_| "the value is not the sha256 of an object (64 lower-case hex digits)".to_owned())?;
    Ok((path, Entry::Object(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str, rule: Spec) -> Result<State, StateError> {
        State::parse_strict(text.as_bytes(), &JsonLimits::default(), rule)
    }

    fn keys_refused(text: &str) -> Vec<String> {
        match parse(text, Spec::Known) {
            Err(StateError::Findings(findings)) => findings.into_iter().map(|f| f.key).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let text = format!(
            "{{\"#spec\":\"x@1\",\"../a\":\"{ID}\",\"b\":1,\"c\":\"nope\",\"d\":\"{ID}\",\"d/e\":\"{ID}\",\"f.json\":\"{}\"}}",
            ID.to_uppercase()
        );
        assert_eq!(keys_refused(&text), ["#spec", "../a", "b", "c", "f.json", "d/e"]);
        assert_eq!(keys_refused("{}"), ["#spec"]);
        assert_eq!(keys_refused("{\"#spec\":7}"), ["#spec"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_no_state() {
        for text in ["[]", "null", "\"x\"", "1", "true"] {
            assert!(matches!(parse(text, Spec::Known), Err(StateError::NotAnObject(_))), "{text}");
        }
    }

    #[test]
    fn other_values_take_the_place_of_inline_ones_only() {
        let text = format!("{{\"a.json\":1,\"b.json\":2,\"c\":\"{ID}\",\"d.json\":\"{ID}\"}}");
        let state = parse(&text, Spec::Any).unwrap();
        let changed = state.with_json(|values| {
            assert_eq!(values.keys().collect::<Vec<_>>(), ["a.json", "b.json"]);
            let other = ["a.json", "c", "d.json", "new.json"].map(|key| (key.to_owned(), Value::from("other")));
            Ok::<_, StateError>(other.into_iter().chain([("b.json".to_owned(), Value::from(ID))]).collect())
        });
        assert_eq!(changed.unwrap().to_canonical().unwrap(), text.replacen('1', "\"other\"", 1));
        let none = parse(&format!("{{\"c\":\"{ID}\"}}"), Spec::Any).unwrap();
        assert_eq!(none.with_json(|_| Err(())), Ok(none.clone()), "nobody is asked for nothing");
    }

    #[test]
    fn a_json_key_holds_a_value_or_names_an_object() {
        let text = format!(
            "{{\"#spec\":\"{}\",\"a.json\":\"{ID}\",\"b.json\":\"text\",\"c.json\":null,\"d\":\"{ID}\"}}",
            KNOWN_SPECS[0]
        );
        let state = parse(&text, Spec::Known).unwrap();
        assert_eq!(state.objects().count(), 2);
        assert_eq!(state.json().count(), 2);
        assert_eq!(state.to_canonical().unwrap(), text);
    }

    #[test]
    fn the_kind_of_a_state_stands_where_its_order_puts_it() {
        let text = format!("{{\"!a\":\"{ID}\",\"#spec\":\"x\",\"#t\":\"{ID}\",\"a.json\":{{\"b\":[1,{{}}]}}}}");
        let state = parse(&text, Spec::Any).unwrap();
        assert_eq!(state.to_canonical().unwrap(), text);
        assert_eq!(crate::state::canonical::to_canonical(&state.to_value()).unwrap(), text);
        assert_eq!(State::default().to_canonical().unwrap(), "{}");
    }

    #[test]
    fn a_working_copy_may_lack_or_invent_its_kind() {
        assert_eq!(parse("{}", Spec::Any).unwrap().spec(), None);
        assert_eq!(parse("{\"#spec\":\"x\"}", Spec::Any).unwrap().spec(), Some("x"));
        assert!(parse("{\"#spec\":[]}", Spec::Any).is_err());
    }

    #[test]
    fn siblings_whose_names_only_begin_alike_are_no_folders() {
        let text = format!("{{\"#spec\":\"{}\",\"a\":\"{ID}\",\"a-b/c\":\"{ID}\",\"a.b\":\"{ID}\"}}", KNOWN_SPECS[0]);
        assert!(parse(&text, Spec::Known).is_ok());
    }

    #[test]
    fn a_state_that_grows_over_the_limit_when_written_out_is_refused() {
        let text = format!("{{\"#spec\":\"{}\",\"a.json\":1e3000000}}", KNOWN_SPECS[0]);
        assert!(matches!(parse(&text, Spec::Known), Err(StateError::Canonical(_))));
    }

    #[test]
    fn a_small_document_named_a_million_folders() {
        let mut text = format!("{{\"#spec\":\"{}\"", KNOWN_SPECS[0]);
        for key in 0..100 {
            text.push_str(&format!(",\"{key}/{}x\":\"{ID}\"", "a/".repeat(700)));
        }
        let fits = format!("{}}}", text.replacen(&"a/".repeat(700), "a/", 100));
        text.push('}');
        assert_eq!(keys_refused(&text).len(), 1);
        assert!(parse(&fits, Spec::Known).is_ok());
    }
}
