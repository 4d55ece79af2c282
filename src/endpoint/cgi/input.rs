//! The body of a request: from standard input, and where the server keeps some of it, from where that is.
//!
//! Reading blocks, so a thread of the pool does it, one piece at a time; whoever waits for a piece can stop waiting.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::body::{BoxError, Withheld};
use super::super::limits::Limits;
use super::busybox;
use crate::net::{Decoder, Framing};

/// Bytes of one read.
const PIECE: usize = 64 * 1024;

/// Bytes as they come, with their framing.
pub(super) type Stream = BufReader<Source>;

/// What is left when nobody wants more of a body, and how many bytes of it may still come.
pub(super) type Unread = Arc<Mutex<Option<(Stream, u64)>>>;

/// Standard input, and behind it what the server does not hand over.
pub(super) struct Source {
    stdin: Option<File>,
    /// The client, if the rest of the body is in its connection with a server that is our parent.
    rest: Option<SocketAddr>,
    connection: Option<std::net::TcpStream>,
    /// Why there is none.
    withheld: Option<String>,
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(stdin) = &mut self.stdin {
            match stdin.read(out)? {
                0 if !out.is_empty() && self.rest.is_some() => self.stdin = None,
                got => return Ok(got),
            }
        }
        if let Some(peer) = self.rest.take() {
            match busybox::connection(peer) {
                Ok(connection) => self.connection = Some(connection),
                Err(cause) => self.withheld = Some(cause.to_string()),
            }
        }
        self.connection.as_mut().map_or(Ok(0), |connection| connection.read(out))
    }
}

/// A stream and how far it has been taken apart.
struct Reader {
    stream: Stream,
    decoder: Decoder,
}

impl Reader {
    fn next(&mut self) -> Result<Bytes, BoxError> {
        let mut piece = vec![0; PIECE];
        let got = self.decoder.read(&mut self.stream, &mut piece).map_err(|error| -> BoxError {
            match self.stream.get_mut().withheld.take() {
                Some(cause) => Box::new(Withheld(cause)),
                None => Box::new(error),
            }
        })?;
        piece.truncate(got);
        Ok(piece.into())
    }
}

type Reading = JoinHandle<(Reader, Result<Bytes, BoxError>)>;

/// A request's body.
pub(super) struct Input {
    idle: Option<Reader>,
    job: Option<Reading>,
    /// Of a body of known length: bytes that are still to come.
    left: Option<u64>,
    unread: Unread,
}

impl Input {
    /// A body that begins on `stdin`. When it is given up, the rest of it is in `unread`.
    pub(super) fn new(
        stdin: File,
        framing: Framing,
        rest: Option<SocketAddr>,
        unread: Unread,
        limits: &Limits,
    ) -> Self {
        let left = match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let source = Source { stdin: Some(stdin), rest, connection: None, withheld: None };
        let reader = Reader {
            stream: BufReader::with_capacity(PIECE, source),
            decoder: Decoder::new(framing, limits.stall_time),
        };
        Self { idle: Some(reader), job: None, left, unread }
    }
}

/// What nobody has read.
pub(super) fn take(unread: &Unread) -> Option<(Stream, u64)> {
    unread.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Body for Input {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        if let Some(mut reader) = self.idle.take() {
            self.job = Some(spawn_blocking(move || {
                let next = reader.next();
                (reader, next)
            }));
        }
        let Some(job) = &mut self.job else { return Poll::Ready(None) };
        let read = ready!(Pin::new(job).poll(cx));
        self.job = None;
        let (reader, data) = match read {
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        self.idle = Some(reader);
        match data {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(data) => {
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.idle.as_ref().is_some_and(|reader| reader.decoder.is_at_end())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(reader) = self.idle.take().filter(|reader| !reader.decoder.is_at_end()) {
            let left = self.left.unwrap_or(u64::MAX);
            *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some((reader.stream, left));
        }
    }
}
