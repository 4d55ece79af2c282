//! What came back.

use super::client::{Connection, Shared};
use super::head::Head;
use super::{NetError, Url};
use crate::net::body::Decoder;
use std::sync::Arc;

/// An answer: its head is here, its body is still on the way.
///
/// A body that is read to its end gives the connection back for the next request; dropping it earlier closes it.
pub struct Response {
    pub(super) head: Head,
    pub(super) url: Url,
    pub(super) decoder: Decoder,
    /// `None` once it has been given back.
    pub(super) connection: Option<Connection>,
    /// The whole body of the request had been sent before it.
    pub(super) sent_all: bool,
    pub(super) reusable: bool,
    pub(super) shared: Arc<Shared>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The words behind the status code, as they came.
    pub fn reason(&self) -> &str {
        &self.head.reason
    }

    /// Where the answer came from, behind all redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// Whether it came before all of the request's body was sent; the rest was not sent then.
    pub fn is_early(&self) -> bool {
        !self.sent_all
    }

    /// Declared length of the body, where there is one.
    pub fn content_length(&self) -> Option<u64> {
        self.head.get("content-length").and_then(|value| value.trim().parse().ok())
    }

    /// Reads some of the body; 0 is its end.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, NetError> {
        let got = match &mut self.connection {
            Some(connection) => self.decoder.read(&mut connection.stream, buf)?,
            None => 0,
        };
        if self.decoder.is_at_end() {
            self.release();
        }
        Ok(got)
    }

    /// Reads the whole body, if it has at most `limit` bytes.
    pub fn into_bytes(mut self, limit: usize) -> Result<Vec<u8>, NetError> {
        let too_large = NetError::TooLarge { limit: limit as u64 };
        if self.content_length().is_some_and(|length| length > limit as u64) && !self.decoder.is_at_end() {
            return Err(too_large);
        }
        let mut bytes = Vec::new();
        let mut buf = [0; 8 * 1024];
        loop {
            match self.read(&mut buf)? {
                0 => return Ok(bytes),
                got if bytes.len() + got > limit => return Err(too_large),
                got => bytes.extend_from_slice(&buf[..got]),
            }
        }
    }

    /// Gives the connection back once the body is through.
    pub(super) fn release(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.reusable
        {
            self.shared.keep(connection);
        }
    }
}
