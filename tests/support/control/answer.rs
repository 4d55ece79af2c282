//! Answers, as libevent writes them.

use pvr_agent::state::clock;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub extra: Option<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Sent in chunks to a client of HTTP/1.1, and to its end to one of HTTP/1.0.
    pub streamed: bool,
    /// Beside the body: as long as the answer before it, whose headers it repeats.
    pub after: Option<usize>,
    pub close: bool,
    /// Its type is said twice: what was to be one kind of answer became another.
    pub twice: bool,
}

pub const JSON: &str = "application/json";

impl Answer {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, content_type: JSON, extra: None, body, streamed: false, after: None, close: false, twice: false }
    }

    pub fn ok() -> Self {
        Self::json(200, "")
    }

    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, format!("{{\"Error\":\"{text}\"}}"))
    }

    pub fn retry(self, seconds: u32) -> Self {
        Self { extra: Some(("Retry-After", seconds.to_string())), ..self }
    }

    /// What is no request, or one of a method that it does not know.
    pub fn unsupported(status: u16) -> Self {
        let body = r#"{"Error": "Unsupported protocol"}"#;
        Self { content_type: "text/html", close: true, ..Self::json(status, body) }
    }

    pub fn unknown(target: &str) -> Self {
        // Its buffer for the text has an end.
        let mut text = format!("unknown endpoint: {target}").into_bytes();
        text.truncate(4125);
        let mut body = b"{\"Error\":\"".to_vec();
        body.extend(text);
        body.extend(b"\"}");
        Self::json(400, body)
    }

    /// The same as a second answer behind `first`.
    pub fn behind(self, first: &Self) -> Self {
        Self { after: Some(first.body.len()), ..self }
    }

    pub fn to_bytes(&self, minor: u8, keep: bool, head_only_length: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            409 => "Conflict",
            422 => "Unprocessable Content",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            507 => "Insufficient Storage",
            _ => "Unknown",
        };
        let mut head = format!("HTTP/1.{minor} {} {reason}\r\n", self.status);
        let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        let type_name =
            if self.content_type == JSON || self.content_type == "text/html" { "Content-Type" } else { "content-type" };
        let html = self.content_type == "text/html";
        if let Some((name, value)) = &self.extra {
            line(name, value);
        }
        line(type_name, self.content_type);
        if html {
            line("Connection", "close");
        }
        if self.twice {
            line("Content-Type", JSON);
        }
        if minor > 0 {
            line("Date", &clock::http_date(clock::now()));
        } else if keep {
            line("Connection", "keep-alive");
        }
        let length = self.after.unwrap_or(self.body.len());
        match (self.streamed, minor) {
            (true, 0) => {}
            (true, _) => line("Transfer-Encoding", "chunked"),
            (false, 0) if !keep => {}
            _ if head_only_length => {}
            _ if self.status == 204 => {}
            _ => line("Content-Length", &length.to_string()),
        }
        if self.close && !html && minor > 0 {
            line("Connection", "close");
        }
        if self.after.is_some() && !self.twice {
            line("Content-Type", JSON);
        }
        let mut bytes = head.into_bytes();
        bytes.extend(b"\r\n");
        if self.streamed && minor > 0 {
            for chunk in self.body.chunks(4096) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}
