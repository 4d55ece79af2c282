//! A text as the daemon reads it: a tokenizer that takes nearly anything for JSON, and look-ups that go by the order of
//! tokens and not by their depth (`storage.md` §2, §6, §11).
//!
//! - The text ends at its first zero byte.
//! - What is not in quotes is a *primitive*, whatever it says: `{'a':b}` has two. It ends at a blank, `,`, `:`, `]` or `}`.
//! - Blanks, colons and commas may be missing or too many. What stands behind the first value is read too.
//! - Of a string, the text between its quotes counts, escapes as they are written.
//! - A member is looked up by its name among all tokens; the first one that has it wins, at any depth.
//!
//! What is unknown about the daemon, we refuse: a name that comes as an element or as a value before it comes as a name.

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Primitive,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    kind: Kind,
    /// Offsets into a text of less than 4 GiB. Strings are without their quotes.
    start: u32,
    end: u32,
    /// How many tokens are directly below it; of a name, its value.
    size: u32,
}

/// Not closed yet.
const OPEN: u32 = u32::MAX;

/// Most tokens that a text may have.
const MAX_TOKENS: usize = 1 << 20;

/// A tokenized text.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    text: &'a [u8],
    tokens: Vec<Token>,
}

/// A text is not even what the daemon takes for JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Odd bytes, brackets that don't fit, an end too early.
    Syntax,
    /// Too long, or too many tokens.
    TooLarge,
}

/// A member that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member<'a> {
    Absent,
    Found(Kind, &'a [u8]),
    /// Its name stands somewhere else before.
    Unclear,
}

impl<'a> Raw<'a> {
    /// Reads a text.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Unreadable> {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.len() >= OPEN as usize {
            return Err(Unreadable::TooLarge);
        }
        let mut reader = Reader { text, at: 0, tokens: Vec::new(), open: Vec::new(), above: None };
        reader.read()?;
        Ok(Self { text, tokens: reader.tokens })
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn text(&self, token: &Token) -> &'a [u8] {
        &self.text[token.start as usize..token.end as usize]
    }

    /// The value of a member at any depth.
    pub(super) fn member(&self, name: &[u8]) -> Member<'a> {
        let named = |token: &&Token| token.kind == Kind::String && self.text(token) == name;
        let Some(at) = self.tokens.iter().position(|token| named(&token)) else { return Member::Absent };
        match self.tokens.get(at + 1) {
            Some(value) if self.tokens[at].size == 1 => Member::Found(value.kind, self.text(value)),
            _ => Member::Unclear,
        }
    }

    /// Every value that a member of this name has, at any depth: what [`member`](Self::member) might have found.
    pub(super) fn all(&self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let pairs = self.tokens.windows(2).filter(|pair| pair[0].kind == Kind::String);
        let found: Vec<_> = pairs.filter(|pair| self.text(&pair[0]) == name).map(|pair| self.text(&pair[1])).collect();
        found.into_iter()
    }

    /// The members of the first value, an object: names and values as they are written.
    pub(super) fn pairs(&self) -> Option<Vec<Pair<'a>>> {
        let object = self.tokens.first().filter(|token| token.kind == Kind::Object)?;
        let mut pairs = Vec::with_capacity(object.size as usize);
        let mut at = 1;
        for _ in 0..object.size {
            let name = self.tokens.get(at).filter(|name| {
                name.size == 1 && matches!(name.kind, Kind::String | Kind::Primitive) && name.end <= object.end
            })?;
            let value = self.tokens.get(at + 1)?;
            pairs.push(Pair { key: self.text(name), kind: value.kind, value: self.text(value) });
            at = self.behind(at + 1);
        }
        Some(pairs)
    }

    /// The elements of the first value, an array of plain values, as they are written.
    pub(super) fn elements(&self) -> Option<Vec<&'a [u8]>> {
        let array = self.tokens.first().filter(|token| token.kind == Kind::Array)?;
        let elements = self.tokens.get(1..=array.size as usize)?;
        let plain = |token: &Token| matches!(token.kind, Kind::String | Kind::Primitive) && token.size == 0;
        let all = elements.iter().all(|token| plain(token) && token.end <= array.end);
        all.then(|| elements.iter().map(|token| self.text(token)).collect())
    }

    /// The first token that is not within this one.
    fn behind(&self, at: usize) -> usize {
        let end = self.tokens[at].end;
        let within = |token: &Token| token.start < end;
        at + 1 + self.tokens[at + 1..].iter().take_while(|token| within(token)).count()
    }
}

/// A member of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a [u8],
    pub(super) kind: Kind,
    pub(super) value: &'a [u8],
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    /// Which objects and arrays are not closed.
    open: Vec<usize>,
    /// What the next token is below: an object, an array, or a name.
    above: Option<usize>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), Unreadable> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'{' => self.begin(Kind::Object)?,
                b'[' => self.begin(Kind::Array)?,
                b'}' => self.end(Kind::Object)?,
                b']' => self.end(Kind::Array)?,
                b'"' => self.string()?,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b':' => self.above = self.tokens.len().checked_sub(1),
                b',' => self.comma(),
                _ => self.primitive()?,
            }
            self.at += 1;
        }
        if self.open.is_empty() { Ok(()) } else { Err(Unreadable::Syntax) }
    }

    fn push(&mut self, kind: Kind, start: usize, end: Option<usize>) -> Result<(), Unreadable> {
        if self.tokens.len() == MAX_TOKENS {
            return Err(Unreadable::TooLarge);
        }
        if let Some(above) = self.above {
            self.tokens[above].size += 1;
        }
        // The text is shorter than 4 GiB.
        let (start, end) = (start as u32, end.map_or(OPEN, |end| end as u32));
        self.tokens.push(Token { kind, start, end, size: 0 });
        Ok(())
    }

    fn begin(&mut self, kind: Kind) -> Result<(), Unreadable> {
        self.push(kind, self.at, None)?;
        let this = self.tokens.len() - 1;
        self.open.push(this);
        self.above = Some(this);
        Ok(())
    }

    fn end(&mut self, kind: Kind) -> Result<(), Unreadable> {
        let this = self.open.pop().ok_or(Unreadable::Syntax)?;
        let token = &mut self.tokens[this];
        if token.kind != kind {
            return Err(Unreadable::Syntax);
        }
        token.end = self.at as u32 + 1;
        self.above = self.open.last().copied();
        Ok(())
    }

    /// What follows is no longer below a name.
    fn comma(&mut self) {
        let is_plain = |at: usize| !matches!(self.tokens[at].kind, Kind::Object | Kind::Array);
        if self.above.is_some_and(is_plain)
            && let Some(open) = self.open.last()
        {
            self.above = Some(*open);
        }
    }

    fn string(&mut self) -> Result<(), Unreadable> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.text.get(at) {
                None => return Err(Unreadable::Syntax),
                Some(b'"') => break,
                Some(b'\\') => at += self.escape(at + 1)?,
                Some(_) => at += 1,
            }
        }
        self.push(Kind::String, start, Some(at))?;
        self.at = at;
        Ok(())
    }

    /// How long an escape is, with its backslash.
    fn escape(&self, at: usize) -> Result<usize, Unreadable> {
        match self.text.get(at) {
            // A text that ends so is not closed, which is found next.
            None => Ok(1),
            Some(b'"' | b'/' | b'\\' | b'b' | b'f' | b'r' | b'n' | b't') => Ok(2),
            Some(b'u') => {
                let digits = self.text[at + 1..].iter().take(4);
                if digits.clone().any(|byte| !byte.is_ascii_hexdigit()) {
                    return Err(Unreadable::Syntax);
                }
                Ok(2 + digits.len())
            }
            Some(_) => Err(Unreadable::Syntax),
        }
    }

    fn primitive(&mut self) -> Result<(), Unreadable> {
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' ' | b',' | b':' | b']' | b'}');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        if rest[..length].iter().any(|byte| !(32..127).contains(byte)) {
            return Err(Unreadable::Syntax);
        }
        let Range { start, end } = self.at..self.at + length;
        self.push(Kind::Primitive, start, Some(end))?;
        self.at = end - 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Option<Vec<(String, String)>> {
        let raw = Raw::parse(text.as_bytes()).ok()?;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(raw.pairs()?.iter().map(|pair| (shown(pair.key), shown(pair.value))).collect())
    }

    #[test]
    fn what_passes_for_an_object() {
        for (text, want) in [
            (r#"{}"#, Some(&[][..])),
            (r#"{"a":{"b":[1,2]},"c":5}"#, Some(&[("a", r#"{"b":[1,2]}"#), ("c", "5")])),
            ("{ \"a\" : \"b\" , \"c\":null }\n", Some(&[("a", "b"), ("c", "null")])),
            (r#"{"a":"b",} and so on {"c":1}"#, Some(&[("a", "b")])),
            (r#"{'a':b}"#, Some(&[("'a'", "b")])),
            (r#"{"a\u0041":"\/"}"#, Some(&[("a\\u0041", "\\/")])),
            (r#"{"a":1,"a":2}"#, Some(&[("a", "1"), ("a", "2")])),
            ("{\"a\":1}\0{", Some(&[("a", "1")])),
            (r#"{"a"}"#, None),
            (r#"{"a":1"#, None),
            (r#"{"a":1]"#, None),
            (r#"{"a":"\x"}"#, None),
            (r#"{"a":"\u12g4"}"#, None),
            ("{a\u{e9}:1}", None),
            ("\u{feff}{}", None),
            ("[]", None),
            ("}", None),
            ("", None),
        ] {
            let got = pairs(text);
            let got: Option<Vec<(&str, &str)>> =
                got.as_ref().map(|list| list.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn members_at_any_depth() {
        let find = |text: &str, name: &str| match Raw::parse(text.as_bytes()).unwrap().member(name.as_bytes()) {
            Member::Found(_, value) => String::from_utf8_lossy(value).into_owned(),
            Member::Absent => "absent".to_owned(),
            Member::Unclear => "unclear".to_owned(),
        };
        assert_eq!(find(r#"{"x":{"a":1},"a":2}"#, "a"), "1");
        assert_eq!(find(r#"[{"a":"b"}] "#, "a"), "b");
        assert_eq!(find(r#"{"a":null,"a":2}"#, "a"), "null");
        assert_eq!(find(r#"{"a":{"b":[1]}}"#, "a"), r#"{"b":[1]}"#);
        assert_eq!(find(r#"{"b":"a","a":2}"#, "a"), "unclear");
        assert_eq!(find(r#"{"b":["a","c"],"a":2}"#, "a"), "unclear");
        assert_eq!(find(r#"{a:1}"#, "a"), "absent");
        assert_eq!(find(r#"{"\"a\"":1}"#, "a"), "absent");
    }

    #[test]
    fn elements_are_plain() {
        let elements = |text: &str| Raw::parse(text.as_bytes()).unwrap().elements().map(|list| list.len());
        assert_eq!(elements(r#"["a",1,null]"#), Some(3));
        assert_eq!(elements("[]"), Some(0));
        assert_eq!(elements(r#"["a"] "b""#), Some(1));
        for odd in [r#"["a",["b"]]"#, r#"["a",{}]"#, r#"["a":"b"]"#, r#"{"a":1}"#, "5"] {
            assert_eq!(elements(odd), None, "{odd}");
        }
    }
}
