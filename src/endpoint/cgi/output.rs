//! The answer on standard output: `Status: 200 OK`, header lines, an empty line, the body.
//!
//! `Status` comes first, which is where simple servers look for it. Short answers fit into the pipe and are written at once; with long ones, a thread of the
//! pool waits for the server to take them, which is a client's pace. While there is nothing to say, it is looked now and then whether
//! anybody is there to hear it: a log that is followed may say nothing for as long as it likes.

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, StatusCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::super::limits::{Allowance, Limits};
use super::super::reply::{Reply, ReplyBody};

/// An empty pipe, or the buffer of a socket, takes as much without waiting for anybody.
const AT_ONCE: usize = 4096;

/// How often it is looked whether anybody still reads.
const LOOK: Duration = Duration::from_secs(1);

/// Writes the answer. An error is for nobody but the caller: the head may be out already.
pub(super) async fn send(
    reply: Reply,
    method: &Method,
    out: File,
    client: Option<SocketAddr>,
    limits: &Limits,
) -> io::Result<()> {
    let (head, mut body) = super::dated(reply).into_parts();
    let status = head.status;
    let without_body = method == Method::HEAD;
    let mut headers = head.headers;
    let has_length = status != StatusCode::NOT_MODIFIED && status != StatusCode::NO_CONTENT;
    // Of what has no length beforehand, the end of the output is the end.
    if let Some(length) = body.size_hint().exact().filter(|_| has_length && !headers.contains_key(CONTENT_LENGTH)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut text = format!("Status: {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    let mut out = Paced { out: Some(out), client, connection: None, allowance: Allowance::new(limits), empty: true };
    if !without_body && let Some(first) = next(&mut body, &mut out).await.transpose()? {
        text.extend_from_slice(&first);
    }
    out.write(text).await?;
    if !without_body {
        while let Some(piece) = next(&mut body, &mut out).await.transpose()? {
            out.write(piece.into()).await?;
        }
    }
    Ok(())
}

async fn next(body: &mut ReplyBody, out: &mut Paced) -> Option<io::Result<bytes::Bytes>> {
    let frame = loop {
        let coming = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        match timeout(LOOK, coming).await {
            Ok(frame) => break frame?,
            Err(_) if out.is_unread() => return Some(Err(io::ErrorKind::BrokenPipe.into())),
            Err(_) => {}
        }
    };
    Some(frame.map(Frame::into_data).map(Result::unwrap_or_default))
}

/// A pipe that has to be emptied at a minimum rate.
struct Paced {
    out: Option<File>,
    /// Whose connection is to be looked at, and that.
    client: Option<SocketAddr>,
    connection: Option<TcpStream>,
    allowance: Allowance,
    /// Nothing has been written yet.
    empty: bool,
}

impl Paced {
    /// Whether whoever was to read it has closed it: the server, or behind one that does not look, the client.
    fn is_unread(&mut self) -> bool {
        if let Some(client) = self.client.take() {
            self.connection = super::busybox::connection(client).ok();
        }
        let Some(out) = &self.out else { return true };
        let server = [PollFd::new(out, PollFlags::empty())];
        let client = self.connection.iter().map(|connection| PollFd::new(connection, PollFlags::RDHUP));
        let mut look: Vec<_> = server.into_iter().chain(client).collect();
        poll(&mut look, Some(&Timespec::default())).is_ok_and(|found| found > 0)
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let Some(mut out) = self.out.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        if std::mem::take(&mut self.empty) && bytes.len() <= AT_ONCE {
            out.write_all(&bytes)?;
            self.out = Some(out);
            return Ok(());
        }
        let bytes = bytes::Bytes::from(bytes);
        let mut at = 0;
        while at < bytes.len() {
            let piece = bytes.slice(at..bytes.len().min(at + super::PIECE));
            at += piece.len();
            let len = piece.len();
            let begun = Instant::now();
            let written = spawn_blocking(move || out.write_all(&piece).map(|()| out));
            let patience = super::at_least_a_moment(self.allowance.next_wait());
            let Ok(written) = timeout(patience, written).await else { return Err(io::ErrorKind::TimedOut.into()) };
            out = written.map_err(io::Error::other)??;
            self.allowance.account(begun.elapsed(), len);
        }
        self.out = Some(out);
        Ok(())
    }
}
