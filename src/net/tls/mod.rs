//! TLS below HTTP: whom we believe, the handshake, and a byte stream with the same promises as a plain socket.
//!
//! TLS 1.2 and 1.3, by rustls. A build without the feature `tls` has the same types, and none of them can be had.
//!
//! - A handshake has a limit as a whole, and is made before anything is said about the request.
//! - A record has to be complete within the time that a plain socket has for one byte.
//! - The end of a connection is its end only if the peer says so; a connection that just stops is an error. (A body
//!   that is shorter than declared is one anyway.)

mod error;
#[cfg(feature = "tls")]
mod machine_clock;
#[cfg(feature = "tls")]
mod session;
#[cfg(not(feature = "tls"))]
#[path = "absent.rs"]
mod session;
#[cfg(feature = "tls")]
mod verify;

use std::path::PathBuf;

pub use error::TlsError;
#[cfg(feature = "tls")]
pub use machine_clock::machine_clock;
pub(super) use session::{Tls, TlsStream};

/// Which servers are taken for the ones that they say they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that an authority vouches for which is built in: the ones that browsers trust.
    #[default]
    BuiltIn,
    /// Those that an authority of this file (PEM) vouches for, and those whose own certificate is in it. It replaces
    /// what is built in.
    File(PathBuf),
    /// All of them. Whoever sits between can read and change everything.
    Anyone,
}
