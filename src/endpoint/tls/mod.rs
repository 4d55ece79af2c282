//! https: certificate and key, and the handshake before the first request.
//!
//! With a certificate the listener speaks https and nothing else; plain HTTP is answered with an error that says so.
//! Certificate and key are files, looked at again when connections come, at most once a second: a new pair is served
//! from then on. What cannot be served (a file half written, a new certificate whose key has not arrived yet) is
//! logged once, and the old pair stays.
//!
//! With an authority for clients (`--client-ca`), a client may show a certificate of it, and whom that is for is whom `access` takes it for. One of
//! another authority ends the handshake; without one, the other ways to log in are there.
//!
//! A build without the feature `tls` has the same names, and an error where a certificate is asked for.

mod error;

#[cfg(feature = "tls")]
mod acceptor;
#[cfg(feature = "tls")]
mod der;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod self_signed;

#[cfg(not(feature = "tls"))]
#[path = "absent.rs"]
mod acceptor;

use std::path::PathBuf;

pub use acceptor::Tls;
pub(super) use acceptor::{TlsIo, common_name, into_wire};
pub use error::TlsFileError;

/// Where certificate and key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and behind it those that lead to an authority.
    pub cert: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}
