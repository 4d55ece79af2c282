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
//! IPv6 address counts by its /64, which is what one customer has. When the records are full, the one with the fewest makes room: what is
//! held is bounded, and whoever has tried most stays known. Nothing of it is made durable: after a power cut it begins anew.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::accounts::give_to_owner;

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
        if let Some(wait) = counters.wait(&keys, now) {
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
        let left = self.left(key, now);
        let at = self.0.iter().position(|record| record.key == *key);
        let at = at.or_else(|| {
            let fewest = self.0.iter().enumerate().min_by_key(|(_, record)| (record.left(now), record.as_of));
            fewest.map(|(at, _)| at)
        });
        if let Some(record) = at.and_then(|at| self.0.get_mut(at)) {
            *record = Record { key: *key, failures: left + 1, as_of: now };
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
        Err(_) => {}
    }
    Ok(below)
}

fn open(below: &Path, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let path = below.join(name);
    match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    // Somebody else may make it at the same time.
    let file = options.create(true).truncate(false).open(&path)?;
    give_to_owner(&file, below)?;
    Ok(file)
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
        assert_eq!(at("10.0.0.1", "ann", 10, true), Outcome::TooMany(60), "a clock that was set back");
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
