//! `dm-convert` and `dm-apply` on a disk that is full at every step.
//!
//! A small tmpfs is filled to its last pages, or to its last inodes, of which a page or an inode is given back at a time until
//! the command goes through. Below that it says what failed, and the repository is what it was.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod disk;
#[path = "client/pvr.rs"]
mod pvr;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::Mount;
use pvr::{Home, Ran};

const PAGE: u64 = 4096;
/// More than any of it needs.
const MOST: u64 = 200;
const RUN: &str = r#"{"name":"app","root-volume":"root.squashfs","volumes":["data.squashfs"]}"#;
/// A tree of two levels, and one of one.
const VOLUMES: [(&str, usize); 2] = [("data.squashfs", 3), ("root.squashfs", 300)];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Pages,
    Inodes,
}

/// A repository on a small disk, and what fills it.
struct Small {
    home: Home,
    mount: Mount,
}

/// What can be seen of a working copy: its files and folders, and what `.pvr` holds besides locks and indexes.
type Seen = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Small {
    fn new() -> Option<Self> {
        let mount = Mount::tmpfs("size=4m,nr_inodes=400")?;
        let small = Self { home: Home::new(), mount };
        let at = |path: &str| small.repo().join(path);
        fs::create_dir_all(at("app")).unwrap();
        for (name, blocks) in VOLUMES {
            fs::write(at("app").join(name), vec![7; blocks * PAGE as usize]).unwrap();
        }
        fs::write(at("app/run.json"), RUN).unwrap();
        fs::write(at("app/src.json"), r##"{"#spec":"service-manifest-src@1"}"##).unwrap();
        for words in [&["init"][..], &["add"], &["commit"]] {
            small.pvr(words).code(0);
        }
        Some(small)
    }

    fn repo(&self) -> PathBuf {
        self.mount.path().join("r")
    }

    fn pvr(&self, words: &[&str]) -> Ran {
        self.home.pvr(self.repo().to_str().unwrap(), words)
    }

    fn leave(&self, kind: Kind, left: u64) {
        match kind {
            Kind::Pages => {
                let path = self.mount.path().join("ballast");
                let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
                while file.write_all(&[0; PAGE as usize]).is_ok() {}
                let full = file.metadata().unwrap().len() / PAGE;
                file.set_len(full.saturating_sub(left) * PAGE).unwrap();
            }
            Kind::Inodes => {
                let folder = self.mount.path().join("inodes");
                fs::create_dir_all(&folder).unwrap();
                let mut made = fs::read_dir(&folder).unwrap().count() as u64;
                while fs::File::create(folder.join(made.to_string())).is_ok() {
                    made += 1;
                }
                for number in made.saturating_sub(left)..made {
                    fs::remove_file(folder.join(number.to_string())).unwrap();
                }
            }
        }
    }

    fn empty(&self) {
        fs::remove_file(self.mount.path().join("ballast")).ok();
        fs::remove_dir_all(self.mount.path().join("inodes")).ok();
    }

    fn seen(&self) -> Seen {
        let root = self.repo();
        let mut seen = Seen::new();
        let mut todo = vec![root.clone()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_owned();
                if path.is_dir() {
                    todo.push(path);
                    seen.insert(name, None);
                } else if name != Path::new(".pvr/lock") && !name.starts_with(".pvr/index") {
                    seen.insert(name, Some(fs::read(path).unwrap()));
                }
            }
        }
        seen
    }

    /// A copy of the repository on a disk with room, on which the same command comes to what it should.
    fn done(&self, words: &[&str]) -> Seen {
        let with_room = Self { home: Home::new(), mount: Mount::tmpfs("size=16m").unwrap() };
        let copied = Command::new("cp").arg("-a").arg(self.repo()).arg(with_room.mount.path()).status().unwrap();
        assert!(copied.success());
        with_room.pvr(words).code(0);
        with_room.seen()
    }

    /// Leaves 0, 1, 2 … of a kind until the command goes through. `is_fine` looks at what a failure has left.
    fn sweep(&self, kind: Kind, words: &[&str], code: i32, is_fine: &dyn Fn(&Seen, &Seen, &Seen)) -> u64 {
        let (before, done) = (self.seen(), self.done(words));
        for left in 0..MOST {
            self.leave(kind, left);
            let ran = self.pvr(words);
            let now = self.seen();
            if ran.code == Some(0) {
                self.empty();
                assert!(now == done, "{words:?} with {left} {kind:?}");
                return left;
            }
            let when = format!("{words:?} with {left} {kind:?}: {ran:?}");
            assert_eq!(ran.code, Some(code), "{when}");
            assert!(ran.err.contains("failed to ") && ran.err.contains("No space left on device"), "{when}");
            for debris in [".pvr/batch", ".pvr/tmp"] {
                assert!(!self.repo().join(debris).exists(), "{debris}: {when}");
            }
            is_fine(&before, &done, &now);
        }
        panic!("{words:?}: {MOST} {kind:?} were not enough");
    }
}

fn assert_same(before: &Seen, now: &Seen) {
    let names = |one: &Seen, other: &Seen| -> Vec<PathBuf> {
        one.iter().filter(|(name, bytes)| other.get(*name) != Some(bytes)).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!((names(before, now), names(now, before)), (vec![], vec![]), "not as before");
}

#[test]
fn a_conversion_without_room_changes_nothing() {
    for kind in [Kind::Pages, Kind::Inodes] {
        let Some(small) = Small::new() else { return };
        let mut refused = Vec::new();
        for (volume, _) in VOLUMES {
            let words = ["dm-convert", "--reproducible", "app", volume];
            refused.push(small.sweep(kind, &words, 4, &|before, _, now| assert_same(before, now)));
        }
        println!("refused with fewer than {refused:?} {kind:?}");
        assert!(refused.iter().all(|left| *left > 4), "{refused:?} {kind:?}: it was not full");
        small.pvr(&["dm-verify"]).code(0);
    }
}

/// A volume that has no room stays as it was, and the others are made: of each, tree and manifest are old or new together.
#[test]
fn an_application_without_room_leaves_whole_volumes() {
    for kind in [Kind::Pages, Kind::Inodes] {
        let Some(small) = Small::new() else { return };
        for (volume, blocks) in VOLUMES {
            small.pvr(&["dm-convert", "--reproducible", "app", volume]).code(0);
            fs::write(small.repo().join("app").join(volume), vec![8; blocks * PAGE as usize]).unwrap();
        }
        small.pvr(&["commit"]).code(0);
        let whole = |before: &Seen, done: &Seen, now: &Seen| {
            let mut expected = before.clone();
            for (volume, _) in VOLUMES {
                let pair = [format!("app/{volume}.hash"), format!("app/_dm/{volume}.json")].map(PathBuf::from);
                let is = |of: &Seen| pair.iter().all(|name| now[name] == of[name]);
                assert!(is(before) || is(done), "{volume} is half of each");
                for name in pair {
                    expected.insert(name.clone(), now[&name].clone());
                }
            }
            // What has been made is tracked.
            let index = Path::new(".pvr/new");
            if expected != *before {
                expected.insert(index.to_owned(), now[index].clone());
            }
            assert_same(&expected, now);
        };
        let refused = small.sweep(kind, &["dm-apply"], 3, &whole);
        println!("refused with fewer than {refused} {kind:?}");
        assert!(refused > 3, "{refused} {kind:?}: it was not full");
        small.pvr(&["dm-verify"]).code(0);
    }
}
