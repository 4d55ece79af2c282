//! What can be wrong with an archive.

use std::io;

use super::super::error::StoreError;
use crate::state::{ObjectId, StateError, escape};

/// An archive that is not taken. Nothing of it has been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A folder, a device, a pipe.
    #[error("it is not a file")]
    NoFile,
    /// Neither tar nor gzipped tar.
    #[error("it is not a tar archive: the header at byte {0} is none")]
    Header(u64),
    /// Less came than was announced.
    #[error("it is cut off: it ends at byte {0} without the mark of its end")]
    CutOff(u64),
    /// Something stands behind the end.
    #[error("there is something behind its end")]
    Trailing,
    /// A name that leads out of the archive, or could.
    #[error("the name \"{}\" in it leads elsewhere", escape(.0))]
    Escapes(String),
    /// A link, a device, a sparse file.
    #[error("\"{}\" in it is {what}; an export has only files", escape(.name))]
    Kind {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// Two headers tell two sizes, or a name is too long to be one.
    #[error("the extended header at byte {at} cannot be believed: {why}")]
    Extended {
        /// Where it stands.
        at: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No state in it.
    #[error("it has no json: it is not an export")]
    NoState,
    /// Two states in it.
    #[error("it has two files named json: which of them is the state cannot be told")]
    TwoStates,
    /// The state is over the limit.
    #[error("its json has {size} bytes; the limit is {limit}\nPVR_AGENT_MAX_STATE_BYTES sets the limit")]
    StateSize {
        /// Bytes of the file.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// The state is none.
    #[error("its json is not a state: {source}")]
    State {
        /// What is wrong with it.
        source: Box<StateError>,
    },
    /// An object is not what its name says.
    #[error("its object {id} is damaged: {source}")]
    Object {
        /// Its name.
        id: ObjectId,
        /// What it is.
        source: Box<StoreError>,
    },
    /// It unpacks to too much.
    #[error(
        "it unpacks to more than {cap} bytes, which is too much for its size\nPVR_AGENT_MAX_RATIO=1100 allows all that gzip can do"
    )]
    Bomb {
        /// The limit.
        cap: u64,
    },
    /// More is in it than any state could have.
    #[error("it has more than {limit} entries; a state has at most half as many files")]
    Entries {
        /// The limit.
        limit: usize,
    },
    /// It cannot be read, or its compression is broken.
    #[error(transparent)]
    Read(io::Error),
}

impl From<io::Error> for ArchiveError {
    /// What this module put into an I/O error on its way through a reader comes out again.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Read(error),
        }
    }
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Read(error) => error,
            other => Self::other(other),
        }
    }
}
