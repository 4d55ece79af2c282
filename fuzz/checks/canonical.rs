//! The canonical form, held against what was recorded and against two readers that know nothing of each other: the parser
//! here and `serde_json`.
//!
//! The first two bytes choose a recorded spelling; the rest is JSON that stands beside it.

use std::sync::OnceLock;

use pvr_agent::state::canonical::to_canonical_within;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Value};

/// Numbers such as `1e99999` are spelled out: enough for every number that fits the input.
const LIMIT: usize = 1 << 16;

/// Recorded from the real programs: what was written, and its canonical form.
fn recorded() -> &'static [(&'static str, &'static str)] {
    static PAIRS: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let tables = [
            include_str!("../../tests/vectors/canonical/n-pairs.tsv"),
            include_str!("../../tests/vectors/canonical/s-pairs.tsv"),
        ];
        let rows = tables.iter().flat_map(|table| table.lines()).filter(|row| !row.starts_with("# "));
        let cells = rows.map(|row| row.split('\t'));
        let pairs: Vec<_> = cells.filter_map(|mut cells| Some((cells.next()?, cells.next()?))).collect();
        assert!(pairs.len() > 600);
        pairs
    })
}

fn read(text: &str) -> Option<Value> {
    parse_strict(text.as_bytes(), &JsonLimits { bytes: 2 * LIMIT, ..JsonLimits::default() }).ok()
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let [high, low, data @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    if data.len() > LIMIT / 2 {
        return;
    }
    let Some(value) = read(text) else { return };
    let Ok(canonical) = to_canonical_within(&value, LIMIT) else { return };
    let again = read(&canonical).expect("a canonical form is JSON");
    same(&value, &again);
    assert_eq!(to_canonical_within(&again, LIMIT).as_deref(), Ok(&*canonical), "a canonical form is its own");
    spelled(&canonical);
    if let (Ok(before), Ok(after)) = (serde_json::from_str(text), serde_json::from_str(&canonical)) {
        alike(&before, &after);
    }

    let pairs = recorded();
    let (spelling, want) = pairs[(usize::from(*high) << 8 | usize::from(*low)) % pairs.len()];
    let beside = read(&format!(" [ {text} , {spelling}\n] ")).map(|value| to_canonical_within(&value, 2 * LIMIT));
    let Some(Ok(beside)) = beside else { return };
    assert_eq!(beside, format!("[{canonical},{want}]"));
    let named = format!("{{\"b\":{spelling},\"a\":{text}}}");
    // Members count for more than items do.
    let Some(named) = read(&named) else { return };
    assert_eq!(to_canonical_within(&named, 2 * LIMIT), Ok(format!("{{\"a\":{canonical},\"b\":{want}}}")));
}

/// The same but for how numbers are written.
fn same(a: &Value, b: &Value) {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            assert_eq!(decimal(a.as_str()), decimal(b.as_str()), "{} {}", a.as_str(), b.as_str());
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| same(a, b));
        }
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()));
            a.values().zip(b.values()).for_each(|(a, b)| same(a, b));
        }
        (a, b) => assert_eq!(a, b),
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last of them. There is no negative zero.
fn decimal(text: &str) -> (bool, Vec<u8>, i64) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let at = text.find(['e', 'E']).unwrap_or(text.len());
    let power = text.get(at + 1..).map_or(Ok(0), str::parse::<i64>);
    let (mut digits, mut fraction, mut behind) = (Vec::new(), 0, false);
    for byte in text[..at].bytes() {
        if byte == b'.' {
            behind = true;
            continue;
        }
        fraction += i64::from(behind);
        if !(digits.is_empty() && byte == b'0') {
            digits.push(byte);
        }
    }
    let mut trailing = 0;
    while digits.last() == Some(&b'0') {
        digits.pop();
        trailing += 1;
    }
    if digits.is_empty() {
        return (false, digits, 0);
    }
    (negative, digits, power.expect("an exponent that fits") - fraction + trailing)
}

/// No blanks outside of strings, and escapes only where they have to be.
fn spelled(text: &str) {
    let mut bytes = text.bytes();
    let mut within = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => within = !within,
            b'\\' => {
                assert!(within);
                match bytes.next() {
                    Some(b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') => {}
                    Some(b'u') => {
                        let code: String = bytes.by_ref().take(4).map(char::from).collect();
                        let number = u32::from_str_radix(&code, 16).expect("four digits");
                        assert!(number < 0x20 && !code.contains(|c: char| c.is_ascii_lowercase()), "{code}");
                    }
                    other => panic!("an escape {other:?}"),
                }
            }
            byte => assert!(byte >= b' ' && (within || byte != b' '), "byte {byte:#x} in {text:?}"),
        }
    }
}

/// As another reader has it. Its numbers are of the machine: two that are very near are one.
fn alike(a: &serde_json::Value, b: &serde_json::Value) {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(a), Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            assert!((a - b).abs() <= 1e-12 * a.abs() + 1e-300, "{a} {b}");
        }
        (Array(a), Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| alike(a, b));
        }
        (Object(a), Object(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().for_each(|(key, value)| alike(value, &b[key]));
        }
        (a, b) => assert_eq!(a, b),
    }
}
