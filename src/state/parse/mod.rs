//! One JSON parser, two strictnesses.
//!
//! What comes over the wire, out of an archive or off a device is parsed *strictly*: a document that two readers
//! could take for two different things (a member twice, text after the end, bytes that are no UTF-8) is an
//! error, because what is checked here is acted upon by another program. Files of somebody's working tree are
//! parsed as today's `pvr` does it (`cli.md` §5, §11): the last duplicate wins, what follows the first value is
//! ignored, broken UTF-8 becomes U+FFFD, and each such place is a warning.
//!
//! In both, the escape of half a surrogate pair becomes U+FFFD, as the recorded program has it.

mod scalar;

use super::json::{FIRST_NODE, Object, Value};
use thiserror::Error;

/// What a document may cost.
#[derive(Debug, Clone, Copy)]
pub struct JsonLimits {
    /// Largest document in bytes.
    pub bytes: usize,
    /// Deepest nesting of arrays and objects. Values over [`JsonLimits::MAX_DEPTH`] count as that.
    pub depth: usize,
}

impl JsonLimits {
    /// The parser recurses once for each level; beyond this the 2 MiB of a thread's stack are at stake.
    pub const MAX_DEPTH: usize = 1000;

    /// How many values a document may have where its author is a stranger: one for every 16 bytes of the largest
    /// document, 131,072 by default. As a tree, a value takes up to 170 bytes; 2 MiB of zeros with commas between
    /// them would take the memory of a small device. An object with members counts as five values besides those: with
    /// one, it takes more than 600 bytes.
    pub fn values(&self) -> usize {
        (self.bytes / 16).max(1024)
    }
}

impl Default for JsonLimits {
    /// 2 MiB and 512 levels: the largest state seen on devices is under 100 KiB and 12 levels.
    fn default() -> Self {
        Self { bytes: 2 * 1024 * 1024, depth: 512 }
    }
}

/// Why a document was refused, and at which byte.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonError {
    /// The document is larger than [`JsonLimits::bytes`].
    #[error("the JSON document has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// Bytes of the document.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nesting is deeper than [`JsonLimits::depth`].
    #[error("JSON is nested deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
        /// Offset of the bracket that was one too many.
        at: usize,
    },
    /// There are more values than [`JsonLimits::values`].
    #[error("the JSON document has more than {limit} values at byte {at}")]
    TooMany {
        /// The limit.
        limit: usize,
        /// Offset of the value that was one too many.
        at: usize,
    },
    /// The text breaks the grammar.
    #[error("JSON syntax: {what} at byte {at}")]
    Syntax {
        /// What was found or missed.
        what: &'static str,
        /// Offset of the offending byte.
        at: usize,
    },
    /// A member occurs twice in one object.
    #[error("JSON member \"{}\" occurs twice, again at byte {at}", super::escape(.key))]
    Duplicate {
        /// The member.
        key: String,
        /// Offset just after the second occurrence.
        at: usize,
    },
    /// Something follows the document.
    #[error("JSON document is followed by other text at byte {at}")]
    Trailing {
        /// Offset of the first byte that is too much.
        at: usize,
    },
    /// A string holds bytes that are no UTF-8.
    #[error("JSON string is not valid UTF-8 at byte {at}")]
    Utf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
}

/// What a lenient reader let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonWarning {
    /// A member occurs twice; the last one counts.
    Duplicate {
        /// The member.
        key: String,
    },
    /// Text after the first value is ignored.
    Trailing {
        /// Offset of the first ignored byte.
        at: usize,
    },
    /// Bytes that are no UTF-8 were replaced.
    Utf8 {
        /// Offset of the string's first bad byte.
        at: usize,
    },
}

impl std::fmt::Display for JsonWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Duplicate { key } => {
                write!(f, "member \"{}\" occurs twice; the last one counts", super::escape(key))
            }
            Self::Trailing { at } => write!(f, "text after the first value is ignored, from byte {at}"),
            Self::Utf8 { at } => write!(f, "bytes that are not UTF-8 are replaced, from byte {at}"),
        }
    }
}

/// Parses a document of which every byte has to be right.
pub fn parse_strict(bytes: &[u8], limits: &JsonLimits) -> Result<Value, JsonError> {
    let mut parser = Parser::new(bytes, limits, true)?;
    let value = parser.document()?;
    if parser.at < bytes.len() {
        return Err(JsonError::Trailing { at: parser.at });
    }
    Ok(value)
}

/// Parses a file of a working tree: the first value, with a warning for everything a strict reader refuses.
pub fn parse_lenient(bytes: &[u8], limits: &JsonLimits) -> Result<(Value, Vec<JsonWarning>), JsonError> {
    let mut parser = Parser::new(bytes, limits, false)?;
    let value = parser.document()?;
    if parser.at < bytes.len() {
        parser.warnings.push(JsonWarning::Trailing { at: parser.at });
    }
    Ok((value, parser.warnings))
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_left: usize,
    depth_limit: usize,
    values_left: usize,
    values_limit: usize,
    strict: bool,
    warnings: Vec<JsonWarning>,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8], limits: &JsonLimits, strict: bool) -> Result<Self, JsonError> {
        if bytes.len() > limits.bytes {
            return Err(JsonError::TooLarge { size: bytes.len(), limit: limits.bytes });
        }
        let depth_limit = limits.depth.min(JsonLimits::MAX_DEPTH);
        // Whoever reads a file of their own working tree has it before them.
        let values_limit = if strict { limits.values() } else { usize::MAX };
        Ok(Self {
            bytes,
            at: 0,
            depth_left: depth_limit,
            depth_limit,
            values_left: values_limit,
            values_limit,
            strict,
            warnings: Vec::new(),
        })
    }

    fn document(&mut self) -> Result<Value, JsonError> {
        self.blanks();
        let value = self.value()?;
        self.blanks();
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { what, at: self.at })
    }

    fn eat(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.fail(what)
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        self.spend(1)?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => self.fail("a value was expected"),
            None => self.fail("the document ends where a value was expected"),
        }
    }

    fn spend(&mut self, values: usize) -> Result<(), JsonError> {
        let too_many = JsonError::TooMany { limit: self.values_limit, at: self.at };
        self.values_left = self.values_left.checked_sub(values).ok_or(too_many)?;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        self.fail("a value was expected")
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth_left == 0 {
            return Err(JsonError::TooDeep { limit: self.depth_limit, at: self.at });
        }
        self.depth_left -= 1;
        self.at += 1;
        self.blanks();
        let value = read(self)?;
        self.depth_left += 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.blanks();
            items.push(self.value()?);
            self.blanks();
            if self.peek() != Some(b',') {
                self.eat(b']', "a comma or a closing bracket was expected")?;
                return Ok(Value::Array(items));
            }
            self.at += 1;
        }
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut members = Object::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        self.spend(FIRST_NODE)?;
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return self.fail("a member name was expected");
            }
            let key = self.string()?;
            let at = self.at;
            self.blanks();
            self.eat(b':', "a colon was expected")?;
            self.blanks();
            let value = self.value()?;
            if members.contains_key(&key) {
                if self.strict {
                    return Err(JsonError::Duplicate { key, at });
                }
                self.warnings.push(JsonWarning::Duplicate { key: key.clone() });
            }
            members.insert(key, value);
            self.blanks();
            if self.peek() != Some(b',') {
                self.eat(b'}', "a comma or a closing brace was expected")?;
                return Ok(Value::Object(members));
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> Result<Value, JsonError> {
        parse_strict(text.as_bytes(), &JsonLimits::default())
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_by_both() {
        let cases = [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "tru",
            "nul",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\"\u{1}\"",
            "\u{feff}{}",
            "'a'",
            "[1 2]",
            "{\"a\" 1}",
            "NaN",
            "--1",
        ];
        for case in cases {
            assert!(strict(case).is_err(), "strict took {case:?}");
            assert!(parse_lenient(case.as_bytes(), &JsonLimits::default()).is_err(), "lenient took {case:?}");
        }
    }

    #[test]
    fn duplicates_and_trailing_text_are_errors_or_warnings() {
        assert!(matches!(strict("{\"a\":1,\"a\":2}"), Err(JsonError::Duplicate { key, .. }) if key == "a"));
        assert!(matches!(strict("{} x"), Err(JsonError::Trailing { at: 3 })));
        let (value, warnings) = parse_lenient(b"{\"a\":1,\"a\":2} {", &JsonLimits::default()).unwrap();
        assert_eq!(value.get("a"), Some(&Value::from(2)));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn broken_utf8_is_an_error_or_a_replacement() {
        assert!(matches!(parse_strict(b"\"a\xffb\"", &JsonLimits::default()), Err(JsonError::Utf8 { at: 2 })));
        let (value, warnings) = parse_lenient(b"\"a\xffb\"", &JsonLimits::default()).unwrap();
        assert_eq!(value.as_str(), Some("a\u{fffd}b"));
        assert_eq!(warnings, [JsonWarning::Utf8 { at: 2 }]);
    }

    #[test]
    fn limits_hold_at_the_boundary() {
        let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(strict(&nest(512)).is_ok());
        assert!(matches!(strict(&nest(513)), Err(JsonError::TooDeep { limit: 512, .. })));
        let limits = JsonLimits { bytes: 4, depth: 9 };
        assert!(parse_strict(b"1234", &limits).is_ok());
        assert!(matches!(parse_strict(b"12345", &limits), Err(JsonError::TooLarge { .. })));
    }

    #[test]
    fn two_megabytes_of_zeros_are_no_hundred_megabytes_of_tree() {
        let zeros = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        let most = JsonLimits::default().values() - 1; // the array is a value, too
        assert_eq!(most, 131_071);
        assert!(strict(&zeros(most)).is_ok());
        assert!(matches!(strict(&zeros(most + 1)), Err(JsonError::TooMany { limit: 131_072, .. })));
        assert!(parse_lenient(zeros(most + 1).as_bytes(), &JsonLimits::default()).is_ok());
    }

    #[test]
    fn objects_of_one_member_took_three_times_the_memory_of_other_values() {
        for (one, values) in [(r#"{"":0}"#, 6), (r#"{"":{"":{}}}"#, 11), ("{}", 1), (r#"{"a":0,"b":[0]}"#, 8)] {
            assert_eq!(strict(one).unwrap().count(), values, "{one}");
            let most = (JsonLimits::default().values() - 1) / values; // the array is a value, too
            let many = |count: usize| strict(&format!("[{}]", vec![one; count].join(",")));
            assert_eq!(many(most).unwrap().count(), 1 + most * values, "{one}");
            assert!(matches!(many(most + 1), Err(JsonError::TooMany { .. })), "{one}");
        }
    }

    #[test]
    fn a_configured_depth_cannot_exhaust_the_stack() {
        let limits = JsonLimits { bytes: usize::MAX, depth: usize::MAX };
        let bomb = "[".repeat(1_000_000);
        assert!(matches!(parse_strict(bomb.as_bytes(), &limits), Err(JsonError::TooDeep { .. })));
    }
}
