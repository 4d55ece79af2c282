//! Uploads to the control socket, one of each object at a time, whichever process makes it; and what waits for its post.
//!
//! The daemon writes every upload of an object into the same file, and the end of one that broke off removes it. Its collector
//! removes what no revision has. So the processes that talk to one socket (a `serve`, and each program of a web server) share
//! a folder, 0700 and theirs alone:
//!
//! ```text
//! <state folder>/uploads/<16 hex: the path of the socket>/
//!     lock       shared: objects and revisions are on their way; exclusive: the daemon collects
//!     <sha256>   locked by the process that sends this object now. Empty until it was sent whole; then it has a byte, and
//!                for a day from its last change the object waits for a revision that has it
//!     install    locked by the process that installs a revision or has one run now. Names the one that was to run last: the
//!                daemon says nothing of it until it begins
//!     testing    the revision that is being tested, written when that was first seen
//! ```
//!
//! The state folder is the one that is named, else `/run/pvr-agent`, else `pvr-agent-<uid>` where temporary files are: what is in
//! it means nothing after a reboot. Locks are the kernel's, so a process that is killed holds none; the empty file that it
//! leaves is removed by the next that comes across it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::DeviceError;
use crate::state::{ObjectId, clock};
use crate::store::{Hasher, STAGED_FOR};

/// Where the state folder is, unless one is named.
const RUN: &str = "/run/pvr-agent";

/// What is to run has begun by then, or the daemon has lost the command.
const BEGINS: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    named: Option<PathBuf>,
    below: String,
}

/// The right to send an object. Given back when dropped.
#[derive(Debug)]
#[must_use = "a turn ends when it is dropped"]
pub(super) struct Turn {
    file: File,
    path: PathBuf,
    /// Keeps the collector away.
    _using: File,
}

impl Turns {
    /// Of those who talk to `socket`.
    pub(super) fn new(socket: &Path, state: Option<PathBuf>) -> Self {
        // However it was named.
        let folder = socket.parent().and_then(|folder| folder.canonicalize().ok());
        let place =
            folder.zip(socket.file_name()).map_or_else(|| socket.to_owned(), |(folder, name)| folder.join(name));
        let mut hasher = Hasher::new();
        hasher.update(place.as_os_str().as_bytes());
        let below = hasher.finish().to_string().chars().take(16).collect();
        Self { named: state, below }
    }

    /// The folder, made if it is not there.
    pub(super) fn folder(&self) -> Result<PathBuf, DeviceError> {
        let made = match &self.named {
            Some(named) => own_folder(named).map(|()| named.clone()),
            None => own_folder(Path::new(RUN)).map(|()| PathBuf::from(RUN)).or_else(|_| {
                let other = std::env::temp_dir().join(format!("pvr-agent-{}", rustix::process::geteuid().as_raw()));
                own_folder(&other).map(|()| other)
            }),
        };
        let below = made.and_then(|root| {
            let below = root.join("uploads").join(&self.below);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&below).map(|()| below)
        });
        below.map_err(|cause| {
            DeviceError::failed(format!(
                "no folder for locks: {cause}\nname one with PVR_AGENT_STATE_DIR or --state-dir"
            ))
        })
    }

    /// A turn, if it can be had now. `None`: somebody else sends the object, or the daemon collects.
    pub(super) fn take(&self, id: &ObjectId) -> Result<Option<Turn>, DeviceError> {
        let folder = self.folder()?;
        let Some(using) = locked(&folder.join("lock"), FlockOperation::NonBlockingLockShared)? else { return Ok(None) };
        let path = folder.join(id.to_string());
        let Some(file) = locked(&path, FlockOperation::NonBlockingLockExclusive)? else { return Ok(None) };
        Ok(Some(Turn { file, path, _using: using }))
    }

    /// Somebody has been told that an object is here.
    pub(super) fn promise(&self, id: &ObjectId) -> Result<(), DeviceError> {
        // Whoever sends it will say so.
        self.take(id)?.map_or(Ok(()), |turn| turn.end(true))
    }

    /// Objects and revisions are on their way for as long as this is held: the daemon is not told to collect.
    pub(super) fn using(&self) -> Result<File, DeviceError> {
        let lock = locked(&self.folder()?.join("lock"), FlockOperation::LockShared)?;
        lock.ok_or_else(|| DeviceError::Busy("the daemon collects".to_owned()))
    }

    /// As long as this is held, nothing is on its way. `None`: something is.
    pub(super) fn alone(&self) -> Result<Option<File>, DeviceError> {
        locked(&self.folder()?.join("lock"), FlockOperation::NonBlockingLockExclusive)
    }

    /// Nobody else replaces a revision, or has one run, for as long as this is held.
    pub(super) fn installing(&self) -> Result<File, DeviceError> {
        let lock = locked(&self.folder()?.join("install"), FlockOperation::LockExclusive)?;
        lock.ok_or_else(|| DeviceError::Busy("another revision is installed".to_owned()))
    }

    /// The daemon was told to run it, by the one who is installing.
    pub(super) fn runs_next(&self, rev: &str) -> Result<(), DeviceError> {
        fs::write(self.folder()?.join("install"), rev).map_err(DeviceError::failed)
    }

    /// Whether it was, and may not have begun.
    pub(super) fn is_to_run(&self, rev: &str) -> Result<bool, DeviceError> {
        let path = self.folder()?.join("install");
        let age = fs::symlink_metadata(&path).map(|meta| clock::now().duration_since(clock::modified(&meta)));
        // What was written later than now is of before the clock was set back, as by a start without one.
        let fresh = age.is_ok_and(|age| age.is_ok_and(|age| age < BEGINS));
        Ok(fresh && fs::read(&path).is_ok_and(|next| next == rev.as_bytes()))
    }

    /// Whether an object waits for its post that is none of these.
    pub(super) fn waits(&self, named: &HashSet<ObjectId>) -> Result<bool, DeviceError> {
        Ok(self.all()?.into_iter().any(|(id, path)| !named.contains(&id) && is_fresh(&path)))
    }

    /// A revision has these objects now.
    pub(super) fn posted<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) -> Result<(), DeviceError> {
        let folder = self.folder()?;
        ids.for_each(|id| forget(&folder.join(id.to_string())));
        Ok(())
    }

    /// How long the revision has been seen to be tested.
    pub(super) fn tested_for(&self, rev: &str) -> Result<Duration, DeviceError> {
        let path = self.folder()?.join("testing");
        if !fs::read(&path).is_ok_and(|seen| seen == rev.as_bytes()) {
            fs::write(&path, rev).map_err(DeviceError::failed)?;
        }
        let meta = fs::symlink_metadata(&path).map_err(DeviceError::failed)?;
        Ok(clock::now().duration_since(clock::modified(&meta)).unwrap_or_default())
    }

    /// Nothing is tested.
    pub(super) fn end_test(&self) {
        // Where there is no folder, nothing was written.
        if let Ok(folder) = self.folder() {
            let _ = fs::remove_file(folder.join("testing"));
        }
    }

    /// Forgets what no post came for within a day, and what killed processes have left.
    pub(super) fn sweep(&self) -> Result<(), DeviceError> {
        let old = self.all()?.into_iter().filter(|(_, path)| !is_fresh(path));
        old.for_each(|(_, path)| forget(&path));
        Ok(())
    }

    fn all(&self) -> Result<Vec<(ObjectId, PathBuf)>, DeviceError> {
        let entries = fs::read_dir(self.folder()?).map_err(DeviceError::failed)?.map_while(Result::ok);
        let object = |entry: fs::DirEntry| Some((ObjectId::parse(entry.file_name().to_str()?).ok()?, entry.path()));
        Ok(entries.filter_map(object).collect())
    }
}

impl Turn {
    /// Ends it. `whole`: the daemon has all of the object.
    pub(super) fn end(self, whole: bool) -> Result<(), DeviceError> {
        let ended = if whole {
            // A file that keeps its length keeps its time.
            self.file.set_len(0).and_then(|()| self.file.set_len(1))
        } else {
            // What was there whole before is left alone by an upload that fails.
            let new = self.file.metadata().map(|meta| meta.len() == 0);
            new.and_then(|new| if new { fs::remove_file(&self.path) } else { Ok(()) })
        };
        ended.map_err(DeviceError::failed)
    }
}

/// Sent whole, within a day. Of a time that is yet to come, nobody knows better.
fn is_fresh(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    let age = clock::now().duration_since(clock::modified(&meta)).unwrap_or_default();
    meta.len() > 0 && age < STAGED_FOR
}

/// Removes a record, unless somebody is at it.
fn forget(path: &Path) {
    if path.exists()
        && let Ok(Some(_locked)) = locked(path, FlockOperation::NonBlockingLockExclusive)
    {
        let _ = fs::remove_file(path);
    }
}

/// A folder that nobody else can write into: it is made, or is there.
fn own_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(path)?;
    let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::other(format!("'{}' is open to others", path.display()))) }
}

/// A file, made if it is not there, with a lock on it. `None`: somebody else has it.
fn locked(path: &Path, how: FlockOperation) -> Result<Option<File>, DeviceError> {
    let failed = |cause: io::Error| DeviceError::failed(format!("cannot lock '{}': {cause}", path.display()));
    loop {
        let mut options = File::options();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed(error.into())),
        }
        // Whoever had it before may have removed it: a lock on what has no name keeps nobody out.
        let same = |there: fs::Metadata| file.metadata().is_ok_and(|held| held.ino() == there.ino());
        if fs::symlink_metadata(path).is_ok_and(same) {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(folder: &Path) -> Turns {
        Turns::new(Path::new("/pv/pv-ctrl"), Some(folder.to_owned()))
    }

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 32])
    }

    #[test]
    fn an_object_is_sent_by_one_at_a_time_and_waits_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (turns(folder.path()), turns(folder.path()));
        let turn = one.take(&id(1)).unwrap().unwrap();
        assert!(other.take(&id(1)).unwrap().is_none());
        assert!(other.take(&id(2)).unwrap().is_some(), "another object");
        assert!(one.alone().unwrap().is_none(), "something is on its way");
        turn.end(false).unwrap();
        assert!(!one.waits(&HashSet::new()).unwrap() && one.alone().unwrap().is_some());
        let collecting = one.alone().unwrap();
        assert!(other.take(&id(1)).unwrap().is_none(), "what is sent while the daemon collects may be lost");
        drop(collecting);
        other.take(&id(1)).unwrap().unwrap().end(true).unwrap();
        assert!(one.waits(&HashSet::new()).unwrap() && !one.waits(&HashSet::from([id(1)])).unwrap());
        one.take(&id(1)).unwrap().unwrap().end(false).unwrap();
        assert!(one.waits(&HashSet::new()).unwrap(), "it is still there");
        one.sweep().unwrap();
        assert!(other.waits(&HashSet::new()).unwrap());
        let (_, record) = one.all().unwrap().into_iter().find(|(found, _)| *found == id(1)).unwrap();
        File::options().write(true).open(&record).unwrap().set_modified(clock::now() - STAGED_FOR).unwrap();
        assert!(!other.waits(&HashSet::new()).unwrap());
        one.sweep().unwrap();
        assert_eq!(one.all().unwrap(), []);
        one.promise(&id(3)).unwrap();
        other.posted([id(3), id(4)].iter()).unwrap();
        assert_eq!(one.all().unwrap(), []);
        // One that was dropped without an end, as by a process that was killed.
        drop(one.take(&id(5)).unwrap());
        assert!(!one.waits(&HashSet::new()).unwrap() && other.take(&id(5)).unwrap().is_some());
    }

    /// Between opening a record and locking it, its holder may remove it: then the lock is on a file without a name.
    #[test]
    fn a_record_that_is_removed_while_others_wait_for_it_is_one_at_a_time_all_the_same() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turns = turns(folder.path());
                    while taken.load(Ordering::SeqCst) < 2000 {
                        let Some(turn) = turns.take(&id(1)).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                        turn.end(false).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_to_run_is_known_to_others_until_it_has_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (turns(folder.path()), turns(folder.path()));
        let installing = one.installing().unwrap();
        assert!(!other.is_to_run("locals/a").unwrap());
        one.runs_next("locals/a").unwrap();
        drop(installing);
        let _installing = other.installing().unwrap();
        assert!(other.is_to_run("locals/a").unwrap() && !other.is_to_run("locals/b").unwrap());
        let path = one.folder().unwrap().join("install");
        for time in [clock::now() - BEGINS, clock::now() + 9 * BEGINS] {
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert!(!other.is_to_run("locals/a").unwrap(), "the daemon has lost it, or the clock was set back");
        }
        one.sweep().unwrap();
    }

    #[test]
    fn a_folder_that_others_can_write_into_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::DirBuilder::new().mode(0o700).create(&open).unwrap();
        let mode = |mode| fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o777);
        assert!(turns(&open).take(&id(1)).is_err());
        mode(0o755);
        assert!(turns(&open).take(&id(1)).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(turns(&link).take(&id(1)).is_err(), "a link can be led elsewhere");
    }
}
