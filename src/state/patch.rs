//! JSON merge patch (RFC 7396): how a change of a state is shown, and how `merge` lays one state over another.
//!
//! A member of the patch replaces the target's, objects are gone into, and `null` removes. A merge patch can
//! therefore not say that something *becomes* null; what is committed is never computed through one
//! (`cli.md` §11).

use super::json::{Object, Value};

/// Lays `patch` over `target` (RFC 7396 §2).
pub fn apply(target: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *target = patch;
        return;
    };
    if !matches!(target, Value::Object(_)) {
        *target = Value::Object(Object::new());
    }
    let Value::Object(into) = target else {
        return;
    };
    for (key, value) in members {
        if value == Value::Null {
            into.remove(&key);
        } else {
            apply(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The patch that makes `to` of `from`, empty when there is nothing to do.
///
/// A member that becomes null is shown as null, which a reader of the patch takes for a removal: merge patch has
/// no other word for it.
pub fn diff(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let mut members = Object::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        members.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(old) if old == value => {}
            Some(old @ Value::Object(_)) if matches!(value, Value::Object(_)) => {
                members.insert(key.clone(), diff(old, value));
            }
            _ => {
                members.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::canonical::to_canonical;
    use crate::state::parse::{JsonLimits, parse_strict};

    fn value(text: &str) -> Value {
        parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap()
    }

    /// The examples of RFC 7396 appendix A.
    #[test]
    fn the_examples_of_the_standard() {
        for (target, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, r#"null"#, r#"null"#),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut target = value(target);
            apply(&mut target, value(patch));
            assert_eq!(to_canonical(&target).unwrap(), want);
        }
    }
}
