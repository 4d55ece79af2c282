//! What can go wrong when talking to an endpoint.

use std::io;
use std::path::PathBuf;

use crate::net::{NetError, UrlError};
use crate::state::{ObjectId, StateError, StatePath, escape};
use crate::store::StoreError;

/// A conversation with an endpoint failed. Nothing from the wire is in the text unescaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The network, or what speaks HTTP at the other end.
    #[error("{verb} \"{url}\": {source}")]
    Net {
        /// The method.
        verb: &'static str,
        /// The address, shown safely.
        url: String,
        /// What happened.
        source: NetError,
    },
    /// The post itself broke: whether it was carried out is not known.
    #[error("{source}\nthe revision may have been made all the same: look before posting again")]
    PostBroken {
        /// What happened.
        source: Box<RemoteError>,
    },
    /// An answer with a status that is not the one needed.
    #[error("REST call failed. {0}")]
    Status(StatusError),
    /// The answer to announcing an object.
    #[error("Error posting object {}{}", .status.code, .status.details())]
    Announce {
        /// The key it was announced for.
        key: StatePath,
        /// The answer.
        status: StatusError,
    },
    /// The endpoint says that it needs time.
    #[error("Endpoint reported \"Not ready\"; retry in: {seconds} seconds")]
    NotReady {
        /// Its `Retry-After`.
        seconds: u64,
    },
    /// An answer that is not what the protocol has there.
    #[error("{url} answered {why}")]
    Answer {
        /// Who.
        url: String,
        /// What is wrong with it; escaped.
        why: String,
    },
    /// The endpoint does not say what becomes of a revision.
    #[error("{url} does not say what becomes of the revision: {why}")]
    NoProgress {
        /// Who.
        url: String,
        /// What it says instead; escaped.
        why: String,
    },
    /// An address in an answer cannot be used.
    #[error("{url} answered with a bad {field} \"{}\": {source}", escape(.text))]
    Address {
        /// Who.
        url: String,
        /// Which field.
        field: &'static str,
        /// What it says.
        text: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The state is none that we would take.
    #[error("{url} answered with a state that cannot be used: {source}")]
    State {
        /// Who.
        url: String,
        /// What is wrong with it.
        source: StateError,
    },
    /// The endpoint lacks objects that it should have by now.
    #[error("REST call failed. {status}")]
    Missing {
        /// The objects.
        ids: Vec<ObjectId>,
        /// The whole answer.
        status: StatusError,
    },
    /// What came for an object is not that object.
    #[error("object {id} ({key}) cannot be downloaded: {source}")]
    WrongBytes {
        /// The object.
        id: ObjectId,
        /// The key it is wanted for.
        key: StatePath,
        /// How it differs.
        source: Box<StoreError>,
    },
    /// An object that is to be sent is not in the pool, or damaged there.
    #[error("object {id} ({key}) is not in {} or is damaged there", escape(&.pool.to_string_lossy()))]
    NotInPool {
        /// The object.
        id: ObjectId,
        /// The key it belongs to.
        key: StatePath,
        /// The pool.
        pool: PathBuf,
    },
    /// An object that is to be sent cannot be read.
    #[error("cannot read object {id}: {source}")]
    Read {
        /// The object.
        id: ObjectId,
        /// Why.
        source: io::Error,
    },
    /// Logging in.
    #[error(transparent)]
    Auth(#[from] super::AuthError),
    /// The pool.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state to be posted has no canonical form within the limits.
    #[error(transparent)]
    Canonical(#[from] crate::state::canonical::CanonicalError),
    /// Another transfer of the same batch failed first.
    #[error("given up because another transfer failed")]
    Stopped,
}

impl RemoteError {
    /// Whether the same may succeed when it is tried again.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Net { source, .. } if source.is_transient())
    }
}

impl RemoteError {
    /// Whether the request may have reached the other side although no answer came back.
    pub(super) fn may_have_arrived(&self) -> bool {
        let Self::Net { source, .. } = self else { return false };
        !matches!(source, NetError::Resolve { .. } | NetError::Connect { .. } | NetError::NoTls | NetError::Tls(_))
    }
}

/// An unwelcome status with what came along.
#[derive(Debug)]
pub struct StatusError {
    /// The code.
    pub code: u16,
    /// The words behind it; escaped.
    pub reason: String,
    /// What the body says; escaped, one line each.
    pub lines: Vec<String>,
}

impl StatusError {
    /// The lines, indented as today's `pvr` shows a body.
    fn details(&self) -> String {
        self.lines.iter().map(|line| format!("\n\t{line}")).collect()
    }
}

impl std::fmt::Display for StatusError {
    /// `404  404 Not Found`, as today (`hub.md` B1), then the body's lines.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{0}  {0} {1}{2}", self.code, self.reason, self.details())
    }
}
