//! Spellings of a value for people and for working trees.
//!
//! Members are in canonical order and numbers in canonical form in all of them; they differ in what a level is
//! indented with, and in how characters are escaped: `<`, `>` and `&` too, and control characters with small digits, as
//! the files of a working tree have them today (`cli.md` §5).

use super::canonical::{CanonicalError, MAX_BYTES, push_string, to_canonical_within};
use super::json::Value;

/// How a value is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// What one level of nesting is indented with.
    pub indent: &'static str,
    /// Whether the characters that HTML acts upon, and U+2028 and U+2029, are written as escapes.
    pub html: bool,
}

impl Style {
    /// A JSON file of a working tree.
    pub const WORKING_TREE: Self = Self { indent: "    ", html: true };
    /// `pvr json`.
    pub const TABS: Self = Self { indent: "\t", html: false };
    /// `pvr diff`.
    pub const TABS_HTML: Self = Self { indent: "\t", html: true };
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
        plain => out.push_str(&to_canonical_within(plain, MAX_BYTES.saturating_sub(out.len()))?),
    }
    Ok(())
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
    fn a_file_of_the_working_tree() {
        let text = "{\"b\":[1.50,{}],\"a\":\"<&>\",\"e\":[]}";
        let value = parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap();
        assert_eq!(
            pretty(&value, Style::WORKING_TREE).unwrap(),
            "{\n    \"a\": \"\\u003c\\u0026\\u003e\",\n    \"b\": [\n        1.5E0,\n        {}\n    ],\n    \"e\": []\n}"
        );
    }
}
