//! The bytes of a connection on their way out: files in the place of what stands for them, and a clock.
//!
//! A peer that doesn't take its answer at the minimum rate loses the connection. The clock is here, below TLS, because
//! what TLS has taken is not on its way yet. Reading has no clock of its own: what a wait for bytes means depends on
//! whether a head or a body is due, so the connection's task and the body's reader time it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::limits::{Allowance, Limit, Limits};
use super::metrics::Metrics;
use super::outbox::{Outbox, is_stand_in};

/// See the module.
pub struct Wire {
    stream: TcpStream,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    allowance: Allowance,
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Wire {
    /// Wraps `stream`.
    pub fn new(stream: TcpStream, outbox: Arc<Outbox>, limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self { stream, outbox, metrics, allowance: Allowance::new(limits), blocked: None }
    }

    /// The socket.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket alone.
    pub fn into_tcp(self) -> TcpStream {
        self.stream
    }

    /// Writes what comes first: bytes as they are, or what the outbox has in the place of stand-ins.
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let plain = bufs.iter().take_while(|buf| !is_stand_in(buf)).count();
        let (plain, rest) = bufs.split_at(plain);
        let room = match rest.first() {
            Some(stand_in) if plain.iter().all(|buf| buf.is_empty()) => stand_in.len(),
            _ => return Pin::new(&mut self.stream).poll_write_vectored(cx, plain),
        };
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.outbox.try_send(&self.stream, room) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => {
                let waited = self.blocked.take().map_or_else(Default::default, |(since, _)| since.elapsed());
                self.allowance.account(waited, n);
                self.metrics.sent.add(n as u64);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let wait = self.allowance.next_wait();
                let (_, timer) = self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(wait))));
                timer.as_mut().poll(cx).map(|()| {
                    self.metrics.past(Limit::AnswerPace);
                    Err(ErrorKind::TimedOut.into())
                })
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.metrics.received.add((buf.filled().len() - before) as u64);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.poll_send(cx, &[io::IoSlice::new(buf)]);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.poll_send(cx, bufs);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
