//! `.status`: what a transaction is, as today's program keeps it on disk.
//!
//! C structures, written whole, in the byte order and with the 32-bit `int` of the machine that made them:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | phase: 1 queue, 2 active, 4 committed, 5 deployed; others are none |
//! | 4 | 4 | 1 local, 0 remote |
//! | 8 | 4096 | folder of the objects, filled up with NULs |
//! | 4104 | 4096 | folder of the queue |
//! | 8200 | 4 | number of the next step of the queue |
//! | 8204 | 4 | error, always 0 |
//!
//! Without a queue the file ends at 4104. It never leaves the machine, and the tools beside this one read it as their own
//! structures, so the byte order stays the machine's.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const PATH: usize = 4096;
const QUEUE: usize = 8 + PATH;
const COUNT: usize = QUEUE + PATH;
/// Size of the file without a queue.
pub const PLAIN: usize = QUEUE;
/// Size of the file with a queue.
pub const WITH_QUEUE: usize = COUNT + 8;

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A queue is defined, nothing has begun.
    Set,
    /// It has begun.
    Active,
    /// It went to Pantavisor.
    Committed,
    /// It became a folder.
    Deployed,
}

impl Phase {
    fn number(self) -> i32 {
        match self {
            Self::Set => 1,
            Self::Active => 2,
            Self::Committed => 4,
            Self::Deployed => 5,
        }
    }

    fn of(number: i32) -> Option<Self> {
        [Self::Set, Self::Active, Self::Committed, Self::Deployed].into_iter().find(|it| it.number() == number)
    }
}

/// Where the objects of a transaction go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To Pantavisor, through its control socket.
    Remote,
    /// Into this folder, as it was given: a relative one is relative to wherever a command runs.
    Local(PathBuf),
}

/// A queue of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its folder.
    pub dir: PathBuf,
    /// Number of the next step.
    pub next: u32,
}

/// What `.status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How far it has come.
    pub phase: Phase,
    /// Where its objects go.
    pub target: Target,
    /// Its queue, if it has one.
    pub queue: Option<QueueStatus>,
}

/// A path is too long to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Status {
    /// Reads a file. `None`: there is no transaction in it; a damaged file is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let phase = Phase::of(int(bytes, 0)?)?;
        let objects = path(bytes.get(8..QUEUE)?)?;
        let target = if int(bytes, 4)? == 1 { Target::Local(objects) } else { Target::Remote };
        let queue = match bytes.get(QUEUE..COUNT) {
            Some(dir) => {
                let next = u32::try_from(int(bytes, COUNT)?).ok()?;
                Some(QueueStatus { dir: path(dir)?, next }).filter(|queue| !queue.dir.as_os_str().is_empty())
            }
            None => None,
        };
        Some(Self { phase, target, queue })
    }

    /// The file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TooLong> {
        let mut bytes = vec![0; if self.queue.is_some() { WITH_QUEUE } else { PLAIN }];
        bytes[..4].copy_from_slice(&self.phase.number().to_ne_bytes());
        if let Target::Local(objects) = &self.target {
            bytes[4..8].copy_from_slice(&1_i32.to_ne_bytes());
            put(&mut bytes[8..QUEUE], objects)?;
        }
        if let Some(queue) = &self.queue {
            put(&mut bytes[QUEUE..COUNT], &queue.dir)?;
            bytes[COUNT..COUNT + 4].copy_from_slice(&queue.next.to_ne_bytes());
        }
        Ok(bytes)
    }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes)
}

/// A path that fills its field has been cut, and leads elsewhere.
fn path(field: &[u8]) -> Option<PathBuf> {
    let end = field.iter().position(|byte| *byte == 0)?;
    Some(PathBuf::from(OsString::from_vec(field[..end].to_vec())))
}

/// The last byte stays a NUL, for those who read the field as a string.
fn put(field: &mut [u8], path: &Path) -> Result<(), TooLong> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= field.len() || bytes.contains(&0) {
        return Err(TooLong);
    }
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_lies_where_others_look() {
        let mut status = Status { phase: Phase::Active, target: Target::Local("/o".into()), queue: None };
        let bytes = status.to_bytes().unwrap();
        assert_eq!(bytes.len(), 4104);
        assert_eq!((&bytes[..4], &bytes[4..8]), (&2_i32.to_ne_bytes()[..], &1_i32.to_ne_bytes()[..]));
        assert_eq!(&bytes[8..11], b"/o\0");
        assert_eq!(Status::parse(&bytes), Some(status.clone()));
        status.queue = Some(QueueStatus { dir: "/q".into(), next: 1000 });
        let bytes = status.to_bytes().unwrap();
        assert_eq!((bytes.len(), &bytes[4104..4107]), (8208, &b"/q\0"[..]));
        assert_eq!(bytes[8200..8204], 1000_u32.to_ne_bytes());
        assert_eq!(Status::parse(&bytes), Some(status));
        let remote = Status { phase: Phase::Committed, target: Target::Remote, queue: None };
        assert_eq!(Status::parse(&remote.to_bytes().unwrap()), Some(remote));
    }

    #[test]
    fn a_damaged_file_is_no_transaction() {
        let whole = Status {
            phase: Phase::Active,
            target: Target::Local("/o".into()),
            queue: Some(QueueStatus { dir: "/q".into(), next: 1 }),
        };
        let bytes = whole.to_bytes().unwrap();
        for cut in 0..PLAIN {
            assert_eq!(Status::parse(&bytes[..cut]), None, "{cut}");
        }
        // What lacks a part of its queue has none.
        let plain = Status { queue: None, ..whole };
        assert_eq!(Status::parse(&bytes[..PLAIN]), Some(plain.clone()));
        assert_eq!(Status::parse(&bytes[..COUNT]), None);
        let mut full = bytes.clone();
        full[8..QUEUE].fill(b'x');
        assert_eq!(Status::parse(&full), None);
        for phase in [0, 3, 6, -1, i32::MAX] {
            let mut wrong = plain.to_bytes().unwrap();
            wrong[..4].copy_from_slice(&phase.to_ne_bytes());
            assert_eq!(Status::parse(&wrong), None, "{phase}");
        }
    }

    #[test]
    fn a_path_is_never_cut() {
        let with = |length: usize| {
            let target = Target::Local(PathBuf::from("x".repeat(length)));
            Status { phase: Phase::Active, target, queue: None }.to_bytes().is_ok()
        };
        assert!(with(4095) && !with(4096));
    }
}
