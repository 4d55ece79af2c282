//! Heads of answers, and how they say where the body ends (RFC 9112 §6).
//!
//! Parser and reader are apart: [`parse`] sees bytes, [`framing`] sees a parsed head, and neither touches a socket.
//! Where two headers could be read in two ways, the answer is refused, because the next answer on the same connection
//! would otherwise begin wherever the peer likes.

use super::NetError;

/// Largest head that is read, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Most header lines in one head.
const MAX_HEADERS: usize = 128;

/// Status line and headers of one answer.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) minor_version: u8,
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// Value of the first header of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// 100, 102, 103: another head follows.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// Whether the peer keeps the connection open behind this answer.
    pub(super) fn keeps_alive(&self) -> bool {
        let says = |token: &str| {
            self.all("connection").flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
        };
        if self.minor_version == 0 { says("keep-alive") && !says("close") } else { !says("close") }
    }
}

/// Reads a head from the beginning of `bytes`: `None` while it is not whole, else the head and its length.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, NetError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => Err(NetError::Protocol("head is too large")),
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let head = Head {
                minor_version: response.version.unwrap_or(0),
                status: response.code.unwrap_or(0),
                reason: response.reason.unwrap_or("").to_owned(),
                headers: response.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect(),
            };
            Ok(Some((head, length)))
        }
        Err(httparse::Error::TooManyHeaders) => Err(NetError::Protocol("too many headers")),
        Err(httparse::Error::Version) => Err(NetError::Protocol("not HTTP/1.x")),
        Err(httparse::Error::Status) => Err(NetError::Protocol("bad status line")),
        Err(_) => Err(NetError::Protocol("bad head")),
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk of size 0.
    Chunked,
    /// When the connection closes.
    UntilClose,
}

/// How the body behind `head` is framed. `bodiless`: the request was a HEAD.
pub(super) fn framing(head: &Head, bodiless: bool) -> Result<Framing, NetError> {
    let length = content_length(head)?;
    let encodings: Vec<&str> = head.all("transfer-encoding").collect();
    if bodiless || head.is_interim() || head.status == 204 || head.status == 304 {
        return Ok(Framing::Length(0));
    }
    match (encodings.as_slice(), length) {
        ([], Some(length)) => Ok(Framing::Length(length)),
        ([], None) => Ok(Framing::UntilClose),
        (_, Some(_)) => Err(NetError::Protocol("both Content-Length and Transfer-Encoding")),
        (_, None) if head.minor_version == 0 => Err(NetError::Protocol("Transfer-Encoding in HTTP/1.0")),
        ([one], None) if one.trim().eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (_, None) => Err(NetError::Protocol("unknown Transfer-Encoding")),
    }
}

/// The declared length; repeating the same number is tolerated, as proxies do it.
fn content_length(head: &Head) -> Result<Option<u64>, NetError> {
    let mut length = None;
    for value in head.all("content-length") {
        let value = value.trim();
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NetError::Protocol("bad Content-Length"));
        }
        let value = value.parse::<u64>().map_err(|_| NetError::Protocol("bad Content-Length"))?;
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(NetError::Protocol("two different Content-Length"));
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, usize)>, NetError> {
        parse(text.as_bytes())
    }

    #[test]
    fn heads_that_are_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
        for text in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "<html>",
            "HTTP/1.1 2xx OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : c\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            &many,
            &endless,
        ] {
            assert!(matches!(head(text), Err(NetError::Protocol(_))), "{:?}", &text[..text.len().min(60)]);
        }
    }

    #[test]
    fn heads_that_are_not_whole_yet() {
        let whole = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for cut in 0..whole.len() {
            assert!(head(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        let (_, length) = head(&format!("{whole}body")).unwrap().unwrap();
        assert_eq!(length, whole.len());
    }

    #[test]
    fn framing_table() {
        use Framing::{Chunked, Length, UntilClose};
        // version and status, headers, framing or None where it is refused
        let table: &[(&str, &str, Option<Framing>)] = &[
            ("1.1 200", "Content-Length: 5\r\n", Some(Length(5))),
            ("1.0 200", "content-length:5\r\n", Some(Length(5))),
            ("1.1 200", "Content-Length: 5\r\nContent-Length: 5\r\n", Some(Length(5))),
            ("1.1 200", "Transfer-Encoding: Chunked\r\n", Some(Chunked)),
            ("1.1 200", "", Some(UntilClose)),
            ("1.1 204", "", Some(Length(0))),
            ("1.1 304", "Content-Length: 5\r\n", Some(Length(0))),
            ("1.1 100", "", Some(Length(0))),
            ("1.1 200", "Content-Length: 18446744073709551615\r\n", Some(Length(u64::MAX))),
            ("1.1 200", "Content-Length: 18446744073709551616\r\n", None),
            ("1.1 200", "Content-Length: -1\r\n", None),
            ("1.1 200", "Content-Length: +1\r\n", None),
            ("1.1 200", "Content-Length: 0x5\r\n", None),
            ("1.1 200", "Content-Length: 5, 5\r\n", None),
            ("1.1 200", "Content-Length:\r\n", None),
            ("1.1 200", "Content-Length: 5\r\nContent-Length: 6\r\n", None),
            ("1.1 200", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
            ("1.0 200", "Transfer-Encoding: chunked\r\n", None),
            ("1.1 200", "Transfer-Encoding: gzip, chunked\r\n", None),
            ("1.1 200", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", None),
            ("1.1 200", "Transfer-Encoding: identity\r\n", None),
        ];
        for (status, headers, expected) in table {
            let (head, _) = head(&format!("HTTP/{status} X\r\n{headers}\r\n")).unwrap().unwrap();
            assert_eq!(framing(&head, false).ok(), *expected, "{status} {headers}");
        }
        let (head, _) = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap().unwrap();
        assert_eq!(framing(&head, true).unwrap(), Length(0));
    }

    #[test]
    fn keep_alive_table() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n", false),
        ] {
            assert_eq!(head(text).unwrap().unwrap().0.keeps_alive(), expected, "{text}");
        }
    }
}
