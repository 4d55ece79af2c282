//! Replacing a whole folder by another one that was built beside it.
//!
//! ```text
//! <parent>/.pvr-deploy-<16 hex>/       of a folder <parent>/<name>; the digits are of its name
//! <storage>/.pvr-agent/deploys/<16 hex>/   of <storage>/trails/<revision>: what else lies in trails/ is collected
//!     target                           the marker: which folder this is about, relative to here
//!     new/                             the folder in the making
//!     old/                             what stood there, where folders can't be exchanged
//! ```
//!
//! The owner holds `flock` on the working folder, so there is one replacement of a folder at a time, and a working
//! folder that nobody holds was left by one that died. Until the exchange the target is untouched; after it, it is
//! complete. Where the file system or the kernel can't exchange, the target is renamed to `old/` and the new one takes
//! its place: in between there is no target, and whoever comes next puts the old one back.

use super::caps::Capabilities;
use super::durable;
use super::error::{Absent, Context, StoreError};
use super::hash::hash;
use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, mkdir, open, rename, renameat_with, syncfs,
};
use rustix::io::Errno;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = ".pvr-deploy-";
const DEPLOYS: &str = "deploys";
const MARKER: &str = "target";
/// How often a working folder is made that another process clears away in the same instant.
const TRIES: usize = 64;

/// A replacement under way. Dropped before [`commit`](Swap::commit) it has never been.
#[derive(Debug)]
pub(crate) struct Swap {
    target: PathBuf,
    work: PathBuf,
    lock: OwnedFd,
}

/// What was in the place of the new folder.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// Nothing.
    Nothing,
    /// A folder that the new one was exchanged with; it is where the new one was built.
    Exchanged(PathBuf),
    /// A folder that has been set aside.
    SetAside(PathBuf),
}

impl Replaced {
    /// Where the old folder is now.
    pub(crate) fn old(&self) -> Option<&Path> {
        match self {
            Self::Nothing => None,
            Self::Exchanged(path) | Self::SetAside(path) => Some(path),
        }
    }
}

impl Swap {
    /// Waits until nobody else replaces `target`, and clears up after those that died. The path is absolute and
    /// without symbolic links; the folder above it exists.
    pub(crate) fn begin(target: &Path) -> Result<Self, StoreError> {
        let place = Place::of(target)?;
        for _ in 0..TRIES {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.base).on("create", &place.base)?;
            match mkdir(&place.work, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).on("create", &place.work),
            }
            let Some(lock) = hold(&place.work, FlockOperation::LockExclusive)? else { continue };
            recover(&place.work, target)?;
            clear(&place.work)?;
            let marker = place.work.join(MARKER);
            let mut file = fs::File::create(&marker).on("create", &marker)?;
            file.write_all(place.relative.as_os_str().as_bytes()).on("write", &marker)?;
            file.sync_all().on("write", &marker)?;
            durable::folder(&place.work)?;
            return Ok(Self { target: target.to_owned(), work: place.work, lock });
        }
        Err(StoreError::Contended { path: place.work })
    }

    /// Where the new folder is to be built.
    pub(crate) fn new_folder(&self) -> PathBuf {
        self.work.join("new")
    }

    /// Makes all that has been written in the new folder durable. Files that have other names are objects, or lie in the
    /// old folder.
    pub(crate) fn make_durable(&self, caps: Capabilities) -> Result<(), StoreError> {
        if caps.syncfs {
            // This descriptor is older than everything in the folder, so it reports what became of it.
            return syncfs(&self.lock).on("make files durable in", &self.work);
        }
        durable::tree(&self.new_folder())
    }

    /// Puts the new folder, which is durable, into its place.
    pub(crate) fn commit(&self, caps: Capabilities) -> Result<Replaced, StoreError> {
        let (new, old, target) = (self.new_folder(), self.work.join("old"), &self.target);
        let replaced = if fs::symlink_metadata(target).absent_ok().on("look at", target)?.is_none() {
            self.add(caps)?;
            Replaced::Nothing
        } else {
            let exchanged = match caps.rename_flags {
                true => renameat_with(CWD, &new, CWD, target, RenameFlags::EXCHANGE),
                false => Err(Errno::NOSYS),
            };
            match exchanged {
                Ok(()) => Replaced::Exchanged(new),
                Err(Errno::INVAL | Errno::NOSYS) => {
                    rename(target, &old).on("set aside", target)?;
                    #[cfg(test)]
                    super::moment::reached(&self.work).on("replace", target)?;
                    if let Err(e) = rename(&new, target) {
                        // Should this fail as well, the next command puts it back.
                        let _ = rename(&old, target);
                        return Err(e).on("replace", target);
                    }
                    Replaced::SetAside(old)
                }
                Err(e) => return Err(e).on("replace", target),
            }
        };
        if let Err(error) = self.sync() {
            // Should this fail as well, what is there is whole.
            let _ = self.undo(&replaced);
            return Err(error);
        }
        Ok(replaced)
    }

    fn add(&self, caps: Capabilities) -> Result<(), StoreError> {
        let (new, target) = (self.new_folder(), &self.target);
        if caps.rename_flags {
            match renameat_with(CWD, &new, CWD, target, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS) => {}
                other => return other.on("create", target),
            }
        }
        // A folder that somebody has filled meanwhile is refused by rename itself.
        rename(&new, target).on("create", target)
    }

    /// Takes the new folder away again and puts back what was there.
    pub(crate) fn undo(&self, replaced: &Replaced) -> Result<(), StoreError> {
        let (new, target) = (self.new_folder(), &self.target);
        match replaced {
            Replaced::Nothing => rename(target, &new).on("take back", target)?,
            Replaced::Exchanged(old) => {
                renameat_with(CWD, old, CWD, target, RenameFlags::EXCHANGE).on("put back", target)?;
            }
            Replaced::SetAside(old) => {
                rename(target, &new).on("take back", target)?;
                rename(old, target).on("put back", target)?;
            }
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        durable::folder(parent)?;
        durable::folder(&self.work)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // What cannot be removed now is unlocked in a moment, and cleared by the next one; that one also puts back
        // what could not be put back.
        if recover(&self.work, &self.target).is_ok() {
            let _ = fs::remove_dir_all(&self.work);
        }
    }
}

/// Where the working folder of a target is.
struct Place {
    base: PathBuf,
    work: PathBuf,
    /// The target, seen from the working folder.
    relative: PathBuf,
}

impl Place {
    fn of(target: &Path) -> Result<Self, StoreError> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(StoreError::NoParent { path: target.to_owned() });
        };
        Ok(match storage_of(target) {
            Some((storage, below)) => {
                let base = storage.join(".pvr-agent").join(DEPLOYS);
                Self { work: base.join(digits(&below)), base, relative: Path::new("../../..").join(below) }
            }
            None => Self {
                base: parent.to_owned(),
                work: parent.join(format!("{PREFIX}{}", digits(Path::new(name)))),
                relative: Path::new("..").join(name),
            },
        })
    }

    /// The target of a working folder that has been removed: the one beside it whose name has these digits.
    fn replaced(work: &Path) -> Option<PathBuf> {
        let base = work.parent()?;
        let beside = match base.ends_with(Path::new(".pvr-agent").join(DEPLOYS)) {
            false => vec![base.to_owned()],
            true => {
                let trails = base.parent()?.parent()?.join("trails");
                vec![trails.join("locals"), trails]
            }
        };
        let entries = beside.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| path.is_dir() && Self::of(path).is_ok_and(|it| it.work == work))
    }

    /// The target that a working folder's marker names, if it belongs to it.
    fn marked(work: &Path) -> Option<PathBuf> {
        let marker = fs::read(work.join(MARKER)).ok()?;
        let relative = PathBuf::from(std::ffi::OsString::from_vec(marker));
        let (mut target, mut rest) = (work.to_owned(), relative.as_path());
        while let Ok(below) = rest.strip_prefix("..") {
            target.pop();
            rest = below;
        }
        let target = target.join(rest);
        Self::of(&target).is_ok_and(|place| place.work == work && place.relative == relative).then_some(target)
    }
}

/// The storage that a folder is a revision of, and the revision's path below it.
fn storage_of(target: &Path) -> Option<(PathBuf, PathBuf)> {
    let parent = target.parent()?;
    let trails = if parent.ends_with("trails/locals") { parent.parent()? } else { parent };
    let storage = trails.ends_with("trails").then(|| trails.parent())??;
    let below = target.strip_prefix(storage).ok()?.to_owned();
    storage.join("objects").is_dir().then(|| (storage.to_owned(), below))
}

fn digits(name: &Path) -> String {
    // Out of memory there is nothing to fail.
    hash(name.as_os_str().as_bytes()).map(|id| id.to_string()[..16].to_owned()).unwrap_or_default()
}

/// Locks a working folder. None: it is gone, or it is held and was not waited for.
fn hold(work: &Path, how: FlockOperation) -> Result<Option<OwnedFd>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some(fd) = open(work, flags, Mode::empty()).absent_ok().on("open", work)? else { return Ok(None) };
    loop {
        match flock(&fd, how) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(e).on("lock", work),
        }
    }
    let held = fstat(&fd).on("look at", work)?;
    let named = fs::symlink_metadata(work).absent_ok().on("look at", work)?;
    Ok(named.filter(|named| named.ino() == held.st_ino).map(|_| fd))
}

/// Puts back what was set aside, if nothing came in its place. The caller holds the working folder.
fn recover(work: &Path, target: &Path) -> Result<(), StoreError> {
    let (old, new) = (work.join("old"), work.join("new"));
    let there = |path: &Path| fs::symlink_metadata(path).absent_ok().on("look at", path).map(|meta| meta.is_some());
    if !there(&old)? {
        return Ok(());
    }
    if !there(target)? {
        rename(&old, target).on("put back", target)?;
        return durable::folder(target.parent().unwrap_or(Path::new("/")));
    }
    if there(&new)? {
        // Neither is ours to throw away.
        return Err(StoreError::SetAside { aside: old, target: target.to_owned() });
    }
    Ok(())
}

/// Removes what is in a working folder.
fn clear(work: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(work).on("list", work)? {
        let path = entry.on("list", work)?.path();
        let meta = fs::symlink_metadata(&path).on("look at", &path)?;
        if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.on("remove", &path)?;
    }
    Ok(())
}

/// Clears up after a replacement of `target` that died. One that is alive is waited for if there is no target meanwhile.
pub(crate) fn settle(target: &Path) -> Result<(), StoreError> {
    // The working folder is found by the folder above, which a relative path may not name.
    let Ok(target) = std::path::absolute(target) else { return Ok(()) };
    match Place::of(&target) {
        Ok(place) => settle_one(&place.work, &target, Wait::IfGone),
        Err(_) => Ok(()),
    }
}

/// Where somebody is who was in `folder` when it was replaced, or set aside: that folder is no longer under its name.
/// None: it is what it was. Whatever died on the way is settled first.
pub(crate) fn follow(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
    for aside in folder.ancestors().filter(|path| path.ends_with("new") || path.ends_with("old")) {
        let (Some(work), Ok(below)) = (aside.parent(), folder.strip_prefix(aside)) else { continue };
        if let Some(target) = Place::marked(work).or_else(|| Place::replaced(work)) {
            settle_one(work, &target, Wait::IfGone)?;
            return Ok(Some(target.join(below)));
        }
    }
    Ok(None)
}

/// The working folders of a storage that nobody holds.
pub(crate) fn unowned(agent: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let folder = agent.join(DEPLOYS);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).absent_ok().on("list", &folder)?.into_iter().flatten() {
        let work = entry.on("list", &folder)?.path();
        if hold(&work, FlockOperation::NonBlockingLockShared)?.is_some() {
            found.push(work);
        }
    }
    found.sort();
    Ok(found)
}

/// Clears up after all that died in the working folder of a storage. The caller holds locks that the living wait for, so
/// these are not waited for.
pub(crate) fn settle_all(agent: &Path) -> Result<(), StoreError> {
    let folder = agent.join(DEPLOYS);
    for entry in fs::read_dir(&folder).absent_ok().on("list", &folder)?.into_iter().flatten() {
        let work = entry.on("list", &folder)?.path();
        match Place::marked(&work).or_else(|| Place::replaced(&work)) {
            Some(target) => settle_one(&work, &target, Wait::Never)?,
            None => discard(&work)?,
        }
    }
    Ok(())
}

/// Removes a working folder that says of no target that it is about it: its owner died before it had begun, or while it was
/// clearing up. What was set aside for one that is not there is nobody's to throw away.
fn discard(work: &Path) -> Result<(), StoreError> {
    let Some(_lock) = hold(work, FlockOperation::NonBlockingLockExclusive)? else { return Ok(()) };
    if fs::symlink_metadata(work.join("old")).absent_ok().on("look at", work)?.is_none() {
        fs::remove_dir_all(work).absent_ok().on("remove", work)?;
    }
    Ok(())
}

/// Whether to wait for one that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Never,
    IfGone,
}

fn settle_one(work: &Path, target: &Path, wait: Wait) -> Result<(), StoreError> {
    // The usual case: nothing is left of anybody.
    if fs::symlink_metadata(work).absent_ok().on("look at", work)?.is_none() {
        return Ok(());
    }
    let gone = fs::symlink_metadata(target).absent_ok().on("look at", target)?.is_none();
    let how = if gone && wait == Wait::IfGone {
        FlockOperation::LockExclusive
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    let Some(_lock) = hold(work, how)? else { return Ok(()) };
    recover(work, target)?;
    fs::remove_dir_all(work).absent_ok().on("remove", work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::moment;
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    const ALL: Capabilities = Capabilities { unnamed: true, rename_flags: true, syncfs: true };

    /// A folder for a target and, for a revision of a storage, what makes it one.
    fn targets(root: &Path) -> Vec<PathBuf> {
        for folder in ["plain", "storage/trails/locals", "storage/objects"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        ["plain/x", "storage/trails/0", "storage/trails/locals/a"].iter().map(|path| root.join(path)).collect()
    }

    fn content(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join("content")).ok()
    }

    fn fill(folder: &Path, text: &str) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("content"), text).unwrap();
    }

    /// All that is left in working folders.
    fn debris(root: &Path) -> Vec<PathBuf> {
        let list = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let all = list("plain").chain(list("storage/trails")).chain(list("storage/.pvr-agent/deploys"));
        all.map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains(PREFIX) || path.to_string_lossy().contains(DEPLOYS))
            .collect()
    }

    #[test]
    fn a_folder_is_made_replaced_and_put_back() {
        for caps in [ALL, Capabilities { rename_flags: false, ..ALL }, Capabilities::NONE] {
            let root = tempfile::tempdir().unwrap();
            for target in targets(root.path()) {
                for text in ["one", "two"] {
                    let swap = Swap::begin(&target).unwrap();
                    fill(&swap.new_folder(), text);
                    swap.make_durable(caps).unwrap();
                    let replaced = swap.commit(caps).unwrap();
                    assert_eq!(replaced.old().and_then(content), (text == "two").then(|| "one".to_owned()));
                    assert_eq!(content(&target).as_deref(), Some(text), "{target:?}");
                }
                let swap = Swap::begin(&target).unwrap();
                fill(&swap.new_folder(), "three");
                let replaced = swap.commit(caps).unwrap();
                assert_eq!(content(&target).as_deref(), Some("three"));
                swap.undo(&replaced).unwrap();
                drop(swap);
                assert_eq!(content(&target).as_deref(), Some("two"));
                drop(Swap::begin(&target).unwrap());
                assert_eq!(content(&target).as_deref(), Some("two"), "one that is given up changes nothing");
            }
            assert_eq!(debris(root.path()), Vec::<PathBuf>::new());
        }
    }

    /// What a process leaves that is killed at each moment, and what the next one makes of it.
    #[test]
    fn one_that_died_is_completed_or_undone() {
        for caps in [ALL, Capabilities { rename_flags: false, ..ALL }] {
            let root = tempfile::tempdir().unwrap();
            for (index, target) in targets(root.path()).iter().enumerate() {
                fill(target, "old");
                let copies = Rc::new(RefCell::new(Vec::new()));
                let (from, made) = (root.path().to_owned(), Rc::clone(&copies));
                let swap = Swap::begin(target).unwrap();
                fill(&swap.new_folder(), "new");
                let watching = moment::watch(move |_| {
                    let copy = tempfile::tempdir().unwrap();
                    let status = std::process::Command::new("cp").arg("-a").arg(&from).arg(copy.path()).status();
                    assert!(status.unwrap().success());
                    made.borrow_mut().push(copy);
                    Ok(())
                });
                swap.commit(caps).unwrap();
                drop(watching);
                drop(swap);
                let copies = copies.borrow();
                assert!(copies.len() >= if caps.rename_flags { 2 } else { 3 }, "{}", copies.len());
                let mut gone = 0;
                for copy in copies.iter() {
                    let copied = copy.path().join(root.path().file_name().unwrap());
                    let target = copied.join(target.strip_prefix(root.path()).unwrap());
                    let work = Place::of(&target).unwrap().work;
                    gone += usize::from(!target.exists());
                    match index {
                        // Whoever was in the folder that was set aside, or comes to the folder, or starts a device.
                        0 if work.join("old/content").exists() => {
                            assert_eq!(follow(&work.join("old/below")).unwrap(), Some(target.join("below")));
                        }
                        1 => settle_all(&copied.join("storage/.pvr-agent")).unwrap(),
                        _ => settle(&target).unwrap(),
                    }
                    assert!(matches!(content(&target).as_deref(), Some("old" | "new")), "{target:?}");
                    assert_eq!(debris(&copied), Vec::<PathBuf>::new());
                }
                assert_eq!(gone > 0, !caps.rename_flags, "the moment between two renames has been seen");
            }
        }
    }

    #[test]
    fn a_failure_of_the_disk_leaves_what_was_there() {
        for caps in [ALL, Capabilities { rename_flags: false, ..ALL }] {
            for at in 0..3 {
                let root = tempfile::tempdir().unwrap();
                let target = targets(root.path()).remove(0);
                fill(&target, "old");
                let swap = Swap::begin(&target).unwrap();
                fill(&swap.new_folder(), "new");
                let mut moments = 0;
                let watching = moment::watch(move |_| {
                    moments += 1;
                    if moments == at + 1 { Err(Errno::IO.into()) } else { Ok(()) }
                });
                let result = swap.commit(caps);
                drop(watching);
                let failed = result.is_err();
                drop(swap);
                let wanted = if failed { "old" } else { "new" };
                assert_eq!(content(&target).as_deref(), Some(wanted), "{caps:?} {at}");
                assert!(failed || at == 2, "{caps:?} {at}");
                assert_eq!(debris(root.path()), Vec::<PathBuf>::new());
            }
        }
    }

    #[test]
    fn whoever_stood_in_a_folder_that_was_replaced_is_led_to_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        for target in targets(root.path()) {
            fill(&target, "new");
            let work = Place::of(&target).unwrap().work;
            assert_eq!(follow(&work.join("new/a/b")).unwrap(), Some(target.join("a/b")), "{target:?}");
            assert_eq!(follow(&target).unwrap(), None);
            fs::remove_dir_all(&target).unwrap();
            assert_eq!(follow(&work.join("new")).unwrap(), None, "there is no new one");
        }
    }

    #[test]
    fn two_folders_that_claim_one_place_are_both_kept() {
        let root = tempfile::tempdir().unwrap();
        let target = targets(root.path()).remove(0);
        fill(&target, "someone else's");
        let work = Place::of(&target).unwrap().work;
        fs::create_dir(&work).unwrap();
        fill(&work.join("old"), "old");
        fill(&work.join("new"), "new");
        assert!(matches!(Swap::begin(&target), Err(StoreError::SetAside { .. })));
        // A child that a test beside this one is about to start holds the lock for a moment longer.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while settle(&target).is_ok() {
            assert!(std::time::Instant::now() < deadline);
        }
        assert_eq!(content(&target).as_deref(), Some("someone else's"));
        assert_eq!(content(&work.join("old")).as_deref(), Some("old"));
    }

    #[test]
    fn what_nobody_holds_is_told_from_a_deploy_under_way() {
        let root = tempfile::tempdir().unwrap();
        let target = targets(root.path()).remove(1);
        let agent = root.path().join("storage/.pvr-agent");
        assert!(unowned(&agent).unwrap().is_empty());
        let swap = Swap::begin(&target).unwrap();
        assert!(unowned(&agent).unwrap().is_empty());
        drop(swap);
        let work = Place::of(&target).unwrap().work;
        fs::create_dir(&work).unwrap();
        assert_eq!(unowned(&agent).unwrap(), [work]);
    }

    #[test]
    fn a_marker_that_names_another_folder_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let target = targets(root.path()).remove(0);
        let work = Place::of(&target).unwrap().work;
        fs::create_dir(&work).unwrap();
        for (marker, belongs) in [("../x", true), ("../y", false), ("../../x", false), ("/x", false), ("", false)] {
            fs::write(work.join(MARKER), marker).unwrap();
            assert_eq!(Place::marked(&work).is_some(), belongs, "{marker:?}");
        }
    }
}
