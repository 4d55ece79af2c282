//! Remembering which files have been hashed: the text file `intact` of the working folder.
//!
//! One line per verified file, `<sha256> <inode> <size> <mtime> <ctime>`, times as `<seconds>.<nine digits>`.
//! Lines are only ever appended, several at once in one write; of two for one object the last counts. A line
//! that is malformed or has no end yet is skipped: whatever is missing costs one more hashing, nothing else.
//! Under the exclusive lock the file is written anew once it has grown past twice what it has to hold.
//!
//! A line is written only for bytes that have been made durable: after a power cut the memo must not vouch for
//! a file of the right size that has lost its content.

use super::error::is_full;
use super::owner::{give_to_owner, open_or_make};
use crate::state::ObjectId;
use crate::state::clock;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Fewer superfluous lines than this are not worth writing the file anew.
const SLACK: usize = 256;

/// What tells one content of one file from any other, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
}

impl Stamp {
    /// The stamp of a file as it is now.
    pub(crate) fn of(meta: &std::fs::Metadata) -> Self {
        let nanos = |n: i64| u32::try_from(n).unwrap_or(0);
        Self {
            ino: meta.ino(),
            size: meta.size(),
            mtime: (clock::file_seconds(meta.mtime()), nanos(meta.mtime_nsec())),
            ctime: (clock::file_seconds(meta.ctime()), nanos(meta.ctime_nsec())),
        }
    }

    /// Whether only links or modes have changed since `earlier`, not the bytes.
    pub(crate) fn same_bytes(&self, earlier: &Self) -> bool {
        (self.ino, self.size, self.mtime) == (earlier.ino, earlier.size, earlier.mtime)
    }

    fn line(&self, id: &ObjectId) -> String {
        let ((ms, mn), (cs, cn)) = (self.mtime, self.ctime);
        format!("{id} {} {} {ms}.{mn:09} {cs}.{cn:09}\n", self.ino, self.size)
    }

    fn parse(line: &str) -> Option<(ObjectId, Self)> {
        let mut fields = line.split(' ');
        let id = ObjectId::parse(fields.next()?).ok()?;
        let stamp = Self {
            ino: fields.next()?.parse().ok()?,
            size: fields.next()?.parse().ok()?,
            mtime: time(fields.next()?)?,
            ctime: time(fields.next()?)?,
        };
        fields.next().is_none().then_some((id, stamp))
    }
}

/// Nine digits exactly, so that a line cut short is not mistaken for another time.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, nanos) = text.split_once('.')?;
    (nanos.len() == 9).then_some((seconds.parse().ok()?, nanos.parse().ok()?))
}

#[derive(Debug, Default)]
struct Known {
    stamps: HashMap<ObjectId, Stamp>,
    /// Lines in the file, as far as it has been read.
    lines: usize,
    /// How far the file has been read, and which file that was.
    read: u64,
    ino: u64,
}

/// The memo of one store, shared by the threads of a process.
#[derive(Debug)]
pub(crate) struct Memo {
    path: PathBuf,
    known: Mutex<Known>,
}

impl Memo {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file with this stamp has been found to hold the bytes of `id`.
    pub(crate) fn vouches(&self, id: &ObjectId, stamp: &Stamp) -> bool {
        let mut known = self.known();
        // Another process may have hashed it, or have found it bad. An unreadable memo is an empty one.
        let _ = self.catch_up(&mut known);
        known.stamps.get(id) == Some(stamp)
    }

    /// Remembers for this process. What is durable goes to the file with [`Memo::write`].
    pub(crate) fn remember(&self, id: ObjectId, stamp: Stamp) {
        let mut known = self.known();
        // Else an older line, read later, would win over this.
        let _ = self.catch_up(&mut known);
        known.stamps.insert(id, stamp);
    }

    /// Takes back what has been said about an object.
    pub(crate) fn distrust(&self, id: ObjectId) {
        // No file has inode 0, so this vouches for nothing, and it is the last line.
        self.remember(id, Stamp { ino: 0, size: 0, mtime: (0, 0), ctime: (0, 0) });
        self.write(&[id]);
    }

    /// Writes down what is remembered about these objects. Failing is no harm: they will be hashed again.
    pub(crate) fn write(&self, ids: &[ObjectId]) {
        let known = self.known();
        let lines: String = ids.iter().filter_map(|id| Some(known.stamps.get(id)?.line(id))).collect();
        drop(known);
        if lines.is_empty() {
            return;
        }
        let file = open_or_make(OpenOptions::new().append(true), &self.path);
        let _ = file.and_then(|mut file| file.write_all(lines.as_bytes()));
    }

    /// Whether the file is worth writing anew.
    pub(crate) fn bloated(&self) -> bool {
        let mut known = self.known();
        let _ = self.catch_up(&mut known);
        known.lines > 2 * known.stamps.len() + SLACK
    }

    /// Writes the file anew with what `keep` still has a use for. The caller holds the exclusive lock: a line
    /// appended meanwhile would be lost. `fresh` is a name of the caller's own on the same file system.
    pub(crate) fn compact(&self, fresh: &Path, keep: impl Fn(&ObjectId) -> bool) -> io::Result<()> {
        let mut known = self.known();
        self.catch_up(&mut known)?;
        known.stamps.retain(|id, _| keep(id));
        let lines: String = known.stamps.iter().map(|(id, stamp)| stamp.line(id)).collect();
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(fresh)
            .and_then(|mut file| {
                fresh.parent().map_or(Ok(()), |folder| give_to_owner(&file, folder))?;
                file.write_all(lines.as_bytes())
            })
            .and_then(|()| std::fs::rename(fresh, &self.path));
        match written {
            // A full disk: the longer file goes on serving.
            Err(e) if is_full(&e) => Ok(()),
            other => other,
        }
    }

    /// Reads the lines that have been appended since the last time.
    fn catch_up(&self, known: &mut Known) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let meta = file.metadata()?;
        if meta.ino() != known.ino || meta.len() < known.read {
            // Written anew by somebody. What this process knows stays true: stamps are compared, not believed.
            (known.ino, known.read, known.lines) = (meta.ino(), 0, 0);
        }
        if meta.len() == known.read {
            return Ok(());
        }
        file.seek(SeekFrom::Start(known.read))?;
        let mut tail = Vec::new();
        file.take(meta.len() - known.read).read_to_end(&mut tail)?;
        // The last line may still be under way.
        let whole = tail.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        for line in tail[..whole].split(|&b| b == b'\n') {
            known.lines += 1;
            if let Some((id, stamp)) = std::str::from_utf8(line).ok().and_then(Stamp::parse) {
                known.stamps.insert(id, stamp);
            }
        }
        known.read += whole as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 32])
    }

    fn stamp(size: u64) -> Stamp {
        Stamp { ino: 7, size, mtime: (-3, 4), ctime: (1_700_000_000, 999_999_999) }
    }

    #[test]
    fn a_line_reads_back_and_a_damaged_one_does_not() {
        let line = stamp(9).line(&id(1));
        assert_eq!(Stamp::parse(line.trim_end()), Some((id(1), stamp(9))));
        for cut in 0..line.trim_end().len() {
            assert_eq!(Stamp::parse(&line[..cut]), None, "{cut}");
        }
        assert_eq!(Stamp::parse(&format!("{} x", line.trim_end())), None);
    }

    #[test]
    fn processes_learn_from_each_other_and_torn_lines_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intact");
        let (a, b) = (Memo::new(path.clone()), Memo::new(path.clone()));
        a.remember(id(1), stamp(1));
        assert!(a.vouches(&id(1), &stamp(1)) && !b.vouches(&id(1), &stamp(1)));
        a.write(&[id(1)]);
        assert!(b.vouches(&id(1), &stamp(1)) && !b.vouches(&id(1), &stamp(2)));

        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\xff torn\nhalf a li").unwrap();
        a.remember(id(2), stamp(2));
        a.write(&[id(2)]);
        a.remember(id(3), stamp(3));
        a.write(&[id(3)]);
        assert!(!b.vouches(&id(2), &stamp(2)), "its line was appended to the torn one");
        assert!(b.vouches(&id(3), &stamp(3)));
        a.remember(id(1), stamp(4));
        a.write(&[id(1)]);
        assert!(Memo::new(path).vouches(&id(1), &stamp(4)), "the last line counts");
    }

    #[test]
    fn a_bloated_file_is_written_anew_and_others_notice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intact");
        let (a, b) = (Memo::new(path.clone()), Memo::new(path.clone()));
        for round in 0..SLACK as u64 + 10 {
            a.remember(id(1), stamp(round));
            a.write(&[id(1)]);
        }
        a.remember(id(2), stamp(0));
        a.write(&[id(2)]);
        let last = stamp(SLACK as u64 + 9);
        assert!(b.vouches(&id(1), &last) && b.bloated());
        a.compact(&dir.path().join("fresh"), |kept| *kept == id(1)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), last.line(&id(1)));
        b.remember(id(3), stamp(3));
        b.write(&[id(3)]);
        let c = Memo::new(path);
        assert!(c.vouches(&id(1), &last) && c.vouches(&id(3), &stamp(3)) && !c.vouches(&id(2), &stamp(0)));
        assert!(!b.bloated());
    }
}
