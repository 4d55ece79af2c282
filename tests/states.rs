//! States against the recorded canonical forms, and merge patch and part selection against naive models.

use proptest::prelude::*;
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::{parse_lenient, parse_strict};
use pvr_agent::state::pretty::{Style, pretty};
use pvr_agent::state::{JsonLimits, Object, PartSelection, Value, patch};

fn strict(text: &str) -> Value {
    parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Replays a table of `input <tab> canonical <tab> …` and says how many rows it had.
fn replay(table: &str) -> usize {
    let rows = table.lines().filter(|row| !row.starts_with("# "));
    let mut count = 0;
    for row in rows {
        let mut cells = row.split('\t');
        let (Some(input), Some(want)) = (cells.next(), cells.next()) else {
            panic!("not a row: {row:?}");
        };
        assert_eq!(to_canonical(&strict(input)).unwrap(), want, "input {input}");
        count += 1;
    }
    count
}

#[test]
fn recorded_numbers_and_strings_have_their_canonical_form() {
    let numbers = replay(include_str!("vectors/canonical/n-pairs.tsv"));
    let strings = replay(include_str!("vectors/canonical/s-pairs.tsv"));
    println!("replayed {numbers} numbers and {strings} strings");
    assert!(numbers >= 380 && strings >= 225, "rows are missing: {numbers} numbers, {strings} strings");
}

/// Any JSON value, as nested as a small test wants it.
fn value() -> impl Strategy<Value = Value> {
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?".prop_map(|text| strict(&text));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-d]{0,2}", inner, 0..5).prop_map(Value::Object),
        ]
    })
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, member)| **member != Value::Null)
                .map(|(key, member)| (key.clone(), without_nulls(member)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// RFC 7396 §2 read aloud, over plain lists instead of maps.
fn naive_apply(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let empty = Object::new();
    let target = target.and_then(Value::as_object).unwrap_or(&empty);
    let mut keys: Vec<&String> = target.keys().chain(patch.keys()).collect();
    keys.sort();
    keys.dedup();
    let members = keys.into_iter().filter_map(|key| {
        let value = match patch.get(key) {
            None => target.get(key)?.clone(),
            Some(Value::Null) => return None,
            Some(change) => naive_apply(target.get(key), change),
        };
        Some((key.clone(), value))
    });
    Value::Object(members.collect())
}

fn naive_holds(part: &str, key: &str) -> bool {
    key == part || key.starts_with(&format!("{part}/"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_is_a_fixed_point_that_both_readers_agree_on(value in value()) {
        let once = to_canonical(&value).unwrap();
        let again = strict(&once);
        prop_assert_eq!(to_canonical(&again).unwrap(), once.clone());
        let (lenient, warnings) = parse_lenient(once.as_bytes(), &JsonLimits::default()).unwrap();
        prop_assert_eq!(lenient, again.clone());
        prop_assert!(warnings.is_empty());
        for style in [Style::WORKING_TREE, Style::TABS, Style::TABS_HTML] {
            prop_assert_eq!(strict(&pretty(&value, style).unwrap()), again.clone());
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let limits = JsonLimits::default();
        if let Ok(value) = parse_strict(&bytes, &limits) {
            let (lenient, _) = parse_lenient(&bytes, &limits).unwrap();
            prop_assert_eq!(value, lenient);
        }
        let _ = parse_lenient(&bytes, &limits);
    }

    #[test]
    fn merge_patch_is_as_the_standard_says(target in value(), change in value()) {
        let mut got = target.clone();
        patch::apply(&mut got, change.clone());
        prop_assert_eq!(got, naive_apply(Some(&target), &change));
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other(from in value(), to in value()) {
        // A merge patch cannot say null, so the law holds for values without null members.
        let (from, to) = (without_nulls(&from), without_nulls(&to));
        let mut got = from.clone();
        patch::apply(&mut got, patch::diff(&from, &to));
        prop_assert_eq!(got, to);
        prop_assert!(from.as_object().is_none() || patch::diff(&from, &from) == Value::Object(Object::new()));
    }

    #[test]
    fn part_selection_is_prefixes_with_boundaries(
        include in prop::collection::vec("[ab]{1,2}(/[ab]{1,2})?", 0..3),
        exclude in prop::collection::vec("[ab]{1,2}(/[ab]{1,2})?", 0..3),
        key in "[ab]{1,2}(/[ab]{1,2}){0,2}",
    ) {
        let list: Vec<String> = include.iter().cloned().chain(exclude.iter().map(|part| format!("-{part}"))).collect();
        let selection = PartSelection::parse(&list.join(","));
        let included = include.is_empty() || include.iter().any(|part| naive_holds(part, &key));
        let excluded = exclude.iter().any(|part| naive_holds(part, &key));
        prop_assert_eq!(selection.selects(&key), included && !excluded);
    }
}
