//! Reading what a client sends: at a minimum rate, up to a cap, and never more than asked for.
//!
//! Nothing is read before the first poll, so a client that waits for `100 Continue` gets it only then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::error::ApiError;
use super::limits::{Allowance, Limit, Limits};

/// Whatever a transport gives as the reason of a broken body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, wherever it comes from.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// The frames of one body.
pub struct BodyReader {
    inner: RequestBody,
    allowance: Allowance,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    finished: bool,
}

/// A body held in memory, with its share of [`Limits::held_bytes`]. It goes where the bytes go: a job on the
/// blocking pool outlives the request whose client has left.
pub struct Held {
    /// All of it.
    pub bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

impl BodyReader {
    /// Reads from `inner`.
    pub fn new(inner: RequestBody, limits: &Limits) -> Self {
        let finished = inner.is_end_stream();
        Self { inner, allowance: Allowance::new(limits), waiting: None, finished }
    }

    /// Whether the body has been read to its end.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The length that the head declared, if it did.
    pub fn declared(&self) -> Option<u64> {
        self.inner.size_hint().exact()
    }

    /// The next bytes, never empty; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ApiError>> {
        loop {
            if self.finished {
                return Poll::Ready(Ok(None));
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Pending => return self.poll_patience(cx),
                Poll::Ready(None) => self.finished = true,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&*error))),
                Poll::Ready(Some(Ok(frame))) => {
                    let data = Frame::into_data(frame).unwrap_or_default();
                    let waited = self.waiting.take().map_or_else(Default::default, |(since, _)| since.elapsed());
                    self.allowance.account(waited, data.len());
                    self.finished = self.inner.is_end_stream();
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ApiError>> {
        let wait = self.allowance.next_wait();
        let (_, timer) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(wait))));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                "the body comes too slowly, or not at all",
            )
            .past(Limit::BodyPace)
            .close())),
        }
    }

    /// Waits for [`BodyReader::poll_next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The whole body, if it has at most `cap` bytes, which `limit` says, and `budget` has room for them.
    pub async fn whole(&mut self, cap: usize, limit: Limit, budget: &Arc<Semaphore>) -> Result<Held, ApiError> {
        if self.declared().is_some_and(|declared| declared > cap as u64) {
            return Err(too_large(cap).past(limit));
        }
        let mut held = Held { bytes: Vec::new(), _share: None };
        while let Some(data) = self.next().await? {
            if held.bytes.len() + data.len() > cap {
                return Err(too_large(cap).past(limit));
            }
            // A frame is at most a few hundred KiB.
            let share = u32::try_from(data.len()).ok();
            let share = share.and_then(|len| Arc::clone(budget).try_acquire_many_owned(len).ok());
            let Some(share) = share else {
                let message = "too many large requests are in progress";
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
                    .retry_after(1)
                    .past(Limit::HeldBytes));
            };
            match &mut held._share {
                Some(all) => all.merge(share),
                none => *none = Some(share),
            }
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }
}

fn too_large(cap: usize) -> ApiError {
    let message = format!("the body is larger than {cap} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message).close()
}

/// The rest of a body is where we can't get at it.
#[derive(Debug, thiserror::Error)]
#[error("the web server keeps the rest of the body to itself: {0}")]
pub struct Withheld(pub String);

/// The body ended early, or its chunks are malformed. There may be nobody left to tell.
fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ApiError {
    if let Some(withheld) = error.downcast_ref::<Withheld>() {
        let message = "the web server does not hand over the body of this request";
        return ApiError::new(StatusCode::NOT_IMPLEMENTED, "body-withheld", message)
            .hint("use another web server, or pvr-agent serve: docs/cgi.md")
            .cause(withheld);
    }
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        cause = format!("{cause}: {source}");
        next = source.source();
    }
    let message = "the body ended before its declared length, or its chunks are malformed";
    ApiError::new(StatusCode::BAD_REQUEST, "broken-body", message).cause(cause).close()
}
