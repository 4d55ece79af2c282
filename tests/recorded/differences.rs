//! Which steps `docs/differences.md` names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Numbers, three digits each.
pub fn named(folder: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md");
    numbers(&fs::read_to_string(path).unwrap(), folder)
}

/// Code spans `<folder>/<numbers>`: `a/001`, `a/001,004-006`.
fn numbers(text: &str, folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let lists = text.split('`').filter_map(|span| span.strip_prefix(folder)?.strip_prefix('/'));
    for item in lists.flat_map(|list| list.split(',')) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) else { continue };
        found.extend((first..=last).map(|number| format!("{number:03}")));
    }
    found
}

#[test]
fn lists_and_ranges_of_steps() {
    let text = "| a | b | c `x/001` |\n| `x/004-006,009` and `y/007` `x/y` | x/008 |";
    assert_eq!(numbers(text, "x").into_iter().collect::<Vec<_>>(), ["001", "004", "005", "006", "009"]);
    assert_eq!(numbers(text, "y").into_iter().collect::<Vec<_>>(), ["007"]);
}
