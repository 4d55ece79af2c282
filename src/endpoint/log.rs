//! The log: one line per request and per event, on standard error, as text or JSON.
//!
//! ```text
//! 2026-11-23T12:00:00Z info 192.168.1.5 PUT /cgi-bin/pvr/objects/…/blob 200 41ms id=5f0e6a1c-12
//! {"time":"2026-11-23T12:00:00Z","level":"info","peer":"192.168.1.5","method":"PUT",…}
//! ```
//!
//! Whatever came from outside is escaped before it becomes part of a line. Nobody waits for a line to be written:
//! `log_queue` is where it goes.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::error::ApiError;
use super::log_queue::LogQueue;
use super::metrics::Count;
use crate::state::clock;
use crate::state::{escape, escape_json, escape_text};

/// Bytes of what came from outside that a line has at most, of each thing: escaped, they are six times as many. Where the line is
/// longer than [`LINE`] then, it has less of each.
const LONGEST: [usize; 3] = [2048, 512, 128];

/// Bytes that a line has at most.
pub const LINE: usize = 8 * 1024;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Ordinary.
    Info,
    /// Something an operator may want to change.
    Warn,
    /// Something failed that should not have.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One answered request.
#[derive(Debug)]
pub struct Answered<'a> {
    /// Where it came from, if from a socket.
    pub peer: Option<IpAddr>,
    /// As sent.
    pub method: &'a str,
    /// As sent, without the query: a query may hold what is nobody's business.
    pub path: &'a str,
    /// What was answered.
    pub status: u16,
    /// From the complete head to the head of the answer.
    pub took: Duration,
    /// Also in the answer, if it was an error.
    pub request_id: &'a str,
    /// Why it was refused or failed, for whoever reads the log.
    pub cause: Option<&'a str>,
}

/// Where log lines go.
pub struct Log {
    format: Format,
    /// Requests that were granted are somebody else's to log.
    failures_only: bool,
    queue: LogQueue,
    /// Lines that do not have all that was to be said.
    shortened: Count,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(rename = "request-id", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl Log {
    /// To standard error.
    pub fn stderr(format: Format) -> io::Result<Self> {
        Self::to(format, Box::new(std::io::stderr()))
    }

    /// To anything that can be written to.
    pub fn to(format: Format, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let lost = move |lines| {
            let message = format!("{lines} log lines were lost: they were not read fast enough");
            note_line(format, Level::Warn, &message)
        };
        Ok(Self {
            format,
            failures_only: false,
            queue: LogQueue::to(out, Box::new(lost))?,
            shortened: Count::default(),
        })
    }

    /// Without the requests that were granted: a web server in front has a log of its own for them.
    #[must_use]
    pub fn only_failures(mut self) -> Self {
        self.failures_only = true;
        self
    }

    /// Waits a moment for what was logged to be written.
    pub fn flush(&self) {
        self.queue.flush();
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// How many lines were too long.
    pub fn shortened(&self) -> u64 {
        self.shortened.get()
    }

    /// Something happened that belongs to no request.
    pub fn note(&self, level: Level, message: &str) {
        self.fit(&[message], |longest| note_line(self.format, level, &shortened(message, longest)));
    }

    /// Logs a line with as much as fits of what is in it.
    fn fit(&self, parts: &[&str], line: impl Fn(usize) -> String) {
        let mut made = String::new();
        for longest in LONGEST {
            made = line(longest);
            if made.len() <= LINE {
                if parts.iter().any(|part| part.len() > longest) {
                    self.shortened.add(1);
                }
                break;
            }
        }
        self.queue.line(&made);
    }

    /// A request was refused before anything was looked at.
    pub fn refused(&self, peer: Option<IpAddr>, method: &str, path: &str, request_id: &str, error: &ApiError) {
        let (status, cause) = (error.status().as_u16(), error.log_text());
        self.answered(&Answered { peer, method, path, status, took: Duration::ZERO, request_id, cause: Some(&cause) });
    }

    /// A request was answered.
    pub fn answered(&self, request: &Answered<'_>) {
        if self.failures_only && request.cause.is_none() {
            return;
        }
        let level = if request.status >= 500 && request.status != 507 { Level::Error } else { Level::Info };
        let time = clock::rfc3339(clock::now());
        let ms = u64::try_from(request.took.as_millis()).unwrap_or(u64::MAX);
        let parts = [request.method, request.path, request.cause.unwrap_or_default()];
        self.fit(&parts, |longest| {
            let [method, path, cause] = parts.map(|part| shortened(part, longest));
            let cause = request.cause.map(|_| cause);
            match self.format {
                Format::Text => {
                    let peer = request.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
                    let mut line = format!(
                        "{time} {} {peer} {} {} {} {ms}ms id={}",
                        level.word(),
                        escape(&method),
                        escape(&path),
                        request.status,
                        request.request_id,
                    );
                    if let Some(cause) = &cause {
                        line.push_str(": ");
                        line.push_str(&escape_text(&one_line(cause)));
                    }
                    line
                }
                Format::Json => json_line(&Line {
                    time: time.clone(),
                    level,
                    peer: request.peer,
                    method: Some(&method),
                    path: Some(&path),
                    status: Some(request.status),
                    ms: Some(ms),
                    request_id: Some(request.request_id),
                    message: cause.as_deref(),
                }),
            }
        });
    }
}

fn note_line(format: Format, level: Level, message: &str) -> String {
    let time = clock::rfc3339(clock::now());
    match format {
        Format::Text => format!("{time} {} {}", level.word(), escape_text(&one_line(message))),
        Format::Json => json_line(&Line {
            time,
            level,
            peer: None,
            method: None,
            path: None,
            status: None,
            ms: None,
            request_id: None,
            message: Some(message),
        }),
    }
}

fn json_line(line: &Line<'_>) -> String {
    serde_json::to_string(line).map(escape_json).unwrap_or_default()
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The beginning of a text that is too long for a line.
fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    match text.len() > longest {
        true => format!("{}…", &text[..text.floor_char_boundary(longest)]).into(),
        false => text.into(),
    }
}

/// Errors have what to do on a line of its own; what came from outside has been escaped in them already.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let sink = Sink::default();
        Log::to(format, Box::new(sink.clone())).unwrap().answered(&Answered {
            peer: None,
            method: "GET",
            path: "/a\u{1b}[31m\nforged line",
            status: 404,
            took: Duration::from_millis(3),
            request_id: "x-1",
            cause: Some("no\u{202e}thing\u{9b}"),
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_stays_one_line_and_acts_on_no_terminal() {
        for format in [Format::Text, Format::Json] {
            let line = logged(format);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.trim_end().contains(char::is_control), "{line}");
            assert!(!line.contains('\u{202e}'), "{line}");
        }
        let value: serde_json::Value = serde_json::from_str(&logged(Format::Json)).unwrap();
        assert_eq!(value["message"], "no\u{202e}thing\u{9b}");
        assert_eq!(value["status"], 404);
    }

    #[test]
    fn a_request_for_a_long_path_was_missing_in_the_log() {
        for format in [Format::Text, Format::Json] {
            let sink = Sink::default();
            let log = Log::to(format, Box::new(sink.clone())).unwrap();
            for letter in ["\"", "\\", "\u{9b}", "é"] {
                let path = format!("/{}", letter.repeat(16_000));
                log.answered(&Answered {
                    peer: None,
                    method: "GET",
                    path: &path,
                    status: 404,
                    took: Duration::ZERO,
                    request_id: "x-1",
                    cause: Some(&format!("nothing at {}", escape(&path))),
                });
                log.flush();
            }
            let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().filter(|line| line.contains("x-1") && line.len() <= LINE).count(), 4, "{format:?}");
            assert_eq!(log.shortened(), 4);
            log.note(Level::Warn, &"\u{9b}".repeat(LINE));
            log.flush();
            let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert!(text.lines().all(|line| line.len() <= LINE), "a line that belongs to no request is as short");
            assert_eq!(log.shortened(), 5);
        }
    }

    #[test]
    fn what_to_do_came_with_an_escaped_line_break() {
        let sink = Sink::default();
        let log = Log::to(Format::Text, Box::new(sink.clone())).unwrap();
        log.note(Level::Warn, "no space\npvr-agent gc makes some\n");
        drop(log);
        let line = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(line.ends_with(" warn no space; pvr-agent gc makes some\n"), "{line}");
    }
}
