//! What can go wrong between two machines.

use std::io;

/// A request that got no usable answer. The message says what failed and why; the caller says on which address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// None of the host's addresses took the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Address that was tried last.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Nothing moved for as long as the client is willing to wait.
    #[error("no answer for {seconds} seconds while {doing}")]
    Timeout {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The connection broke.
    #[error("connection lost while {doing}: {source}")]
    Lost {
        /// What was going on.
        doing: &'static str,
        /// The system's word on it.
        source: io::Error,
    },
    /// The peer closed the connection in the middle of a message.
    #[error("connection closed while {doing}")]
    Closed {
        /// What was missing.
        doing: &'static str,
    },
    /// What came is not HTTP/1.1 as RFC 9112 has it.
    #[error("bad HTTP answer: {0}")]
    Protocol(&'static str),
    /// The answer is larger than it may be.
    #[error("answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// `https`, in a build without TLS.
    #[error(
        "this program was built without TLS, so it cannot use https\nuse a build with the tls feature, or http inside a trusted network"
    )]
    NoTls,
    /// The peer is not whom we want to talk to, or no TLS at all.
    #[error(transparent)]
    Tls(#[from] super::TlsError),
    /// A proxy that opens no tunnel.
    #[error("the proxy answered {0} to CONNECT")]
    Proxy(u16),
    /// A redirect that leads nowhere we go.
    #[error("redirect to a bad address: {0}")]
    Redirect(super::UrlError),
    /// One redirect after another.
    #[error("more than {0} redirects")]
    Redirects(u8),
    /// Reading the body that was to be sent failed; the network is not to blame.
    #[error("cannot read what is to be sent: {0}")]
    Source(io::Error),
    /// The body that was to be sent ended before its declared length.
    #[error("what is to be sent is shorter than declared")]
    SourceShort,
}

impl NetError {
    /// Whether the same request may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Lost { .. } | Self::Closed { .. } | Self::Connect { .. } => true,
            // EAI_AGAIN and EAI_NONAME look the same through the standard library.
            Self::Resolve { .. } => true,
            Self::Protocol(_)
            | Self::TooLarge { .. }
            | Self::NoTls
            | Self::Tls(_)
            | Self::Proxy(_)
            | Self::Redirect(_)
            | Self::Redirects(_)
            | Self::Source(_)
            | Self::SourceShort => false,
        }
    }

    /// An error of a socket operation.
    pub(super) fn from_io(error: io::Error, doing: &'static str, patience: std::time::Duration) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::Timeout { doing, seconds: patience.as_secs().max(1) }
            }
            io::ErrorKind::UnexpectedEof => Self::Closed { doing },
            _ => Self::Lost { doing, source: error },
        }
    }
}
