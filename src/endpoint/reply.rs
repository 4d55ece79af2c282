//! Answers: one body type for short texts and for files, and the helpers that make them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::download::FileBody;
use super::events::EventBody;
use super::logs::LogBody;
use super::pulled::PulledBody;
use crate::state::clock;

/// What every handler returns.
pub type Reply = Response<ReplyBody>;

enum Content {
    Bytes(Bytes),
    File(FileBody),
    Pulled(PulledBody),
    Log(Box<LogBody>),
    Events(EventBody),
}

/// The body of an answer, and whatever has to live until it is sent.
pub struct ReplyBody {
    content: Content,
    /// Dropped when the body is: how a connection learns that its answer is out.
    guard: Option<Box<dyn Send>>,
}

impl ReplyBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { content: Content::Bytes(bytes.into()), guard: None }
    }

    /// Bytes of a file.
    pub fn file(file: FileBody) -> Self {
        Self { content: Content::File(file), guard: None }
    }

    /// Bytes that somebody else sends.
    pub fn pulled(body: PulledBody) -> Self {
        Self { content: Content::Pulled(body), guard: None }
    }

    /// A log, whose length nobody knows.
    pub fn log(body: LogBody) -> Self {
        Self { content: Content::Log(Box::new(body)), guard: None }
    }

    /// What is told when it comes to pass.
    pub fn events(body: EventBody) -> Self {
        Self { content: Content::Events(body), guard: None }
    }

    /// Whether it is no work to send this: it waits for news.
    pub fn waits(&self) -> bool {
        matches!(self.content, Content::Events(_))
    }

    /// Keeps `guard` until this body has been sent or given up.
    pub fn with_guard(mut self, guard: Box<dyn Send>) -> Self {
        self.guard = Some(guard);
        self
    }
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.content {
            Content::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::File(file) => file.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Content::Pulled(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Content::Log(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Content::Events(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.left(),
            Content::Pulled(body) => body.left(),
            Content::Events(_) | Content::Log(_) => return SizeHint::default(),
        })
    }
}

/// Says when an answer was made.
pub fn date(headers: &mut HeaderMap) {
    // A date has no characters that a header could not have.
    if let Ok(now) = HeaderValue::try_from(clock::http_date(clock::now())) {
        headers.insert(DATE, now);
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = status;
    reply
}

/// An answer with JSON that is already spelled.
pub fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::bytes(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An answer with a record. Records are made of strings and numbers: they have no way not to serialise.
pub fn json(status: StatusCode, record: &impl Serialize) -> Reply {
    json_text(status, serde_json::to_vec(record).unwrap_or_default())
}
