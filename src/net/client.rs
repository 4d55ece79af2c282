//! Connections, kept and new, and one request at a time on each of them.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::Decoder;
use super::head::{self, Head, MAX_HEAD};
use super::proxy::Proxy;
use super::request::{Body, Method, Redirects, Request};
use super::response::Response;
use super::stream::Stream;
use super::tls::{Tls, Trust};
use super::{NetError, Proxies, Scheme, Url};

/// Interim answers (1xx) that are skipped before one request is given up.
const MAX_INTERIM: usize = 16;
/// Connections that are kept open for later.
const MAX_KEPT: usize = 8;
/// How long one is kept. Servers close idle ones after some seconds anyway.
const KEEP_FOR: Duration = Duration::from_secs(15);
/// Bytes of a body that are sent before looking whether the answer is there already.
const LOOK_EVERY: u64 = 1024 * 1024;
const RECEIVE_BUFFER: usize = 32 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

/// How long the client waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection to be made, all addresses of the host together.
    pub connect: Duration,
    /// For anything to move on it.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(60) }
    }
}

/// The HTTP client. Cheap to clone; clones share the connections that are kept open.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    patience: Patience,
    proxies: Proxies,
    /// All requests go to this socket, whatever host their address names.
    socket: Option<Arc<Path>>,
    trace: Option<Trace>,
}

/// Who is shown the heads of all messages: `>` for what is sent, `<` for what comes.
pub type Trace = Arc<dyn Fn(&str) + Send + Sync>;

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with nothing open yet.
    pub fn new(patience: Patience, trust: Trust) -> Self {
        Self {
            shared: Arc::new(Shared { kept: Mutex::default(), tls: Tls::new(trust) }),
            patience,
            proxies: Proxies::none(),
            socket: None,
            trace: None,
        }
    }

    /// A client whose requests all go to a socket in the file system; their addresses come from [`Url::on_socket`].
    pub fn on_socket(socket: &Path, patience: Patience) -> Self {
        Self { socket: Some(socket.into()), ..Self::new(patience, Trust::default()) }
    }

    /// The same, with other limits on its waits.
    #[must_use]
    pub fn waiting(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The same, through proxies.
    #[must_use]
    pub fn through(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The same, with somebody looking on. Neither tokens nor queries, which may be secrets, are shown, nor bodies.
    #[must_use]
    pub fn traced(self, trace: Trace) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// Sends a request and reads the head of its answer. Any status is an answer, redirects too unless they are
    /// followed; an error is what kept it from coming.
    pub fn send(&self, request: Request<'_>) -> Result<Response, NetError> {
        let Request { method, url, headers, mut body, redirects, patience, once } = request;
        let wait = patience.unwrap_or(self.patience.idle);
        let mut url = url.without_fragment();
        let mut left = match redirects {
            Redirects::Follow(times) if matches!(method, Method::Get | Method::Head) => times,
            _ => 0,
        };
        loop {
            // A tunnel is the server's own line; else the proxy has to be told who is meant.
            let plain = url.scheme() == Scheme::Http;
            let through = self.proxies.on_the_way_to(&url).filter(|_| plain);
            let head = request_head(method, &url, through, &headers, &body);
            self.show(|| shown_request(&head));
            let response = self.exchange(method, &url, &head, &mut body, wait, once)?;
            self.show(|| shown_answer(&response));
            let location = match response.status() {
                301 | 302 | 303 | 307 | 308 => response.header("location"),
                _ => None,
            };
            let (Redirects::Follow(times), Some(location)) = (redirects, location) else {
                return Ok(response);
            };
            if left == 0 {
                return Err(NetError::Redirects(times));
            }
            left -= 1;
            url = url.join(location).map_err(NetError::Redirect)?.without_fragment();
        }
    }

    fn show(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace(&text());
        }
    }

    /// One request and one answer, on a kept connection if there is one.
    fn exchange(
        &self,
        method: Method,
        url: &Url,
        head: &[u8],
        body: &mut Body<'_>,
        wait: Duration,
        once: bool,
    ) -> Result<Response, NetError> {
        if !once && let Some(connection) = self.shared.take(url) {
            match self.on(connection, method, url, head, body, wait) {
                // The server had closed it, just then: nothing of an answer came, so the request can be made again.
                Err(failure) if failure.silent && !matches!(body, Body::Reader { .. }) => {}
                result => return result.map_err(|failure| failure.error),
            }
        }
        let stream = match &self.socket {
            Some(socket) => Stream::connect_to_file(socket, self.patience.connect)?,
            None => {
                let proxy = self.proxies.on_the_way_to(url);
                Stream::connect(url, &self.shared.tls, proxy, self.patience.connect)?
            }
        };
        let stream = BufReader::with_capacity(RECEIVE_BUFFER, stream);
        let connection = Connection { key: Key::of(url), stream, since: Instant::now() };
        self.on(connection, method, url, head, body, wait).map_err(|failure| failure.error)
    }

    fn on(
        &self,
        mut connection: Connection,
        method: Method,
        url: &Url,
        head: &[u8],
        body: &mut Body<'_>,
        wait: Duration,
    ) -> Result<Response, Failure> {
        let set = |connection: &mut Connection, patience| {
            connection
                .stream
                .get_mut()
                .set_patience(patience)
                .map_err(|source| Failure::silent(NetError::Lost { doing: "setting its time limits", source }))
        };
        set(&mut connection, self.patience.idle)?;
        let early = connection.send(head, body, self.patience.idle)?;
        set(&mut connection, wait)?;
        let sent_all = early.is_none();
        let head = match early {
            Some(head) => head,
            None => connection.final_head(wait)?,
        };
        set(&mut connection, self.patience.idle)?;
        if head.status == 101 {
            return Err(NetError::Protocol("switches to another protocol, unasked").into());
        }
        let framing = head::framing(&head, method == Method::Head)?;
        if let Some(coding) = head.get("content-encoding")
            && !coding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(NetError::Protocol("a content encoding that was not asked for").into());
        }
        let reusable = sent_all && head.keeps_alive() && framing != head::Framing::UntilClose;
        let mut response = Response {
            sent_all,
            reusable,
            decoder: Decoder::new(framing, self.patience.idle),
            head,
            url: url.clone(),
            connection: Some(connection),
            shared: Arc::clone(&self.shared),
        };
        if response.decoder.is_at_end() {
            response.release();
        }
        Ok(response)
    }
}

/// An error, and whether not a byte of an answer had come before it.
struct Failure {
    error: NetError,
    silent: bool,
}

impl Failure {
    fn silent(error: NetError) -> Self {
        Self { error, silent: true }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self { error, silent: false }
    }
}

/// A head that is sent, for people.
fn shown_request(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(|(at, line)| match line.split_once(':') {
            Some((name, _)) if name.to_ascii_lowercase().ends_with("authorization") => format!("> {name}: …"),
            _ if at == 0 => match line.split_once('?') {
                Some((path, _)) => format!("> {path}?…"),
                None => format!("> {line}"),
            },
            _ => format!("> {line}"),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// A head that has come, for people.
fn shown_answer(response: &Response) -> String {
    let mut text = format!("< {} {}", response.status(), crate::state::escape(response.reason()));
    for (name, value) in &response.head.headers {
        let value = if name.eq_ignore_ascii_case("location") || name.eq_ignore_ascii_case("set-cookie") {
            "…".into()
        } else {
            crate::state::escape(value)
        };
        text.push_str(&format!("\n< {}: {value}", crate::state::escape(name)));
    }
    text
}

/// Request line and headers. `through`: a proxy reads it first.
fn request_head(
    method: Method,
    url: &Url,
    through: Option<&Proxy>,
    headers: &[(&'static str, super::HeaderValue)],
    body: &Body<'_>,
) -> Vec<u8> {
    let target = if through.is_some() { url.without_fragment().to_string() } else { url.target() };
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: pvr-agent/{}\r\nAccept-Encoding: identity\r\n",
        method.as_str(),
        target,
        url.host_header(),
        env!("CARGO_PKG_VERSION"),
    );
    if let Some(login) = through.and_then(Proxy::login) {
        head.push_str(&format!("Proxy-Authorization: {}\r\n", login.as_str()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", value.as_str()));
    }
    let length = match body {
        Body::Empty if matches!(method, Method::Get | Method::Head) => None,
        Body::Empty => Some(0),
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::Reader { length, .. } => Some(*length),
    };
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Who a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(Scheme, Box<str>, u16);

impl Key {
    fn of(url: &Url) -> Self {
        Self(url.scheme(), url.host().into(), url.port())
    }
}

/// An open connection with what has been received on it.
pub(super) struct Connection {
    key: Key,
    pub(super) stream: BufReader<Stream>,
    /// When it was last put aside.
    since: Instant,
}

impl Connection {
    /// Sends head and body. An answer that comes before all is sent ends the sending, and is returned.
    fn send(&mut self, head: &[u8], body: &mut Body<'_>, patience: Duration) -> Result<Option<Head>, Failure> {
        let (length, reader) = match body {
            Body::Empty => return self.write(head, patience),
            // In one piece: some small servers read head and body with one call.
            Body::Bytes(bytes) => return self.write(&[head, bytes].concat(), patience),
            Body::Reader { length, reader } => (*length, reader),
        };
        if let Some(early) = self.write(head, patience)? {
            return Ok(Some(early));
        }
        let mut buf = vec![0; SEND_BUFFER];
        let (mut left, mut look_at) = (length, length.saturating_sub(LOOK_EVERY));
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let got = match reader.read(&mut buf[..most]) {
                Ok(0) => return Err(NetError::SourceShort.into()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NetError::Source(error).into()),
            };
            if let Some(early) = self.write(&buf[..got], patience)? {
                return Ok(Some(early));
            }
            left -= got as u64;
            if left > 0 && left <= look_at {
                look_at = left.saturating_sub(LOOK_EVERY);
                if self.stream.get_mut().has_input() {
                    let head = self.one_head(patience)?;
                    if !head.is_interim() {
                        return Ok(Some(head));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Writes; a server that has closed its side may have said why before it did.
    fn write(&mut self, bytes: &[u8], patience: Duration) -> Result<Option<Head>, Failure> {
        let Err(error) = self.stream.get_mut().write_all(bytes) else {
            return Ok(None);
        };
        let timed_out = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if !timed_out && let Ok(head) = self.final_head(patience) {
            return Ok(Some(head));
        }
        Err(Failure::silent(NetError::from_io(error, "sending", patience)))
    }

    /// The head of the answer itself, behind all interim ones.
    fn final_head(&mut self, patience: Duration) -> Result<Head, Failure> {
        for _ in 0..MAX_INTERIM {
            let head = self.one_head(patience)?;
            if !head.is_interim() || head.status == 101 {
                return Ok(head);
            }
        }
        Err(NetError::Protocol("too many interim answers").into())
    }

    fn one_head(&mut self, patience: Duration) -> Result<Head, Failure> {
        const DOING: &str = "waiting for an answer";
        // A head that drips in byte by byte would pass every limit on idleness.
        let deadline = Instant::now() + patience;
        let mut bytes = Vec::new();
        loop {
            let piece = match self.stream.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let silent = bytes.is_empty() && error.kind() != io::ErrorKind::WouldBlock;
                    return Err(Failure { error: NetError::from_io(error, DOING, patience), silent });
                }
            };
            if piece.is_empty() {
                return Err(Failure { error: NetError::Closed { doing: DOING }, silent: bytes.is_empty() });
            }
            let before = bytes.len();
            let (room, whole_lines) = (MAX_HEAD.saturating_sub(before), piece.contains(&b'\n'));
            let piece = &piece[..piece.len().min(room)];
            bytes.extend_from_slice(piece);
            // Only the end of a line can complete a head, or show that it is not one.
            if (whole_lines || bytes.len() >= MAX_HEAD)
                && let Some((head, length)) = head::parse(&bytes)?
            {
                self.stream.consume(length - before);
                return Ok(head);
            }
            let taken = bytes.len() - before;
            self.stream.consume(taken);
            if Instant::now() > deadline {
                return Err(NetError::Timeout { doing: DOING, seconds: patience.as_secs().max(1) }.into());
            }
        }
    }
}

/// What clones of a client share.
pub(super) struct Shared {
    kept: Mutex<Vec<Connection>>,
    tls: Tls,
}

impl Shared {
    /// A kept connection to that server on which nothing has arrived since.
    fn take(&self, url: &Url) -> Option<Connection> {
        let key = Key::of(url);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|connection| connection.since.elapsed() < KEEP_FOR);
        while let Some(at) = kept.iter().rposition(|connection| connection.key == key) {
            let mut connection = kept.swap_remove(at);
            if !connection.stream.get_mut().has_input() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for later. One with bytes behind its last answer is closed: nobody asked for them.
    pub(super) fn keep(&self, mut connection: Connection) {
        if !connection.stream.buffer().is_empty() {
            return;
        }
        connection.since = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push(connection);
    }
}
