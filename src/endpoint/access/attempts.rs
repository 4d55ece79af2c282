//! Logins that fail: how many there may be, for `serve` and every program of a web server together.
//!
//! ```text
//! <state folder>/logins/
//!     counters    256 records of 24 bytes: 12 of a sha256 of what is counted, u32 how many, u64 as of when; little endian.
//!                 Locked by whoever verifies a password: one at a time
//!     wait.0 …    each locked by whoever waits for that, or has it: nine, so eight wait
//! ```
//!
//! Counted is what fails: for an address and a name together, for an address, and for a name. One is forgiven each minute. An
//! IPv6 address counts by its /64, which is what one customer has. When the records are full, the one with the fewest makes room, and who
//! comes anew goes on from its count: what is held is bounded, whoever has tried most stays known, and so many addresses at once that
//! they push each other out are counted together. Nothing of it is made durable: after a power cut it begins anew.
//!
//! That there is something in `counters` says that there have been accounts: a device whose accounts are lost is not one without any.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::store::{give_to_owner, open_or_make};

/// One verifies, eight wait.
const PLACES: usize = 9;
const RECORDS: usize = 256;
const RECORD: usize = 24;
/// Seconds after which one failure is forgiven.
const FORGIVEN: u64 = 60;
/// Failures that are forgiven before any wait: of an address with a name, of an address, of a name.
const FAILURES: [u32; 3] = [5, 20, 50];

/// A place among those who wait. Given back when dropped.
#[derive(Debug)]
#[must_use = "a place is given back when it is dropped"]
pub(super) struct Place {
    folder: PathBuf,
    _file: File,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Right,
    Wrong,
    /// There were too many: nothing was verified. Seconds until there may be one more.
    TooMany(u64),
}

/// Makes all files, so that no login has to.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    let below = below(folder)?;
    for number in 0..PLACES {
        open(&below, &format!("wait.{number}"))?;
    }
    open(&below, "counters").map(drop)
}

/// Has it there that there are accounts; and a login on a full disk finds the room that it needs.
pub(super) fn begin(folder: &Path) -> io::Result<()> {
    let file = open(&below(folder)?, "counters")?;
    if file.metadata()?.len() == 0 { file.write_all_at(&[0; RECORDS * RECORD], 0) } else { Ok(()) }
}

/// Whether there have been accounts.
pub(super) fn begun(folder: &Path) -> bool {
    fs::metadata(folder.join("logins/counters")).is_ok_and(|counters| counters.len() > 0)
}

/// Seconds to wait, for one who has failed so often that no place is worth having. Waits for nobody: what others write meanwhile counts
/// when it is this one's turn.
pub(super) fn hopeless(folder: &Path, address: Option<IpAddr>, name: &str, now: u64) -> io::Result<Option<u64>> {
    let counters = Counters::read(&open(&below(folder)?, "counters")?)?;
    // Of a clock that was set back, only who has the lock can make something.
    let known = counters.0.iter().all(|record| record.as_of <= now);
    Ok(if known { counters.wait(&keys(address, name), now) } else { None })
}

/// A place, if there is one.
pub(super) fn place(folder: &Path) -> io::Result<Option<Place>> {
    let folder = below(folder)?;
    for number in 0..PLACES {
        let file = open(&folder, &format!("wait.{number}"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(Place { folder, _file: file })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

impl Place {
    /// Waits for those before, and verifies, unless there were too many failures.
    pub(super) fn attempt(
        self,
        address: Option<IpAddr>,
        name: &str,
        now: impl FnOnce() -> u64,
        verify: impl FnOnce() -> bool,
    ) -> io::Result<Outcome> {
        let file = open(&self.folder, "counters")?;
        while let Err(error) = flock(&file, FlockOperation::LockExclusive) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        let now = now();
        let mut counters = Counters::read(&file)?;
        let keys = keys(address, name);
        let set_back = counters.set_back(now);
        if let Some(wait) = counters.wait(&keys, now) {
            if set_back {
                counters.write(&file)?;
            }
            return Ok(Outcome::TooMany(wait));
        }
        // Counted before it is known: whoever is killed in between has tried all the same.
        keys.iter().for_each(|key| counters.count(key, now));
        counters.write(&file)?;
        if !verify() {
            return Ok(Outcome::Wrong);
        }
        counters.forgive(&keys, now);
        counters.write(&file)?;
        Ok(Outcome::Right)
    }
}

type Key = [u8; 12];

/// What is counted, in the order of [`FAILURES`].
fn keys(address: Option<IpAddr>, name: &str) -> [Key; 3] {
    let address = match address.map(|address| address.to_canonical()) {
        None => "-".to_owned(),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("{:x?}", v6.octets().split_at(8).0),
    };
    [("both", address.as_str(), name), ("address", &address, ""), ("name", "", name)].map(|(kind, address, name)| {
        let mut hasher = Sha256::new();
        for part in [kind, address, name] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut key = Key::default();
        key.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
        key
    })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    key: Key,
    failures: u32,
    as_of: u64,
}

impl Record {
    /// How many are not forgiven yet. A clock that was set back forgives nothing.
    fn left(&self, now: u64) -> u32 {
        let forgiven = now.saturating_sub(self.as_of) / FORGIVEN;
        self.failures.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

struct Counters(Vec<Record>);

impl Counters {
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = vec![0; RECORDS * RECORD];
        // Of a file that is new or cut short, the rest is zero.
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let record = |bytes: &[u8]| {
            let (key, rest) = bytes.split_at(12);
            let (failures, as_of) = rest.split_at(4);
            let mut record = Record { failures: number(failures) as u32, as_of: number(as_of), ..Record::default() };
            record.key.copy_from_slice(key);
            record
        };
        Ok(Self(bytes.chunks_exact(RECORD).map(record).collect()))
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(RECORDS * RECORD);
        for record in &self.0 {
            bytes.extend_from_slice(&record.key);
            bytes.extend_from_slice(&record.failures.to_le_bytes());
            bytes.extend_from_slice(&record.as_of.to_le_bytes());
        }
        file.write_all_at(&bytes, 0)
    }

    fn left(&self, key: &Key, now: u64) -> u32 {
        self.0.iter().find(|record| record.key == *key).map_or(0, |record| record.left(now))
    }

    /// What was counted later than now, by a clock that has been set back, counts as of now: else it would not be forgiven before
    /// the clock is there again, which without a network may be never. Whether there was any.
    fn set_back(&mut self, now: u64) -> bool {
        let mut later = self.0.iter_mut().filter(|record| record.as_of > now).peekable();
        let any = later.peek().is_some();
        later.for_each(|record| record.as_of = now);
        any
    }

    /// Seconds to wait, if there were too many of one kind.
    fn wait(&self, keys: &[Key; 3], now: u64) -> Option<u64> {
        let wait = |(key, most): (&Key, &u32)| {
            let over = (self.left(key, now) + 1).checked_sub(*most).filter(|over| *over > 0)?;
            let since = self.0.iter().find(|record| record.key == *key).map_or(now, |record| record.as_of);
            let into = now.saturating_sub(since) % FORGIVEN;
            Some(u64::from(over) * FORGIVEN - into)
        };
        keys.iter().zip(&FAILURES).filter_map(wait).max()
    }

    fn count(&mut self, key: &Key, now: u64) {
        let at = self.0.iter().position(|record| record.key == *key);
        let at = at.or_else(|| {
            let fewest = self.0.iter().enumerate().min_by_key(|(_, record)| (record.left(now), record.as_of));
            fewest.map(|(at, _)| at)
        });
        if let Some(record) = at.and_then(|at| self.0.get_mut(at)) {
            *record = Record { key: *key, failures: record.left(now).saturating_add(1), as_of: now };
        }
    }

    /// Of the address with the name, all are forgiven; else the one that turned out to be none.
    fn forgive(&mut self, keys: &[Key; 3], now: u64) {
        for (number, key) in keys.iter().enumerate() {
            let left = if number == 0 { 0 } else { self.left(key, now).saturating_sub(1) };
            if let Some(record) = self.0.iter_mut().find(|record| record.key == *key) {
                *record = Record { key: *key, failures: left, as_of: now };
            }
        }
    }
}

/// The folder, made if it is not there.
fn below(folder: &Path) -> io::Result<PathBuf> {
    let below = folder.join("logins");
    match DirBuilder::new().mode(0o700).create(&below) {
        Ok(()) => give_to_owner(&File::open(&below)?, folder)?,
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        // The folder may belong to who serves, and root comes here, too: a link would have root make files elsewhere.
        Err(error) if !fs::symlink_metadata(&below)?.is_dir() => return Err(error),
        Err(_) => {}
    }
    Ok(below)
}

fn open(below: &Path, name: &str) -> io::Result<File> {
    open_or_make(OpenOptions::new().read(true).write(true), &below.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn attempt(folder: &Path, address: &str, name: &str, now: u64, right: bool) -> Outcome {
        let place = place(folder).unwrap().unwrap();
        place.attempt(address.parse().ok(), name, || now, || right).unwrap()
    }

    #[test]
    fn too_many_failures_make_one_wait_and_a_minute_forgives_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |address, name, now, right| attempt(folder.path(), address, name, now, right);
        for _ in 0..5 {
            assert_eq!(at("10.0.0.1", "ann", 1000, false), Outcome::Wrong);
        }
        assert_eq!(at("10.0.0.1", "ann", 1000, true), Outcome::TooMany(60), "the right one, too");
        assert_eq!(at("10.0.0.1", "ann", 1059, true), Outcome::TooMany(1));
        assert_eq!(at("::ffff:10.0.0.1", "ann", 1000, true), Outcome::TooMany(60), "the same address");
        // Another name, and another address, may.
        assert_eq!(at("10.0.0.1", "bob", 1000, true), Outcome::Right);
        assert_eq!(at("10.0.0.2", "ann", 1000, true), Outcome::Right);
        assert_eq!(at("10.0.0.1", "ann", 1060, false), Outcome::Wrong);
        assert_eq!(at("10.0.0.1", "ann", 1060, true), Outcome::TooMany(60));
        assert_eq!(at("10.0.0.1", "ann", 1120, true), Outcome::Right);
        for _ in 0..5 {
            assert_eq!(at("10.0.0.1", "ann", 1120, false), Outcome::Wrong, "forgiven by the right one");
        }
    }

    #[test]
    fn many_names_of_one_address_and_many_addresses_of_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |address: &str, name: &str| attempt(folder.path(), address, name, 5000, false);
        let wrong = (0..60).filter(|n| at("10.0.0.1", &format!("user{n}")) == Outcome::Wrong).count();
        assert_eq!(wrong, 20);
        let wrong = (0..90).filter(|n| at(&format!("2001:db8:0:{n}::1"), "ann") == Outcome::Wrong).count();
        assert_eq!(wrong, 50);
        // Addresses of one network are one.
        let wrong = (0..60).filter(|n| at(&format!("2001:db8:1::{n:x}"), &format!("n{n}")) == Outcome::Wrong).count();
        assert_eq!(wrong, 20);
        assert_eq!(std::fs::metadata(folder.path().join("logins/counters")).unwrap().len(), 6144);
    }

    #[test]
    fn a_flood_of_names_does_not_make_the_one_that_tried_most_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let at = |address: &str, name: &str| attempt(folder.path(), address, name, 5000, false);
        for _ in 0..5 {
            at("10.0.0.1", "ann");
        }
        for n in 0..300 {
            at(&format!("10.1.{}.{}", n / 250, n % 250), &format!("user{n}"));
        }
        assert!(matches!(at("10.0.0.1", "ann"), Outcome::TooMany(_)));
        assert_eq!(std::fs::metadata(folder.path().join("logins/counters")).unwrap().len(), 6144);
        std::fs::write(folder.path().join("logins/counters"), b"short").unwrap();
        assert_eq!(at("10.0.0.1", "ann"), Outcome::Wrong, "what is damaged begins anew");
    }

    #[test]
    fn addresses_that_filled_the_table_gave_another_one_as_many_tries_as_it_liked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |address: &str, name: &str| attempt(folder.path(), address, name, 5000, false);
        for n in 0..29 {
            for user in 0..20 {
                at(&format!("10.2.0.{n}"), &format!("user{n}-{user}"));
            }
        }
        let tries = (0..200).filter(|_| at("10.3.0.1", "ann") == Outcome::Wrong).count();
        assert!((1..=5).contains(&tries), "{tries}");
    }

    #[test]
    fn a_clock_that_was_set_back_kept_everybody_out_until_it_was_right_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |now, right| attempt(folder.path(), "10.0.0.1", "ann", now, right);
        (0..5).for_each(|_| assert_eq!(at(1_000_000, false), Outcome::Wrong));
        let hopeless = |now| hopeless(folder.path(), "10.0.0.1".parse().ok(), "ann", now).unwrap();
        assert_eq!((hopeless(1_000_001), hopeless(100)), (Some(59), None));
        assert_eq!(at(100, true), Outcome::TooMany(60));
        assert_eq!(at(130, true), Outcome::TooMany(30));
        assert_eq!(hopeless(130), Some(30));
        assert_eq!(at(160, true), Outcome::Right);
    }

    #[test]
    fn a_link_had_root_make_a_file_elsewhere() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = elsewhere.path().join("made");
        fs::create_dir(folder.path().join("logins")).unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("logins/wait.0")).unwrap();
        assert!(prepare(folder.path()).is_err() && !file.exists());
        fs::remove_dir_all(folder.path().join("logins")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("logins")).unwrap();
        assert!(prepare(folder.path()).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_verifies_and_eight_wait() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path()).unwrap();
        let places: Vec<_> = (0..PLACES).map(|_| place(folder.path()).unwrap().unwrap()).collect();
        assert!(place(folder.path()).unwrap().is_none());
        let (now, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for (number, place) in places.into_iter().enumerate() {
                let (now, most, done) = (&now, &most, &done);
                scope.spawn(move || {
                    let verify = || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(2));
                        now.fetch_sub(1, Ordering::SeqCst);
                        true
                    };
                    let outcome = place.attempt(None, &format!("user{number}"), || 0, verify).unwrap();
                    assert_eq!(outcome, Outcome::Right);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!((most.into_inner(), done.into_inner()), (1, PLACES));
        assert!(place(folder.path()).unwrap().is_some());
    }
}
