//! The three matchers beside one that is as simple as can be: patterns of signatures as pvr has them and as a device has them, and
//! those of `add`.
//!
//! An input is a pattern and a name, with a NUL between them.

use pvr_agent::repo::Pattern;
use pvr_agent::sig::fnmatch::{self, Work};
use pvr_agent::sig::glob::Glob;

/// What the simple matcher is given: it makes a table of both.
const MOST: usize = 256;

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let (pattern, name) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let small = pattern.len() <= MOST && name.len() <= MOST;
    for leading in [false, true] {
        let mut work = Work(50_000_000);
        let found = fnmatch::Pattern::new(pattern, leading).matches(name, &mut work);
        if small && plain(pattern, b"[\\") {
            let name: Vec<u8> = name.to_vec();
            let whole = naive(&bytes(pattern), &name);
            let begins = (0..name.len()).any(|at| name[at] == b'/' && naive(&bytes(pattern), &name[..at]));
            assert_eq!(found, Ok(whole || leading && begins), "{leading}");
        }
    }
    fnmatch::Pattern::of_signature(pattern).matches(name, &mut Work(50_000_000)).ok();

    let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), std::str::from_utf8(name)) else { return };
    let (glob, added) = (Glob::parse(pattern), Pattern::parse(pattern));
    let (selects, adds) =
        (glob.as_ref().map(|glob| glob.matches(name)), added.as_ref().map(|added| added.matches(name)));
    if let (Ok(glob), true) = (&glob, plain(pattern.as_bytes(), b"[\\{},")) {
        // Braces hold a list of patterns, and either may fit.
        let listed = Glob::parse(&format!("{{{pattern},{pattern}}}")).expect("a list of what can be read");
        assert_eq!(listed.matches(name), glob.matches(name));
    }
    if !small || !plain(pattern.as_bytes(), b"[\\{}") {
        return;
    }
    let (tokens, name): (Vec<Token>, Vec<char>) = (chars(pattern), name.chars().collect());
    assert_eq!(adds, Some(naive(&tokens, &name)), "add {pattern:?}");
    if !pattern.contains("**") {
        assert_eq!(selects, Ok(naive(&tokens, &name)), "select {pattern:?}");
    }
}

/// Whether none of `special` is in it. What those mean has tables of its own.
fn plain(pattern: &[u8], special: &[u8]) -> bool {
    !pattern.iter().any(|byte| special.contains(byte))
}

enum Token {
    One(u32),
    Any,
    Star,
}

fn token(c: char) -> Token {
    match c {
        '?' => Token::Any,
        '*' => Token::Star,
        c => Token::One(c.into()),
    }
}

fn chars(pattern: &str) -> Vec<Token> {
    pattern.chars().map(token).collect()
}

fn bytes(pattern: &[u8]) -> Vec<Token> {
    pattern.iter().map(|byte| token(char::from(*byte))).collect()
}

/// Whether all of `name` fits: from the last token to the first, from which places on the rest of the name does.
fn naive<T: Copy + Into<u32>>(pattern: &[Token], name: &[T]) -> bool {
    let mut fits = vec![false; name.len() + 1];
    fits[name.len()] = true;
    for token in pattern.iter().rev() {
        let mut before = vec![false; name.len() + 1];
        for at in (0..=name.len()).rev() {
            let c: Option<u32> = name.get(at).map(|c| (*c).into());
            let inside = c.is_some_and(|c| c != u32::from('/'));
            before[at] = match token {
                Token::Star => fits[at] || inside && before[at + 1],
                Token::Any => inside && fits[at + 1],
                Token::One(want) => c == Some(*want) && fits[at + 1],
            };
        }
        fits = before;
    }
    fits[0]
}
