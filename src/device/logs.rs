//! Logs as Pantavisor keeps them: `<folder>/<rev>/<source>/…`, text, in files of any depth (`sdk.md`).
//!
//! Nothing is read whole: what is wanted of a file is found from its end, and read piece by piece. The pieces of a path are typed, each
//! folder is opened from the one above it, and no link is followed: what a container has in its logs stays there.
//!
//! With several files, each begins with a line `==> name <==`, as `tail` has it. What was rotated away (`x.1`, `x.gz`) is read only
//! where a log is wanted whole. Whoever follows a log looks after it by inode: a file that is renamed is read to its end, one that
//! was cut short from its beginning, and one that comes anew from there, too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, readlinkat};
use rustix::io::Errno;

use super::{Device, DeviceError};
use crate::state::{Revision, escape};

/// Bytes of one read, and of one step backwards.
const PIECE: usize = 64 * 1024;

/// As far as a number of lines is looked for from the end.
const FARTHEST: u64 = 16 << 20;

/// Files of one log, and folders in folders; there are a handful. Each file keeps a descriptor.
const MOST_FILES: usize = 32;
const MOST_DEEP: usize = 6;

/// Looks in a row that do not find a file which is gone.
const GONE: u8 = 2;

/// Whose log: a container, or `pantavisor`. One segment of a path, and no hidden one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// What is read where nobody says whose.
    pub fn pantavisor() -> Self {
        Self("pantavisor".to_owned())
    }

    /// Parses a name.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = !text.is_empty() && text.len() <= 255 && !text.starts_with('.');
        (plain && !text.chars().any(|c| c == '/' || c.is_control())).then(|| Self(text.to_owned()))
    }
}

/// How much of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// So many lines at the end of each file.
    Last(u64),
}

/// Whether a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It ends where it ended when it was opened.
    No,
    /// What comes belongs to it.
    Yes,
}

/// A log that is being read.
#[derive(Debug)]
pub struct LogReader {
    folder: OwnedFd,
    files: Vec<Followed>,
    several: bool,
    /// The file that was read last, by inode.
    shown: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Followed {
    name: String,
    file: File,
    id: (u64, u64),
    at: u64,
    /// As far as it is read.
    until: u64,
    /// How often in a row it was looked for and not there.
    missed: u8,
}

impl Device {
    /// Opens the log of a revision, of the running one if none is named.
    pub fn open_log(
        &self,
        rev: Option<&Revision>,
        source: &Source,
        part: Part,
        follow: Follow,
    ) -> Result<LogReader, DeviceError> {
        let root = self.log_folder();
        let none = |rev: &str| DeviceError::NoLog(format!("of {} in revision {}", escape(&source.0), escape(rev)));
        let top = match open_folder(CWD, &root, OFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(none(rev.map_or("current", |_| "any"))),
            other => other.map_err(DeviceError::failed)?,
        };
        let name = match rev {
            Some(rev) => rev.to_string(),
            None => self.running_log(&top)?,
        };
        let mut folder = top;
        for segment in name.split('/').chain([source.0.as_str()]) {
            folder = match open_folder(folder.as_fd(), Path::new(segment), OFlags::NOFOLLOW) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(none(&name)),
                other => other.map_err(DeviceError::failed)?,
            };
        }
        LogReader::open(folder, part, follow).map_err(DeviceError::failed)
    }

    /// What runs; where nobody can say it, what the folder of the logs says.
    fn running_log(&self, top: &OwnedFd) -> Result<String, DeviceError> {
        let error = match self.resolve("current") {
            Ok(name) => return Ok(Revision::parse(&name).map_err(DeviceError::failed)?.to_string()),
            Err(error) => error,
        };
        let link = readlinkat(top, "current", Vec::new()).ok().and_then(|link| link.into_string().ok());
        let named = link.and_then(|link| Revision::parse(link.trim_end_matches('/')).ok());
        named.map(|rev| rev.to_string()).ok_or(error)
    }
}

impl Device {
    /// A slot for one of at most so many who follow a log, over all processes, for as long as it is held. `None`: all are taken.
    pub fn follow_slot(&self, most: usize) -> Result<Option<OwnedFd>, DeviceError> {
        let folder = self.working_folder()?;
        let folder = open_folder(CWD, &folder, OFlags::empty()).map_err(DeviceError::failed)?;
        for number in 0..most {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let slot = openat(&folder, format!("follow.{number}"), flags, Mode::from_raw_mode(0o600));
            let slot = slot.map_err(DeviceError::failed)?;
            match flock(&slot, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(slot)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(DeviceError::failed(error)),
            }
        }
        Ok(None)
    }
}

impl LogReader {
    fn open(folder: OwnedFd, part: Part, follow: Follow) -> io::Result<Self> {
        let mut reader = Self { folder, files: Vec::new(), several: false, shown: None };
        for (name, file) in reader.list()? {
            if part != Part::Whole && is_rotated(&name) {
                continue;
            }
            let at = match part {
                Part::Whole => 0,
                Part::Last(lines) => last_lines(&file, lines)?,
            };
            let mut followed = Followed::new(name, file, at)?;
            if follow == Follow::No {
                followed.until = followed.file.metadata()?.len();
            }
            reader.files.push(followed);
        }
        reader.several = reader.files.len() > 1;
        Ok(reader)
    }

    /// The next bytes; none at the end of all there is now.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        // The one that was read last comes first: one header is enough for what belongs together.
        let last = self.files.iter().position(|followed| Some(followed.id) == self.shown);
        let order = last.into_iter().chain((0..self.files.len()).filter(|number| Some(*number) != last));
        for number in order.collect::<Vec<_>>() {
            let (several, shown) = (self.several, self.shown);
            let Some(followed) = self.files.get_mut(number) else { continue };
            let most = usize::try_from(followed.until.saturating_sub(followed.at)).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; most];
            let got = followed.file.read_at(&mut piece, followed.at)?;
            if got == 0 {
                continue;
            }
            piece.truncate(got);
            followed.at += got as u64;
            if several && shown != Some(followed.id) {
                let blank = if shown.is_some() { "\n" } else { "" };
                let header = format!("{blank}==> {} <==\n", escape(&followed.name));
                piece.splice(0..0, header.into_bytes());
            }
            self.shown = Some(followed.id);
            return Ok(piece);
        }
        Ok(Vec::new())
    }

    /// Looks for what has been renamed, cut short, removed or made since. What is renamed just then may be found under neither name:
    /// only what is missed twice is gone, and was read to its end by then.
    pub fn look_again(&mut self) -> io::Result<()> {
        let listed = self.list()?;
        for followed in &mut self.files {
            followed.missed += 1;
        }
        for (name, file) in listed {
            let meta = file.metadata()?;
            let id = (meta.dev(), meta.ino());
            match self.files.iter_mut().find(|followed| followed.id == id) {
                Some(followed) => {
                    followed.missed = 0;
                    followed.name = name;
                    if meta.len() < followed.at {
                        followed.at = 0;
                    }
                }
                None if is_rotated(&name) => {}
                None => self.files.push(Followed::new(name, file, 0)?),
            }
        }
        self.files.retain(|followed| followed.missed < GONE);
        self.several |= self.files.iter().filter(|followed| followed.missed == 0).count() > 1;
        Ok(())
    }

    /// All files, by name.
    fn list(&self) -> io::Result<Vec<(String, File)>> {
        let mut found = Vec::new();
        walk(self.folder.as_fd(), "", 0, &mut found)?;
        Ok(found)
    }
}

impl Followed {
    fn new(name: String, file: File, at: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { name, file, id: (meta.dev(), meta.ino()), at, until: u64::MAX, missed: 0 })
    }
}

fn open_folder(at: BorrowedFd<'_>, name: &Path, more: OFlags) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

fn walk(folder: BorrowedFd<'_>, prefix: &str, deep: usize, found: &mut Vec<(String, File)>) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        // A name that is no text is nothing that a log could be called by.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.starts_with('.') {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in entries {
        let path = format!("{prefix}{name}");
        let opened = match kind {
            FileType::Directory | FileType::Unknown if deep < MOST_DEEP => {
                match open_folder(folder, Path::new(&name), OFlags::NOFOLLOW) {
                    Ok(inner) => {
                        walk(inner.as_fd(), &format!("{path}/"), deep + 1, found)?;
                        continue;
                    }
                    Err(Errno::NOTDIR) => open_file(folder, &name),
                    // It has gone meanwhile, or is a link.
                    Err(_) => continue,
                }
            }
            FileType::RegularFile => open_file(folder, &name),
            _ => continue,
        };
        if found.len() == MOST_FILES {
            return Ok(());
        }
        if let Some(file) = opened
            && !path.ends_with(".gz")
        {
            found.push((path, file));
        }
    }
    Ok(())
}

/// A file, if it is one.
fn open_file(folder: BorrowedFd<'_>, name: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
}

/// `x.1`: what the log was before.
fn is_rotated(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Where the last so many lines begin.
fn last_lines(file: &File, lines: u64) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let first = len.saturating_sub(FARTHEST);
    let (mut left, mut end) = (lines, len);
    if lines == 0 {
        return Ok(len);
    }
    while end > first {
        let start = end.saturating_sub(PIECE as u64).max(first);
        let mut piece = vec![0; usize::try_from(end - start).unwrap_or(PIECE)];
        let got = file.read_at(&mut piece, start)?;
        for (at, _) in piece.iter().enumerate().take(got).rev().filter(|(_, byte)| **byte == b'\n') {
            // The one at the very end ends a line and begins none.
            if start + at as u64 + 1 == len {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn reader(dir: &Path, part: Part) -> LogReader {
        LogReader::open(open_folder(CWD, dir, OFlags::empty()).unwrap(), part, Follow::Yes).unwrap()
    }

    fn all(reader: &mut LogReader) -> String {
        let mut text = Vec::new();
        loop {
            match reader.read().unwrap() {
                piece if piece.is_empty() => return String::from_utf8(text).unwrap(),
                piece => text.extend_from_slice(&piece),
            }
        }
    }

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn sources_are_one_segment() {
        for good in ["pantavisor", "nb", "a b", "é"] {
            assert!(Source::parse(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "/", ".hidden", "a\0", "a\n", &"x".repeat(256)] {
            assert!(Source::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_number_of_lines_is_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(100_000);
        for (text, lines, want) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\nc\n", 0, ""),
            ("a\nb\nc\n", 3, "a\nb\nc\n"),
            ("a\nb\nc\n", u64::MAX, "a\nb\nc\n"),
            ("\n\n\n", 2, "\n\n"),
            ("", 2, ""),
            (&format!("a\n{long}\nb\n"), 2, &format!("{long}\nb\n")),
        ] {
            let path = dir.path().join("log");
            fs::write(&path, text).unwrap();
            assert_eq!(all(&mut reader(dir.path(), Part::Last(lines))), want, "{:.20}", text);
        }
    }

    #[test]
    fn only_so_much_is_looked_at_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("log")).unwrap();
        file.set_len(1 << 40).unwrap();
        let read = reader(dir.path(), Part::Last(5));
        assert_eq!(read.files[0].at, (1 << 40) - FARTHEST);
    }

    #[test]
    fn a_log_that_nobody_follows_ends_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        append(&log, "1\n");
        let folder = open_folder(CWD, dir.path(), OFlags::empty()).unwrap();
        let mut reader = LogReader::open(folder, Part::Whole, Follow::No).unwrap();
        append(&log, "2\n");
        assert_eq!(all(&mut reader), "1\n");
    }

    #[test]
    fn several_files_are_told_apart_and_links_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::create_dir_all(dir.path().join("lxc")).unwrap();
        fs::write(dir.path().join("lxc/console.log"), "one\n").unwrap();
        fs::write(dir.path().join("z.log"), "two\n").unwrap();
        fs::write(dir.path().join("z.log.1"), "old\n").unwrap();
        fs::write(dir.path().join("z.log.2.gz"), "packed\n").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("folder")).unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let want = "==> lxc/console.log <==\none\n\n==> z.log <==\ntwo\n";
        assert_eq!(all(&mut reader(dir.path(), Part::Last(10))), want);
        let whole = all(&mut reader(dir.path(), Part::Whole));
        assert_eq!(whole, format!("{want}\n==> z.log.1 <==\nold\n"));
    }

    #[test]
    fn what_a_file_got_after_it_was_renamed_while_files_were_listed_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        append(&log, "1\n");
        let mut reader = reader(dir.path(), Part::Whole);
        assert_eq!(all(&mut reader), "1\n");
        // As it is between its two names for who lists them one after the other.
        let between = outside.path().join("a");
        fs::rename(&log, &between).unwrap();
        reader.look_again().unwrap();
        assert_eq!(all(&mut reader), "");
        append(&between, "2\n");
        fs::rename(&between, dir.path().join("a.log.1")).unwrap();
        reader.look_again().unwrap();
        assert_eq!(all(&mut reader), "2\n");
    }

    #[test]
    fn whoever_follows_loses_nothing_and_gets_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        append(&log, "1\n2\n3\n");
        let mut reader = reader(dir.path(), Part::Last(1));
        assert_eq!(all(&mut reader), "3\n");
        let mut round = |change: &dyn Fn(), want: &str| {
            change();
            reader.look_again().unwrap();
            assert_eq!(all(&mut reader), want);
        };
        round(&|| append(&log, "4\n"), "4\n");
        let aside = dir.path().join("a.log.1");
        round(
            &|| {
                append(&log, "5\n");
                fs::rename(&log, &aside).unwrap();
                append(&log, "6\n");
            },
            "5\n\n==> a.log <==\n6\n",
        );
        round(&|| append(&log, "7\n"), "7\n");
        round(&|| append(&aside, "late\n"), "\n==> a.log.1 <==\nlate\n");
        round(&|| fs::remove_file(&aside).unwrap(), "");
        round(&|| fs::write(&log, "8\n").unwrap(), "\n==> a.log <==\n8\n");
        round(&|| append(&dir.path().join("b.log"), "b\n"), "\n==> b.log <==\nb\n");
        round(
            &|| {
                append(&log, "9\n");
                fs::remove_file(&log).unwrap();
            },
            "\n==> a.log <==\n9\n",
        );
        round(&|| {}, "");
        assert_eq!(reader.files.len(), 1, "what is gone keeps no descriptor");
    }
}
