//! `GET /metrics`: what this process has done since it started, as Prometheus reads it (text format 0.0.4).
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `pvr_agent_build_info` | 1 | `version`, `features` |
//! | `pvr_agent_uptime_seconds` | gauge | |
//! | `pvr_agent_requests_total` | counter | `route` (the name that the description of the API has; `none`: nothing is there, or it was refused before; `head`: no request could be read), `status` |
//! | `pvr_agent_received_bytes_total`, `pvr_agent_sent_bytes_total` | counter | |
//! | `pvr_agent_connections`, `pvr_agent_uploads` | gauge | |
//! | `pvr_agent_connections_total` | counter | |
//! | `pvr_agent_refusals_total` | counter | `limit`: see [`Limit`] |
//! | `pvr_agent_logins_total` | counter | `result`: `ok`, `failed` |
//! | `pvr_agent_objects_total`, `pvr_agent_object_bytes_total` | counter | |
//! | `pvr_agent_revisions_total` | counter | |
//! | `pvr_agent_log_lines_total` | counter | `log`: `log`, `audit`; `result`: `lost`, `shortened` |
//!
//! Bytes are those of connections, with heads, and of TLS as it is on the wire. Numbers are kept under locks, not in 64-bit
//! atomics, which small processors don't have; none is held for longer than an addition takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;

use super::Endpoint;
use super::access::{Caller, Who};
use super::error::ApiError;
use super::guard::Arrival;
use super::limits::Limit;
use super::reply::{Reply, ReplyBody};

/// A number that others add to.
#[derive(Debug, Default)]
pub struct Count(Mutex<u64>);

impl Count {
    /// So many more.
    pub fn add(&self, more: u64) {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *number = number.wrapping_add(more);
    }

    /// One less, of what comes and goes.
    pub fn sub_one(&self) {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *number = number.saturating_sub(1);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    limits: [Count; Limit::ALL.len()],
    /// Bytes that came in.
    pub received: Count,
    /// Bytes that went out.
    pub sent: Count,
    /// Connections that are open.
    pub open: Count,
    /// Connections that there were.
    pub connections: Count,
    /// Who could log in, and who could not.
    pub logins: [Count; 2],
    /// Objects that were taken in.
    pub objects: Count,
    /// Their bytes.
    pub object_bytes: Count,
    /// Revisions that were installed.
    pub revisions: Count,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            requests: Mutex::default(),
            limits: Default::default(),
            received: Count::default(),
            sent: Count::default(),
            open: Count::default(),
            connections: Count::default(),
            logins: Default::default(),
            objects: Count::default(),
            object_bytes: Count::default(),
            revisions: Count::default(),
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, route: &'static str, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
    }

    /// Somebody ran into a limit.
    pub fn past(&self, limit: Limit) {
        if let Some(count) = self.limits.get(limit as usize) {
            count.add(1);
        }
    }

    fn write(&self, out: &mut Text) {
        let mut features = Vec::new();
        for (name, there) in
            [("device", cfg!(feature = "device")), ("tls", cfg!(feature = "tls")), ("man", cfg!(feature = "man"))]
        {
            features.extend(there.then_some(name));
        }
        let build = format!("version=\"{}\",features=\"{}\"", env!("CARGO_PKG_VERSION"), features.join(","));
        out.family("build_info", "gauge", "What this is.");
        out.value(&build, 1);
        out.single("uptime_seconds", "gauge", "Since the start of this process.", self.started.elapsed().as_secs());
        out.family("requests_total", "counter", "Requests that were answered.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((route, status), number) in requests {
            out.value(&format!("route=\"{route}\",status=\"{status}\""), number);
        }
        out.family("refusals_total", "counter", "Who ran into a limit.");
        for ((_, name), count) in Limit::ALL.iter().zip(&self.limits) {
            out.value(&format!("limit=\"{name}\""), count.get());
        }
        out.family("logins_total", "counter", "Named attempts to log in.");
        for (result, count) in ["ok", "failed"].iter().zip(&self.logins) {
            out.value(&format!("result=\"{result}\""), count.get());
        }
        for (name, kind, help, count) in [
            ("received_bytes_total", "counter", "Bytes of all connections.", &self.received),
            ("sent_bytes_total", "counter", "Bytes of all connections.", &self.sent),
            ("connections", "gauge", "Connections that are open.", &self.open),
            ("connections_total", "counter", "Connections that were made.", &self.connections),
            ("objects_total", "counter", "Objects that were taken in.", &self.objects),
            ("object_bytes_total", "counter", "Bytes of objects that were taken in.", &self.object_bytes),
            ("revisions_total", "counter", "Revisions that were installed.", &self.revisions),
        ] {
            out.single(name, kind, help, count.get());
        }
    }
}

/// The answer as it is written.
#[derive(Default)]
struct Text {
    out: String,
    name: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a text has no way to fail.
        let _ = write!(self.out, "# HELP pvr_agent_{name} {help}\n# TYPE pvr_agent_{name} {kind}\n");
    }

    fn value(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.out, "pvr_agent_{}{{{labels}}} {value}", self.name);
    }

    fn single(&mut self, name: &'static str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.out, "pvr_agent_{name} {value}");
    }
}

/// Whether whoever asks is on this machine. A proxy on it says that it asks for somebody else; that is believed of nobody who says
/// less.
pub(super) fn is_here(head: &Parts, arrival: &Arrival) -> bool {
    let forwarded =
        ["forwarded", "via", "x-forwarded-for", "x-real-ip"].iter().any(|name| head.headers.contains_key(*name));
    !forwarded && arrival.peer.is_some_and(|peer| peer.to_canonical().is_loopback())
}

impl Endpoint {
    /// `GET metrics`. Whether the caller may have them, has been asked; but where nobody has accounts, everybody may.
    pub(super) fn metrics_text(&self, head: &Parts, arrival: &Arrival, caller: &Caller) -> Result<Reply, ApiError> {
        if arrival.mount.is_some() {
            let message = "a program that answers one request has nothing to count";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "no-metrics", message)
                .hint("pvr-agent serve has metrics; the web server has those of its requests"));
        }
        if caller.who == Who::Anybody && !is_here(head, arrival) {
            let message = "metrics are for administrators, and for this machine";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        let mut text = Text::default();
        self.metrics().write(&mut text);
        text.single("uploads", "gauge", "Objects that are being received.", self.uploading());
        text.family("log_lines_total", "counter", "Lines of logs that are not there, or not whole.");
        for (log, result, number) in [
            ("log", "lost", self.log().lost()),
            ("log", "shortened", self.log().shortened()),
            ("audit", "lost", self.audit().lost()),
        ] {
            text.value(&format!("log=\"{log}\",result=\"{result}\""), number);
        }
        let mut reply = Reply::new(ReplyBody::bytes(text.out));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(reply)
    }
}
