//! The canonical form: the one spelling of a value that is stored, signed and compared (`cli.md` §11).
//!
//! No blanks; members in the byte order of their UTF-8 keys; strings with the shortest escapes and only where
//! one is needed (`"`, `\`, U+0000–U+001F, hex digits in upper case); integers of any size as plain digits, all
//! other numbers as `d.dddE±x` with at least one digit after the point and no `+`; no negative zero.
//!
//! `1e999999999` is an integer, so its canonical form has a thousand million digits: what a value may expand to
//! is bounded, and checked before memory is asked for.

use super::json::Value;
use std::borrow::Cow;
use thiserror::Error;

/// The largest canonical form that is ever written, in bytes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A value has no canonical form that could be held.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("the canonical form has more than {limit} bytes\nnumber {} may have too large an exponent", shorten(.number))]
pub struct CanonicalError {
    /// The limit in bytes.
    pub limit: usize,
    /// The number that was being written, or nothing.
    pub number: String,
}

fn shorten(number: &str) -> String {
    number.chars().take(40).collect()
}

/// The canonical form of `value`, at most [`MAX_BYTES`] long.
pub fn to_canonical(value: &Value) -> Result<String, CanonicalError> {
    to_canonical_within(value, MAX_BYTES)
}

/// The canonical form of `value`, at most `limit` bytes long.
pub fn to_canonical_within(value: &Value, limit: usize) -> Result<String, CanonicalError> {
    let mut writer = Writer { out: String::new(), limit };
    writer.value(value)?;
    Ok(writer.out)
}

/// The canonical form of an object of these members, which come in the order of their keys; at most `limit` bytes.
pub(super) fn members_within<'a>(
    members: impl Iterator<Item = (&'a str, Cow<'a, Value>)>,
    limit: usize,
) -> Result<String, CanonicalError> {
    let mut writer = Writer { out: String::new(), limit };
    writer.members(members)?;
    Ok(writer.out)
}

/// Writes a string literal as the canonical form has it.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let code = c as usize;
                out.push_str("\\u00");
                out.push(char::from(HEX[code >> 4]));
                out.push(char::from(HEX[code & 15]));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Writer {
    out: String,
    limit: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), CanonicalError> {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Number(number) => self.number(number.as_str())?,
            Value::String(text) => push_string(&mut self.out, text),
            Value::Array(items) => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.out.push(',');
                    }
                    self.value(item)?;
                }
                self.out.push(']');
            }
            Value::Object(members) => {
                return self.members(members.iter().map(|(key, member)| (key.as_str(), Cow::Borrowed(member))));
            }
        }
        self.room_for(0, "")
    }

    fn members<'a>(&mut self, members: impl Iterator<Item = (&'a str, Cow<'a, Value>)>) -> Result<(), CanonicalError> {
        self.out.push('{');
        for (i, (key, member)) in members.enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            push_string(&mut self.out, key);
            self.out.push(':');
            self.value(&member)?;
        }
        self.out.push('}');
        self.room_for(0, "")
    }

    fn room_for(&self, more: usize, number: &str) -> Result<(), CanonicalError> {
        if self.out.len().saturating_add(more) <= self.limit {
            return Ok(());
        }
        Err(CanonicalError { limit: self.limit, number: number.to_owned() })
    }

    fn number(&mut self, text: &str) -> Result<(), CanonicalError> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let significant = digits.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if trimmed.is_empty() {
            self.out.push('0');
            return Ok(());
        }
        // `trimmed` × 10^scale is the number. Lengths are below 2^31 here, so only the exponent can overflow.
        let too_large = || CanonicalError { limit: self.limit, number: text.to_owned() };
        let dropped = significant.len() - trimmed.len();
        let shift = dropped as i64 - fraction.len() as i64;
        let exponent: i64 = exponent.parse().map_err(|_| too_large())?;
        let scale = exponent.checked_add(shift).ok_or_else(too_large)?;
        if scale >= 0 {
            let zeros = usize::try_from(scale).map_err(|_| too_large())?;
            self.room_for(trimmed.len().saturating_add(zeros), text)?;
            self.out.push_str(sign);
            self.out.push_str(trimmed);
            self.out.extend(std::iter::repeat_n('0', zeros));
            return Ok(());
        }
        let (first, rest) = trimmed.split_at(1);
        let power = scale.checked_add(rest.len() as i64).ok_or_else(too_large)?;
        let rest = if rest.is_empty() { "0" } else { rest };
        for piece in [sign, first, ".", rest, "E", &power.to_string()] {
            self.out.push_str(piece);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{JsonLimits, parse_strict};
    use super::*;

    fn canonical(text: &str) -> Result<String, CanonicalError> {
        to_canonical(&parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap())
    }

    #[test]
    fn an_exponent_that_would_not_fit_memory_is_refused() {
        for text in ["1e999999999", "-1e16777216", "1e99999999999999999999", "1e-99999999999999999999"] {
            let error = canonical(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert_eq!(canonical("0e99999999999999999999").unwrap(), "0");
        assert_eq!(canonical("1e4000").unwrap().len(), 4001);
    }

    #[test]
    fn many_numbers_that_each_fit_are_refused_together() {
        let text = format!("[{}]", vec!["1e100000"; 200].join(","));
        assert!(canonical(&text).is_err());
    }

    #[test]
    fn members_are_ordered_by_code_point() {
        let text = "{\"b\":1,\"B\":3,\"é\":4,\"😀\":5,\"\u{ffff}\":6}";
        assert_eq!(canonical(text).unwrap(), "{\"B\":3,\"b\":1,\"é\":4,\"\u{ffff}\":6,\"😀\":5}");
    }
}
