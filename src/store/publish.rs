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
use rustix::fs::{Mode, chmod, link, rename};
use rustix::io::Errno;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

/// Whether an object gets a second link that keeps it until a revision names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On a device, where collectors delete what has only one link.
    Yes,
    /// In a pool of a working copy, which nobody collects.
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
    /// It has.
    Yes,
    /// The object has vanished.
    Gone,
}

/// Whether a name was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    Fresh,
    InPlace,
}

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
        // One thread at a time: two that bring the same object would otherwise hash each other's.
        // What has to be hashed for it is hashed before, and remembered.
        self.check(&path, &id)?;
        let _naming = self.inner.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut staged = None;
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
            if stage == Stage::Yes && staged.is_none() {
                staged = match self.put_staged(sealed)? {
                    Some(put) => Some(put),
                    // Whoever brings the same object at this moment must not lose the only link of its file: a file
                    // without any cannot be linked again. Theirs is named, whoever is faster.
                    None if self.name_staged(&id, outcome)? => return Ok(outcome),
                    None => continue,
                };
            }
            let named = if outcome == Stored::New {
                match sealed.temp.link_to(&path) {
                    // There meanwhile: look at it.
                    Err(Errno::EXIST) => continue,
                    other => other.on("link", &path),
                }
            } else {
                self.put(&sealed.temp, &path).map(|_| ())
            };
            if let Err(e) = named {
                // A second link that was there before stays, even if it now leads to our bytes.
                if staged == Some(Put::Fresh) {
                    self.remove_staged(&id)?;
                }
                return Err(e);
            }
            sealed.temp.drop_name();
            if let Some(stamp) = self.stamp_of(&path) {
                self.inner.memo.remember(id, stamp);
            }
            return Ok(outcome);
        }
        Err(StoreError::Contended { path })
    }

    /// Gives an object its second link. None: there is one, or was just now, and it is as good.
    fn put_staged(&self, sealed: &Sealed) -> Result<Option<Put>, StoreError> {
        let (id, target) = (sealed.id(), self.staged(&sealed.id()));
        match sealed.temp.link_to(&target) {
            Ok(()) => Ok(Some(Put::Fresh)),
            Err(Errno::EXIST) => match self.check(&target, &id)? {
                Check::Intact(..) | Check::Absent => Ok(None),
                Check::Bad => self.put(&sealed.temp, &target).map(Some),
            },
            Err(e) => Err(e).on("link", &target),
        }
    }

    /// Gives an object its name from its second link, if that is intact and nobody was faster.
    fn name_staged(&self, id: &ObjectId, outcome: Stored) -> Result<bool, StoreError> {
        let (path, staged) = (self.path(id), self.staged(id));
        let Check::Intact(_, before) = self.check(&staged, id)? else {
            return Ok(false);
        };
        if outcome == Stored::New {
            match link(&staged, &path) {
                Ok(()) => {}
                Err(Errno::EXIST | Errno::NOENT) => return Ok(false),
                Err(e) => return Err(e).on("link", &path),
            }
        } else {
            match self.replace_with_link(&staged, &path) {
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(false);
                }
                other => other?,
            }
        }
        self.refresh(&[(*id, before)]);
        Ok(true)
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
        match link(&path, &staged) {
            // As many links as can be are enough links.
            Ok(()) | Err(Errno::MLINK) => {}
            Err(Errno::NOENT) => return Ok(Held::Gone),
            Err(Errno::EXIST) => match (self.stamp_of(&path), self.stamp_of(&staged)) {
                (None, _) => return Ok(Held::Gone),
                (Some(object), Some(link)) if object.ino == link.ino => {
                    if older_than(link.ctime, RENEW) {
                        // Changes nothing but the ctime, from which the age is counted.
                        chmod(&staged, Mode::from_raw_mode(0o444)).on("renew", &staged)?;
                    }
                }
                _ => match self.replace_with_link(&path, &staged) {
                    Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                        return Ok(Held::Gone);
                    }
                    other => other?,
                },
            },
            Err(e) => return Err(e).on("link", &staged),
        }
        self.refresh(&known);
        Ok(Held::Yes)
    }
}

/// Whether a time lies at least `age` back. One in the future doesn't.
pub(super) fn older_than(time: (i64, u32), age: Duration) -> bool {
    let Ok(seconds) = u64::try_from(time.0) else {
        return true;
    };
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(seconds, time.1))
        .and_then(|then| SystemTime::now().duration_since(then).ok())
        .is_some_and(|passed| passed >= age)
}
