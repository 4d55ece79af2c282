//! `GET /cgi-bin/logs`: what Pantavisor and its containers have logged, as text (`sdk.md`).
//!
//! A log goes out piece by piece, each read by the blocking pool. Whoever follows one keeps no thread while nothing comes: it is
//! looked at again every half second, until the client leaves or the server stops.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use super::Endpoint;
use super::error::ApiError;
use super::guard::Arrival;
use super::limits::Limit;
use super::query::Query;
use super::reply::{Reply, ReplyBody};
use crate::device::{Follow, LogReader, Part, Source};
use crate::state::Revision;

/// How often a log that is followed is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Lines where nobody says how many.
const LINES: u64 = 10;

impl Endpoint {
    /// `GET logs?rev=<rev>&source=<source>&tail=<bool>&follow=<bool>&tailn=<n>`
    pub(super) async fn logs(&self, head: &Parts, arrival: &Arrival) -> Result<Reply, ApiError> {
        let query = Query::of(head)?;
        let bad = |message: &str| ApiError::new(StatusCode::BAD_REQUEST, "bad-query", message);
        let rev = match query.text("rev")? {
            None | Some("current") => None,
            Some(text) => Some(Revision::parse(text).map_err(|_| bad("rev is not the name of a revision"))?),
        };
        let source = match query.text("source")? {
            None => Source::pantavisor(),
            Some(text) => Source::parse(text).ok_or_else(|| bad("source is not the name of a container"))?,
        };
        let tail = query.flag("tail")?;
        let lines = query.number("tailn")?.unwrap_or(LINES);
        let part = if tail { Part::Last(lines) } else { Part::Whole };
        // As today: what is not a tail is not followed. Nobody follows a head.
        let follow = tail && query.flag("follow")? && head.method == hyper::Method::GET;
        let how = if follow { Follow::Yes } else { Follow::No };
        let reader = self.looking(move |device| device.open_log(rev.as_ref(), &source, part, how)).await?;
        let mut body = LogBody { idle: Some(reader), job: None, nap: None, again: false, following: None };
        if follow {
            let most = self.limits().followers;
            let slot = self.looking(move |device| device.follow_slot(most)).await?;
            let busy = || {
                let message = format!("{most} logs are being followed already");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(10).past(Limit::Followers)
            };
            let stopping = arrival.stopping.clone();
            let over = self.limits().follow_time;
            body.following = Some(Following {
                _slot: slot.ok_or_else(busy)?,
                end: Box::pin(async move {
                    let time = async {
                        match over {
                            Some(time) => sleep(time).await,
                            None => std::future::pending().await,
                        }
                    };
                    match stopping {
                        Some(stopping) => {
                            super::stop::either(stopping.wait(), time).await;
                        }
                        None => time.await,
                    }
                }),
            });
        }
        let mut reply = Reply::new(ReplyBody::log(body));
        // A container writes what it likes; that no browser takes it for a page, `headers` sees to.
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Ok(reply)
    }
}

type Reading = JoinHandle<io::Result<(LogReader, Vec<u8>)>>;

/// A log on its way out.
pub struct LogBody {
    idle: Option<LogReader>,
    job: Option<Reading>,
    nap: Option<Pin<Box<Sleep>>>,
    /// What there is has to be looked for anew.
    again: bool,
    following: Option<Following>,
}

struct Following {
    _slot: OwnedFd,
    /// When it is over, whatever may come.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl LogBody {
    /// The next piece.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(following) = &mut self.following
                && following.end.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(None);
            }
            if let Some(nap) = &mut self.nap {
                ready!(nap.as_mut().poll(cx));
                self.nap = None;
                self.again = true;
            }
            if let Some(mut reader) = self.idle.take() {
                let again = std::mem::take(&mut self.again);
                self.job = Some(spawn_blocking(move || {
                    if again {
                        reader.look_again()?;
                    }
                    let piece = reader.read()?;
                    Ok((reader, piece))
                }));
            }
            let Some(job) = &mut self.job else { return Poll::Ready(None) };
            let read = ready!(Pin::new(job).poll(cx)).map_err(io::Error::other).flatten();
            self.job = None;
            let (reader, piece) = match read {
                Ok(read) => read,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            if !piece.is_empty() {
                self.idle = Some(reader);
                return Poll::Ready(Some(Ok(piece.into())));
            }
            if self.following.is_none() {
                return Poll::Ready(None);
            }
            self.idle = Some(reader);
            self.nap = Some(Box::pin(sleep(EVERY)));
        }
    }
}
