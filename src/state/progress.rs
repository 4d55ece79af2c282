//! How far a revision has come: `.pv/progress`, one line of JSON (`pvctrl.md` §4.3).
//!
//! `{"status":"NEW","status-msg":"…","progress":0,"retries":0}`, and for some `downloads` and `logs`.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::fmt;

/// What became of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Uploaded; never run.
    New,
    /// Waiting for its turn.
    Queued,
    /// Its objects are being fetched.
    Downloading,
    /// Being installed.
    InProgress,
    /// Runs, and is being watched.
    Testing,
    /// Runs, without being a rollback point.
    Updated,
    /// Runs or ran well, and is a rollback point.
    Done,
    /// Was refused.
    WontGo,
    /// Failed.
    Error,
    /// What a daemon of another age writes.
    Other(String),
}

impl Status {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::New, "NEW"),
        (Self::Queued, "QUEUED"),
        (Self::Downloading, "DOWNLOADING"),
        (Self::InProgress, "INPROGRESS"),
        (Self::Testing, "TESTING"),
        (Self::Updated, "UPDATED"),
        (Self::Done, "DONE"),
        (Self::WontGo, "WONTGO"),
        (Self::Error, "ERROR"),
    ];

    fn parse(text: &str) -> Self {
        let known = Self::NAMES.into_iter().find(|(_, name)| *name == text);
        known.map_or_else(|| Self::Other(text.to_owned()), |(status, _)| status)
    }

    /// The word in the file.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => Self::NAMES.iter().find(|(status, _)| status == known).map_or("", |(_, name)| name),
        }
    }

    /// Whether nothing has been done about it yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::New | Self::Queued)
    }

    /// Whether an update to this revision is under way.
    pub fn is_in_progress(&self) -> bool {
        matches!(self, Self::Queued | Self::Downloading | Self::InProgress | Self::Testing)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of `.pv/progress`.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What became of the revision.
    pub status: Status,
    /// A sentence about it.
    pub status_msg: String,
    /// Per cent.
    pub progress: i64,
    /// How often it was tried.
    pub retries: i64,
    /// Whatever else the file holds, as it is: `downloads`, `logs`.
    pub rest: serde_json::Map<String, Value>,
}

impl Progress {
    /// Of a revision that has just been installed.
    pub fn new() -> Self {
        Self::with(Status::New, "Update ready to be run", 0)
    }

    /// Of a revision that runs without a daemon having had a part in it.
    pub fn done() -> Self {
        Self::with(Status::Done, "Update finished, revision set as rollback point", 100)
    }

    fn with(status: Status, msg: &str, progress: i64) -> Self {
        Self { status, status_msg: msg.to_owned(), progress, retries: 0, rest: serde_json::Map::new() }
    }

    /// Reads a file. None: it is no progress.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut rest)) = serde_json::from_slice(bytes) else {
            return None;
        };
        let status = Status::parse(rest.remove("status")?.as_str()?);
        let status_msg = rest.remove("status-msg").and_then(|msg| Some(msg.as_str()?.to_owned())).unwrap_or_default();
        let mut number = |key: &str| rest.remove(key).and_then(|n| n.as_i64()).unwrap_or(0);
        let (progress, retries) = (number("progress"), number("retries"));
        Some(Self { status, status_msg, progress, retries, rest })
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Serialize for Progress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", self.status.as_str())?;
        map.serialize_entry("status-msg", &self.status_msg)?;
        map.serialize_entry("progress", &self.progress)?;
        map.serialize_entry("retries", &self.retries)?;
        for (key, value) in &self.rest {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_daemons_are_read_and_ours_have_their_shape() {
        let ours = String::from_utf8(Progress::new().to_bytes()).unwrap();
        assert_eq!(ours, r#"{"status":"NEW","status-msg":"Update ready to be run","progress":0,"retries":0}"#);
        let theirs = br#"{"status":"ERROR","status-msg":"x","progress":100,"retries":2,"logs":"l"}"#;
        let read = Progress::parse(theirs).unwrap();
        assert_eq!((&read.status, read.retries, read.rest["logs"].as_str()), (&Status::Error, 2, Some("l")));
        assert_eq!(read.to_bytes(), theirs);
        assert_eq!(Progress::parse(br#"{"status":"ODD"}"#).unwrap().status, Status::Other("ODD".into()));
        for bad in [&b""[..], b"{}", b"[]", b"{\"status\":1}", b"\xff"] {
            assert_eq!(Progress::parse(bad), None);
        }
    }
}
