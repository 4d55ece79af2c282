//! Storages, mounts, a collector and snapshots, for the tests that look at what is on disk.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod system;

use pvr_agent::state::{JsonLimits, ObjectId, Spec, State};
use pvr_agent::store::{Capabilities, ObjectStore, Stage, StoreError, Stored};
use pvr_agent::trails::{Install, InstallError, Installed, Storage, fsck, install};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tempfile::TempDir;

/// So many of `full` repetitions as `PVR_ROUNDS` (per cent, 5 if unset) says, at least one.
pub fn rounds(full: usize) -> usize {
    let percent = std::env::var("PVR_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    (full * percent / 100).max(1)
}

/// Every way around, alone and all together.
pub fn all_capabilities() -> Vec<Capabilities> {
    let all = Capabilities { unnamed: true, rename_flags: true, syncfs: true };
    vec![
        all,
        Capabilities { unnamed: false, ..all },
        Capabilities { rename_flags: false, ..all },
        Capabilities { syncfs: false, ..all },
        Capabilities::NONE,
    ]
}

/// A mounted file system, unmounted when dropped.
pub struct Mount {
    path: PathBuf,
    _dir: TempDir,
}

/// Held for writing while a program is started: until it is one, the child has a copy of every descriptor, and of the locks on them.
static STARTING: RwLock<()> = RwLock::new(());

/// Nobody here starts a program while this is held: a lock that is given up can be had at once.
pub fn nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

fn starting() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

impl Mount {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn tmpfs(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mnt");
        fs::create_dir(&path).unwrap();
        Self::at(dir, &["-t", "tmpfs", "-o", options, "tmpfs"], &path)
    }

    pub fn ext4(mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (path, image) = (dir.path().join("mnt"), dir.path().join("image"));
        fs::create_dir(&path).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let image = image.to_str().unwrap().to_owned();
        let turn = starting();
        let made = Command::new("mkfs.ext4").args(["-q", "-F", &image]).status().is_ok_and(|status| status.success());
        drop(turn);
        if !made {
            return skip("mkfs.ext4");
        }
        Self::at(dir, &["-o", "loop", &image], &path)
    }

    pub fn overlay() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["lower", "upper", "work", "mnt"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let at = |folder: &str| dir.path().join(folder).to_str().unwrap().to_owned();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let path = dir.path().join("mnt");
        Self::at(dir, &["-t", "overlay", "-o", &options, "overlay"], &path)
    }

    fn at(dir: TempDir, args: &[&str], path: &Path) -> Option<Self> {
        let turn = starting();
        let output = Command::new("mount").args(args).arg(path).output().unwrap();
        drop(turn);
        if output.status.success() {
            return Some(Self { path: path.to_owned(), _dir: dir });
        }
        skip(&format!("mount {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
    }

    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let _turn = starting();
        let status = Command::new("mount").args(["-o", &options]).arg(&self.path).status().unwrap();
        assert!(status.success(), "mount -o {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A child that another test is starting may hold a descriptor on it for a moment: then it goes when it can.
        let _turn = starting();
        let gone = Command::new("umount").arg(&self.path).output().is_ok_and(|output| output.status.success());
        if !gone {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}

/// A folder where making things durable costs nothing, for tests that repeat thousands of times.
pub fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Says which test cannot run for lack of root or a tool. Where `CI_RUN` is set, that is a failure.
fn skip<T>(why: &str) -> Option<T> {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    assert!(std::env::var_os("CI_RUN").is_none(), "{name} cannot run: {why}");
    eprintln!("skipped {name}: {why}");
    None
}

/// Folders on every file system that can be mounted, and on the one that temporary files are on.
pub fn file_systems() -> Vec<(&'static str, PathBuf, Box<dyn std::any::Any>)> {
    let plain = tempfile::tempdir().unwrap();
    let mut all: Vec<(_, PathBuf, Box<dyn std::any::Any>)> = vec![("plain", plain.path().into(), Box::new(plain))];
    let mounts = [("tmpfs", Mount::tmpfs("size=64m")), ("ext4", Mount::ext4(64)), ("overlay", Mount::overlay())];
    for (name, mount) in mounts {
        if let Some(mount) = mount {
            all.push((name, mount.path().to_owned(), Box::new(mount)));
        }
    }
    all
}

pub fn store_in(dir: &Path, capabilities: Option<Capabilities>) -> ObjectStore {
    let options = pvr_agent::store::Options { capabilities, ..Default::default() };
    ObjectStore::open_with(&dir.join("objects"), &dir.join(".pvr-agent"), options).unwrap()
}

/// The sha256 of bytes, by way of a store that is thrown away.
pub fn id_of(bytes: &[u8]) -> ObjectId {
    use sha2::Digest;
    ObjectId::from_bytes(sha2::Sha256::digest(bytes).into())
}

pub fn upload(store: &ObjectStore, bytes: &[u8]) -> Result<(ObjectId, Stored), StoreError> {
    let mut writer = store.begin(Some(id_of(bytes)), None)?;
    for chunk in bytes.chunks(64 << 10) {
        writer.write_all(chunk)?;
    }
    Ok(store.publish(vec![writer.finish()?], Stage::Yes)?[0])
}

/// A state of objects (key, bytes) and JSON (key, text).
pub fn state(objects: &[(&str, &[u8])], json: &[(&str, &str)]) -> State {
    let mut text = String::from(r##"{"#spec":"pantavisor-service-system@1""##);
    for (key, bytes) in objects {
        text.push_str(&format!(r#","{key}":"{}""#, id_of(bytes)));
    }
    for (key, value) in json {
        text.push_str(&format!(r#","{key}":{value}"#));
    }
    text.push('}');
    State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Known).unwrap()
}

pub fn install_as(storage: &Storage, rev: &str, state: &State) -> Result<Installed, InstallError> {
    let rev = pvr_agent::state::Revision::parse(rev).unwrap();
    install(storage, Install { rev: &rev, state, commit_msg: Some("a message"), make_current: false })
}

/// Everything below a folder: path → what it is. Link counts and times are left out.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_dir() {
                todo.push(path.clone());
                format!("folder {:o}", meta.mode() & 0o7777)
            } else if meta.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("{:o} {} inode {}", meta.mode() & 0o7777, id_of(&fs::read(&path).unwrap()), meta.ino())
            };
            all.insert(path.strip_prefix(dir).unwrap().to_owned(), what);
        }
    }
    all
}

/// Nothing half-done is left, and everything is what it says it is.
pub fn assert_clean(storage: &Storage) {
    for folder in ["tmp", "replaced"] {
        let left: Vec<_> = fs::read_dir(storage.store().agent().join(folder)).unwrap().collect();
        assert!(left.is_empty(), "left in {folder}: {left:?}");
    }
    assert_eq!(fsck(storage, 2).unwrap().findings, []);
}

/// Pantavisor's collector: under no lock, deletes revisions that it doesn't know and objects with one link.
pub fn collect(storage: &Path, known: &[&str]) {
    for folder in ["trails", "trails/locals"] {
        for entry in fs::read_dir(storage.join(folder)).unwrap().flatten() {
            let name = entry.path().strip_prefix(storage.join("trails")).unwrap().to_str().unwrap().to_owned();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && name != "locals" && !known.contains(&name.as_str()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
    collect_objects(storage);
}

pub fn collect_objects(storage: &Path) {
    for entry in fs::read_dir(storage.join("objects")).unwrap().flatten() {
        if fs::symlink_metadata(entry.path()).is_ok_and(|meta| meta.nlink() == 1) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Tells a thread to stop when dropped, so that a failed assertion ends the test instead of leaving the thread running.
pub struct Stop(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Stop {
    /// The end that stops, and the end that asks.
    pub fn pair() -> (Self, impl Fn() -> bool + Send + Clone) {
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = flag.clone();
        (Self(flag), move || asked.load(std::sync::atomic::Ordering::Relaxed))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
