//! `GET steps/<rev>/events`, and `GET events` for the running revision: what becomes of an update (`docs/events.md`).
//!
//! | asked for | answered with |
//! |---|---|
//! | with `Accept: text/event-stream`, or `?stream` | a stream of server-sent events, until the update has ended |
//! | without | a document, at once |
//! | `?since=<id>`, of a document or event | the document, as soon as its id is another one, or after `timeout=<seconds>` |
//!
//! Who waits takes one of [`Limits::watchers`](super::Limits) places. How often a device is asked does not depend on how many wait: see
//! `watching`. What is waited for is the body (`body`); the head goes out at once, so that no proxy gives up on it.

mod body;
mod view;
mod watching;

use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

pub use body::EventBody;
use body::Watcher;
use view::View;
pub use watching::Watching;

use super::Endpoint;
use super::error::ApiError;
use super::guard::Arrival;
use super::limits::Limit;
use super::objects::decimal;
use super::reply::{self, Reply, ReplyBody};
use super::route::RevText;

/// How long a document is waited for, where nobody says, and at most: below what proxies wait for a byte.
const USUAL: Duration = Duration::from_secs(25);
const LONGEST: Duration = Duration::from_secs(50);
/// For how long one program of a web server waits, whatever it is asked for: the server runs only so many.
const OF_A_PROGRAM: Duration = Duration::from_secs(25);

/// What a request says about the form and the time of its answer.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    stream: bool,
    /// The id of what the client knows.
    since: Option<String>,
    timeout: Option<Duration>,
}

impl Endpoint {
    /// Answers with what becomes of a revision, now and later.
    pub(super) async fn events(
        &self,
        head: &Parts,
        rev: Option<RevText>,
        arrival: &Arrival,
    ) -> Result<Reply, ApiError> {
        let asked = Asked::read(head)?;
        let (name, outlook) =
            self.looking(move |device| device.first_outlook(rev.as_ref().map_or("current", |rev| &rev.0))).await?;
        let view = View::of(&name, outlook);
        let known = asked.since.as_deref();
        if asked.stream && view.is_over_for(known) {
            // By this a browser knows that it need not ask again.
            return Ok(reply::empty(StatusCode::NO_CONTENT));
        }
        let waits = known == Some(view.id()) && view.ended().is_none() && asked.timeout != Some(Duration::ZERO);
        if head.method == Method::HEAD || !(asked.stream || waits) {
            let mut reply = reply::json_text(StatusCode::OK, view.document());
            if asked.stream {
                *reply.body_mut() = ReplyBody::events(EventBody::nothing());
            }
            return Ok(with_headers(reply, asked.stream));
        }
        let watched = self.watching().begin(view).ok_or_else(|| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-watchers", "too many are following updates here")
                .hint("ask without since, which is answered at once")
                .retry_after(5)
                .past(Limit::Watchers)
        })?;
        let limit = asked.limit(arrival.mount.is_some());
        let watcher = Watcher::new(watched, asked.stream, asked.since, limit, self.limits().heartbeat);
        let mut reply = reply::empty(StatusCode::OK);
        *reply.body_mut() = ReplyBody::events(EventBody::new(watcher));
        Ok(with_headers(reply, asked.stream))
    }
}

fn with_headers(mut reply: Reply, stream: bool) -> Reply {
    let kind = if stream { "text/event-stream" } else { "application/json" };
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if stream {
        // nginx keeps what it passes on until it has enough of it, unless it is told so.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    reply
}

impl Asked {
    fn read(head: &Parts) -> Result<Self, ApiError> {
        let bad = |what: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-query", what));
        let accepts = head.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut kinds = accepts.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
        let mut asked = Self {
            stream: kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")),
            since: None,
            timeout: None,
        };
        for pair in head.uri.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "stream" if matches!(value, "" | "1" | "true") => asked.stream = true,
                "stream" => return bad("stream has to be 1, or nothing"),
                "since" => match id(value) {
                    Some(id) => asked.since = Some(id),
                    None => return bad("since has to be an id that was given here"),
                },
                "timeout" => match decimal(value) {
                    Some(seconds) => asked.timeout = Some(Duration::from_secs(seconds)),
                    None => return bad("timeout has to be a number of seconds"),
                },
                _ => {}
            }
        }
        // Whoever connects again says by this what it has, whatever its address says.
        let last = head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        if let Some(last) = last.and_then(id) {
            asked.since = Some(last);
        }
        Ok(asked)
    }

    /// How long the answer may wait. A stream that nobody limits has all the time there is.
    fn limit(&self, of_a_program: bool) -> Option<Duration> {
        let asked = match self.stream {
            true => self.timeout,
            false => Some(self.timeout.unwrap_or(USUAL).min(LONGEST)),
        };
        if of_a_program { Some(asked.map_or(OF_A_PROGRAM, |asked| asked.min(OF_A_PROGRAM))) } else { asked }
    }
}

/// What can be an id; one that is none of ours is of something that has changed since.
fn id(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    (plain && text.len() <= 64).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn asked(query: &str, headers: &[(&str, &str)]) -> Result<Asked, u16> {
        let mut request = Request::get(format!("/cgi-bin/pvr/events?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Asked::read(&parts).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn nobody_waits_longer_than_what_is_between_lets_them() {
        let seconds = |query: &str, of_a_program| {
            let limit = asked(query, &[]).unwrap().limit(of_a_program);
            limit.map(|limit| limit.as_secs())
        };
        for (query, serve, cgi) in [
            ("since=a", Some(25), 25),
            ("since=a&timeout=3", Some(3), 3),
            ("since=a&timeout=9999999999", Some(50), 25),
            ("stream", None, 25),
            ("stream&timeout=3", Some(3), 3),
            ("stream&timeout=600", Some(600), 25),
        ] {
            assert_eq!((seconds(query, false), seconds(query, true)), (serve, Some(cgi)), "{query}");
        }
    }

    #[test]
    fn what_a_request_asks_for() {
        let plain = || Asked { stream: false, since: None, timeout: None };
        let since = |id: &str| Asked { since: Some(id.to_owned()), ..plain() };
        let stream = || Asked { stream: true, ..plain() };
        let sse = ("accept", "text/event-stream");
        for (query, headers, want) in [
            ("", &[][..], Ok(plain())),
            ("other=1", &[("accept", "*/*")], Ok(plain())),
            ("since=0a", &[], Ok(since("0a"))),
            ("since=0a&timeout=3", &[], Ok(Asked { timeout: Some(Duration::from_secs(3)), ..since("0a") })),
            ("timeout=0", &[], Ok(Asked { timeout: Some(Duration::ZERO), ..plain() })),
            ("", &[sse], Ok(stream())),
            ("", &[("accept", "text/html, Text/Event-Stream;q=0.5")], Ok(stream())),
            ("stream", &[], Ok(stream())),
            ("stream=1&since=a", &[("last-event-id", "b.end")], Ok(Asked { stream: true, ..since("b.end") })),
            ("since=a", &[("last-event-id", "no id")], Ok(since("a"))),
            ("stream=0", &[], Err(400)),
            ("since=%20", &[], Err(400)),
            ("timeout=", &[], Err(400)),
            ("timeout=-1", &[], Err(400)),
            ("timeout=1.5", &[], Err(400)),
        ] {
            assert_eq!(asked(query, headers), want, "{query} {headers:?}");
        }
    }
}
