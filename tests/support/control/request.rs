//! Requests, as libevent reads them, and the connection that they come on.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use super::answer::Answer;
use super::{Shared, route};

const KNOWN: [&str; 5] = ["GET", "POST", "HEAD", "PUT", "DELETE"];
/// What comes of a body at a time; the room on the disk is looked at for each.
const PIECE: usize = 16 * 1024;

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    pub target: String,
    pub minor: u8,
    headers: Vec<(String, String)>,
    /// In absolute form; the connection ends then.
    absolute: bool,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What is left of a body.
enum Left {
    Bytes(u64),
    Chunks,
    Nothing,
}

/// The body of a request, on its way.
pub struct Body<'a> {
    stream: BufReader<&'a UnixStream>,
    left: Left,
    /// It is framed in a way that is not understood.
    pub broken: bool,
    /// By chunks.
    pub chunked: bool,
    /// A length was declared, too.
    pub declared: bool,
    /// Its length is none.
    pub bad_length: bool,
    expects: bool,
}

/// The client is gone.
#[derive(Debug)]
pub struct Gone;

impl Body<'_> {
    /// Whether nothing was announced.
    pub fn is_empty(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// The next piece; none at the end.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        if std::mem::take(&mut self.expects) && self.stream.buffer().is_empty() {
            self.stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Gone)?;
        }
        match self.left {
            Left::Nothing => Ok(None),
            Left::Bytes(left) => {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let mut piece = vec![0; most];
                let got = self.stream.read(&mut piece).map_err(|_| Gone)?;
                if got == 0 {
                    return Err(Gone);
                }
                piece.truncate(got);
                let left = left - got as u64;
                self.left = if left == 0 { Left::Nothing } else { Left::Bytes(left) };
                Ok(Some(piece))
            }
            Left::Chunks => {
                let line = self.line()?;
                let Ok(size) = usize::from_str_radix(&line, 16) else {
                    self.broken = true;
                    self.left = Left::Nothing;
                    return Ok(None);
                };
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    self.left = Left::Nothing;
                    return Ok(None);
                }
                let mut piece = vec![0; size];
                self.stream.read_exact(&mut piece).map_err(|_| Gone)?;
                self.line()?;
                Ok(Some(piece))
            }
        }
    }

    /// All of it.
    pub fn all(&mut self) -> Result<Vec<u8>, Gone> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece()? {
            all.extend(piece);
        }
        Ok(all)
    }

    fn line(&mut self) -> Result<String, Gone> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
        }
    }
}

/// What came of a request.
pub enum Outcome {
    Answers(Vec<Answer>),
    /// Nothing, while the connection stays open.
    Silence,
    /// The connection ends.
    Close,
}

/// Answers what comes on a connection, one after the other.
pub fn serve(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    loop {
        let head = match read_head(&mut reader)? {
            Read_::End => return Ok(()),
            Read_::Refused(answer, minor, method) => {
                shared.listen();
                let mut out: &UnixStream = stream;
                out.write_all(&answer.to_bytes(minor, false, method == "CONNECT"))?;
                if method == "CONNECT" {
                    // It is left open.
                    io::copy(&mut reader, &mut io::sink())?;
                }
                return Ok(());
            }
            Read_::Head(head) => head,
        };
        shared.listen();
        if !host_is_ours(&head) {
            return Ok(());
        }
        let (left, bad_length, chunked) = framing(&head);
        let expects = head.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        let mut body = Body {
            stream: reader,
            left,
            broken: false,
            declared: head.get("content-length").is_some(),
            chunked,
            bad_length,
            expects,
        };
        let outcome = route::answer(&head, &mut body, shared);
        let answers = match outcome {
            Err(Gone) | Ok(Outcome::Close) => return Ok(()),
            Ok(Outcome::Silence) => {
                io::copy(&mut body.stream, &mut io::sink())?;
                return Ok(());
            }
            Ok(Outcome::Answers(answers)) => answers,
        };
        reader = body.stream;
        let says = |word: &str| head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case(word));
        let keep = if head.minor == 0 { says("keep-alive") } else { !says("close") };
        let mut out: &UnixStream = stream;
        let mut close = !keep || head.absolute;
        for mut answer in answers {
            close |= answer.close;
            answer.close |= head.minor > 0 && says("close");
            out.write_all(&answer.to_bytes(head.minor, keep, head.method == "HEAD"))?;
        }
        if body.bad_length {
            // What follows is read as another request, and is none.
            out.write_all(&Answer::unsupported(400).to_bytes(1, false, false))?;
            return Ok(());
        }
        if close {
            return Ok(());
        }
    }
}

#[allow(non_camel_case_types, reason = "beside std::io::Read")]
enum Read_ {
    End,
    Refused(Answer, u8, String),
    Head(Head),
}

fn read_head(reader: &mut BufReader<&UnixStream>) -> io::Result<Read_> {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(Read_::End);
        }
        // Text that is not UTF-8 is passed through as the characters of its bytes.
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = String::from_utf8(line.to_vec()).unwrap_or_else(|_| line.iter().map(|b| char::from(*b)).collect());
        if lines.is_empty() {
            if let Err(refused) = request_line(&line) {
                return Ok(refused);
            }
        } else if line.is_empty() {
            break;
        } else if let Some(more) = line.strip_prefix([' ', '\t']).filter(|_| lines.len() > 1) {
            if let Some(last) = lines.last_mut() {
                last.push_str(more);
            }
            continue;
        } else if !line.contains(':') {
            return Ok(Read_::Refused(Answer::unsupported(400), 1, String::new()));
        }
        lines.push(line);
    }
    let (method, target, minor) = match request_line(&lines[0]) {
        Ok(parts) => parts,
        Err(refused) => return Ok(refused),
    };
    let mut headers = Vec::new();
    for line in &lines[1..] {
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    if !KNOWN.contains(&method.as_str()) {
        return Ok(Read_::Refused(Answer::unsupported(501), minor, method));
    }
    let absolute = target.strip_prefix("http://").map(str::to_owned);
    let head = match absolute {
        None => Head { method, target, minor, headers, absolute: false },
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap_or((&rest, ""));
            headers.insert(0, ("Host".to_owned(), host.to_owned()));
            Head { method, target: format!("/{path}"), minor, headers, absolute: true }
        }
    };
    Ok(Read_::Head(head))
}

fn request_line(line: &str) -> Result<(String, String, u8), Read_> {
    let refused = || Read_::Refused(Answer::unsupported(400), 1, String::new());
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words.as_slice() else { return Err(refused()) };
    let minor = match *version {
        "HTTP/1.0" => 0,
        "HTTP/1.1" => 1,
        "HTTP/1.2" => 2,
        _ => return Err(refused()),
    };
    Ok(((*method).to_owned(), (*target).to_owned(), minor))
}

/// Absent, empty, or `localhost` with any port.
fn host_is_ours(head: &Head) -> bool {
    // A path with two slashes in front reads as one with a host.
    if head.target.starts_with("//") {
        return false;
    }
    let host = head.get("host").unwrap_or_default();
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.is_empty() || name == "localhost"
}

/// What a body has; whether its length was none; whether it comes in chunks.
fn framing(head: &Head) -> (Left, bool, bool) {
    if head.method == "GET" || head.method == "HEAD" {
        let length = head.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        return (if length == 0 { Left::Nothing } else { Left::Bytes(length) }, false, false);
    }
    if head.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return (Left::Chunks, false, true);
    }
    match head.get("content-length").map(str::parse::<u64>) {
        None | Some(Ok(0)) => (Left::Nothing, false, false),
        Some(Ok(length)) => (Left::Bytes(length), false, false),
        Some(Err(_)) => (Left::Nothing, true, false),
    }
}
