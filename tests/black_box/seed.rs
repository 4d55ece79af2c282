//! Storages made by plain file operations, after `trails/` as Pantavisor reads it, and looks at what is in one.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A storage that no code of the program has touched.
pub struct Seed {
    pub root: PathBuf,
}

/// One file of a revision.
pub enum File<'a> {
    /// An object: hardlinked.
    Object(&'a [u8]),
    /// Inline JSON, canonical: written.
    Json(&'a str),
}

impl Seed {
    pub fn new(root: &Path) -> Self {
        for folder in ["objects", "trails", "boot", "config"] {
            fs::create_dir_all(root.join(folder)).expect("make the layout");
        }
        Self { root: root.into() }
    }

    /// Stores an object and returns its sha256.
    pub fn object(&self, bytes: &[u8]) -> String {
        let sha = super::sha256(bytes);
        let path = self.root.join("objects").join(&sha);
        if !path.exists() {
            fs::write(&path, bytes).expect("write an object");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("make it read-only");
        }
        sha
    }

    /// Makes a revision that ran to the end, and makes it current. Returns its state in canonical form.
    pub fn revision(&self, name: &str, files: &[(&str, File)]) -> String {
        let folder = self.root.join("trails").join(name);
        let mut state = BTreeMap::from([("#spec", r#""pantavisor-service-system@1""#.to_string())]);
        for (key, file) in files {
            let path = folder.join(key);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make a folder");
            let value = match file {
                File::Object(bytes) => {
                    let sha = self.object(bytes);
                    fs::hard_link(self.root.join("objects").join(&sha), &path).expect("link an object");
                    format!("{sha:?}")
                }
                File::Json(text) => {
                    fs::write(&path, text).expect("write JSON");
                    text.to_string()
                }
            };
            state.insert(key, value);
        }
        let members: Vec<_> = state.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        let state = format!("{{{}}}", members.join(","));
        self.finish(name, &state);
        state
    }

    /// Writes what a revision has besides its files, and makes it current.
    fn finish(&self, name: &str, state: &str) {
        let folder = self.root.join("trails").join(name);
        fs::create_dir_all(folder.join(".pvr")).expect("make .pvr");
        fs::create_dir_all(folder.join(".pv")).expect("make .pv");
        fs::write(folder.join(".pvr/json"), state).expect("write the state");
        let config = format!(r#"{{"ObjectsDir": "{}/objects"}}"#, self.root.display());
        fs::write(folder.join(".pvr/config"), config).expect("write the config");
        fs::write(folder.join(".pv/progress"), r#"{"status":"DONE","status-msg":"","progress":100}"#)
            .expect("write the progress");
        fs::write(folder.join(".pv/done"), "").expect("write done");
        let current = self.root.join("trails/current");
        let _ = fs::remove_file(&current);
        std::os::unix::fs::symlink(name, &current).expect("set current");
    }

    /// A factory revision with a bsp and one container.
    pub fn factory(root: &Path) -> Self {
        let seed = Self::new(root);
        seed.revision(
            "0",
            &[
                ("bsp/kernel.img", File::Object(b"a kernel of the tests\n")),
                ("bsp/pantavisor", File::Object(b"an initial ram disk of the tests\n")),
                ("bsp/run.json", File::Json(r#"{"initrd":"pantavisor","linux":"kernel.img"}"#)),
                ("app/root.squashfs", File::Object(&[7; 70_000])),
                ("app/run.json", File::Json(r#"{"name":"app","root-volume":"root.squashfs"}"#)),
                ("app/src.json", File::Json(r#"{"template":"builtin-lxc-docker"}"#)),
            ],
        );
        seed
    }
}

/// What one path is: its kind, and for a file its inode, mode and content's sha256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub inode: u64,
    pub sha: String,
}

/// Every file below `root`, by its relative path. Symbolic links are entries with their target as content. What goes while this is
/// looked at is not there.
pub fn tree(root: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Some(items) = there(fs::read_dir(&folder), &folder) else {
            assert!(folder != root, "{} is not there", root.display());
            continue;
        };
        for item in items {
            let path = item.expect("an entry").path();
            let Some(meta) = there(fs::symlink_metadata(&path), &path) else { continue };
            if meta.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = if meta.is_symlink() {
                fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes())
            } else {
                fs::read(&path)
            };
            let Some(bytes) = there(bytes, &path) else { continue };
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            found.insert(name, Entry { mode: meta.mode() & 0o7777, inode: meta.ino(), sha: super::sha256(&bytes) });
        }
    }
    found
}

/// `None`: it has gone.
fn there<T>(result: std::io::Result<T>, path: &Path) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Everything but the agent's own folder, and without modes and inodes: what a device would see.
pub fn visible(root: &Path) -> BTreeMap<String, String> {
    let all = tree(root).into_iter().filter(|(name, _)| !name.starts_with(".pvr-agent/"));
    all.map(|(name, entry)| (name, entry.sha)).collect()
}

/// What lies in `.pvr-agent/tmp` and other places for unfinished things: has to be empty when nothing runs.
pub fn debris(root: &Path) -> Vec<String> {
    let names = tree(&root.join("objects")).into_keys().filter(|name| name.len() != 64).collect::<Vec<_>>();
    let tmp = root.join(".pvr-agent/tmp");
    let unfinished = if tmp.exists() { fs::read_dir(tmp).expect("list tmp").count() } else { 0 };
    let mut found: Vec<_> = names.into_iter().map(|name| format!("objects/{name}")).collect();
    if unfinished > 0 {
        found.push(format!("{unfinished} entries in .pvr-agent/tmp"));
    }
    found
}

/// One pass of Pantavisor's own collector, which takes no lock of ours: revisions that it doesn't know go, then objects with one link.
/// Returns how many objects and directories went.
pub fn collect(root: &Path, known: &[&str]) -> usize {
    let mut gone = 0;
    let trails = root.join("trails");
    let current = fs::read_link(trails.join("current")).ok();
    let keep = |name: &str| {
        name == "0" || known.contains(&name) || current.as_deref().is_some_and(|path| path == Path::new(name))
    };
    for (folder, prefix) in [(trails.clone(), ""), (trails.join("locals"), "locals/")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && name != "locals" && !keep(&name) {
                gone += usize::from(fs::remove_dir_all(entry.path()).is_ok());
            }
        }
    }
    for entry in fs::read_dir(root.join("objects")).expect("list objects").flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.metadata().is_ok_and(|meta| meta.nlink() == 1) {
            gone += usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    gone
}
