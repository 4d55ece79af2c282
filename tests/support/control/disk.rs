//! The store: `objects/` and `trails/`, and what of it would survive.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::power::{BootLoader, Unsynced, Way};

pub const READY: &str = r#"{"status":"NEW","status-msg":"Update ready to be run","progress":0,"retries":0}"#;
const FACTORY_PROGRESS: &str = r#"{"status":"DONE","status-msg":"Factory revision","progress":100,"retries":0}"#;

pub struct Disk {
    root: PathBuf,
    unsynced: Unsynced,
}

impl Disk {
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut disk = Self { root: root.to_owned(), unsynced: Unsynced::default() };
        fs::create_dir_all(root.join("objects"))?;
        fs::create_dir_all(root.join("trails"))?;
        if !disk.trail("0").join(".pvr/json").exists() {
            disk.write_state("0", super::FACTORY.as_bytes())?;
            disk.write(&disk.trail("0").join(".pv/progress"), FACTORY_PROGRESS.as_bytes())?;
            disk.write(&disk.trail("0").join(".pv/done"), b"")?;
            disk.set_current("0")?;
            disk.set_boot_loader(&BootLoader { rev: "0".into(), trying: None })?;
            disk.sync();
        }
        Ok(disk)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn object(&self, name: &str) -> PathBuf {
        self.root.join("objects").join(name)
    }

    pub fn trail(&self, name: &str) -> PathBuf {
        self.root.join("trails").join(name)
    }

    /// Names and sizes, those of 64 characters.
    pub fn objects(&self) -> Vec<(String, u64)> {
        let mut found: Vec<(String, u64)> = entries(&self.root.join("objects"))
            .into_iter()
            .filter(|name| name.len() == 64)
            .filter_map(|name| Some((name.clone(), fs::metadata(self.object(&name)).ok()?.len())))
            .collect();
        found.sort();
        found
    }

    /// Revisions, as the daemon lists them: folders of `trails/`, then of `trails/locals/`.
    pub fn steps(&self) -> Vec<String> {
        let list = |folder: &str, before: &str| {
            let mut names = entries(&self.root.join(folder));
            names.sort();
            names.retain(|name| !before.is_empty() || name != "current" && name != "locals");
            names.into_iter().map(|name| format!("{before}{name}")).collect::<Vec<_>>()
        };
        let mut all = list("trails", "");
        all.extend(list("trails/locals", "locals/"));
        all.retain(|name| self.trail(name).is_dir());
        all
    }

    pub fn current(&self) -> String {
        fs::read_link(self.root.join("trails/current")).map(|to| to.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub fn set_current(&self, name: &str) -> io::Result<()> {
        let link = self.root.join("trails/current");
        fs::remove_file(&link).ok();
        symlink(name, link)
    }

    /// In place.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        self.changes(path);
        fs::write(path, bytes)
    }

    /// Under another name, which is then made this one.
    pub fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        self.unsynced.changes(path, Way::ByRename);
        let aside = path.with_extension("tmp");
        fs::write(&aside, bytes)?;
        fs::rename(aside, path)
    }

    /// A second name.
    pub fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        self.changes(to);
        fs::hard_link(from, to)
    }

    pub fn remove(&mut self, path: &Path) {
        self.changes(path);
        fs::remove_file(path).ok();
    }

    /// A revision, whole.
    pub fn remove_trail(&mut self, name: &str) {
        let mut folders = vec![self.trail(name)];
        while let Some(folder) = folders.pop() {
            for name in entries(&folder) {
                let path = folder.join(name);
                if path.is_dir() { folders.push(path) } else { self.changes(&path) }
            }
        }
        fs::remove_dir_all(self.trail(name)).ok();
    }

    pub fn write_state(&mut self, name: &str, state: &[u8]) -> io::Result<()> {
        let path = self.trail(name).join(".pvr/json");
        self.write(&path, state)
    }

    /// A file is about to be written into, or removed.
    pub fn changes(&mut self, path: &Path) {
        self.unsynced.changes(path, Way::InPlace);
    }

    /// All is on disk now.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    pub fn lose_power(&mut self, random: &mut dyn FnMut(u64) -> u64) {
        self.unsynced.cut(&self.root.join("trails"), random);
    }

    /// Collects as the daemon does: every revision that is not among `kept`, then every object with one link.
    pub fn collect(&mut self, kept: &[String]) -> u64 {
        for name in self.steps() {
            if !kept.contains(&name) {
                self.remove_trail(&name);
            }
        }
        let mut reclaimed = 0;
        for name in entries(&self.root.join("objects")) {
            let path = self.object(&name);
            if let Ok(meta) = fs::metadata(&path)
                && meta.nlink() == 1
                && !name.starts_with('.')
            {
                reclaimed += meta.len();
                self.remove(&path);
            }
        }
        reclaimed
    }

    /// Bytes that the objects and the states take.
    pub fn used(&self) -> u64 {
        let objects: u64 = self.objects().iter().map(|(_, size)| size).sum();
        let states: u64 = self
            .steps()
            .iter()
            .filter_map(|n| fs::metadata(self.trail(n).join(".pvr/json")).ok())
            .map(|m| m.len())
            .sum();
        objects + states
    }
}

pub fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
