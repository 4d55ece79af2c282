//! State JSON, strict and lenient, and its canonical form: whatever is taken has one spelling, and that spelling is a
//! fixed point that means the same. What `get` and `merge` make of two states takes nothing that nobody has asked for.
//!
//! An input is a state, or two with a selection of parts behind them: `<state>` 0xFF `<state>` 0xFF `<parts>`.

use std::collections::BTreeSet;

use pvr_agent::state::canonical::to_canonical_within;
use pvr_agent::state::parse::{parse_lenient, parse_strict};
use pvr_agent::state::part::{merge, replace};
use pvr_agent::state::{Entry, JsonLimits, PartSelection, Spec, State, Value, patch};

/// Numbers such as `1e99999` are spelled out: enough for every number that fits the input.
const LIMIT: usize = 1 << 20;

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    // No JSON has this byte in it, nor has UTF-8.
    let mut pieces = data.split(|byte| *byte == 0xff);
    let (one, other, parts) = (pieces.next().unwrap_or_default(), pieces.next(), pieces.next());
    alone(if other.is_some() { one } else { data });
    let (Some(other), Some(parts)) = (other, parts) else { return };
    let limits = JsonLimits::default();
    let both = [one, other].map(|text| parse_strict(text, &limits).ok());
    let [Some(local), Some(incoming)] = both else { return };
    patched(&local, &incoming);
    let both = [local, incoming].map(|value| State::from_value(value, Spec::Any).ok());
    let ([Some(local), Some(incoming)], Ok(parts)) = (both, std::str::from_utf8(parts)) else { return };
    together(&local, &incoming, parts);
}

fn alone(data: &[u8]) {
    let limits = JsonLimits::default();
    if let Ok((value, _)) = parse_lenient(data, &limits) {
        let _ = to_canonical_within(&value, LIMIT);
    }
    let Ok(value) = parse_strict(data, &limits) else { return };
    if let Ok(text) = to_canonical_within(&value, LIMIT) {
        let roomy = JsonLimits { bytes: LIMIT, ..limits };
        let again = parse_strict(text.as_bytes(), &roomy).expect("a canonical form is JSON");
        assert_eq!(to_canonical_within(&again, LIMIT).as_deref(), Ok(&*text), "a canonical form is its own");
    }
    let Ok(state) = State::from_value(value, Spec::Known) else { return };
    for (key, _) in state.entries() {
        assert!(!key.as_str().starts_with('/') && !key.as_str().split('/').any(|part| part == ".."));
    }
    if let Ok(text) = state.to_canonical() {
        let again = State::parse_strict(text.as_bytes(), &JsonLimits { bytes: text.len(), ..limits }, Spec::Known)
            .expect("a state's canonical form is that state");
        assert_eq!(again.to_canonical().as_deref(), Ok(&*text));
    }
}

/// What a merge patch shows of a change makes the change, but for null, which it has no word for.
fn patched(from: &Value, to: &Value) {
    let mut made = from.clone();
    patch::apply(&mut made, patch::diff(from, to));
    if !has_null(to) {
        assert_eq!(&made, to);
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

/// Whether a list of parts means this key, read as the specification has it.
fn naively(parts: &str, key: &str) -> (bool, bool) {
    let holds = |part: &str| {
        let part = part.trim_end_matches('/');
        !part.is_empty() && (key == part || key.starts_with(&format!("{part}/")))
    };
    let (out, within): (Vec<&str>, Vec<&str>) = parts.split(',').partition(|part| part.starts_with('-'));
    let named = within.iter().any(|part| !part.trim_end_matches('/').is_empty());
    (!named || within.iter().any(|part| holds(part)), out.iter().any(|part| holds(&part[1..])))
}

fn together(local: &State, incoming: &State, parts: &str) {
    let selection = PartSelection::parse(parts);
    let all: BTreeSet<&str> =
        [local, incoming].iter().flat_map(|state| state.entries()).map(|(key, _)| key.as_str()).collect();
    let get = |state: &State, key: &str| state.get(key).cloned();
    let (replaced, merged) = (replace(local, incoming, &selection), merge(local, incoming, &selection));
    for key in &all {
        let (included, excluded) = naively(parts, key);
        assert_eq!((selection.includes(key), selection.excludes(key)), (included, excluded), "{parts:?} {key:?}");
        let (ours, theirs) = (get(local, key), get(incoming, key));
        if let Ok(replaced) = &replaced {
            let want = if excluded {
                None
            } else if included {
                theirs.clone()
            } else {
                ours.clone()
            };
            assert_eq!(get(replaced, key), want, "{parts:?} {key:?}");
        }
        if let Ok(merged) = &merged {
            let kept = ours.filter(|_| !excluded);
            match (get(merged, key), included, theirs) {
                (got, true, Some(Entry::Object(theirs))) => assert_eq!(got, Some(Entry::Object(theirs))),
                // Inline JSON is gone into: no more is said of it here than that it is there, or is no removal.
                (got, true, Some(Entry::Json(theirs))) => assert!(got.is_some() || theirs == Value::Null),
                (got, ..) => assert_eq!(got, kept, "{parts:?} {key:?}"),
            }
        }
    }
    for made in [&replaced, &merged].into_iter().flatten() {
        assert!(made.entries().all(|(key, _)| all.contains(key.as_str())), "a key from nowhere");
    }
}
