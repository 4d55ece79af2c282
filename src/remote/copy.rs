//! `fastcopy`: parts of one endpoint's state into another's, without a byte of an object moved (`cli.md` §8).

use crate::state::{Object, Spec, State, StateError, Value};

/// Why the copy has no state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Parts of the destination are named, and none of the source.
    #[error("RemoteCopy source URL must have a #fragement part if destination URL is specifying a #fragement")]
    SourceParts,
    /// Another number of parts on one side than on the other.
    #[error("RemoteCopy source URL must have same source fragements as destFragments or no destfragement at all")]
    Numbers,
    /// The source names a part that it does not have.
    #[error("the source has nothing in part \"{}\"", crate::state::escape(.0))]
    Nothing(String),
    /// The copy would not be a state.
    #[error("the copy would not be a state: {0}")]
    State(#[from] StateError),
}

/// What the destination's state becomes: each part of `from` in place of the part of `to` that stands where it does in
/// its own list; without parts, everything. With `merge`, what is only in the destination's part stays.
pub fn copied(
    source: &State,
    from: &[String],
    destination: &State,
    to: &[String],
    merge: bool,
) -> Result<State, CopyError> {
    if from.is_empty() && !to.is_empty() {
        return Err(CopyError::SourceParts);
    }
    let to = if to.is_empty() { from } else { to };
    if from.len() != to.len() {
        return Err(CopyError::Numbers);
    }
    let incoming = members(source);
    let mut state = members(destination);
    if from.is_empty() {
        if !merge {
            state.clear();
        }
        state.extend(incoming);
        return Ok(State::from_value(Value::Object(state), Spec::Any)?);
    }
    if !merge {
        state.retain(|key, _| !to.iter().any(|part| behind(key, part).is_some()));
    }
    for (from, to) in from.iter().zip(to) {
        let mut found = false;
        for (key, value) in &incoming {
            if let Some(rest) = behind(key, from) {
                state.insert(format!("{to}{rest}"), value.clone());
                found = true;
            }
        }
        if !found {
            return Err(CopyError::Nothing(from.clone()));
        }
    }
    Ok(State::from_value(Value::Object(state), Spec::Any)?)
}

fn members(state: &State) -> Object {
    match state.to_value() {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

/// What follows `part` in a key of it: nothing, or something that begins with `/`.
fn behind<'a>(key: &'a str, part: &str) -> Option<&'a str> {
    key.strip_prefix(part).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;

    fn state(text: &str) -> State {
        State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Any).unwrap()
    }

    #[test]
    fn parts_go_where_they_are_sent() {
        let source = state("{\"#spec\":\"s\",\"a/x.json\":1,\"a/y.json\":2,\"ab/x.json\":3,\"c.json\":4}");
        let destination = state("{\"#spec\":\"d\",\"a/old.json\":5,\"ab/old.json\":6,\"z/x.json\":7}");
        let table: &[(&[&str], &[&str], bool, &str)] = &[
            (&[], &[], false, "{\"#spec\":\"s\",\"a/x.json\":1,\"a/y.json\":2,\"ab/x.json\":3,\"c.json\":4}"),
            (
                &[],
                &[],
                true,
                "{\"#spec\":\"s\",\"a/old.json\":5,\"a/x.json\":1,\"a/y.json\":2,\"ab/old.json\":6,\"ab/x.json\":3,\"c.json\":4,\"z/x.json\":7}",
            ),
            (&["a"], &[], false, "{\"#spec\":\"d\",\"a/x.json\":1,\"a/y.json\":2,\"ab/old.json\":6,\"z/x.json\":7}"),
            (
                &["a"],
                &["z"],
                false,
                "{\"#spec\":\"d\",\"a/old.json\":5,\"ab/old.json\":6,\"z/x.json\":1,\"z/y.json\":2}",
            ),
            (
                &["a", "ab"],
                &["ab", "a"],
                true,
                "{\"#spec\":\"d\",\"a/old.json\":5,\"a/x.json\":3,\"ab/old.json\":6,\"ab/x.json\":1,\"ab/y.json\":2,\"z/x.json\":7}",
            ),
            (
                &["c.json"],
                &[],
                false,
                "{\"#spec\":\"d\",\"a/old.json\":5,\"ab/old.json\":6,\"c.json\":4,\"z/x.json\":7}",
            ),
        ];
        let owned = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        for (from, to, merge, expected) in table {
            let got = copied(&source, &owned(from), &destination, &owned(to), *merge).unwrap();
            assert_eq!(got.to_canonical().unwrap(), *expected, "{from:?} {to:?} {merge}");
        }
        let refused =
            |from: &[&str], to: &[&str]| copied(&source, &owned(from), &destination, &owned(to), false).unwrap_err();
        assert!(matches!(refused(&[], &["a"]), CopyError::SourceParts));
        assert!(matches!(refused(&["a", "ab"], &["a"]), CopyError::Numbers));
        assert!(matches!(refused(&["nosuch"], &[]), CopyError::Nothing(_)));
        assert!(matches!(refused(&["a"], &["c.json/../.."]), CopyError::State(_)));
    }
}
