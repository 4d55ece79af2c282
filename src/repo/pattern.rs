//! Patterns as `add` takes them (`cli.md` §5): `*`, `?`, `[a-z]`, `[^a-z]` and `\` before any of them. None of them
//! goes across a `/`.

/// A pattern whose syntax has been checked.
#[derive(Debug, Clone)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    Char(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// `None` for an unfinished or empty class, and a `\` at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars().peekable();
        let mut tokens = Vec::new();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
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
        Some(Self(tokens))
    }

    /// Whether the whole of `path` fits.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // Places in the pattern that the path read so far can lead to: linear in both, whatever the pattern.
        let mut places = vec![false; self.0.len() + 1];
        places[0] = true;
        self.skip_stars(&mut places);
        for c in path {
            let mut next = vec![false; places.len()];
            for (at, token) in self.0.iter().enumerate().filter(|(at, _)| places[*at]) {
                match token {
                    Token::Star if c != '/' => next[at] = true,
                    token if token.takes(c) => next[at + 1] = true,
                    _ => {}
                }
            }
            self.skip_stars(&mut next);
            places = next;
        }
        places.last() == Some(&true)
    }

    /// A star may also stand for nothing.
    fn skip_stars(&self, places: &mut [bool]) {
        for (at, token) in self.0.iter().enumerate() {
            if places[at] && matches!(token, Token::Star) {
                places[at + 1] = true;
            }
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Char(own) => *own == c,
            Self::Any => c != '/',
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn matches() {
        for (pattern, path, fits) in [
            ("a.txt", "a.txt", true),
            ("a.txt", "b/a.txt", false),
            ("*", "a.txt", true),
            ("*", ".hidden", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("a**", "a", true),
            ("?", "é", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]x", "dx", true),
            ("[^a-c]x", "/x", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn bad_syntax() {
        for pattern in ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-a]", "\\", "a[^"] {
            assert!(Pattern::parse(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::parse(&"*a".repeat(60)).unwrap();
        assert!(!pattern.matches(&"a".repeat(200).replace("aa", "ab")));
    }
}
