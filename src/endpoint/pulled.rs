//! A body that comes from somewhere else while it goes out: one piece at a time, read by the blocking pool.
//!
//! It is read to its end even where only a part is wanted of it: the end is where its bytes are found to be what the name says,
//! or not. The last piece waits for that, so that a client never has all of something else.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes of one read.
const PIECE: usize = 64 * 1024;

type Source = Box<dyn Read + Send>;

/// See the module.
pub struct PulledBody {
    idle: Option<Source>,
    job: Option<JoinHandle<io::Result<(Source, Bytes)>>>,
    /// Bytes before the part that is wanted.
    skip: u64,
    left: u64,
}

impl PulledBody {
    /// Bytes `start..end` of `source`.
    pub fn new(source: Source, start: u64, end: u64) -> Self {
        Self { idle: Some(source), job: None, skip: start, left: end.saturating_sub(start) }
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next piece. An error ends the connection: the length has been promised already.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(source) = self.idle.take() {
            let (skip, left) = (std::mem::take(&mut self.skip), self.left);
            self.job = Some(spawn_blocking(move || piece(source, skip, left)));
        }
        let Some(job) = &mut self.job else { return Poll::Ready(None) };
        let read = ready!(Pin::new(job).poll(cx)).map_err(io::Error::other).flatten();
        self.job = None;
        Poll::Ready(Some(read.map(|(source, data)| {
            self.idle = Some(source);
            self.left = self.left.saturating_sub(data.len() as u64);
            data
        })))
    }
}

fn piece(mut source: Source, skip: u64, left: u64) -> io::Result<(Source, Bytes)> {
    if io::copy(&mut (&mut source).take(skip), &mut io::sink())? < skip {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let len = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
    let mut data = vec![0; len];
    source.read_exact(&mut data)?;
    if len as u64 == left {
        io::copy(&mut source, &mut io::sink())?;
    }
    Ok((source, data.into()))
}
