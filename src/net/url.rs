//! Addresses, parsed once.
//!
//! A [`Url`] that exists can be put on the wire as it is: the host is a name or an address and nothing else, path and
//! query are visible ASCII without blank, control character or backslash (what cannot stand there is percent-encoded
//! while parsing, control characters are refused). The fragment never leaves the machine; `pvr` keeps part selections
//! in it, so it stays as written, apart from the rest.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What can be wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No `scheme://` at the beginning.
    #[error("not an absolute URL")]
    NotAbsolute,
    /// A scheme that is neither `http` nor `https`.
    #[error("unsupported scheme (http and https are spoken)")]
    Scheme,
    /// The host is missing, or is neither a name nor an address.
    #[error("bad host")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("bad port")]
    Port,
    /// `user:password@` before the host, which would end up in logs and process lists.
    #[error("user name or password in the URL (use --access-token)")]
    Credentials,
    /// A control character anywhere.
    #[error("control character in the URL")]
    Control,
    /// Longer than [`MAX_URL`] bytes.
    #[error("longer than {MAX_URL} bytes")]
    TooLong,
}

/// Longest address that is parsed, in bytes. Signed URLs of the hub carry tokens of one to two thousand.
pub const MAX_URL: usize = 16 * 1024;

/// How the connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP, port 80.
    Http,
    /// TLS, port 443.
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An absolute `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// Lower-case name, or address without brackets (IPv6 possibly with `%zone`).
    host: Box<str>,
    port: u16,
    /// Begins with `/`.
    path: Box<str>,
    query: Option<Box<str>>,
    fragment: Option<Box<str>>,
}

impl Url {
    /// Parses an absolute address. Blanks and bytes outside ASCII in path and query are percent-encoded.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAbsolute)?;
        let scheme = if scheme.eq_ignore_ascii_case("http") {
            Scheme::Http
        } else if scheme.eq_ignore_ascii_case("https") {
            Scheme::Https
        } else if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(UrlError::Scheme);
        } else {
            return Err(UrlError::NotAbsolute);
        };
        let (rest, fragment) = split_at_char(rest, '#');
        let authority_end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(authority_end);
        let (host, port) = parse_authority(authority)?;
        let (path, query) = split_at_char(target, '?');
        // Behind a host, `\` ends it, and is part of the path nevertheless.
        let path = if path.starts_with('/') { encode(path) } else { format!("/{}", encode(path)).into() };
        Ok(Self {
            scheme,
            host,
            port: port.unwrap_or_else(|| scheme.default_port()),
            path,
            query: query.map(encode),
            fragment: fragment.map(Into::into),
        })
    }

    /// The address of a resource behind a socket of this machine, whose server takes paths as they are: nothing is encoded.
    /// None: `target` is not a path of visible ASCII and bytes beyond it, or too long.
    pub fn on_socket(target: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() || !byte.is_ascii();
        let fits = target.starts_with('/') && target.len() <= MAX_URL && target.bytes().all(plain);
        fits.then(|| Self {
            scheme: Scheme::Http,
            host: "localhost".into(),
            port: Scheme::Http.default_port(),
            path: target.into(),
            query: None,
            fragment: None,
        })
    }

    /// Resolves a reference found in an answer of this address: absolute, `//host/…`, `/path`, `?query`, or relative
    /// to the last `/` of the path (RFC 3986 §5.2).
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        match Self::parse(reference) {
            Err(UrlError::NotAbsolute) => {}
            other => return other,
        }
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.scheme.as_str()));
        }
        if reference.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        if reference.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let (rest, fragment) = split_at_char(reference, '#');
        let (path, query) = split_at_char(rest, '?');
        let mut joined = self.clone();
        joined.fragment = fragment.map(Into::into);
        if path.is_empty() {
            if query.is_some() {
                joined.query = query.map(encode);
            }
            return Ok(joined);
        }
        joined.query = query.map(encode);
        let path = encode(path);
        joined.path = if path.starts_with('/') {
            remove_dots(&path)
        } else {
            let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            remove_dots(&format!("{folder}{path}"))
        };
        Ok(joined)
    }

    /// How the connection is made.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or address to connect to, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path as it goes onto the wire; begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the first `#`, as written.
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// The same address without its fragment.
    #[must_use]
    pub fn without_fragment(&self) -> Self {
        Self { fragment: None, ..self.clone() }
    }

    /// The same address with `segments` appended to the path, one `/` between; the query stays, the fragment goes.
    #[must_use]
    pub fn with_appended(&self, segments: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        let path = format!("{base}/{}", encode(segments)).into();
        Self { path, fragment: None, ..self.clone() }
    }

    /// Scheme, host and port: what tokens belong to.
    pub fn origin(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        format!("{}://{host}:{}", self.scheme.as_str(), self.port)
    }

    /// The same server, and this path (without a `/` before it) from its root.
    #[must_use]
    pub fn at_root(&self, path: &str) -> Self {
        Self { path: format!("/{}", encode(path)).into(), query: None, fragment: None, ..self.clone() }
    }

    /// The same address without the last part of its path; the query goes.
    #[must_use]
    pub fn parent(&self) -> Self {
        let path = self.path.trim_end_matches('/');
        let path = path.rfind('/').filter(|at| *at > 0).map_or("/", |at| &path[..at]);
        Self { path: path.into(), query: None, fragment: None, ..self.clone() }
    }

    /// Value of the `Host` header: brackets around IPv6, no zone, the port where it is not the scheme's own.
    pub fn host_header(&self) -> String {
        let host = self.host.split_once('%').map_or(&*self.host, |(address, _zone)| address);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Path and query: the target of the request line.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.host.split_once('%') {
            Some((address, zone)) => format!("[{address}%25{zone}]"),
            None if self.host.contains(':') => format!("[{}]", self.host),
            None => self.host.to_string(),
        };
        write!(f, "{}://{host}", self.scheme.as_str())?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "{}", self.target())?;
        if let Some(fragment) = &self.fragment {
            write!(f, "#{fragment}")?;
        }
        Ok(())
    }
}

fn split_at_char(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6%25zone]:port`.
fn parse_authority(text: &str) -> Result<(Box<str>, Option<u16>), UrlError> {
    if text.contains('@') {
        return Err(UrlError::Credentials);
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        let (address, zone) = match inner.split_once("%25") {
            Some((address, zone)) => (address, Some(zone)),
            None => (inner, None),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
        let host = match zone {
            None => address.to_string(),
            Some(zone) if is_zone(zone) => format!("{address}%{zone}"),
            Some(_) => return Err(UrlError::Host),
        };
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
        };
        (host, port)
    } else {
        let (host, port) = split_at_char(text, ':');
        if !is_host_name(host) {
            return Err(UrlError::Host);
        }
        (host.to_ascii_lowercase(), port)
    };
    // `host:` with nothing behind it means the scheme's own port.
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?)
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host.into(), port))
}

fn is_zone(zone: &str) -> bool {
    (1..=15).contains(&zone.len()) && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A DNS name or IPv4 address. A name of digits and dots only has to be an address: `1.2.3` is what resolvers read
/// as `1.2.0.3`, which nobody means.
fn is_host_name(host: &str) -> bool {
    if host.is_empty() || host.len() > 253 {
        return false;
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.split('.').all(|label| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

/// Percent-encodes what may not stand in a request line; what is encoded already stays as it is.
fn encode(text: &str) -> Box<str> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

/// RFC 3986 §5.2.4, on a path that begins with `/`.
fn remove_dots(path: &str) -> Box<str> {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_good_addresses() {
        // text, shown, host, port, Host header, target, fragment
        let table = [
            ("http://a", "http://a/", "a", 80, "a", "/", None),
            ("HTTP://A.Example:8080/x/", "http://a.example:8080/x/", "a.example", 8080, "a.example:8080", "/x/", None),
            ("https://a:443/x", "https://a/x", "a", 443, "a", "/x", None),
            ("http://a:/x", "http://a/x", "a", 80, "a", "/x", None),
            // This had a path without its slash, and so a request line without one.
            ("http://a\\@b/c", "http://a/%5C@b/c", "a", 80, "a", "/%5C@b/c", None),
            ("http://a?q=1#f", "http://a/?q=1#f", "a", 80, "a", "/?q=1", Some("f")),
            (
                "http://a/b c/ü?x=ü y",
                "http://a/b%20c/%C3%BC?x=%C3%BC%20y",
                "a",
                80,
                "a",
                "/b%20c/%C3%BC?x=%C3%BC%20y",
                None,
            ),
            ("http://a/%41%zz", "http://a/%41%zz", "a", 80, "a", "/%41%zz", None),
            ("http://a/x#a/b,-c#d", "http://a/x#a/b,-c#d", "a", 80, "a", "/x", Some("a/b,-c#d")),
            ("http://[::1]:12368/p", "http://[::1]:12368/p", "::1", 12368, "[::1]:12368", "/p", None),
            ("http://[FE80::1%25eth0]/p", "http://[fe80::1%25eth0]/p", "fe80::1%eth0", 80, "[fe80::1]", "/p", None),
            ("http://1.2.3.4/?", "http://1.2.3.4/?", "1.2.3.4", 80, "1.2.3.4", "/?", None),
            ("http://a/x\\y", "http://a/x%5Cy", "a", 80, "a", "/x%5Cy", None),
            ("http://my_host.local./", "http://my_host.local./", "my_host.local.", 80, "my_host.local.", "/", None),
        ];
        for (text, shown, host, port, header, target, fragment) in table {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.host(), host, "{text}");
            assert_eq!(url.port(), port, "{text}");
            assert_eq!(url.host_header(), header, "{text}");
            assert_eq!(url.target(), target, "{text}");
            assert_eq!(url.fragment(), fragment, "{text}");
            assert_eq!(Url::parse(&url.to_string()).as_ref(), Ok(&url), "{text}");
        }
    }

    #[test]
    fn table_of_refused_addresses() {
        let long = format!("http://a/{}", "x".repeat(MAX_URL));
        let table = [
            ("", UrlError::NotAbsolute),
            ("a/b", UrlError::NotAbsolute),
            ("/a/b", UrlError::NotAbsolute),
            ("://a", UrlError::NotAbsolute),
            ("ftp://a/", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http:///x", UrlError::Host),
            ("http://?x", UrlError::Host),
            ("http://a b/", UrlError::Host),
            ("http://a..b/", UrlError::Host),
            ("http://1.2.3/", UrlError::Host),
            ("http://1.2.3.400/", UrlError::Host),
            ("http://ü/", UrlError::Host),
            ("http://[::1/", UrlError::Host),
            ("http://[1.2.3.4]/", UrlError::Host),
            ("http://[::1]x/", UrlError::Host),
            ("http://[fe80::1%25a b]/", UrlError::Host),
            ("http://::1/", UrlError::Host),
            ("http://a:0/", UrlError::Port),
            ("http://a:65536/", UrlError::Port),
            ("http://a:+80/", UrlError::Port),
            ("http://a:8o/", UrlError::Port),
            ("http://u:p@a/", UrlError::Credentials),
            ("http://u@a/", UrlError::Credentials),
            ("http://a/\r\nX: y", UrlError::Control),
            ("http://a\n/", UrlError::Control),
            ("http://a/\u{7f}", UrlError::Control),
            ("http://a/#\u{1b}[2J", UrlError::Control),
            (long.as_str(), UrlError::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn joins() {
        let base = Url::parse("http://a:1/b/c/d?q#f").unwrap();
        let table = [
            ("http://x/y", "http://x/y"),
            ("https://x", "https://x/"),
            ("//x:2/y", "http://x:2/y"),
            ("/y", "http://a:1/y"),
            ("/y/../z?k", "http://a:1/z?k"),
            ("y", "http://a:1/b/c/y"),
            ("./y", "http://a:1/b/c/y"),
            ("../y", "http://a:1/b/y"),
            ("../../../../y", "http://a:1/y"),
            ("..", "http://a:1/b/"),
            (".", "http://a:1/b/c/"),
            ("?k", "http://a:1/b/c/d?k"),
            ("", "http://a:1/b/c/d?q"),
            ("#g", "http://a:1/b/c/d?q#g"),
            ("a b", "http://a:1/b/c/a%20b"),
        ];
        for (reference, whole) in table {
            assert_eq!(base.join(reference).unwrap().to_string(), whole, "{reference}");
        }
        assert_eq!(base.join("ftp://x/"), Err(UrlError::Scheme));
        assert_eq!(base.join("/x\r\ny"), Err(UrlError::Control));
        assert_eq!(base.join("//u@x/"), Err(UrlError::Credentials));
    }

    #[test]
    fn appends_to_the_path_and_keeps_the_query() {
        for (text, whole) in [
            ("http://a/b?q#f", "http://a/b/.pvrremote?q"),
            ("http://a/b/", "http://a/b/.pvrremote"),
            ("http://a", "http://a/.pvrremote"),
        ] {
            assert_eq!(Url::parse(text).unwrap().with_appended(".pvrremote").to_string(), whole);
        }
    }
}
