//! A raw HTTP/1.1 client: what goes out is written here byte by byte, what comes back is taken apart without
//! forgiveness. It follows nothing, retries nothing and hides nothing.
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// An absolute `http://` URL in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Target {
    pub fn parse(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an absolute http URL: {url:?}"));
        let slash = rest.find('/').unwrap_or(rest.len());
        let path = if slash == rest.len() { "/" } else { &rest[slash..] };
        assert!(!path.contains('%'), "a URL with percent escapes was handed out: {url:?}");
        Self { host: rest[..slash].into(), path: path.into() }
    }
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The only value of a header; two of one name are a failure.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} was sent twice");
        first
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err} in {self}"))
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(600)];
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(shown))
    }
}

/// One connection.
pub struct Conn {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Conn {
    /// Connects to `host:port`; a minute and a half without a byte is an error (of an emulated program, fifteen).
    pub fn open(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        let patience = Some(super::program::patience(Duration::from_secs(90)));
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        Ok(Self { stream: BufReader::new(stream), host: host.into() })
    }

    /// A handle that can close the connection from another thread.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Writes head and body. `Host` is this connection's; `Content-Length` is added when there is a body and the
    /// headers don't frame it themselves.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        self.head(method, path, headers, (!body.is_empty()).then_some(body.len() as u64))?;
        self.raw(body)
    }

    /// Writes a head, with `Content-Length: length` unless the headers frame the body themselves.
    pub fn head(&mut self, method: &str, path: &str, headers: &[(&str, &str)], length: Option<u64>) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        let mut framed = false;
        for (name, value) in headers {
            framed |= ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str());
            head += &format!("{name}: {value}\r\n");
        }
        if let (Some(length), false) = (length, framed) {
            head += &format!("Content-Length: {length}\r\n");
        }
        head += "\r\n";
        self.raw(head.as_bytes())
    }

    /// Reads one response; `method` decides whether it has a body. Interim answers (1xx) are passed over.
    pub fn receive(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.receive_one(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a line"));
        }
        Ok(line.trim_end_matches("\r\n").to_string())
    }

    /// The next response, interim or not.
    pub fn receive_one(&mut self, method: &str) -> io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("header {line:?}")))?;
            headers.push((name.to_string(), value.trim().to_string()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunked(&mut response.body)?;
        } else if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().map_err(|_| io::Error::other(format!("length {length:?}")))?;
            response.body = vec![0; length];
            self.stream.read_exact(&mut response.body)?;
        } else {
            self.stream.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn chunked(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| io::Error::other(format!("chunk {line:?}")))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            if !self.line()?.is_empty() {
                return Err(io::Error::other("chunk without its end"));
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// One request and its answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        self.send(method, path, headers, body)?;
        self.receive(method)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }
}

/// One request on a connection of its own.
pub fn ask(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    let target = Target::parse(url);
    Conn::open(&target.host)?.ask(method, &target.path, headers, body)
}

/// `GET`, which has to be answered.
pub fn get(url: &str) -> Response {
    ask(url, "GET", &[], b"").unwrap_or_else(|err| panic!("GET {url}: {err}"))
}
