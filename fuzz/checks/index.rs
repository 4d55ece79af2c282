//! The two files in which a repository remembers: `.pvr/new`, what was added, and `.pvr/index`, what files held when they were
//! last read. Whatever is in them, nothing else is changed, and no file counts as unchanged that is not.
//!
//! The first byte of an input says which it is. The last line of an index, the sha256 of all before it, is made here: no
//! chance would.

use std::fs;
use std::path::{Path, PathBuf};

use pvr_agent::repo::{AddAs, Checkpoint, Repo, Run};
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, ObjectId, StatePath, Value};
use sha2::{Digest, Sha256};

const FILES: [(&str, &str); 4] = [("a", "one"), ("b.json", "{\"x\":1}"), ("d/c", "two"), ("d/e.json", "null")];

/// Where files cost least.
fn memory() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// A repository of this process, made once.
struct Made(PathBuf);

impl Made {
    fn new() -> Self {
        let root = memory().join(format!("index-fuzz-{}", std::process::id()));
        fs::create_dir_all(root.join("d")).expect("a folder");
        for (name, text) in FILES {
            fs::write(root.join(name), text).expect("a file");
        }
        let repo = Repo::init(&root, "pantavisor-service-system@1", "").expect("a repository");
        repo.add(&["a".into(), "d/e.json".into()], AddAs::Inline).expect("add");
        repo.commit("", Checkpoint::No, Run::Really).expect("commit");
        Self(root)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    thread_local!(static MADE: Made = Made::new());
    let Some((which, data)) = data.split_first() else { return };
    MADE.with(|made| look(&made.0, *which, data));
}

fn look(root: &Path, which: u8, data: &[u8]) {
    let (new, index) = (root.join(".pvr/new"), root.join(".pvr/index"));
    for path in [&new, &index] {
        fs::remove_file(path).ok();
    }
    let repo = Repo::at(root);
    let committed = fs::read(root.join(".pvr/json")).expect("a state");
    if which.is_multiple_of(2) {
        let want = repo.status().expect("a status");
        let mut text = data.to_owned();
        if which.is_multiple_of(4) {
            let sum = ObjectId::from_bytes(Sha256::digest(data).into());
            text.extend_from_slice(format!("{sum}\n").as_bytes());
        }
        fs::write(&index, &text).expect("a file");
        assert_eq!(repo.status().expect("no index is needed"), want);
    } else {
        fs::write(&new, data).expect("a file");
        let status = repo.status();
        let added = repo.add(&["d/c".into()], AddAs::Object);
        assert_eq!(status.is_ok(), added.is_ok());
        match added {
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
                assert_eq!(fs::read(&new).expect("a file"), data, "what cannot be read is left alone");
            }
            Ok(()) => written(&fs::read_to_string(&new).expect("a file"), data),
        }
    }
    assert_eq!(fs::read(root.join(".pvr/json")).expect("a state"), committed);
}

/// What is written is canonical, and has what was there before and the one file more.
fn written(text: &str, before: &[u8]) {
    let limits = JsonLimits { bytes: text.len().max(before.len()), ..JsonLimits::default() };
    let after = parse_strict(text.as_bytes(), &limits).expect("JSON");
    assert_eq!(to_canonical(&after).as_deref(), Ok(text));
    let (after, before) = (after.as_object().expect("an object"), parse_strict(before, &limits).expect("it was read"));
    let before = before.as_object().expect("it was read");
    let forced = |entry: &Value| entry.get("ForceObject") == Some(&Value::Bool(true));
    assert!(forced(&after["d/c"]));
    assert!(after.keys().all(|key| key == "d/c" || before.contains_key(key)));
    for (key, entry) in before.iter().filter(|(key, _)| *key != "d/c") {
        assert!(StatePath::parse(key).is_ok(), "{key:?}");
        assert_eq!(forced(&after[key]), forced(entry), "{key:?}");
    }
}
