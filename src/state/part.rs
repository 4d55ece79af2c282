//! Part selection: the fragment of a reference, `#app1,_sigs/app1.json,-app2` (`cli.md` §7).
//!
//! `p` selects the key `p` and everything below `p/`; `-p` takes out the same. Without a positive part
//! everything is selected. A part ends at a path boundary: `app` never means `app2` (`cli.md` §13.11).

use super::document::{Spec, State, StateError};
use super::json::{Object, Value};
use super::{document::SPEC_KEY, patch};

/// A folder or a key of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part(String);

impl Part {
    fn holds(&self, key: &str) -> bool {
        match key.strip_prefix(self.0.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

/// Which keys of a state are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartSelection {
    include: Vec<Part>,
    exclude: Vec<Part>,
}

impl PartSelection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Parses a comma list. Blank entries select nothing by themselves and slashes at an end do not count, so
    /// that `app/` is `app`.
    pub fn parse(list: &str) -> Self {
        let mut selection = Self::default();
        for entry in list.split(',') {
            let (parts, name) = match entry.strip_prefix('-') {
                Some(name) => (&mut selection.exclude, name),
                None => (&mut selection.include, entry),
            };
            let name = name.trim_end_matches('/');
            if !name.is_empty() {
                parts.push(Part(name.to_owned()));
            }
        }
        selection
    }

    /// Whether nothing is singled out.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether no part was named, so that the whole of a state is meant, less what is excluded.
    pub fn is_whole(&self) -> bool {
        self.include.is_empty()
    }

    /// Whether `key` is among the positive parts.
    pub fn includes(&self, key: &str) -> bool {
        self.include.is_empty() || self.include.iter().any(|part| part.holds(key))
    }

    /// Whether `key` is taken out.
    pub fn excludes(&self, key: &str) -> bool {
        self.exclude.iter().any(|part| part.holds(key))
    }

    /// Whether `key` is selected: included and not taken out.
    pub fn selects(&self, key: &str) -> bool {
        self.includes(key) && !self.excludes(key)
    }
}

/// What `get` makes of a local and an incoming state: the selected parts are those of `incoming`, what is taken
/// out is in neither, and the rest stays. `#spec` follows `incoming` only when no part is named.
pub fn replace(local: &State, incoming: &State, selection: &PartSelection) -> Result<State, StateError> {
    let kept = members(local).into_iter().filter(|(key, _)| {
        if key == SPEC_KEY {
            return !selection.is_whole();
        }
        !selection.includes(key) && !selection.excludes(key)
    });
    let taken = members(incoming).into_iter().filter(|(key, _)| {
        if key == SPEC_KEY {
            return selection.is_whole();
        }
        selection.selects(key)
    });
    State::from_value(Value::Object(kept.chain(taken).collect()), Spec::Any)
}

/// What `merge` makes of them: first what is taken out goes from `local`, then the included parts of `incoming`
/// are laid over it as an RFC 7396 merge patch, which goes into inline JSON and removes no key.
pub fn merge(local: &State, incoming: &State, selection: &PartSelection) -> Result<State, StateError> {
    let mut kept = members(local);
    kept.retain(|key, _| key == SPEC_KEY || !selection.excludes(key));
    let mut laid = members(incoming);
    laid.retain(|key, value| {
        if key == SPEC_KEY {
            return selection.is_whole();
        }
        // A key whose whole content is null is a file, not a removal.
        *value != Value::Null && selection.includes(key)
    });
    let mut merged = Value::Object(kept);
    patch::apply(&mut merged, Value::Object(laid));
    State::from_value(merged, Spec::Any)
}

fn members(state: &State) -> Object {
    match state.to_value() {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;

    fn state(keys: &[&str], id: char) -> State {
        let id = id.to_string().repeat(64);
        let mut text = format!("{{\"#spec\":\"{id:.1}\"");
        for key in keys {
            text.push_str(&format!(",\"{key}\":\"{id}\""));
        }
        text.push('}');
        State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Any).unwrap()
    }

    /// Keys with the digit of the state they come from.
    fn shown(state: &State) -> String {
        let mut out = state.spec().unwrap_or("-").to_owned();
        for (path, id) in state.objects() {
            out.push_str(&format!(" {}={:.1}", path.as_str(), id.to_string()));
        }
        out
    }

    #[test]
    fn a_part_ends_at_a_path_boundary() {
        let selection = PartSelection::parse("app,-app/x,_sigs/app.json");
        for (key, want) in [
            ("app", true),
            ("app/a", true),
            ("app/x", false),
            ("app/x/y", false),
            ("app/xy", true),
            ("app2/a", false),
            ("ap", false),
            ("_sigs/app.json", true),
        ] {
            assert_eq!(selection.selects(key), want, "{key}");
        }
    }

    #[test]
    fn get_replaces_parts_whole() {
        let local = state(&["app/old", "app2/keep", "bsp/k"], '1');
        let incoming = state(&["app/new", "app2/other", "x/y"], '2');
        for (selection, want) in [
            ("", "2 app/new=2 app2/other=2 x/y=2"),
            ("app", "1 app/new=2 app2/keep=1 bsp/k=1"),
            ("app/", "1 app/new=2 app2/keep=1 bsp/k=1"),
            ("-app", "2 app2/other=2 x/y=2"),
            ("app,-bsp", "1 app/new=2 app2/keep=1"),
            ("app2,-app", "1 app2/other=2 bsp/k=1"),
            ("nosuch", "1 app/old=1 app2/keep=1 bsp/k=1"),
        ] {
            let got = replace(&local, &incoming, &PartSelection::parse(selection)).unwrap();
            assert_eq!(shown(&got), want, "#{selection}");
        }
    }

    #[test]
    fn merge_lays_over_and_removes_nothing_unasked() {
        let local = state(&["app/old", "app2/keep"], '1');
        let incoming = state(&["app/new", "app2/keep"], '2');
        for (selection, want) in [
            ("", "2 app/new=2 app/old=1 app2/keep=2"),
            ("app", "1 app/new=2 app/old=1 app2/keep=1"),
            ("app,-app", "1 app/new=2 app2/keep=1"),
            ("-app2", "2 app/new=2 app/old=1 app2/keep=2"),
        ] {
            let got = merge(&local, &incoming, &PartSelection::parse(selection)).unwrap();
            assert_eq!(shown(&got), want, "#{selection}");
        }
    }
}
