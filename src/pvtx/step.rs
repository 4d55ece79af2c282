//! Steps of a queue, and their names.
//!
//! ```text
//! <queue>/NNN__<part>.remove       an empty file: the part goes. / and % in it are written %2F and %25
//! <queue>/NNN__<name>/json         a state comes
//! <queue>/NNN__<name>/objects/*    objects that come with it, if somebody else has put them there
//! <queue>/.pvtx.tmp                a step in the making
//! ```
//!
//! Steps are taken in the order of their numbers; what has none comes after them, by name. Other files are not steps.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Context, PvtxError};

const REMOVE: &str = ".remove";
const SEPARATOR: &str = "__";
/// Longest name that file systems take.
const NAME_MAX: usize = 255;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A part goes.
    Remove(String),
    /// What is in this folder comes.
    Add(PathBuf),
}

/// A step and what it is called, in the order of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) step: Step,
}

/// Name of the step that removes a part.
pub(super) fn removal(number: u32, part: &str) -> Result<String, PvtxError> {
    named(number, &format!("{}{REMOVE}", encode(part)))
}

/// Name of the step that adds a package; the last part of a path is what it is called.
pub(super) fn addition(number: u32, package: &str) -> Result<String, PvtxError> {
    let name = package.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => Err(PvtxError::StepName(package.to_owned())),
        // It would be read as a removal, were it a file.
        name => named(number, name),
    }
}

fn named(number: u32, rest: &str) -> Result<String, PvtxError> {
    let name = format!("{number:03}{SEPARATOR}{rest}");
    if name.len() > NAME_MAX || name.contains('\0') {
        return Err(PvtxError::StepName(rest.chars().take(80).collect()));
    }
    Ok(name)
}

/// All steps of a queue.
pub(super) fn steps(queue: &Path) -> Result<Vec<Named>, PvtxError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(queue).on("list", queue)? {
        let path = entry.on("list", queue)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            found.push(Named { name, step: Step::Add(path) });
        } else if let Some(part) = name.strip_suffix(REMOVE) {
            let part = number_of(part).map_or(part, |(_, rest)| rest);
            if !part.is_empty() {
                found.push(Named { step: Step::Remove(decode(part)), name });
            }
        }
    }
    found.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
    Ok(found)
}

/// The number behind the last step of a queue.
pub(super) fn next(queue: &Path) -> Result<u32, PvtxError> {
    let numbers = steps(queue)?.into_iter().filter_map(|step| Some(number_of(&step.name)?.0));
    Ok(numbers.max().map_or(0, |number| number.saturating_add(1)))
}

fn order(name: &str) -> (u32, &str) {
    (number_of(name).map_or(u32::MAX, |(number, _)| number), name)
}

fn number_of(name: &str) -> Option<(u32, &str)> {
    let (digits, rest) = name.split_once(SEPARATOR)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| plain)?, rest))
}

fn encode(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

/// `%` and two hex digits are a byte; what is no UTF-8 then is taken as it stands.
fn decode(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_survives_its_name() {
        for part in
            ["app", "app/run.json", "/lead", "trail/", "per%cent", "lit%2Flit", "%", "é", ".remove", "a__b", ".."]
        {
            let name = removal(7, part).unwrap();
            assert!(!name.contains('/'), "{name}");
            let stem = name.strip_suffix(REMOVE).unwrap();
            assert_eq!(decode(number_of(stem).unwrap().1), part);
        }
        assert_eq!(removal(12, "a/b").unwrap(), "012__a%2Fb.remove");
        assert_eq!(decode("a%2fb%zz%"), "a/b%zz%");
        assert!(removal(0, &"x".repeat(244)).is_err() && removal(0, &"x".repeat(243)).is_ok());
    }

    #[test]
    fn a_package_is_called_as_its_file() {
        for (path, name) in [("/a/b.tgz", Some("000__b.tgz")), ("b", Some("000__b")), ("a/", Some("000__a"))] {
            assert_eq!(addition(0, path).ok().as_deref(), name);
        }
        for path in ["", "/", "..", "a/..", "."] {
            assert!(addition(0, path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_thousand_steps_are_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1000__c.remove", "999__b.remove", "002__a.remove", "x.remove", "y", ".z.remove", "003__.remove"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("000__pkg")).unwrap();
        fs::create_dir(dir.path().join(".pvtx.tmp")).unwrap();
        let names: Vec<String> = steps(dir.path()).unwrap().into_iter().map(|step| step.name).collect();
        assert_eq!(names, ["000__pkg", "002__a.remove", "999__b.remove", "1000__c.remove", "x.remove"]);
        assert_eq!(next(dir.path()).unwrap(), 1001);
    }
}
