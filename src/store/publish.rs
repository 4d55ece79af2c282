//! Giving objects their names.
//!
//! First the bytes of all objects are made durable together. Then each gets its link in the working folder and,
//! as the last step, its name: from that instant it is what it promises, and its link count of two keeps it from
//! Pantavisor's collector. Then the folders are made durable. An intact object that is there already stays, so
//! that revisions that link to it stay right; a bad one is replaced by rename.

use super::ObjectStore;
use super::durable;
use super::error::{Context, StoreError};
use super::temp::{TempDir, TempFile};
use super::verify::{Check, TRIES};
use super::writer::Sealed;
use crate::state::ObjectId;
use crate::state::clock;
use rustix::fs::{Mode, chmod, fchmod, link, rename};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

/// Whether an object gets a second link that keeps it until a revision names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In a storage, where collectors delete what has only one link.
    Yes,
    /// In any other pool, which nobody collects.
    No,
}

/// What publishing an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was not there.
    New,
    /// It was there, intact, and has been left as it is.
    AlreadyThere,
    /// Something else was there under its name.
    Replaced,
}

/// Whether an object has a second link now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It has had one.
    Yes,
    /// It has one that may not be durable yet.
    Fresh,
    /// The object has vanished.
    Gone,
}

/// Whether a name was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    Fresh,
    InPlace,
}

/// A second link of this age has been made durable: by whoever made it, or by the system.
const SETTLED: Duration = Duration::from_secs(60);

/// A second link of this age or more is given a new lease when it is asked for again.
const RENEW: Duration = Duration::from_secs(60 * 60);

impl ObjectStore {
    /// Names objects once their bytes are durable, all together; returns only when the names are durable, too.
    /// Each one holds a descriptor until then: publish thousands in batches.
    ///
    /// After an error some of the objects may have their names; those are whole and durable.
    pub fn publish(&self, mut sealed: Vec<Sealed>, stage: Stage) -> Result<Vec<(ObjectId, Stored)>, StoreError> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        sealed.sort_by_key(|object| object.opened);
        let using = self.lock_shared()?;
        let files: Vec<_> = sealed.iter().map(Sealed::file).collect();
        durable::files(self.caps(), &files, &self.tmp())?;
        let mut stored = Vec::with_capacity(sealed.len());
        for object in &mut sealed {
            stored.push((object.id(), self.name(object, stage)?));
        }
        if stage == Stage::Yes {
            durable::folder(&self.inner.agent.join("staged"))?;
        }
        durable::folder(&self.inner.objects)?;
        let ids: Vec<_> = stored.iter().map(|(id, _)| *id).collect();
        self.inner.memo.write(&ids);
        drop(using);
        self.tidy_memo();
        Ok(stored)
    }

    fn name(&self, sealed: &mut Sealed, stage: Stage) -> Result<Stored, StoreError> {
        let id = sealed.id();
        let path = self.path(&id);
        // What has to be hashed for it is hashed before, and remembered.
        self.check(&path, &id)?;
        // One thread at a time: two that bring the same object would otherwise hash each other's.
        let _naming = self.inner.naming.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let outcome = match self.check(&path, &id)? {
                Check::Intact(..) => {
                    if stage == Stage::Yes && self.hold(&id)? == Held::Gone {
                        continue;
                    }
                    return Ok(Stored::AlreadyThere);
                }
                Check::Bad => Stored::Replaced,
                Check::Absent => Stored::New,
            };
            match self.link_both(sealed, stage, outcome) {
                Ok(true) => {
                    sealed.temp.drop_name();
                    if let Some(stamp) = self.stamp_of(&path) {
                        self.inner.memo.remember(id, stamp);
                    }
                    return Ok(outcome);
                }
                // There meanwhile: look at it.
                Ok(false) => {}
                // An unnamed file that has lost its first link can get no other. Another process has put its own
                // in the place of ours, or has given it up; failing both, the bytes are written once more.
                Err(e) if is_gone(&e) => {
                    if self.find(&id)?.is_none() {
                        sealed.temp = self.again(sealed.file())?;
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Err(StoreError::Contended { path })
    }

    /// Makes the second link, then the name. False: somebody else has made the name.
    fn link_both(&self, sealed: &Sealed, stage: Stage, outcome: Stored) -> Result<bool, StoreError> {
        let (path, staged) = (self.path(&sealed.id()), self.staged(&sealed.id()));
        let put = if stage == Stage::Yes { Some(self.put(&sealed.temp, &staged)?) } else { None };
        let named = match outcome {
            Stored::New => match sealed.temp.link_to(&path) {
                Err(Errno::EXIST) => return Ok(false),
                other => other.on("link", &path),
            },
            _ => self.put(&sealed.temp, &path).map(|_| ()),
        };
        // A second link that was there before stays, even if it now leads to our bytes.
        if named.is_err() && put == Some(Put::Fresh) {
            self.remove_staged(&sealed.id())?;
        }
        named.map(|()| true)
    }

    /// The same bytes in a new file, durable.
    fn again(&self, mut from: &File) -> Result<TempFile, StoreError> {
        let tmp = self.tmp();
        let temp = TempFile::create(&tmp, self.caps())?;
        from.rewind().on("read a file in", &tmp)?;
        io::copy(&mut from, &mut &temp.file).on("write a file in", &tmp)?;
        fchmod(&temp.file, Mode::from_raw_mode(0o444)).on("make read-only a file in", &tmp)?;
        durable::files(self.caps(), &[&temp.file], &tmp)?;
        Ok(temp)
    }

    /// Puts a temporary under a name, in the place of whatever is there.
    fn put(&self, temp: &TempFile, target: &Path) -> Result<Put, StoreError> {
        match temp.link_to(target) {
            Ok(()) => Ok(Put::Fresh),
            Err(Errno::EXIST) => self.put_by(target, |name| temp.link_to(name)).map(|()| Put::InPlace),
            Err(e) => Err(e).on("link", target),
        }
    }

    /// Makes `target` a link to `source`, in the place of whatever is there.
    pub(super) fn replace_with_link(&self, source: &Path, target: &Path) -> Result<(), StoreError> {
        self.put_by(target, |name| link(source, name))
    }

    fn put_by(&self, target: &Path, make: impl Fn(&Path) -> rustix::io::Result<()>) -> Result<(), StoreError> {
        let dir = TempDir::create(&self.tmp())?;
        let name = dir.path().join("link");
        make(&name).on("link", target)?;
        rename(&name, target).on("replace", target)
    }

    /// Makes sure that an object has a second link, and that the link is young. The caller holds `naming`.
    pub(super) fn hold(&self, id: &ObjectId) -> Result<Held, StoreError> {
        let (path, staged) = (self.path(id), self.staged(id));
        let known = self.known(&[*id]);
        let mut held = Held::Fresh;
        match link(&path, &staged) {
            Ok(()) => {}
            // As many links as can be are enough links.
            Err(Errno::MLINK) => held = Held::Yes,
            Err(Errno::NOENT) => return Ok(Held::Gone),
            Err(Errno::EXIST) => match (self.stamp_of(&path), self.stamp_of(&staged)) {
                (None, _) => return Ok(Held::Gone),
                (Some(object), Some(link)) if object.ino == link.ino => {
                    if older_than(link.ctime, SETTLED) {
                        held = Held::Yes;
                    }
                    if older_than(link.ctime, RENEW) {
                        // Changes nothing but the ctime, from which the age is counted.
                        chmod(&staged, Mode::from_raw_mode(0o444)).on("renew", &staged)?;
                    }
                }
                _ => match self.replace_with_link(&path, &staged) {
                    Err(e) if is_gone(&e) => return Ok(Held::Gone),
                    other => other?,
                },
            },
            Err(e) => return Err(e).on("link", &staged),
        }
        self.refresh(&known);
        Ok(held)
    }
}

fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Whether a time lies at least `age` back. One in the future doesn't.
pub(super) fn older_than(time: (i64, u32), age: Duration) -> bool {
    let Ok(seconds) = u64::try_from(time.0) else {
        return true;
    };
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(seconds, time.1))
        .and_then(|then| clock::now().duration_since(then).ok())
        .is_some_and(|passed| passed >= age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_temporary_that_lost_its_first_link_is_written_once_more() {
        for stage in [Stage::Yes, Stage::No] {
            let dir = tempfile::tempdir().unwrap();
            let store = ObjectStore::open(&dir.path().join("objects"), &dir.path().join("agent")).unwrap();
            let mut writer = store.begin(None, Some(5)).unwrap();
            writer.write_all(b"hello").unwrap();
            let sealed = writer.finish().unwrap();
            let id = sealed.id();
            // As another process does that brings the same object, or gives up this one, at the same moment.
            sealed.temp.link_to(&store.staged(&id)).unwrap();
            fs::remove_file(store.staged(&id)).unwrap();
            assert_eq!(store.publish(vec![sealed], stage).unwrap(), [(id, Stored::New)]);
            assert_eq!(fs::read(store.path(&id)).unwrap(), b"hello");
            assert_eq!(store.stamp_of(&store.staged(&id)).is_some(), stage == Stage::Yes);
            assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
        }
    }

    #[test]
    fn an_object_was_called_kept_before_its_second_link_was_durable() {
        let dir = tempfile::tempdir().unwrap();
        let store = ObjectStore::open(&dir.path().join("objects"), &dir.path().join("agent")).unwrap();
        let mut writer = store.begin(None, Some(5)).unwrap();
        writer.write_all(b"hello").unwrap();
        let sealed = writer.finish().unwrap();
        let id = sealed.id();
        store.publish(vec![sealed], Stage::No).unwrap();
        let staged = dir.path().join("agent/staged");
        let link = staged.join(id.to_string());
        for (there, broken) in [(false, true), (true, true), (true, false)] {
            assert_eq!(link.exists(), there);
            let (folder, link) = (staged.clone(), link.clone());
            let seen = std::rc::Rc::new(std::cell::Cell::new(0));
            let count = std::rc::Rc::clone(&seen);
            let watching = super::super::moment::watch(move |reached| {
                assert!(reached == folder && link.exists());
                count.set(count.get() + 1);
                if broken { Err(Errno::IO.into()) } else { Ok(()) }
            });
            let kept = store.stage(&id);
            drop(watching);
            assert_eq!(kept.ok(), if broken { None } else { Some(Some(5)) }, "{there} {broken}");
            assert_eq!(seen.get(), 1, "one that somebody has just made is made durable by whoever relies on it");
        }
    }

    #[test]
    fn ages_are_counted_from_the_past_only() {
        let now = clock::seconds(clock::now()) as i64;
        for (time, old) in [(now, false), (now - 50, false), (now - 70, true), (now + 1000, false), (-1, true)] {
            assert_eq!(older_than((time, 0), Duration::from_secs(60)), old, "{}", time - now);
        }
    }
}
