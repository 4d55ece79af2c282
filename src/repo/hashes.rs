//! `.pvr/index`: what files of the working tree held when they were last read, so that they are not read again.
//!
//! One line for each file, `<sha256> <device> <inode> <size> <mtime> <ctime> "<path>"`, times as `<seconds>.<nine digits>`,
//! and a last one with the sha256 of all before it. A file counts as unchanged if all of that is as it was. An index
//! that is damaged in any way is an empty one.
//!
//! A file that was changed just before it was read may be changed again without any of these numbers telling: clocks of
//! file systems are as coarse as two seconds. Such a file is not written down. How late it was when the reading began is
//! taken from a file made in `.pvr`, not from this machine's clock: the two may differ on a network.
//!
//! `commit` reads every file: what it makes durable does not rest on this.
//!
//! Whatever stands in the way of writing it (another process that changes the repository, a folder that may only be
//! read) costs one more reading, nothing else.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::error::{Context, RepoError};
use super::files::{Lock, create, rename};
use super::working::hash_file;
use crate::state::canonical::push_string;
use crate::state::{ObjectId, StatePath, clock};
use crate::store::gauge;

pub(super) const NAME: &str = "index";
/// The coarsest clock of a file system.
const COARSE: Duration = Duration::from_secs(2);

/// Whether the index is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Files that are as they were are not read.
    Believe,
    /// Every file is read. What was read is written down.
    Write,
    /// As if there were none.
    Off,
}

/// What tells one content of a file from another, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: (clock::file_seconds(metadata.mtime()), metadata.mtime_nsec()),
            ctime: (clock::file_seconds(metadata.ctime()), metadata.ctime_nsec()),
        }
    }

    /// When the file last changed, in nanoseconds.
    fn newest(&self) -> i128 {
        nanos(self.mtime.max(self.ctime))
    }
}

fn nanos((seconds, nanos): (i64, i64)) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

type Entries = BTreeMap<StatePath, (Stamp, ObjectId)>;

/// What is known, and what one walk over the tree has seen.
pub(super) struct Hashes {
    how: Use,
    began: Instant,
    known: Entries,
    seen: Entries,
}

impl Hashes {
    /// Reads the index of the repository whose `.pvr` this is.
    pub(super) fn read(pvr: &Path, how: Use) -> Self {
        let known = match how {
            Use::Believe => fs::read(pvr.join(NAME)).ok().and_then(|bytes| parse(&bytes)),
            Use::Write | Use::Off => None,
        };
        Self { how, began: Instant::now(), known: known.unwrap_or_default(), seen: Entries::new() }
    }

    /// Says how much there is to be read: what is tracked, and not known to be unchanged.
    pub(super) fn plan(&self, tracked: &[(StatePath, Metadata)]) {
        let is_known = |key, metadata| self.known.get(key).is_some_and(|(stamp, _)| *stamp == Stamp::of(metadata));
        let unread =
            tracked.iter().filter(|(key, metadata)| !key.as_str().ends_with(".json") && !is_known(key, metadata));
        gauge::plan(unread.map(|(_, metadata)| metadata.len()).sum());
    }

    /// Sha256 of a file. `metadata` is of the file, not of a link to it.
    pub(super) fn of(&mut self, key: &StatePath, path: &Path, metadata: &Metadata) -> Result<ObjectId, RepoError> {
        let stamp = Stamp::of(metadata);
        if let Some((before, id)) = self.known.get(key)
            && *before == stamp
        {
            self.seen.insert(key.clone(), (stamp, *id));
            return Ok(*id);
        }
        let id = hash_file(path)?;
        // Changed while it was read: which of its contents this is, nobody knows.
        if fs::metadata(path).is_ok_and(|after| Stamp::of(&after) == stamp) {
            self.seen.insert(key.clone(), (stamp, id));
        }
        Ok(id)
    }

    /// Writes down what was seen, if that is news and nothing stands in the way.
    pub(super) fn save(self, pvr: &Path) {
        if self.how == Use::Off || self.seen == self.known {
            return;
        }
        if let Some(lock) = Lock::try_take(pvr) {
            self.save_locked(pvr, &lock).ok();
        }
    }

    /// The same for whoever holds the lock. That it cannot be written is no reason to fail.
    pub(super) fn save_holding(self, pvr: &Path, lock: &Lock) {
        if self.how != Use::Off {
            self.save_locked(pvr, lock).ok();
        }
    }

    fn save_locked(self, pvr: &Path, lock: &Lock) -> Result<(), RepoError> {
        let temporary = lock.temporary();
        let mut file = create(&temporary, 0o644)?;
        let now = Stamp::of(&file.metadata().on("look at", &temporary)?).newest();
        let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        let limit = now.saturating_sub(nanos(self.began.elapsed())).saturating_sub(nanos(COARSE));
        let Self { known, mut seen, .. } = self;
        // What was known had its time before.
        seen.retain(|key, entry| entry.0.newest() < limit || known.get(key) == Some(entry));
        if seen == known {
            return fs::remove_file(&temporary).on("remove", &temporary);
        }
        file.write_all(text(&seen).as_bytes()).on("write", &temporary)?;
        // Not made durable: what a power cut leaves of it is damaged, or whole.
        rename(&temporary, &pvr.join(NAME))
    }
}

fn text(entries: &Entries) -> String {
    let mut out = String::new();
    for (key, (stamp, id)) in entries {
        let ((ms, mn), (cs, cn)) = (stamp.mtime, stamp.ctime);
        out.push_str(&format!("{id} {} {} {} {ms}.{mn:09} {cs}.{cn:09} ", stamp.dev, stamp.ino, stamp.size));
        push_string(&mut out, key.as_str());
        out.push('\n');
    }
    let sum = sum(&out);
    out + &sum + "\n"
}

fn sum(text: &str) -> String {
    ObjectId::from_bytes(Sha256::digest(text).into()).to_string()
}

/// `None`: damaged.
fn parse(bytes: &[u8]) -> Option<Entries> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (lines, last) = text.rsplit_once('\n').map_or(("", text), |(lines, last)| (&text[..=lines.len()], last));
    (sum(lines) == last).then_some(())?;
    lines.lines().map(line).collect()
}

fn line(line: &str) -> Option<(StatePath, (Stamp, ObjectId))> {
    let mut fields = line.splitn(7, ' ');
    let id = ObjectId::parse(fields.next()?).ok()?;
    let mut number = || fields.next()?.parse().ok();
    let (dev, ino, size) = (number()?, number()?, number()?);
    let mut time = || {
        let (seconds, nanos) = fields.next()?.split_once('.')?;
        Some((seconds.parse().ok()?, nanos.parse().ok()?))
    };
    let (mtime, ctime) = (time()?, time()?);
    let key: String = serde_json::from_str(fields.next()?).ok()?;
    Some((StatePath::parse(&key).ok()?, (Stamp { dev, ino, size, mtime, ctime }, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_is_cut_or_changed_anywhere_is_none() {
        let stamp = |ino| Stamp { dev: 1, ino, size: 3, mtime: (-2, 5), ctime: (1_700_000_000, 999_999_999) };
        let id = ObjectId::from_bytes([7; 32]);
        let entries: Entries =
            [("a\nb \"c\"", 1), ("x/ü", 2)].map(|(key, ino)| (StatePath::parse(key).unwrap(), (stamp(ino), id))).into();
        let text = text(&entries);
        assert_eq!(parse(text.as_bytes()), Some(entries));
        assert_eq!(parse(super::text(&Entries::new()).as_bytes()), Some(Entries::new()));
        for at in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..at]), None, "cut at {at}");
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(parse(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn a_file_that_was_changed_just_now_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let pvr = folder.path().join(".pvr");
        fs::create_dir(&pvr).unwrap();
        drop(Lock::take(&pvr).unwrap());
        let (key, path) = (StatePath::parse("f").unwrap(), folder.path().join("f"));
        fs::write(&path, "one").unwrap();
        let look = |began: Option<Instant>| {
            let mut hashes = Hashes::read(&pvr, Use::Believe);
            hashes.began = began.unwrap_or(hashes.began);
            let known = hashes.known.len();
            hashes.of(&key, &path, &fs::metadata(&path).unwrap()).unwrap();
            hashes.save(&pvr);
            known
        };
        assert_eq!([look(None), look(None)], [0, 0], "too fresh to tell");
        std::thread::sleep(COARSE + Duration::from_millis(100));
        assert_eq!([look(None), look(None)], [0, 1], "old enough");
        // The reading began when the file was fresh, however long it took.
        fs::write(&path, "two").unwrap();
        let began = Instant::now();
        std::thread::sleep(COARSE + Duration::from_millis(100));
        look(Some(began));
        let mut hashes = Hashes::read(&pvr, Use::Believe);
        let id = hashes.of(&key, &path, &fs::metadata(&path).unwrap()).unwrap();
        assert_eq!(id, hash_file(&path).unwrap());
        assert!(hashes.known.is_empty(), "{:?}", hashes.known);
    }
}
