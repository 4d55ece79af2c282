//! Patterns as pvr selects with them: doublestar 1.3.4 (`sig-dm.md` §3). What the device makes of the same patterns is
//! another matter: see the matcher beside this one.
//!
//! | pattern | fits |
//! |---|---|
//! | `**` as a segment of its own | any number of segments, none too; as the last segment, one at least |
//! | `*`, `**` beside other characters | any characters but `/` |
//! | `?` | one character but `/` |
//! | `[a-c]`, `[^a-c]` | one character but `/`, of these or of all others |
//! | `{a,b/c}` | one of the alternatives, which may be patterns and hold `/` |
//! | `\x` | x |
//!
//! The whole name has to fit. Leading dots are characters like all others. A pattern whose syntax is wrong is an error,
//! whatever it is held against.

use crate::state::escape;

/// Most patterns that the alternatives of one may stand for.
const MAX_VARIANTS: usize = 256;
/// Most bytes of all of them together.
const MAX_EXPANDED: usize = 64 * 1024;

/// A pattern cannot be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GlobError {
    /// Something is opened and never closed, or a `\` stands at the end.
    #[error("syntax error in pattern: {}", escape(.0))]
    Syntax(String),
    /// Its alternatives multiply beyond what is reasonable.
    #[error("the pattern {} stands for more than {MAX_VARIANTS} patterns, or too long ones", escape(.0))]
    TooMany(String),
}

/// A pattern whose syntax has been checked.
#[derive(Debug, Clone)]
pub struct Glob {
    variants: Vec<Vec<Segment>>,
}

#[derive(Debug, Clone)]
enum Segment {
    /// `**`
    Any,
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    Char(char),
    One,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let wrong = || GlobError::Syntax(pattern.to_owned());
        let mut variants = vec![String::new()];
        expand(pattern, &mut variants).map_err(|why| match why {
            Why::Syntax => wrong(),
            Why::TooMany => GlobError::TooMany(pattern.to_owned()),
        })?;
        let variants = variants.iter().map(|variant| segments(variant)).collect::<Option<_>>();
        Ok(Self { variants: variants.ok_or_else(wrong)? })
    }

    /// Whether all of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let names: Vec<&str> = name.split('/').collect();
        self.variants.iter().any(|segments| fits(segments, &names))
    }
}

enum Why {
    Syntax,
    TooMany,
}

/// Appends what `pattern` stands for, without its braces, to each of `out`.
fn expand(pattern: &str, out: &mut Vec<String>) -> Result<(), Why> {
    let mut rest = pattern;
    while let Some(at) = plain(rest) {
        let (before, braces) = rest.split_at(at);
        let (alternatives, after) = alternatives(&braces[1..]).ok_or(Why::Syntax)?;
        let mut next = Vec::new();
        for alternative in alternatives {
            let mut begun: Vec<String> = out.iter().map(|begun| format!("{begun}{before}")).collect();
            expand(alternative, &mut begun)?;
            next.append(&mut begun);
            if next.len() > MAX_VARIANTS || next.iter().map(String::len).sum::<usize>() > MAX_EXPANDED {
                return Err(Why::TooMany);
            }
        }
        *out = next;
        rest = after;
    }
    if out.iter().map(|begun| begun.len() + rest.len()).sum::<usize>() > MAX_EXPANDED {
        return Err(Why::TooMany);
    }
    out.iter_mut().for_each(|begun| begun.push_str(rest));
    Ok(())
}

/// Where the first `{` is that is none of a class and has no `\` before it.
fn plain(text: &str) -> Option<usize> {
    let mut within = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => within = true,
            ']' => within = false,
            '{' if !within => return Some(at),
            _ => {}
        }
    }
    None
}

/// What stands between the commas behind a `{`, and what behind its `}`.
fn alternatives(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut depth, mut begin, mut within) = (0_u32, 0, false);
    let mut found = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => within = true,
            ']' => within = false,
            _ if within => {}
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&text[begin..at]);
                return Some((found, &text[at + 1..]));
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[begin..at]);
                begin = at + 1;
                if found.len() > MAX_VARIANTS {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

fn segments(pattern: &str) -> Option<Vec<Segment>> {
    // A `\` before a slash is one at the end of a segment: an error.
    pattern.split('/').map(|segment| if segment == "**" { Some(Segment::Any) } else { tokens(segment) }).collect()
}

fn tokens(segment: &str) -> Option<Segment> {
    let mut chars = segment.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => Token::Char(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.peek() != Some(&']') {
                    let low = class_char(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { class_char(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                chars.next()?;
                Token::Class { negated, ranges }
            }
            c => Token::Char(c),
        });
    }
    Some(Segment::Tokens(tokens))
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        ']' | '-' => None,
        c => Some(c),
    }
}

/// Places in the pattern that the segments read so far can lead to: linear in both, whatever the pattern.
fn fits(segments: &[Segment], names: &[&str]) -> bool {
    let mut places = vec![false; segments.len() + 1];
    places[0] = true;
    skip(segments, &mut places);
    for name in names {
        let mut next = vec![false; places.len()];
        for (at, segment) in segments.iter().enumerate().filter(|(at, _)| places[*at]) {
            match segment {
                Segment::Any => {
                    next[at] = true;
                    next[at + 1] = true;
                }
                Segment::Tokens(tokens) => next[at + 1] |= segment_fits(tokens, name),
            }
        }
        skip(segments, &mut next);
        places = next;
    }
    places.last() == Some(&true)
}

/// `**` may stand for no segment, except at the end.
fn skip(segments: &[Segment], places: &mut [bool]) {
    for (at, segment) in segments.iter().enumerate() {
        if places[at] && matches!(segment, Segment::Any) && at + 1 < segments.len() {
            places[at + 1] = true;
        }
    }
}

fn segment_fits(tokens: &[Token], name: &str) -> bool {
    let mut places = vec![false; tokens.len() + 1];
    places[0] = true;
    let over = |places: &mut [bool]| {
        for (at, token) in tokens.iter().enumerate() {
            if places[at] && matches!(token, Token::Star) {
                places[at + 1] = true;
            }
        }
    };
    over(&mut places);
    for c in name.chars() {
        let mut next = vec![false; places.len()];
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| places[*at]) {
            match token {
                Token::Star => next[at] = true,
                token if token.takes(c) => next[at + 1] = true,
                _ => {}
            }
        }
        over(&mut next);
        if !next.contains(&true) {
            return false;
        }
        places = next;
    }
    places.last() == Some(&true)
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_specification() {
        let rows: [(&str, &[&str], &[&str]); 24] = [
            ("app/**", &["app/", "app/a", "app/a/b"], &["app", "app2/x"]),
            ("**", &["#spec", "", "a", "a/b/c"], &[]),
            ("*", &["a", "", ".a"], &["a/b"]),
            ("**/src.json", &["src.json", "a/src.json", "a/b/src.json"], &["a/xsrc.json"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "a", "b"]),
            ("a/**/*", &["a/b", "a/b/c"], &["a"]),
            ("**/a/**", &["a/x", "x/a/y"], &["x/a", "a"]),
            ("app/**/", &[], &["app/x", "app"]),
            ("a**", &["a", "ab"], &["a/b"]),
            ("**.json", &["x.json", ".json"], &["d/x.json"]),
            ("?", &["a", "é", "😀"], &["", "/", "ab"]),
            ("a?b", &["axb"], &["a/b"]),
            ("[a-c]", &["a", "c"], &["d", "ab", ""]),
            ("[^a]", &["b", "!"], &["a", "/", ""]),
            ("[!a]", &["!", "a"], &["b"]),
            ("{a,b/c}/x", &["a/x", "b/c/x"], &["c/x", "a/c/x"]),
            ("\\*", &["*"], &["a"]),
            ("{a,}b", &["ab", "b"], &["a"]),
            ("x{1,{2,3}}y", &["x1y", "x2y", "x3y"], &["xy", "x12y"]),
            ("{**,z}/x", &["x", "a/b/x", "z/x"], &["a/y"]),
            ("[{]a,b}", &["{a,b}"], &["a"]),
            ("\\{a,b}", &["{a,b}"], &["a"]),
            ("**/**", &["a", "a/b", "#spec"], &[]),
            ("weird/\\[a\\]\\*.txt", &["weird/[a]*.txt"], &["weird/a.txt"]),
        ];
        for (pattern, fit, other) in rows {
            let glob = Glob::parse(pattern).unwrap();
            for name in fit {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in other {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_never_closed_is_an_error() {
        for pattern in ["[", "{a", "a/[b", "[]", "[a-]", "[^]", "\\", "a\\", "{a,{b}", "[a/b]", "x{", "[-a]"] {
            assert_eq!(Glob::parse(pattern).unwrap_err(), GlobError::Syntax(pattern.to_owned()));
        }
    }

    #[test]
    fn alternatives_multiplied_without_end() {
        let many = "{a,b}".repeat(20);
        assert!(matches!(Glob::parse(&many), Err(GlobError::TooMany(_))));
        let long = format!("{}{}", "{a,b}".repeat(8), "x".repeat(4096));
        assert!(matches!(Glob::parse(&long), Err(GlobError::TooMany(_))));
        assert!(Glob::parse(&"{a,b}".repeat(8)).unwrap().matches("abababab"));
        let stars = format!("{}b", "*a".repeat(1000));
        assert!(!Glob::parse(&stars).unwrap().matches(&"a".repeat(2000)));
    }
}
