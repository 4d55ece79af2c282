//! Spellings of a value for people and for working trees.
//!
//! Members are in canonical order in all of them; they differ in what a level is indented with, and in how characters are
//! escaped: `<`, `>` and `&` too, and control characters with small digits, as the files of a working tree have them today
//! (`cli.md` §5). Numbers are in canonical form, but for those of `diff` that are what a float of 64 bits holds: these are
//! spelled as one.

use super::canonical::{CanonicalError, MAX_BYTES, push_string, to_canonical_within};
use super::json::Value;
use std::iter::successors;

/// How a value is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// What one level of nesting is indented with.
    pub indent: &'static str,
    /// Whether the characters that HTML acts upon, and U+2028 and U+2029, are written as escapes.
    pub html: bool,
    /// Whether numbers that a float of 64 bits holds are spelled as that: `1.5`, `1e+21`.
    pub floats: bool,
}

impl Style {
    /// A JSON file of a working tree.
    pub const WORKING_TREE: Self = Self { indent: "    ", html: true, floats: false };
    /// `pvr json`.
    pub const TABS: Self = Self { indent: "\t", html: false, floats: false };
    /// `pvr inspect`.
    pub const TABS_HTML: Self = Self { indent: "\t", html: true, floats: false };
    /// `pvr diff`.
    pub const DIFF: Self = Self { indent: "\t", html: true, floats: true };
}

/// `value` over several lines, without one at the end.
pub fn pretty(value: &Value, style: Style) -> Result<String, CanonicalError> {
    let mut out = String::new();
    write(&mut out, value, style, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, style: Style, depth: usize) -> Result<(), CanonicalError> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                line(out, style, i > 0, depth + 1);
                write(out, item, style, depth + 1)?;
            }
            line(out, style, false, depth);
            out.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (i, (key, member)) in members.iter().enumerate() {
                line(out, style, i > 0, depth + 1);
                string(out, key, style);
                out.push_str(": ");
                write(out, member, style, depth + 1)?;
            }
            line(out, style, false, depth);
            out.push('}');
        }
        Value::String(text) => string(out, text, style),
        plain => {
            let text = to_canonical_within(plain, MAX_BYTES.saturating_sub(out.len()))?;
            let float = if style.floats && matches!(plain, Value::Number(_)) { as_float(&text) } else { None };
            out.push_str(&float.unwrap_or(text));
        }
    }
    Ok(())
}

/// A number in canonical form as a float of 64 bits is spelled by the library of today's program; none where the float
/// would be another number.
///
/// It is this number if the fewest digits that make a float are those of the number. Which float that is, is read to within a few
/// neighbours and found among them: what reads and writes floats exactly would take 20 KB of a program that has no other use for it.
fn as_float(number: &str) -> Option<String> {
    let wanted = decimal(number)?;
    // One that is out of range may be the largest.
    let near = serde_json::from_str(number).unwrap_or(if wanted.0 { f64::MIN } else { f64::MAX });
    let is_it = |float: &f64| serde_json::to_string(float).is_ok_and(|text| decimal(&text).as_ref() == Some(&wanted));
    let above = successors(Some(near), |float| Some(float.next_up())).take(NEIGHBOURS);
    let below = successors(Some(near), |float| Some(float.next_down())).take(NEIGHBOURS);
    above.chain(below).filter(|float| float.is_finite()).any(|float| is_it(&float)).then(|| spelled(&wanted))
}

/// How many floats beside the one that was read may be meant.
const NEIGHBOURS: usize = 8;

/// As the library of today's program has it: with an exponent from 1e21 on and below 1e-6.
fn spelled((negative, digits, first): &(bool, String, i64)) -> String {
    let minus = if *negative { "-" } else { "" };
    let behind = |digits: &str| if digits.is_empty() { String::new() } else { format!(".{digits}") };
    match usize::try_from(*first) {
        _ if digits.is_empty() => format!("{minus}0"),
        Ok(first @ 0..21) => {
            let (whole, rest) = digits.split_at_checked(first + 1).unwrap_or((digits, ""));
            format!("{minus}{whole:0<width$}{}", behind(rest), width = first + 1)
        }
        Err(_) if *first >= -6 => {
            let zeros = usize::try_from(-1 - first).unwrap_or_default();
            format!("{minus}0.{:0<zeros$}{digits}", "")
        }
        _ => {
            let (whole, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
            format!("{minus}{whole}{}e{first:+}", behind(rest))
        }
    }
}

/// The digits of a number, without zeros at its ends, and which power of ten the first of them stands for.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let bare = number.trim_start_matches('-');
    let (mantissa, exponent) = bare.split_once(['e', 'E']).unwrap_or((bare, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let skipped = all.len() - digits.len();
    let first = exponent.parse::<i64>().ok()? + i64::try_from(whole.len()).ok()? - 1 - i64::try_from(skipped).ok()?;
    let digits = digits.trim_end_matches('0');
    Some((bare != number, digits.to_owned(), if digits.is_empty() { 0 } else { first }))
}

fn line(out: &mut String, style: Style, comma: bool, depth: usize) {
    if comma {
        out.push(',');
    }
    out.push('\n');
    for _ in 0..depth {
        out.push_str(style.indent);
    }
}

fn string(out: &mut String, text: &str, style: Style) {
    if !style.html {
        return push_string(out, text);
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            // Also those that the canonical form has a letter for, and with small digits.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by way of what reads and writes floats exactly.
    fn by_floats(number: &str) -> Option<String> {
        let float: f64 = number.parse().ok().filter(|float: &f64| float.is_finite())?;
        let shortest = format!("{float:e}");
        (decimal(&shortest)? == decimal(number)?).then(|| match float.abs() {
            0.0 | 1e-6..1e21 => float.to_string(),
            1e21.. => shortest.replace('e', "e+"),
            _ => shortest,
        })
    }

    /// Whether the float is in the middle between two spellings of the fewest digits. The library of today's program takes the even one, as
    /// is done here; what is compared with takes the larger.
    fn is_a_tie(number: &str) -> bool {
        let float: f64 = number.parse().unwrap();
        let fewest = decimal(&format!("{float:e}")).unwrap().1.len();
        let all = decimal(&format!("{float:.60e}")).unwrap().1;
        all.get(fewest..) == Some("5")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn floats_are_spelled_as_what_knows_them_does(bits: u64, digits in 0u64..10_u64.pow(18), exponent in -345i32..330, cut in 1u64..10_u64.pow(17)) {
            let float = f64::from_bits(bits);
            let mut numbers = vec![format!("{digits}e{exponent}"), format!("-{}e{exponent}", digits / cut), digits.to_string(), (digits / cut).to_string()];
            numbers.push(format!("{}.{:05}", digits / cut, digits % 100_000));
            if float.is_finite() {
                let near = [float, float.next_up(), float.trunc()];
                numbers.extend(near.iter().flat_map(|float| [format!("{float:e}"), format!("{float:.16e}"), format!("{float:.15e}")]));
            }
            for number in numbers {
                let (ours, by_floats) = (as_float(&number), by_floats(&number));
                prop_assert!(ours == by_floats || is_a_tie(&number), "{}: {:?}, {:?}", number, ours, by_floats);
            }
        }
    }
    use crate::state::parse::{JsonLimits, parse_strict};

    #[test]
    fn control_characters_of_a_working_tree_were_those_of_the_canonical_form() {
        let value = Value::from("\u{0}\u{7}\u{8}\t\n\u{b}\u{c}\r\u{1f}\"\\\u{2028}\u{7f}ü");
        let escaped = "\"\\u0000\\u0007\\u0008\\t\\n\\u000b\\u000c\\r\\u001f\\\"\\\\\\u2028\u{7f}ü\"";
        assert_eq!(pretty(&value, Style::WORKING_TREE).unwrap(), escaped);
        let canonical = "\"\\u0000\\u0007\\b\\t\\n\\u000B\\f\\r\\u001F\\\"\\\\\u{2028}\u{7f}ü\"";
        assert_eq!(pretty(&value, Style::TABS).unwrap(), canonical);
    }

    #[test]
    fn floats_of_a_diff() {
        for (number, want) in [
            ("1.50", "1.5"),
            ("0.1", "0.1"),
            ("-0.0", "0"),
            ("0", "0"),
            ("-1.5e-1", "-0.15"),
            ("100", "100"),
            ("1e21", "1e+21"),
            ("-1.1e22", "-1.1e+22"),
            ("999999999999999900000", "999999999999999900000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("-1.25e-10", "-1.25e-10"),
            ("123456789.125", "123456789.125"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            // What no float holds keeps its digits.
            ("9007199254740993", "9007199254740993"),
            ("9223372036854775808", "9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("0.12345678901234567890", "1.234567890123456789E-1"),
            ("1e-400", "1.0E-400"),
            ("4e-324", "4.0E-324"),
        ] {
            let value = parse_strict(number.as_bytes(), &JsonLimits::default()).unwrap();
            assert_eq!(pretty(&value, Style::DIFF).unwrap(), want, "{number}");
            assert_ne!(pretty(&value, Style::TABS_HTML).unwrap(), "1.5", "{number}");
        }
    }

    #[test]
    fn a_file_of_the_working_tree() {
        let text = "{\"b\":[1.50,{}],\"a\":\"<&>\",\"e\":[]}";
        let value = parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap();
        assert_eq!(
            pretty(&value, Style::WORKING_TREE).unwrap(),
            "{\n    \"a\": \"\\u003c\\u0026\\u003e\",\n    \"b\": [\n        1.5E0,\n        {}\n    ],\n    \"e\": []\n}"
        );
    }
}
