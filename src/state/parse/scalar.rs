//! Numbers and strings: what has no parts.

use super::{JsonError, JsonWarning, Parser};
use crate::state::json::{Number, Value};
use std::borrow::Cow;

impl<'a> Parser<'a> {
    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            return self.fail("a digit was expected");
        }
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<Value, JsonError> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.fail("a number has a leading zero");
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // Only ASCII was let through, so the lossy reading loses nothing.
        let text = String::from_utf8_lossy(&self.bytes[from..self.at]);
        Ok(Value::Number(Number::from_checked(&text)))
    }

    pub(super) fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while matches!(self.peek(), Some(byte) if byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            out.push_str(&self.text(from)?);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                Some(_) => return self.fail("a control character stands in a string unescaped"),
                None => return self.fail("the document ends inside a string"),
            }
        }
    }

    /// The run of plain bytes since `from`, as text.
    fn text(&mut self, from: usize) -> Result<Cow<'a, str>, JsonError> {
        let run = &self.bytes[from..self.at];
        match std::str::from_utf8(run) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(error) => {
                let at = from + error.valid_up_to();
                if self.strict {
                    return Err(JsonError::Utf8 { at });
                }
                self.warnings.push(JsonWarning::Utf8 { at });
                Ok(String::from_utf8_lossy(run))
            }
        }
    }

    fn escaped(&mut self) -> Result<char, JsonError> {
        let Some(byte) = self.peek() else {
            return self.fail("the document ends inside an escape");
        };
        let plain = match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.fail("an unknown escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The character of `\uXXXX`, or of two of them that make a surrogate pair.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if let Some(plain) = char::from_u32(first) {
            return Ok(plain);
        }
        if first < 0xDC00 && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.fail("four hex digits were expected");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{JsonLimits, parse_strict};

    #[test]
    fn surrogates_pair_or_are_replaced() {
        for (text, want) in [
            ("\"\\ud83d\\ude00\"", "😀"),
            ("\"\\ud800\"", "\u{fffd}"),
            ("\"\\udc00\\ud800\"", "\u{fffd}\u{fffd}"),
            ("\"\\ud800\\ud800\\udc00\"", "\u{fffd}\u{10000}"),
            ("\"\\ud800x\"", "\u{fffd}x"),
        ] {
            assert_eq!(parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap().as_str(), Some(want), "{text}");
        }
    }
}
