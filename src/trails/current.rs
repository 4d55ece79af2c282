//! Making a revision the running one, where no Pantavisor does that.
//!
//! First the link, then the records: a revision says that it is a rollback point only when it has been made current,
//! durably. Whoever is killed in between leaves a revision that runs and says NEW, which [`finish`] mends; nobody
//! leaves one that never ran and says DONE, or a link that leads nowhere.
//!
//! Everything that takes space is made beforehand, in a folder below `tmp/`; switching itself renames.

use super::Storage;
use super::error::TrailsError;
use super::layout::write;
use super::name::RevisionName;
use crate::state::{Progress, Status};
use crate::store::{Absent, Context, StoreError, TempDir, sync_folder};
use rustix::fs::{link, rename};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The files in the working folder.
const LINK: &str = "current";
const PROGRESS: &str = "progress";
const DONE: &str = "done";
/// What the link and the progress were, to be put back.
const LINK_BEFORE: &str = "current-before";
const PROGRESS_BEFORE: &str = "progress-before";

/// A revision was not made current.
#[derive(Debug)]
pub(super) struct Failed {
    /// Why.
    pub(super) cause: StoreError,
    /// The link leads there all the same: not even putting it back was possible.
    pub(super) stuck: bool,
}

impl From<StoreError> for Failed {
    fn from(cause: StoreError) -> Self {
        Self { cause, stuck: false }
    }
}

/// Makes in `dir` what [`switch`] needs. Not durable yet.
pub(super) fn prepare(storage: &Storage, name: &RevisionName, dir: &Path) -> Result<(), StoreError> {
    let current = current(storage);
    symlink(name.path(), dir.join(LINK)).on("create", &dir.join(LINK))?;
    match fs::read_link(&current).absent_ok() {
        Ok(Some(target)) => symlink(target, dir.join(LINK_BEFORE)).on("create", &dir.join(LINK_BEFORE))?,
        Ok(None) => {}
        // Anything but a link is not ours to replace.
        Err(e) => return Err(e).on("replace", &current),
    }
    write(&dir.join(PROGRESS), &Progress::done().to_bytes())?;
    write(&dir.join(DONE), b"")
}

/// Makes a revision in its place the running one, and says so in it. After an error all is as it was.
pub(super) fn switch(storage: &Storage, name: &RevisionName, dir: &Path) -> Result<(), Failed> {
    let (trails, current) = (storage.trails_dir(), current(storage));
    rename(dir.join(LINK), &current).on("replace", &current)?;
    let done = sync_folder(&trails).and_then(|()| mark(storage, name, dir));
    done.map_err(|cause| {
        let before = dir.join(LINK_BEFORE);
        let back = match fs::symlink_metadata(&before).is_ok() {
            true => rename(&before, &current),
            false => rustix::fs::unlink(&current),
        };
        // What cannot be made durable now is on its way to the disk, in this order.
        let _ = sync_folder(&trails);
        Failed { cause, stuck: back.is_err() }
    })
}

/// Says in a revision that it is a rollback point. After an error it says what it said before.
fn mark(storage: &Storage, name: &RevisionName, dir: &Path) -> Result<(), StoreError> {
    let records = storage.dir(name).join(".pv");
    fs::create_dir_all(&records).on("create", &records)?;
    let (progress, done) = (records.join(PROGRESS), records.join(DONE));
    let before = dir.join(PROGRESS_BEFORE);
    let had_progress = link(&progress, &before).absent_ok().on("link", &before)?.is_some();
    let had_done = fs::symlink_metadata(&done).is_ok();
    let renamed = || {
        rename(dir.join(PROGRESS), &progress).on("replace", &progress)?;
        #[cfg(test)]
        crate::store::moment::reached(&records).on("replace", &progress)?;
        rename(dir.join(DONE), &done).on("replace", &done)?;
        sync_folder(&records)
    };
    renamed().inspect_err(|_| {
        let _ = if had_done { Ok(()) } else { fs::remove_file(&done) };
        let _ = if had_progress { rename(&before, &progress) } else { rustix::fs::unlink(&progress) };
        let _ = sync_folder(&records);
    })
}

/// Makes a revision that was there already the running one.
pub(super) fn make_current(storage: &Storage, name: &RevisionName) -> Result<(), StoreError> {
    let is_current = matches!(storage.current(), Ok(Some(current)) if current == *name);
    let is_marked = is_marked(storage, name);
    if is_marked && is_current {
        return Ok(());
    }
    let dir = TempDir::create(&storage.store().tmp())?;
    prepare(storage, name, dir.path())?;
    dir.make_durable(storage.store().caps())?;
    if is_current {
        return mark(storage, name, dir.path());
    }
    switch(storage, name, dir.path()).map_err(|failed| failed.cause)
}

/// Says of the running revision that it is a rollback point, where whoever made it current was killed before saying
/// so: it is current and says NEW. The caller holds the lock on installing, and no Pantavisor is there.
pub(super) fn finish(storage: &Storage) -> Result<(), TrailsError> {
    let Some(name) = storage.current()? else { return Ok(()) };
    let ours = |status: &Status| matches!(status, Status::New | Status::Done);
    let cut_short = storage.progress(&name)?.is_some_and(|progress| ours(&progress.status));
    if cut_short && !is_marked(storage, &name) {
        make_current(storage, &name)?;
    }
    Ok(())
}

impl Storage {
    /// Says of the running revision that it is a rollback point, where whoever made it current was killed before that.
    /// For storages without a Pantavisor. If somebody is installing at the moment, that does it as well.
    pub fn finish_switch(&self) -> Result<(), TrailsError> {
        match self.store().try_lock_install()? {
            Some(_alone) => finish(self),
            None => Ok(()),
        }
    }
}

fn is_marked(storage: &Storage, name: &RevisionName) -> bool {
    storage.is_done(name) && matches!(storage.progress(name), Ok(Some(Progress { status: Status::Done, .. })))
}

fn current(storage: &Storage) -> PathBuf {
    storage.trails_dir().join("current")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JsonLimits, Revision, Spec, State};
    use crate::store::{Capabilities, moment};
    use crate::trails::{Install, InstallError, Outcome, factory, fsck, gc, install};
    use std::cell::RefCell;
    use std::io;
    use std::process::Command;
    use std::rc::Rc;

    fn state(version: u32) -> State {
        let text =
            format!(r##"{{"#spec":"pantavisor-service-system@1","app/etc.bind":"{BIND}","app/run.json":{version}}}"##);
        State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Known).unwrap()
    }

    /// The object of no bytes.
    const BIND: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// In memory, where there is such a place: there will be hundreds of copies.
    fn folder() -> tempfile::TempDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
    }

    fn storage(root: &Path, caps: Capabilities) -> Storage {
        factory::make_from(root, &[("app/run.json", factory::Content::Json("0".into()))]).unwrap();
        let storage = Storage::open_with(root, Some(caps)).unwrap();
        let sealed = storage.store().begin(None, Some(0)).unwrap().finish().unwrap();
        storage.store().publish(vec![sealed], crate::store::Stage::Yes).unwrap();
        storage
    }

    fn post(storage: &Storage, rev: &str, version: u32, make_current: bool) -> Result<Outcome, InstallError> {
        let (rev, state) = (Revision::parse(rev).unwrap(), state(version));
        let job = Install { rev: &rev, state: &state, commit_msg: None, make_current };
        install(storage, job).map(|installed| installed.outcome)
    }

    fn all_caps() -> [Capabilities; 3] {
        let all = Capabilities { unnamed: true, rename_flags: true, syncfs: true };
        [all, Capabilities { rename_flags: false, ..all }, Capabilities::NONE]
    }

    /// Links, progress, rollback points and states of all revisions.
    fn shown(storage: &Storage) -> Vec<String> {
        let link = fs::read_link(storage.trails_dir().join("current"));
        let mut shown = vec![format!("{link:?}")];
        for name in storage.names().unwrap() {
            let progress = storage.progress(&name).unwrap().unwrap().status;
            let sha = storage.state(&name).unwrap().unwrap().sha().unwrap();
            shown.push(format!("{name} {progress} {} {sha}", storage.is_done(&name)));
        }
        shown
    }

    /// Copies a storage at each moment of `work`: what a process leaves that is killed there.
    fn killed_at_each_moment(root: &Path, copies: &Path, work: impl FnOnce()) -> usize {
        let count = Rc::new(RefCell::new(0));
        let (from, to, counted) = (root.to_owned(), copies.to_owned(), Rc::clone(&count));
        let watching = moment::watch(move |_| {
            let mut n = counted.borrow_mut();
            *n += 1;
            let copied = Command::new("cp").arg("-a").arg(&from).arg(to.join(n.to_string())).status()?;
            if copied.success() { Ok(()) } else { Err(io::Error::other("cp failed")) }
        });
        work();
        drop(watching);
        count.take()
    }

    #[test]
    fn killed_before_the_switch_a_revision_said_done_that_never_was_current() {
        for caps in all_caps() {
            // Under a new name, under that of one that never ran, and making current one that is there.
            for (rev, version) in [("locals/new", 2), ("locals/old", 2), ("locals/old", 1)] {
                let (dir, copies) = (folder(), folder());
                let (root, name) = (dir.path().join("s"), Revision::parse(rev).unwrap().into());
                let one = storage(&root, caps);
                post(&one, "locals/old", 1, false).unwrap();
                let moments = killed_at_each_moment(&root, copies.path(), || {
                    post(&one, rev, version, true).unwrap();
                });
                assert!(moments >= 3, "{moments}");
                let mut seen = [0; 3];
                for moment in 1..=moments {
                    let at = format!("{caps:?} {rev} {version} at {moment} of {moments}");
                    let copy = |to: &str| {
                        let (from, to) = (copies.path().join(moment.to_string()), copies.path().join(to));
                        let _ = fs::remove_dir_all(&to);
                        assert!(Command::new("cp").arg("-a").arg(&from).arg(&to).status().unwrap().success());
                        let copy = Storage::open_with(&to, Some(caps)).unwrap();
                        copy.sweep().unwrap();
                        assert_eq!(fsck(&copy, 1).unwrap().findings, [], "{at}");
                        copy
                    };
                    let left = copy("again");
                    let ran = left.current().unwrap().as_ref() == Some(&name);
                    let progress = left.progress(&name).unwrap().map(|progress| progress.status);
                    assert!(ran || !left.is_done(&name) && progress.is_none_or(|is| is == Status::New), "{at}");
                    seen[usize::from(ran) + usize::from(left.is_done(&name))] += 1;
                    // What was posted, once more.
                    post(&left, rev, version, true).unwrap();
                    assert_eq!(left.current().unwrap().as_ref(), Some(&name), "{at}");
                    assert!(is_marked(&left, &name), "{at}");
                    assert_eq!(fsck(&left, 1).unwrap().findings, [], "{at}");

                    // Another state under the name, which is refused only to one that runs.
                    let other = copy("other");
                    let posted = post(&other, rev, 3, true);
                    assert_eq!(posted.is_err(), ran, "{at}: {posted:?}");
                    assert!(ran || is_marked(&other, &name), "{at}");

                    // One that ran is a rollback point when another takes its place, and no other is.
                    let next = copy("next");
                    post(&next, "locals/next", 4, true).unwrap();
                    assert_eq!(is_marked(&next, &name), ran, "{at}");
                    gc(&next, false).unwrap();
                    assert_eq!(next.names().unwrap().contains(&name), ran, "{at}");
                    assert_eq!(fsck(&next, 1).unwrap().findings, [], "{at}");

                    // A start says it as well.
                    let started = copy("started");
                    started.finish_switch().unwrap();
                    assert_eq!(is_marked(&started, &name), ran, "{at}");
                }
                // One that is there already may have no moment before.
                assert!((version == 1 || seen[0] > 0) && seen[1] > 0, "before and after the switch: {seen:?}");
            }
        }
    }

    #[test]
    fn a_switch_that_could_not_be_made_durable_left_a_link_to_nothing() {
        for caps in all_caps() {
            for (rev, version, link) in
                [("locals/new", 2, true), ("locals/old", 2, true), ("locals/old", 1, true), ("locals/new", 2, false)]
            {
                let dir = folder();
                let one = storage(dir.path(), caps);
                post(&one, "locals/old", 1, false).unwrap();
                if !link {
                    fs::remove_file(one.trails_dir().join("current")).unwrap();
                }
                let before = shown(&one);
                let mut failed = 0;
                for moment in 1.. {
                    // From this moment on, nothing can be made durable any more.
                    let mut count = 0;
                    let watching = moment::watch(move |_| {
                        count += 1;
                        if count < moment { Ok(()) } else { Err(rustix::io::Errno::IO.into()) }
                    });
                    let posted = post(&one, rev, version, true);
                    drop(watching);
                    if posted.is_ok() {
                        break;
                    }
                    failed += 1;
                    let at = format!("{caps:?} {rev} {version} {link} at {moment}");
                    assert_eq!(shown(&one), before, "{at}");
                    one.sweep().unwrap();
                    assert_eq!(shown(&one), before, "{at}");
                    assert_eq!(fsck(&one, 1).unwrap().findings, [], "{at}");
                }
                assert!(failed >= 3, "{failed}");
                assert_eq!(one.current().unwrap(), Some(Revision::parse(rev).unwrap().into()));
            }
        }
    }
}
