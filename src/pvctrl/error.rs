//! What can come of a call.

use super::NameError;
use crate::net::NetError;
use crate::state::{ObjectId, escape, escape_text};

/// What has a largest size on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limited {
    /// A value of metadata.
    Metadata,
    /// A commit message.
    CommitMessage,
    /// A command.
    Command,
    /// A signal.
    Signal,
    /// A state.
    State,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a value",
            Self::CommitMessage => "a commit message",
            Self::Command => "a command",
            Self::Signal => "a signal",
            Self::State => "a state",
        })
    }
}

/// An answer that is none of the others: its status and its body, for whoever shows both as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The text in `{"Error":"…"}`, else the body.
    pub message: String,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{}", self.status),
            message => write!(f, "{} ({})", escape_text(message), self.status),
        }
    }
}

/// A call that did not do what it was made for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no socket at any of its places.
    #[error("no control socket found: none of {}\nis Pantavisor running, and is its folder mounted here?", super::SOCKETS.join(", "))]
    NoSocket,
    /// The socket takes no connection.
    #[error("cannot reach Pantavisor: {0}")]
    Unreachable(#[source] NetError),
    /// It took the request and said nothing, or broke off. What was asked for may have been done.
    #[error("no answer from Pantavisor: {0}")]
    NoAnswer(#[source] NetError),
    /// What came is not an answer, or not of the kind that was asked for.
    #[error("Pantavisor's answer cannot be read: {0}")]
    BadAnswer(String),
    /// What was to be sent could not be read. Nothing of it stays.
    #[error("cannot read what is to be sent: {0}")]
    Source(#[source] std::io::Error),
    /// Bytes that are not those that the name stands for. They were not stored.
    #[error("object {expected} has other bytes: their sha256 is {found}")]
    Checksum {
        /// Its name.
        expected: ObjectId,
        /// The sha256 of the bytes.
        found: ObjectId,
    },
    /// The daemon found that the bytes are not those that the name stands for.
    #[error("Pantavisor got other bytes than object {0} has")]
    BadObject(ObjectId),
    /// There is no such object.
    #[error("no object {0}")]
    NoObject(ObjectId),
    /// The daemon said that an object is stored, but does not list it with its size.
    #[error("object {id} is not stored whole: {} of {size} bytes are there\nit was said to be; is the disk full?",
        .listed.map_or_else(|| "none".to_owned(), |listed| listed.to_string()))]
    NotStored {
        /// Its name.
        id: ObjectId,
        /// The size that it has.
        size: u64,
        /// The size that is listed.
        listed: Option<u64>,
    },
    /// The disk is full.
    #[error("not enough disk space available\nremove revisions that nobody needs, or collect (storage gc)")]
    DiskFull,
    /// There is no such revision, container, daemon or key.
    #[error("{} does not exist: {refusal}", escape(.what))]
    NotFound {
        /// Which.
        what: String,
        /// The answer.
        refusal: Refusal,
    },
    /// The daemon refused a state; the whole revision of that name is gone.
    #[error("the state was refused: {0}")]
    BadState(Refusal),
    /// Something else is under way; nothing was done.
    #[error("{refusal}\ntry again{}", .retry_after.map(|s| format!(" in {s} seconds")).unwrap_or_default())]
    Busy {
        /// It is an update that is under way, not just another command.
        updating: bool,
        /// After how many seconds it may be tried again.
        retry_after: Option<u32>,
        /// The answer.
        refusal: Refusal,
    },
    /// There was nothing to do: it is so already.
    #[error("{0}")]
    Already(Refusal),
    /// The caller may not do this: its container has not the role `mgmt`.
    #[error("not permitted: {0}\nthe container needs the role mgmt")]
    NotPermitted(Refusal),
    /// Any other answer.
    #[error("Pantavisor answered: {0}")]
    Refused(Refusal),
    /// A name that the daemon would read as another.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing to send, to which the daemon would never answer.
    #[error("{0} cannot be empty")]
    Empty(Limited),
    /// More than the daemon takes.
    #[error("{what} of {size} bytes is too long: the control socket takes {limit}")]
    TooLong {
        /// What.
        what: Limited,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A revision of that name runs, ran well, or is under way. It would be lost.
    #[error("revision {0} is in use: it runs, has run well or is being updated to\nchoose another name")]
    InUse(String),
    /// A revision of another name than `locals/<name>`, which the control socket does not take.
    #[error("revision {0} cannot be written through the control socket\nonly locals/<name> can")]
    NotLocal(String),
}

impl ControlError {
    /// The answer behind it, where there was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound { refusal, .. } | Self::Busy { refusal, .. } => Some(refusal),
            Self::BadState(refusal) | Self::Already(refusal) | Self::NotPermitted(refusal) | Self::Refused(refusal) => {
                Some(refusal)
            }
            _ => None,
        }
    }

    /// Whether the daemon cannot be talked to at the moment: it may be in the middle of a transition or a reboot.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoAnswer(_) | Self::NoSocket)
    }
}
