//! One request, one answer.
//!
//! Each call has a connection of its own (`Connection: close`): behind an answer that refuses something there may come
//! another one, and a stray byte of one call must not be read as the answer to the next.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Control, ControlError, Refusal};
use crate::net::{HeaderValue, Method, NetError, Request, Response, Url};

/// Pauses between attempts at connecting, and before a GET is sent again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(900),
    Duration::from_millis(1500),
];
/// How often a GET is sent that gets no answer.
const GET_ATTEMPTS: usize = 3;
/// Largest body of an answer that refuses something.
const MAX_REFUSAL: usize = 64 * 1024;
/// The slowest upload that still counts as one.
const SLOWEST: u64 = 16 * 1024;

/// An answer as it came, for whoever shows it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `Retry-After`, where there is one.
    pub retry_after: Option<u32>,
}

/// What is sent along.
pub enum Sent<'a> {
    /// Nothing: GET and DELETE.
    Nothing,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a reader.
    Stream(u64, &'a mut dyn Read),
}

impl Control {
    /// Makes a request and reads its answer, which has at most `limit` bytes. Any status is an answer.
    ///
    /// `target` is the path as the daemon is to read it; it is made of checked names.
    pub fn raw(
        &self,
        method: Method,
        target: &str,
        sent: Sent<'_>,
        wait: Duration,
        limit: usize,
    ) -> Result<Reply, ControlError> {
        let attempts = if method == Method::Get { GET_ATTEMPTS } else { 1 };
        let mut sent = sent;
        let mut attempt = 1;
        loop {
            match self.once(method, target, &mut sent, wait, limit) {
                Err(ControlError::NoAnswer(_)) if attempt < attempts => {
                    thread::sleep(PAUSES[attempt]);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn once(
        &self,
        method: Method,
        target: &str,
        sent: &mut Sent<'_>,
        wait: Duration,
        limit: usize,
    ) -> Result<Reply, ControlError> {
        let deadline = Instant::now() + wait;
        let mut response = self.response(method, target, sent, wait)?;
        let status = response.status();
        let limit = if status == 200 { limit } else { MAX_REFUSAL };
        let mut body = Vec::new();
        let mut buf = [0; 8 * 1024];
        loop {
            let got = match response.read(&mut buf) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => return Err(net_error(error)),
            };
            if body.len() + got > limit {
                return Err(ControlError::BadAnswer(format!("it is larger than {limit} bytes")));
            }
            body.extend_from_slice(&buf[..got]);
            // What drips in would pass every limit on the wait for its next byte.
            if Instant::now() > deadline + self.waits().answer {
                return Err(ControlError::NoAnswer(too_slow("receiving a body", wait)));
            }
        }
        let retry_after = response.header("retry-after").and_then(|value| value.trim().parse().ok());
        Ok(Reply { status, body, retry_after })
    }

    /// Makes a request; the body of its answer is still on the way. Connecting is tried again; nothing has been sent then.
    pub(super) fn response(
        &self,
        method: Method,
        target: &str,
        sent: &mut Sent<'_>,
        wait: Duration,
    ) -> Result<Response, ControlError> {
        let Some(url) = Url::on_socket(target) else {
            return Err(ControlError::BadAnswer("the request would have had a bad path".to_owned()));
        };
        let deadline = Instant::now() + self.waits().connect;
        let mut pauses = PAUSES.into_iter();
        loop {
            let mut request = Request::new(method, &url)
                .header("Connection", HeaderValue::from_static("close"))
                .header("Content-Type", HeaderValue::from_static("application/json"))
                .patience(wait)
                .once();
            request = match sent {
                Sent::Nothing => request,
                Sent::Bytes(bytes) => request.bytes(bytes),
                Sent::Stream(length, reader) => request.reader(*length, *reader),
            };
            let error = match self.client.send(request) {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let NetError::Connect { source, .. } = &error else { return Err(net_error(error)) };
            // The file is gone while the daemon starts again, and nobody listens while it is ending.
            let passing = !matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput);
            match pauses.next() {
                Some(pause) if passing && Instant::now() + pause < deadline => thread::sleep(pause),
                _ => return Err(ControlError::Unreachable(error)),
            }
        }
    }

    /// A GET that has to be answered with 200.
    pub(super) fn get(&self, target: &str, limit: usize) -> Result<Vec<u8>, ControlError> {
        self.raw(Method::Get, target, Sent::Nothing, self.waits().answer, limit)?.expect_ok(target)
    }

    /// The same, and its body has to be JSON.
    pub(super) fn get_json(&self, target: &str) -> Result<Value, ControlError> {
        json(&self.get(target, super::MAX_LIST)?)
    }

    /// A request with a small body that has to be answered with 200.
    pub(super) fn send(&self, method: Method, target: &str, body: &[u8]) -> Result<Vec<u8>, ControlError> {
        self.raw(method, target, Sent::Bytes(body), self.waits().answer, super::MAX_LIST)?.expect_ok(target)
    }

    /// How long an upload of so many bytes may take altogether.
    pub(super) fn upload_wait(&self, size: u64) -> Duration {
        self.waits().work + Duration::from_secs(size / SLOWEST)
    }
}

impl Reply {
    /// The body, if the status is 200; else what it means. `what` was asked about.
    pub fn expect_ok(self, what: &str) -> Result<Vec<u8>, ControlError> {
        if self.status == 200 {
            return Ok(self.body);
        }
        let refusal = Refusal { status: self.status, message: message(&self.body), body: self.body };
        Err(match self.status {
            204 => ControlError::Already(refusal),
            403 => ControlError::NotPermitted(refusal),
            404 => ControlError::NotFound { what: what.to_owned(), refusal },
            422 => ControlError::BadState(refusal),
            503 => {
                let updating = refusal.message.contains("update");
                ControlError::Busy { updating, retry_after: self.retry_after, refusal }
            }
            507 => ControlError::DiskFull,
            _ => ControlError::Refused(refusal),
        })
    }
}

/// The sentence in `{"Error":"…"}`; a body that is none of that, cut to what can be shown.
fn message(body: &[u8]) -> String {
    let error = serde_json::from_slice::<Value>(body).ok();
    match error.as_ref().and_then(|value| value.get("Error")?.as_str()) {
        Some(text) => text.chars().take(500).collect(),
        None => String::from_utf8_lossy(body).trim().chars().take(500).collect(),
    }
}

pub(super) fn json(body: &[u8]) -> Result<Value, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError::BadAnswer(error.to_string()))
}

pub(super) fn net_error(error: NetError) -> ControlError {
    match error {
        NetError::Connect { .. } => ControlError::Unreachable(error),
        NetError::Timeout { .. } | NetError::Lost { .. } | NetError::Closed { .. } => ControlError::NoAnswer(error),
        NetError::Source(error) => ControlError::Source(error),
        NetError::SourceShort => ControlError::Source(io::ErrorKind::UnexpectedEof.into()),
        error => ControlError::BadAnswer(error.to_string()),
    }
}

pub(super) fn too_slow(doing: &'static str, wait: Duration) -> NetError {
    NetError::Timeout { doing, seconds: wait.as_secs() }
}
