//! The body of an answer that waits: a document when there is news, or events as they come.
//!
//! Nothing is queued. Whoever reads slowly is told what is so then, and not all that was so in between.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::super::stop::{Either, either};
use super::view::View;
use super::watching::Place;
use crate::state::Ended;
use crate::state::update::SETTLED;

/// How long a browser waits before it connects again: milliseconds.
const PREAMBLE: &str = "retry: 2000\n\n";
/// A comment, so that who is between does not take the connection for dead, and we see that nobody is there any more.
const HEARTBEAT: &[u8] = b":\n\n";

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Watcher)>> + Send>>;

/// See the module. Its length is not known.
pub struct EventBody {
    next: Option<Next>,
}

impl EventBody {
    /// What the watcher has to tell.
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { next: Some(Box::pin(watcher.next())) }
    }

    /// What a HEAD gets.
    pub(super) fn nothing() -> Self {
        Self { next: None }
    }

    /// The next piece.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let told = ready!(next.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(told.map(|(bytes, watcher)| {
            self.next = Some(Box::pin(watcher.next()));
            Ok(bytes)
        }))
    }
}

/// One client that follows a revision.
#[derive(Debug)]
pub(super) struct Watcher {
    place: Place,
    stream: bool,
    /// The id of what the client knows.
    known: Option<String>,
    /// When it ends, whatever has come.
    until: Option<Instant>,
    heartbeat: Duration,
    /// Since when a newer revision has been on its way instead.
    overtaken: Option<Instant>,
    begun: bool,
    over: bool,
}

/// Why a wait was over.
enum Woken {
    Closed,
    Changed,
    Late,
}

impl Watcher {
    pub(super) fn new(
        place: Place,
        stream: bool,
        known: Option<String>,
        limit: Option<Duration>,
        heartbeat: Duration,
    ) -> Self {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { place, stream, known, until, heartbeat, overtaken: None, begun: false, over: false }
    }

    /// Waits until there is something to tell. None: there is nothing more.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        if self.stream && !std::mem::replace(&mut self.begun, true) {
            return Some((Bytes::from_static(PREAMBLE.as_bytes()), self));
        }
        loop {
            let view = self.place.view.borrow_and_update().clone();
            let text = if self.stream { self.event(&view) } else { self.document(&view) };
            if let Some(text) = text {
                return Some((text.into(), self));
            }
            match self.wait().await {
                Woken::Changed => {}
                Woken::Closed if self.stream => return None,
                Woken::Closed | Woken::Late if !self.stream => {
                    self.over = true;
                    return Some((view.document().into(), self));
                }
                _ if self.until.is_some_and(|until| until <= Instant::now()) => return None,
                // What may be the end has stayed, and is told in the next turn.
                _ if self.overtaken.is_some_and(|since| since.elapsed() >= SETTLED) => {}
                _ => return Some((Bytes::from_static(HEARTBEAT), self)),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let mut longest = if self.stream { self.heartbeat } else { Duration::MAX };
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        if let Some(until) = self.until {
            longest = longest.min(left(until));
        }
        if let Some(settled) = self.overtaken.filter(|_| self.stream).and_then(|since| since.checked_add(SETTLED)) {
            longest = longest.min(left(settled));
        }
        let changed = timeout(longest, self.place.view.changed());
        match either(self.place.closed.wait_for(|closed| *closed), changed).await {
            Either::First(_) | Either::Second(Ok(Err(_))) => Woken::Closed,
            Either::Second(Ok(Ok(()))) => Woken::Changed,
            Either::Second(Err(_late)) => Woken::Late,
        }
    }

    /// The document, if it is another one than the client has.
    fn document(&mut self, view: &View) -> Option<Vec<u8>> {
        if self.known.as_deref() == Some(view.id()) {
            return None;
        }
        self.over = true;
        Some(view.document())
    }

    /// The next event: what is new, and the end behind it.
    fn event(&mut self, view: &View) -> Option<Vec<u8>> {
        self.overtaken = view.overtaken().map(|_| self.overtaken.unwrap_or_else(Instant::now));
        let settled = self.overtaken.is_some_and(|since| since.elapsed() >= SETTLED);
        let overtaken = || settled.then(|| Ended::Overtaken(String::new()).word().to_owned());
        let ended = view.ended().or_else(overtaken);
        let new = self.known.as_deref() != Some(view.id());
        if !new && ended.is_none() {
            return None;
        }
        self.known = Some(view.id().to_owned());
        let mut text = if new { view.event().unwrap_or_default() } else { Vec::new() };
        if let Some(ended) = ended {
            self.over = true;
            text.extend(view.end(&ended));
        }
        (!text.is_empty()).then_some(text)
    }
}
