//! Patterns as the device selects keys with them: `fnmatch` with `FNM_PATHNAME`, alone or with `FNM_LEADING_DIR`, as
//! musl has it, byte by byte (`storage.md` §6.2). `pvr` selects with another matcher, `glob`; where the two disagree,
//! what `pvr` signed is not what the device verifies.
//!
//! - `*` and `?` don't match `/`; `**` is `*` twice. A leading dot is nothing special.
//! - `[…]` is a class, `[!…]` and `[^…]` what is not in it. A first `]` or `-` stands for itself; a backslash too. Ranges go
//!   by byte, and the end of one is in the class whatever its beginning. `[:alpha:]` and its like know ASCII only. `[.x.]` and `[=x=]` match nothing. A class may have a `/` in it,
//!   and never matches one. A `[` without its `]` stands for itself.
//! - A backslash takes its meaning from what follows; the last byte of a pattern it is itself.
//! - With `FNM_LEADING_DIR`, a pattern that matches the first segments of a key matches it.
//!
//! glibc's differs in what a backslash in a class means, in `[.x.]` and `[=x=]`, and in how it reads classes that are odd
//! or not closed (`docs/differences.md`).

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Vec<Item>>,
    leading_dir: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Byte(u8),
    Any,
    Star,
    /// What stands behind the `[`, with the `]`.
    Class(Vec<u8>),
}

/// How many comparisons are left for matching: patterns and keys come from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work(pub u64);

/// There were too many comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

impl Pattern {
    /// With `FNM_PATHNAME`, and with `FNM_LEADING_DIR` if `leading_dir`.
    pub fn new(text: &[u8], leading_dir: bool) -> Self {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut segments = Vec::new();
        let mut items = Vec::new();
        let mut rest = text;
        while let [first, behind @ ..] = rest {
            rest = behind;
            let item = match first {
                b'*' => Item::Star,
                b'?' => Item::Any,
                b'[' => match class_length(behind) {
                    Some(length) => {
                        rest = &behind[length..];
                        Item::Class(behind[..length].to_vec())
                    }
                    None => Item::Byte(b'['),
                },
                b'\\' => match behind {
                    [escaped, behind @ ..] => {
                        rest = behind;
                        Item::Byte(*escaped)
                    }
                    [] => Item::Byte(b'\\'),
                },
                other => Item::Byte(*other),
            };
            if item == Item::Byte(b'/') {
                segments.push(std::mem::take(&mut items));
            } else {
                items.push(item);
            }
        }
        segments.push(items);
        Self { segments, leading_dir }
    }

    /// A pattern of a signature: one that ends in `/**` matches what is below it, and itself; `**` alone what begins
    /// with `/`.
    pub fn of_signature(text: &[u8]) -> Self {
        if text == b"**" {
            return Self::new(b"", true);
        }
        match text.strip_suffix(b"/**") {
            Some(folder) => Self::new(folder, true),
            None => Self::new(text, false),
        }
    }

    /// Whether it matches a key.
    pub fn matches(&self, key: &[u8], work: &mut Work) -> Result<bool, TooMuch> {
        let mut parts = key.split(|byte| *byte == b'/');
        for items in &self.segments {
            let Some(part) = parts.next() else { return Ok(false) };
            if !segment(items, part, work)? {
                return Ok(false);
            }
        }
        Ok(self.leading_dir || parts.next().is_none())
    }
}

/// What only `*` can leave open is where it ends: the last one is enough to try again from.
fn segment(items: &[Item], text: &[u8], work: &mut Work) -> Result<bool, TooMuch> {
    let (mut item, mut at) = (0, 0);
    let mut retry = None;
    loop {
        work.0 = work.0.checked_sub(1).ok_or(TooMuch)?;
        let taken = match (items.get(item), text.get(at)) {
            (Some(Item::Star), _) => {
                item += 1;
                retry = Some((item, at));
                continue;
            }
            (None, None) => return Ok(true),
            (None, Some(_)) | (Some(_), None) => false,
            (Some(Item::Any), Some(_)) => true,
            (Some(Item::Byte(want)), Some(byte)) => want == byte,
            (Some(Item::Class(class)), Some(byte)) => {
                work.0 = work.0.checked_sub(class.len() as u64).ok_or(TooMuch)?;
                class_takes(class, *byte)
            }
        };
        if taken {
            (item, at) = (item + 1, at + 1);
            continue;
        }
        match retry {
            Some((behind, from)) if from < text.len() => {
                retry = Some((behind, from + 1));
                (item, at) = (behind, from + 1);
            }
            _ => return Ok(false),
        }
    }
}

/// How long a class is whose `[` stands before `text`, with its `]`.
fn class_length(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(matches!(text.first(), Some(b'^' | b'!')));
    at += usize::from(text.get(at) == Some(&b']'));
    loop {
        match text.get(at..)? {
            [b']', ..] => return Some(at + 1),
            [b'[', kind @ (b':' | b'.' | b'='), name @ ..] => at += 2 + name_length(name, *kind)?,
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// How long a name and what ends it are: `alpha:]`.
fn name_length(text: &[u8], kind: u8) -> Option<usize> {
    text.windows(2).position(|two| two == [kind, b']']).map(|end| end + 2)
}

fn class_takes(class: &[u8], byte: u8) -> bool {
    let negated = matches!(class.first(), Some(b'^' | b'!'));
    let mut rest = &class[usize::from(negated)..];
    // Where a range begins that has nothing before it.
    let mut low = if negated { class[0] } else { b'[' };
    if let [first @ (b']' | b'-'), behind @ ..] = rest {
        if *first == byte {
            return !negated;
        }
        (low, rest) = (*first, behind);
    }
    loop {
        rest = match rest {
            [] | [b']', ..] => return negated,
            // The end of a range is read once more, by itself: `[b-a]` has both, `[a-c-e]` all five.
            [b'-', high, ..] if *high != b']' => {
                if (low..=*high).contains(&byte) {
                    return !negated;
                }
                &rest[1..]
            }
            [b'[', kind @ (b':' | b'.' | b'='), behind @ ..] => {
                let Some(length) = name_length(behind, *kind) else { return negated };
                if *kind == b':' && named(&behind[..length - 2], byte) {
                    return !negated;
                }
                &behind[length..]
            }
            [one, behind @ ..] => {
                if *one == byte {
                    return !negated;
                }
                low = *one;
                behind
            }
        }
    }
}

fn named(name: &[u8], byte: u8) -> bool {
    match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::of_signature(pattern.as_bytes()).matches(key.as_bytes(), &mut Work(10_000)).unwrap()
    }

    /// The rules of `storage.md` §6.2 and §11.9.
    #[test]
    fn what_patterns_of_signatures_select() {
        for (pattern, selected, others) in [
            ("**", &["/", "/a", ""][..], &["a", "a/b", "#spec"][..]),
            ("*/**", &["a", "a/b", "a/b/c", "#spec", ""], &[]),
            ("**/**", &["a", "a/b", "#spec"], &[]),
            ("a/**", &["a", "a/b", "a/b/c", "a/", "a/.h"], &["ab", "ab/c", "b/a", ""]),
            ("a*/**", &["a/b", "ab/c", "a"], &["ba/a"]),
            ("*", &["a", "#spec", ".h", ""], &["a/b"]),
            ("**/src.json", &["a/src.json"], &["src.json", "a/b/src.json"]),
            ("a/**/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
            ("a/***", &["a/b", "a/"], &["a", "a/b/c"]),
            ("a/", &["a/"], &["a", "a/b"]),
            ("/**", &["/a"], &["a"]),
            ("{a,b}", &["{a,b}"], &["a", "b"]),
            ("\\a/x", &["a/x"], &["\\a/x"]),
            ("a/x\\", &["a/x\\"], &["a/x"]),
            ("a\\/x", &["a/x"], &["a\\/x"]),
            ("[ab]/x", &["a/x", "b/x"], &["c/x", "ab/x"]),
            ("[!a]/x", &["b/x", "!/x"], &["a/x", "/x", "é/x"]),
            ("[^a]/x", &["b/x"], &["a/x"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[b-a]", &["a", "b"], &["c", "-"]),
            ("[a-c-e]", &["a", "b", "c", "d", "e"], &["-", "f"]),
            ("[[:upper:]]/x", &["A/x"], &["a/x", "É/x"]),
            ("[a/b]", &["a", "b"], &["/"]),
            ("[a", &["[a"], &["a"]),
            ("[a/x", &["[a/x"], &["a/x"]),
            ("?", &["a"], &["", "/", "é"]),
            ("??", &["é", "ab"], &["a"]),
            ("", &[""], &["a"]),
            ("a*b*c", &["abc", "axbxc", "abbcc"], &["ab", "acb"]),
        ] {
            for key in selected {
                assert!(matches(pattern, key), "{pattern} selects {key}");
            }
            for key in others {
                assert!(!matches(pattern, key), "{pattern} does not select {key}");
            }
        }
    }

    #[test]
    fn work_is_bounded() {
        let pattern = Pattern::new("*a".repeat(2_000).as_bytes(), false);
        assert_eq!(pattern.matches("a".repeat(4_000).as_bytes(), &mut Work(1_000)), Err(TooMuch));
        let mut work = Work(20_000_000);
        assert_eq!(pattern.matches(format!("{}b", "a".repeat(3_000)).as_bytes(), &mut work), Ok(false));
        assert!(work.0 > 0);
    }
}
