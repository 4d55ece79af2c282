//! Repositories to deploy from, and looks at what came of it.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::pvr::Home;

/// What a name is: kind, mode, inode (0 for folders, which are made anew), and its bytes or where it leads.
pub type Tree = BTreeMap<String, (u32, u64, Vec<u8>)>;

/// Everything below a folder; without what locks and temporaries leave.
pub fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    look(root, "", &mut found);
    found.retain(|name, _| !name.contains(".pvr-agent") && !name.ends_with(".pvr/lock"));
    found
}

fn look(root: &Path, below: &str, found: &mut Tree) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let (inode, bytes) = if meta.is_symlink() {
            (meta.ino(), fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned().into_bytes())
        } else if meta.is_file() {
            (meta.ino(), fs::read(entry.path()).unwrap())
        } else {
            (0, Vec::new())
        };
        found.insert(name.clone(), (meta.mode(), inode, bytes));
        if meta.is_dir() {
            look(root, &format!("{name}/"), found);
        }
    }
}

/// The names of the files below a folder, without `.pvr`.
pub fn names(root: &Path) -> Vec<String> {
    let files = tree(root).into_iter().filter(|(_, (mode, ..))| mode & 0o170000 != 0o040000);
    files.map(|(name, _)| name).filter(|name| !name.starts_with(".pvr")).collect()
}

/// A committed repository with these files.
pub fn source(home: &Home, name: &str, files: &[(&str, &[u8])]) {
    fs::create_dir_all(home.at(name)).unwrap();
    for (path, bytes) in files {
        home.write(&format!("{name}/{path}"), bytes);
    }
    let pool = format!("--objects={name}-objects");
    let pool = home.at(&pool["--objects=".len()..]);
    home.pvr(name, &["init", &format!("--objects={}", pool.display())]).code(0);
    home.pvr(name, &["add"]).code(0);
    home.pvr(name, &["commit", "-m", "x"]).code(0);
}

pub const BSP: &[(&str, &[u8])] = &[
    ("bsp/run.json", br#"{"addons":["a0"],"fdt":"d","initrd":"i","linux":"k"}"#),
    ("bsp/a0", b"an addon"),
    ("bsp/d", b"a device tree"),
    ("bsp/i", b"an initial ram disk"),
    ("bsp/k", b"a kernel"),
];

/// Whether nothing unfinished lies beside a folder or in the pool.
#[track_caller]
pub fn no_debris(root: &Path) {
    let all = fs::read_dir(root).unwrap().flatten();
    let left: Vec<_> =
        all.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains("pvr-deploy")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether two names are one file.
pub fn same(one: &Path, other: &Path) -> bool {
    fs::metadata(one).unwrap().ino() == fs::metadata(other).unwrap().ino()
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
