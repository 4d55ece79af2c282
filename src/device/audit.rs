//! The audit log: who did what to which revision, from where, and what came of it.
//!
//! ```text
//! <working folder>/audit.log      0600; the newest lines
//! <working folder>/audit.log.1    the lines before those
//! {"time":"2026-11-26T10:00:00Z","did":"post","who":"anna","from":"192.168.1.5","rev":"locals/x","result":"ok","status":200,"request-id":"5f0e6a1c-12"}
//! ```
//!
//! One JSON object a line, of at most [`LINE`] bytes, whose end is cut off the names in it if need be; nothing in it acts on a
//! terminal. With [`FULL`] bytes, the file takes the place of the one before, so that both have twice as many, and what other processes
//! write while one moves it.
//!
//! Several processes write: each line goes out in one write at the end of the file (`O_APPEND`), which takes no lock. Who finds the
//! file full moves it under a lock on it, and only if it still has its name; a lock that another process sleeps on is not waited
//! for. What a full disk has left of a line is ended before the next one; who sees a line on its way takes it for such a one, so there
//! may be an empty line, which says nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::{Device, DeviceError};
use crate::state::{clock, escape_json};
use crate::store::open_or_make;

/// Bytes of a file that is full.
pub const FULL: u64 = 256 * 1024;

/// Bytes of a line, with its end.
pub const LINE: usize = 1024;

/// Bytes of each name that came from outside, before it is escaped.
const NAME: usize = 96;

/// What a line says. What is not known is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audited {
    /// When it was written; [`Audited::line`] says it.
    pub time: String,
    /// What was done, in a word.
    pub did: &'static str,
    /// Who did it: the name of an account or token, or who runs the command line.
    pub who: String,
    /// The address that it came from, or `command line`.
    pub from: String,
    /// The revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// The object, the part of a state, the account: what else it was done to.
    #[serde(rename = "to", skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// `ok`, `refused`, `failed`, or `left`: nobody waited for the end of it.
    pub result: &'static str,
    /// Of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why not, in the word of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The id under which the log has it.
    #[serde(rename = "request-id", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Audited {
    /// The line, without its end.
    pub fn line(mut self) -> String {
        self.time = clock::rfc3339(clock::now());
        for name in
            [Some(&mut self.who), Some(&mut self.from), self.rev.as_mut(), self.what.as_mut()].into_iter().flatten()
        {
            let end = name.floor_char_boundary(NAME);
            if end < name.len() {
                name.truncate(end);
                name.push('…');
            }
        }
        let line = || serde_json::to_string(&self).map(escape_json).unwrap_or_default();
        let whole = line();
        if whole.len() < LINE {
            return whole;
        }
        // Escaped, a name is six times as long at most.
        for name in
            [Some(&mut self.who), Some(&mut self.from), self.rev.as_mut(), self.what.as_mut()].into_iter().flatten()
        {
            name.truncate(name.floor_char_boundary(NAME / 6));
        }
        serde_json::to_string(&self).map(escape_json).unwrap_or_default()
    }
}

/// Where the lines go.
#[derive(Clone, Debug)]
pub struct AuditLog {
    folder: PathBuf,
}

impl Device {
    /// The audit log of this device. Makes the folder that it is in.
    pub fn audit_log(&self) -> Result<AuditLog, DeviceError> {
        Ok(AuditLog { folder: self.working_folder()? })
    }
}

impl AuditLog {
    /// In this folder, which is there.
    pub fn within(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Adds a line, which has no end of its own.
    pub fn add(&self, line: &str) -> io::Result<()> {
        let mut file = self.open()?;
        let size = file.metadata()?.len();
        if size + line.len() as u64 >= FULL {
            self.turn(&file)?;
            file = self.open()?;
        }
        let mut text = String::with_capacity(line.len() + 2);
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 && file.read_at(&mut last, size - 1)? == 1 && last != *b"\n" {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        loop {
            file.write_all(text.as_bytes())?;
            // Turned twice since it was opened, as by others while this process slept.
            if file.metadata()?.nlink() > 0 {
                return Ok(());
            }
            file = self.open()?;
        }
    }

    fn open(&self) -> io::Result<File> {
        // A command of root's may be the first to write, and then a server that is somebody else.
        open_or_make(File::options().read(true).append(true), &self.folder.join("audit.log"))
    }

    /// Sets the full file aside, unless somebody else does.
    fn turn(&self, full: &File) -> io::Result<()> {
        if flock(full, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let path = self.folder.join("audit.log");
        let same =
            fs::symlink_metadata(&path).is_ok_and(|there| full.metadata().is_ok_and(|own| own.ino() == there.ino()));
        if same { fs::rename(&path, self.folder.join("audit.log.1")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &std::path::Path) -> Vec<String> {
        let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let all = read("audit.log.1") + &read("audit.log");
        all.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_short_and_one_line_whatever_is_in_it() {
        for letter in ["a", "\"", "\\", "\n", "\u{1b}", "\u{9b}", "\u{202e}", "é", "\u{10ffff}"] {
            let long = letter.repeat(5000);
            let audited = Audited {
                did: "pvtx-commit",
                who: long.clone(),
                from: long.clone(),
                rev: Some(long.clone()),
                what: Some(long),
                result: "refused",
                status: Some(422),
                reason: Some("transaction-elsewhere"),
                request_id: Some("ffffffff-4294967295".to_owned()),
                ..Audited::default()
            };
            let line = audited.line();
            assert!(line.len() < LINE && !line.contains(char::is_control) && !line.contains('\u{202e}'), "{line}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["request-id"], "ffffffff-4294967295");
            assert!(value["rev"].as_str().unwrap().starts_with(letter));
        }
    }

    #[test]
    fn several_that_write_and_turn_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        // As many as fit into two files, so that none may be gone.
        let (writers, each) = (8, 2 * FULL as usize / 8 / 128 - 32);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let log = AuditLog::within(folder.path().to_owned());
                scope.spawn(move || {
                    for number in 0..each {
                        log.add(&format!("{writer} {number} {}", "x".repeat(100))).unwrap();
                    }
                });
            }
        });
        let all: std::collections::BTreeSet<String> = lines(folder.path()).into_iter().collect();
        assert_eq!(all.len(), writers * each);
        for name in ["audit.log", "audit.log.1"] {
            let meta = fs::metadata(folder.path().join(name)).unwrap();
            // Who turns may be held up in the middle of it, and the others write on.
            assert!(meta.len() < 2 * FULL && meta.mode() & 0o777 == 0o600, "{name}: {}", meta.len());
        }
    }

    #[test]
    fn both_files_together_stay_within_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::within(folder.path().to_owned());
        let line = "x".repeat(LINE - 2);
        for number in 0..1500 {
            log.add(&format!("{number:04}{}", &line[4..])).unwrap();
        }
        let all = lines(folder.path());
        assert!(all.last().unwrap().starts_with("1499") && all.len() >= FULL as usize / LINE, "{}", all.len());
        let sizes = ["audit.log", "audit.log.1"].map(|name| fs::metadata(folder.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FULL), "{sizes:?}");
    }

    #[test]
    fn what_a_full_disk_left_of_a_line_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("audit.log"), "whole\nhal").unwrap();
        let log = AuditLog::within(folder.path().to_owned());
        log.add("next").unwrap();
        log.add("last").unwrap();
        assert_eq!(lines(folder.path()), ["whole", "hal", "next", "last"]);
    }

    #[test]
    fn a_lock_that_somebody_sleeps_on_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::within(folder.path().to_owned());
        let path = folder.path().join("audit.log");
        fs::write(&path, "x".repeat(FULL as usize) + "\n").unwrap();
        let asleep = File::open(&path).unwrap();
        flock(&asleep, FlockOperation::LockExclusive).unwrap();
        log.add("one").unwrap();
        assert!(!folder.path().join("audit.log.1").exists());
        drop(asleep);
        log.add("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert!(fs::read_to_string(folder.path().join("audit.log.1")).unwrap().ends_with("\none\n"));
    }

    #[test]
    fn a_link_in_its_place_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("audit.log")).unwrap();
        assert!(AuditLog::within(folder.path().to_owned()).add("line").is_err() && !elsewhere.exists());
    }
}
