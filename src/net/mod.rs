//! The one HTTP/1.1 client.
//!
//! Synchronous, on the standard library's sockets; `httparse` reads the heads. What it promises:
//!
//! - Bodies are streamed both ways; nothing is held whole but heads (64 KiB at most) and what a caller asks for with a
//!   limit ([`Response::into_bytes`]).
//! - Framing is read strictly (RFC 9112): an answer that could be read in two ways is an error.
//! - Everything ends: connecting and every wait have a limit, interim answers and redirects are counted.
//! - Redirects are followed only where a request says so.
//! - A connection is used again only when its last answer was complete and nothing has come behind it.
//!
//! Retrying is not done here: only the caller knows what may be repeated. The one exception is a kept connection that
//! the server closed before a byte of the answer came.
//!
//! The transport is one enum in `stream.rs`; nothing above it knows whether there is TLS in between, or whether the server
//! is a socket in the file system ([`Client::on_socket`]). In a build without
//! the feature `tls`, `https` is an error that says so.

mod body;
mod client;
mod error;
mod head;
mod proxy;
mod request;
mod response;
mod stream;
mod tls;
mod url;

pub use body::Decoder;
pub use client::{Client, Patience, Trace};
pub use error::NetError;
pub use head::Framing;
pub use proxy::Proxies;
pub use request::{HeaderValue, Method, Redirects, Request};
pub use response::Response;
#[cfg(feature = "tls")]
pub use tls::machine_clock;
pub use tls::{TlsError, Trust};
pub use url::{MAX_URL, Scheme, Url, UrlError};
