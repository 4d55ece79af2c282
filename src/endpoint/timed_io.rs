//! A stream that tells its connection what comes in.
//!
//! What the HTTP library answers by itself, to a head that it cannot read, is kept from the client and remembered: it
//! is a status without a body, and errors here say why. Such an answer is what is written when no request is being worked
//! on and no answer of ours is on its way: from the moment it is handed over until all of it has gone out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::{Connection, Head};
use super::transport::Transport;

/// See the module.
pub struct TimedIo {
    stream: Transport,
    connection: Arc<Connection>,
    scan: HeadScan,
    /// The status that the library refused a head with.
    refused: Option<u16>,
}

impl TimedIo {
    /// Wraps `stream`.
    pub fn new(stream: Transport, connection: Arc<Connection>) -> Self {
        Self { stream, connection, scan: HeadScan::default(), refused: None }
    }

    /// The stream alone, and the status with which the library wanted to refuse the last head.
    pub fn into_parts(self) -> (Transport, Option<u16>) {
        (self.stream, self.refused)
    }

    /// Whether bytes are the library's own answer, which is not written.
    fn is_kept(&mut self, bufs: &[io::IoSlice<'_>]) -> bool {
        if self.refused.is_none() && self.connection.is_unasked() {
            self.refused = bufs.first().and_then(|buf| status(buf));
        }
        self.refused.is_some()
    }

    /// What a write came to: who doesn't take an answer holds it up.
    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.connection.waits_for_client(),
            Poll::Ready(Ok(bytes)) => self.connection.moved(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        result
    }

    fn received(&mut self, bytes: &[u8]) {
        match self.connection.received() {
            Some(Head::Begins) => self.scan = HeadScan::default(),
            Some(Head::Continues) => {}
            None => return,
        }
        if self.scan.feed(bytes) {
            self.connection.saw_two_lengths();
        }
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = &read
            && buf.filled().len() > before
        {
            self.received(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_kept(&[io::IoSlice::new(buf)]) {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_kept(bufs) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.connection.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The status of an answer, from its first bytes. Its version is that of the request before.
fn status(answer: &[u8]) -> Option<u16> {
    let version = [b"HTTP/1.1 ", b"HTTP/1.0 "];
    let code = version.iter().find_map(|version| answer.strip_prefix(*version))?.get(..3)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// Looks for a head with both `Content-Length` and `Transfer-Encoding` in the raw bytes: the parser drops the
/// length of such a head, so afterwards nobody can tell. (A head that came pipelined behind a body isn't seen
/// here. The parser goes by its encoding alone then and closes the connection after the answer, which is what
/// RFC 9112 §6.1 demands at least.)
#[derive(Debug, Default)]
struct HeadScan {
    /// The beginning of the current line, lower case; long enough for either name and its colon.
    line: [u8; 18],
    len: usize,
    begun: bool,
    done: bool,
    length: bool,
    encoding: bool,
}

impl HeadScan {
    /// Takes more bytes; whether both have been seen.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                _ if self.done => break,
                b'\n' => {
                    let line = &self.line[..self.len];
                    self.length |= line.starts_with(b"content-length:");
                    self.encoding |= line.starts_with(b"transfer-encoding:");
                    // Empty lines before the request line are allowed.
                    self.done = self.begun && self.len == 0;
                    self.begun |= self.len > 0;
                    self.len = 0;
                }
                b'\r' => {}
                byte => {
                    if let Some(place) = self.line.get_mut(self.len) {
                        *place = byte.to_ascii_lowercase();
                        self.len += 1;
                    }
                }
            }
        }
        self.length && self.encoding
    }
}

#[cfg(test)]
mod tests {
    use super::HeadScan;

    #[test]
    fn two_lengths_are_seen_however_the_bytes_arrive() {
        for (head, both) in [
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("\r\nPUT / HTTP/1.1\ntransfer-ENCODING:chunked\ncontent-LENGTH:1\n\n", true),
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nX: content-length:\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ] {
            for step in [1, 2, 7, head.len()] {
                let mut scan = HeadScan::default();
                head.as_bytes().chunks(step).for_each(|piece| _ = scan.feed(piece));
                let seen = scan.feed(b"");
                assert_eq!(seen, both, "{head:?} by {step}");
            }
        }
    }
}
