//! Showing names that may hold anything.
//!
//! A file name or a state key may hold newlines, terminal sequences or characters that turn the direction of
//! text. They are legitimate and are never refused, but a terminal, a log line or an error message gets them
//! spelled out: backslash and quote with a backslash, control and direction characters as `\n`, `\t`, `\u{1b}`.

use std::borrow::Cow;

/// `text` without anything that a terminal or a log reader would act upon.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if needs_escape(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same for sentences, whose quotes and backslashes are those of names escaped already: those stay.
pub fn escape_text(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '"' | '\\' => out.push(c),
            c => out.push_str(&escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Cow::Owned(out)
}

/// The same for JSON that has been written: it escapes some control characters by itself; what else could act on a terminal
/// becomes `\u` escapes, which say the same.
pub fn escape_json(json: String) -> String {
    if !json.contains(acts) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn needs_escape(c: char) -> bool {
    acts(c) || matches!(c, '"' | '\\')
}

/// Whether a terminal or a reader of lines would act upon it.
fn acts(c: char) -> bool {
    c.is_control()
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm, separators that end a
        // line for some readers, and characters without any width.
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{escape, escape_text};

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        for (raw, shown) in [
            ("app/run.json", "app/run.json"),
            ("a b/é😀%d", "a b/é😀%d"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{7f}\u{9b}", "\\u{7f}\\u{9b}"),
            ("a\\b\"c", "a\\\\b\\\"c"),
            ("x\u{202e}y\u{feff}", "x\\u{202e}y\\u{feff}"),
        ] {
            assert_eq!(escape(raw), shown);
            assert_eq!(escape_text(shown), shown, "a name in a sentence is escaped once");
        }
        assert_eq!(escape_text("no \\\"\u{1b}[1m\n"), "no \\\"\\u{1b}[1m\\n");
    }
}
