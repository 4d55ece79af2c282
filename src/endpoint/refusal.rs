//! Answers to what never became a request: heads that cannot be read, or don't come.
//!
//! They are written past the HTTP library, which has given up the connection, and look like every other error.

use std::fmt::Write;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::AsyncWrite;

use super::Endpoint;
use super::error::ApiError;
use super::headers;
use super::limits::{Limit, Limits};
use super::log::Answered;

/// A head that took too long.
pub fn too_slow(limits: &Limits) -> ApiError {
    let message = format!("the request head did not come within {} s", limits.head_time.as_secs());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "head-too-slow", message).past(Limit::HeadTime)
}

/// A head that the HTTP library refuses with `status`, or breaks off at. `cause` is what it says of it.
pub fn unreadable(status: Option<u16>, cause: &hyper::Error, limits: &Limits) -> ApiError {
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    let error = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let message =
                format!("the request head has more than {} bytes or {} lines", limits.head_bytes, limits.head_lines);
            ApiError::new(status, "head-too-large", message).past(Limit::Head)
        }
        _ => {
            let message = "the request line or a header is not HTTP/1.1 as RFC 9112 has it";
            ApiError::new(status, "bad-request-head", message)
        }
    };
    error.cause(cause)
}

impl Endpoint {
    /// Answers on `stream`, on which nothing is on its way, and logs it. Whoever doesn't take it doesn't get it.
    pub(super) async fn refuse(&self, stream: &mut (impl AsyncWrite + Unpin), peer: IpAddr, error: ApiError) {
        let request_id = self.request_id();
        self.metrics().answered("head", error.status().as_u16());
        if let Some(limit) = error.limit() {
            self.metrics().past(limit);
        }
        self.log().answered(&Answered {
            peer: Some(peer),
            method: "-",
            path: "-",
            status: error.status().as_u16(),
            took: Duration::ZERO,
            request_id: &request_id,
            cause: Some(&error.log_text()),
        });
        let body = error.to_json(&request_id);
        let mut answer = format!("HTTP/1.1 {}\r\n", error.status());
        let _ = write!(answer, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers::ALL {
            let _ = write!(answer, "{name}: {value}\r\n");
        }
        answer.push_str("Connection: close\r\n\r\n");
        let answer = [answer.as_bytes(), &body].concat();
        let _ = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, &answer)).await;
    }
}
