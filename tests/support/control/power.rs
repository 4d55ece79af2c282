//! What would be left if the power went now.
//!
//! Of what the daemon does, only two things are known to last: what was there at an orderly reboot, which unmounts the store,
//! and what it writes for the boot loader, without which a reboot would go astray. It syncs nothing else: an object is
//! written under its final name, a state in place (`pvctrl.md` §4.2, §4.3), and nobody is told when they are on disk.
//!
//! So each file that was changed since then may be, independently of every other one:
//!
//! - what it was before, at any of its changes: absent, an earlier content, or there again although it was removed;
//! - what it is now: whole, empty, cut short, or of its full length with zeros from some point on, as file systems leave it
//!   that write a length before the bytes. What takes the place of another by a rename is whole, or empty.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    InPlace,
    ByRename,
}

/// What was changed since all was on disk.
#[derive(Debug, Default)]
pub struct Unsynced(BTreeMap<PathBuf, Changed>);

#[derive(Debug)]
struct Changed {
    /// What it was before each change, the oldest first; none: no file.
    before: Vec<Option<Vec<u8>>>,
    way: Way,
}

impl Unsynced {
    /// A file is about to be written, linked or removed.
    pub fn changes(&mut self, path: &Path, way: Way) {
        let now = fs::read(path).ok();
        let changed = self.0.entry(path.to_owned()).or_insert(Changed { before: Vec::new(), way });
        changed.way = way;
        if changed.before.last() != Some(&now) {
            changed.before.push(now);
        }
    }

    /// All of it is on disk.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Cuts the store back. `random` says a number below the one that it is given.
    pub fn cut(&mut self, trails: &Path, random: &mut dyn FnMut(u64) -> u64) {
        for (path, changed) in std::mem::take(&mut self.0) {
            let now = fs::read(&path).ok();
            let mut left: Vec<Option<Vec<u8>>> = changed.before;
            match now {
                None => left.push(None),
                Some(now) => {
                    if changed.way == Way::InPlace {
                        let length = now.len() as u64 + 1;
                        left.push(Some(now[..random(length) as usize].to_vec()));
                        let mut holed = now.clone();
                        holed[random(length) as usize..].fill(0);
                        left.push(Some(holed));
                    }
                    left.extend([Some(Vec::new()), Some(now)]);
                }
            }
            let chosen = left.swap_remove(random(left.len() as u64) as usize);
            put(&path, chosen.as_deref()).unwrap_or_else(|error| panic!("cut {}: {error}", path.display()));
            if random(2) == 0 {
                // A folder of which nothing is left may be gone as well.
                let folders = path.ancestors().skip(1).take_while(|folder| *folder != trails);
                let empty = |folder: &&Path| folder.starts_with(trails) && fs::remove_dir(folder).is_ok();
                folders.take_while(empty).for_each(drop);
            }
        }
    }
}

/// Into the same inode, where there is one: its other names see it as well.
fn put(path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
    let Some(bytes) = bytes else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

/// What the boot loader keeps, in `boot/uboot.txt` (`storage.md` §1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootLoader {
    /// The revision that it starts.
    pub rev: String,
    /// The one that it tries first.
    pub trying: Option<String>,
}

impl Disk {
    /// What is started next; without a word about it, what runs.
    pub fn boot_loader(&self) -> BootLoader {
        let text = fs::read_to_string(self.root().join("boot/uboot.txt")).unwrap_or_default();
        let value = |name: &str| {
            let found = text.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        BootLoader { rev: value("pv_rev").unwrap_or_else(|| self.current()), trying: value("pv_try") }
    }

    /// Says what is started next. This lasts.
    pub fn set_boot_loader(&self, loader: &BootLoader) -> io::Result<()> {
        let path = self.root().join("boot/uboot.txt");
        fs::create_dir_all(self.root().join("boot"))?;
        let trying = loader.trying.as_deref().unwrap_or_default();
        fs::write(path, format!("pv_rev={}\0pv_try={trying}\0\0", loader.rev))
    }

    /// A revision is tried; or what was tried has failed, or is not to last.
    pub fn set_trying(&self, name: Option<&str>) -> io::Result<()> {
        self.set_boot_loader(&BootLoader { trying: name.map(str::to_owned), ..self.boot_loader() })
    }
}
