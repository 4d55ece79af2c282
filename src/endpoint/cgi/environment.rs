//! A request out of the variables of RFC 3875 §4.1.
//!
//! | variable | is |
//! |---|---|
//! | `REQUEST_METHOD` | the method; without it, nobody has run this as a CGI |
//! | `SCRIPT_NAME` | the path of this program, which every URL in an answer begins with |
//! | `PATH_INFO` | the path below it, which the server has decoded. It is encoded again here, so that the router's decoding is the only other one: `%252e` stays `%2e` |
//! | `QUERY_STRING` | the query, as sent |
//! | `CONTENT_LENGTH` | how many bytes of standard input are the body; none or empty: there is no body |
//! | `HTTP_TRANSFER_ENCODING` | `chunked` without a `CONTENT_LENGTH`: the server hands over the chunks as they came. With one it has taken them apart |
//! | `HTTP_CONTENT_LENGTH` | counts where a server sets nothing but that |
//! | `HTTP_*` | the other header lines, but for `HTTP_PROXY`, which is no header that anybody means |
//! | `SERVER_ADDR`, `SERVER_PORT` | for clients that name no host |
//! | `REMOTE_ADDR`, `REMOTE_PORT` | the client |
//! | `HTTPS`, `REQUEST_SCHEME` | whether the server speaks https |

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};

use super::super::error::ApiError;
use super::super::guard::Arrival;
use super::super::objects::decimal;
use super::super::route::BASE;
use super::busybox;
use crate::net::Framing;
use crate::state::escape;

/// The variables of this process.
#[derive(Debug)]
pub struct Environment(Vec<(String, Vec<u8>)>);

/// A request that the environment describes.
#[derive(Debug)]
pub struct Invocation {
    pub(super) request: Request<()>,
    pub(super) arrival: Arrival,
    pub(super) framing: Framing,
    /// The client, where the server hands over only the beginning of the body.
    pub(super) rest: Option<SocketAddr>,
    /// The client, where the connection with it can be looked at: the server does not, until there is something to send.
    pub(super) client: Option<SocketAddr>,
    /// The server closes each connection after one answer and does not say so.
    pub(super) closes: bool,
}

impl Invocation {
    /// Method, target and header lines, without those that frame a body.
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// Where the body on standard input ends.
    pub fn framing(&self) -> Framing {
        self.framing
    }
}

impl Environment {
    /// From the variables of a process. `None`: no web server has made them.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Option<Self> {
        let variables = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_vec())));
        let all = Self(variables.collect());
        all.text("REQUEST_METHOD").is_some().then_some(all)
    }

    /// The method, as far as there is one of that name.
    pub fn method(&self) -> Method {
        let method = self.bytes("REQUEST_METHOD").unwrap_or_default();
        Method::from_bytes(method).unwrap_or_default()
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// A variable that is set to something, and to text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok().filter(|text| !text.is_empty())
    }

    /// The request.
    pub fn invocation(&self) -> Result<Invocation, ApiError> {
        let (mount, path) = self.place();
        // Of what has none, the name of a host would be made.
        if !path.starts_with('/') {
            return Err(bad("bad-path", "the path does not begin with a slash"));
        }
        let target = match self.text("QUERY_STRING") {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let method = Method::from_bytes(self.bytes("REQUEST_METHOD").unwrap_or_default());
        let method = method.map_err(|_| bad("unknown-method", "the method is malformed"))?;
        let version = match self.text("SERVER_PROTOCOL") {
            Some("HTTP/1.0" | "HTTP/0.9") => Version::HTTP_10,
            // It says 1.1 of every request.
            _ if self.is_busybox() && self.text("HTTP_HOST").is_none() => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        let request = Request::builder().method(method).uri(target).version(version).body(());
        let mut request = request.map_err(|_| bad("bad-path", "the path or the query is malformed"))?;
        for (name, value) in &self.0 {
            if let Some((name, value)) = header(name, value) {
                request.headers_mut().append(name, value);
            }
        }
        let (framing, handed_over) = self.framing()?;
        let client = self.client().filter(|_| self.is_busybox());
        let rest = client.filter(|_| !handed_over);
        Ok(Invocation { request, arrival: self.arrival(mount), framing, rest, client, closes: self.is_busybox() })
    }

    /// Where this program is at the server, and what the router has to be asked for.
    pub(super) fn place(&self) -> (String, String) {
        let script = self.text("SCRIPT_NAME").unwrap_or(BASE);
        let info = self.bytes("PATH_INFO").unwrap_or_default();
        if let Some(folder) = script.strip_suffix("/index.cgi").filter(|_| self.is_busybox()) {
            // What ends with a slash is a folder to busybox httpd, and the program for folders is asked.
            let uri = self.bytes("REQUEST_URI").unwrap_or_default();
            let query = format!("?{}", self.text("QUERY_STRING").unwrap_or_default());
            let path = uri.strip_suffix(query.as_bytes()).unwrap_or(uri);
            for name in NAMES.into_iter().chain(["pvr"]) {
                let script = format!("{folder}/{name}");
                if let Some(below) = path.strip_prefix(script.as_bytes()).filter(|below| below.first() == Some(&b'/')) {
                    return place(&script, below);
                }
            }
            return (format!("{folder}/pvr"), encoded(path));
        }
        place(script, info)
    }

    fn arrival(&self, mount: String) -> Arrival {
        let https = self.text("HTTPS").is_some_and(|on| !on.eq_ignore_ascii_case("off"))
            || self.text("REQUEST_SCHEME").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let address = |ip, port| Some(SocketAddr::new(self.address(ip)?, self.text(port)?.parse().ok()?));
        Arrival {
            scheme: if https { "https" } else { "http" },
            local: address("SERVER_ADDR", "SERVER_PORT").or_else(|| self.own_address()),
            peer: self.address("REMOTE_ADDR"),
            two_lengths: self.says_two_lengths(),
            outbox: None,
            mount: Some(mount),
            // What a web server says of certificates, each says in its own way.
            certificate: None,
            // A signal ends the process, and with it whatever it was at.
            stopping: None,
        }
    }

    /// Our own address, of a server that doesn't say it, for a client that doesn't either.
    fn own_address(&self) -> Option<SocketAddr> {
        let unknown = self.text("HTTP_HOST").is_none();
        let peer = self.client().filter(|_| unknown && self.is_busybox())?;
        busybox::connection(peer).ok()?.local_addr().ok()
    }

    /// Whether the request came with two lengths, and nobody has decided which counts: of what busybox httpd does not hand over,
    /// it says both as they came.
    fn says_two_lengths(&self) -> bool {
        let both = ["HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"].iter().all(|name| self.text(name).is_some());
        both && self.text("CONTENT_LENGTH").is_none()
    }

    /// How the body on standard input ends, and whether all of it is there.
    fn framing(&self) -> Result<(Framing, bool), ApiError> {
        let number = |name, text: &str| {
            let refuse = || bad("bad-length", &format!("{name} '{}' is no number of bytes", escape(text)));
            decimal(text.trim()).map(Framing::Length).ok_or_else(refuse)
        };
        if let Some(length) = self.text("CONTENT_LENGTH") {
            return Ok((number("CONTENT_LENGTH", length)?, true));
        }
        match self.text("HTTP_TRANSFER_ENCODING") {
            Some(encoding) if encoding.trim().eq_ignore_ascii_case("chunked") => Ok((Framing::Chunked, false)),
            Some(encoding) => {
                let message = format!("the transfer encoding '{}' is not known", escape(encoding));
                Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "unknown-encoding", message))
            }
            None => match self.text("HTTP_CONTENT_LENGTH") {
                Some(length) => Ok((number("Content-Length", length)?, false)),
                None => Ok((Framing::Length(0), true)),
            },
        }
    }

    fn is_busybox(&self) -> bool {
        self.text("SERVER_SOFTWARE").is_some_and(|software| software.starts_with("busybox httpd"))
    }

    /// The other end of the server's connection.
    fn client(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address("REMOTE_ADDR")?, self.text("REMOTE_PORT")?.parse().ok()?))
    }

    /// An address: of version 6 it may stand in brackets and have a zone, and one of version 4 may be spelled as one of those.
    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        let text = self.text(name)?.trim_matches(['[', ']']);
        let text = text.split_once('%').map_or(text, |(address, _)| address);
        text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }
}

fn bad(reason: &'static str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, reason, message)
}

/// Programs of which each has a part of what there is; any other has the protocol of `pvr`.
const NAMES: [&str; 4] = [".pvrremote", "pvtx", "logs", "openapi.json"];

/// The same, by the name of the program and what is behind it.
fn place(script: &str, info: &[u8]) -> (String, String) {
    let info = encoded(info);
    match script.rsplit_once('/').filter(|(_, name)| NAMES.contains(name)) {
        Some((folder, name)) => (format!("{folder}/pvr"), format!("/cgi-bin/{name}{info}")),
        None => (script.to_owned(), format!("{BASE}{info}")),
    }
}

/// A decoded path as it stands in a URL.
fn encoded(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A header line, if this variable is one that says something about the request and not about its framing.
fn header(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = match name {
        "CONTENT_TYPE" => name,
        name => name.strip_prefix("HTTP_")?,
    };
    let name = HeaderName::from_bytes(name.replace('_', "-").to_ascii_lowercase().as_bytes()).ok()?;
    // Whichever way the variable is spelled: what counts is the name that the router sees.
    if matches!(name.as_str(), "proxy" | "content-length" | "transfer-encoding" | "connection" | "expect") {
        return None;
    }
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Option<Environment> {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn invocation(variables: &[(&str, &str)]) -> Result<Invocation, u16> {
        let all: Vec<_> = [("REQUEST_METHOD", "PUT")].into_iter().chain(variables.iter().copied()).collect();
        environment(&all).unwrap().invocation().map_err(|error| error.status().as_u16())
    }

    #[test]
    fn what_no_server_has_run_is_no_request() {
        assert!(environment(&[("PATH_INFO", "/json")]).is_none());
        assert!(environment(&[("REQUEST_METHOD", "")]).is_none());
    }

    #[test]
    fn a_path_is_decoded_once() {
        for (script, info, mount, path) in [
            ("/cgi-bin/pvr", "/json", "/cgi-bin/pvr", "/cgi-bin/pvr/json"),
            ("/cgi-bin/pvr", "", "/cgi-bin/pvr", "/cgi-bin/pvr"),
            ("/cgi-bin/pvr", "/steps/a b%2f\u{e9}", "/cgi-bin/pvr", "/cgi-bin/pvr/steps/a%20b%252f%C3%A9"),
            ("/cgi-bin/pvr", "/a?b#c", "/cgi-bin/pvr", "/cgi-bin/pvr/a%3Fb%23c"),
            ("/api/device.cgi", "/steps/0", "/api/device.cgi", "/cgi-bin/pvr/steps/0"),
            ("/cgi-bin/.pvrremote", "", "/cgi-bin/pvr", "/cgi-bin/.pvrremote"),
            ("/cgi-bin/pvtx", "/show", "/cgi-bin/pvr", "/cgi-bin/pvtx/show"),
            ("/a/logs", "", "/a/pvr", "/cgi-bin/logs"),
            ("/cgi-bin/openapi.json", "", "/cgi-bin/pvr", "/cgi-bin/openapi.json"),
        ] {
            let got = invocation(&[("SCRIPT_NAME", script), ("PATH_INFO", info)]).unwrap();
            let got = (got.arrival.mount.unwrap(), got.request.uri().path().to_owned());
            assert_eq!((got.0.as_str(), got.1.as_str()), (mount, path), "{script} {info}");
        }
    }

    #[test]
    fn a_path_that_ends_with_a_slash_comes_by_another_program() {
        for (uri, query, path) in [
            ("/cgi-bin/pvr/objects/", "", "/cgi-bin/pvr/objects/"),
            ("/cgi-bin/pvr/a b?/?x=1", "x=1", "/cgi-bin/pvr/a%20b%3F/?x=1"),
            ("/cgi-bin/pvtx/show/", "", "/cgi-bin/pvtx/show/"),
            ("/cgi-bin/logs/?rev=0", "rev=0", "/cgi-bin/logs/?rev=0"),
            ("/cgi-bin/pvrx/", "", "/cgi-bin/pvrx/"),
            ("/", "", "/"),
        ] {
            let got = invocation(&[
                ("SERVER_SOFTWARE", "busybox httpd/1.35.0"),
                ("SCRIPT_NAME", "/cgi-bin/index.cgi"),
                ("REQUEST_URI", uri),
                ("QUERY_STRING", query),
            ])
            .unwrap();
            assert_eq!(got.request.uri().path_and_query().unwrap().as_str(), path, "{uri}");
            assert_eq!(got.arrival.mount.as_deref(), Some("/cgi-bin/pvr"));
        }
    }

    #[test]
    fn behind_a_server_that_listens_for_both_versions_no_client_had_an_address() {
        for (said, address) in [
            ("192.168.1.5", Some("192.168.1.5")),
            ("[::ffff:192.168.1.5]", Some("192.168.1.5")),
            ("::ffff:192.168.1.5", Some("192.168.1.5")),
            ("[fe80::1%eth0]", Some("fe80::1")),
            ("fe80::1%2", Some("fe80::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("somebody", None),
            ("", None),
        ] {
            let variables = [("SERVER_SOFTWARE", "busybox httpd/1.35.0"), ("REMOTE_ADDR", said), ("REMOTE_PORT", "5")];
            let address: Option<IpAddr> = address.map(|text| text.parse().unwrap());
            assert_eq!(invocation(&variables).unwrap().arrival.peer, address, "{said}");
            let os = |text: &str| std::ffi::OsString::from(text);
            let all = variables.iter().chain(&[("REQUEST_METHOD", "GET")]);
            let environment = Environment::new(all.map(|(name, value)| (os(name), os(value)))).unwrap();
            assert_eq!(environment.client().map(|client| client.ip()), address, "{said}");
        }
    }

    #[test]
    fn a_path_without_its_slash_was_taken_for_a_host() {
        for uri in ["", "OFTW", "pvr/objects/", "http://host/cgi-bin/pvr/objects/", "*", "?x"] {
            let got = invocation(&[
                ("SERVER_SOFTWARE", "busybox httpd/1.35.0"),
                ("SCRIPT_NAME", "/cgi-bin/index.cgi"),
                ("REQUEST_URI", uri),
            ]);
            assert_eq!(got.map(|_| ()).unwrap_err(), 400, "{uri}");
        }
    }

    #[test]
    fn a_header_that_frames_a_body_got_through_by_its_spelling() {
        for name in
            ["HTTP_TRANSFER_ENCODING", "HTTP_TRANSFER_ENCODiNG", "HTTP_TRANSFER-ENCODING", "HTTP_content_length"]
        {
            let got = invocation(&[("CONTENT_LENGTH", "3"), (name, "chunked"), ("HTTP_X_Y", "z")]).unwrap();
            let names: Vec<_> = got.request.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["x-y"], "{name}");
        }
    }

    #[test]
    fn lengths_that_are_there_that_lie_and_that_are_not() {
        use Framing::{Chunked, Length};
        type Row<'a> = (&'a [(&'a str, &'a str)], Result<Framing, u16>);
        let rows: &[Row<'_>] = &[
            (&[], Ok(Length(0))),
            (&[("CONTENT_LENGTH", "")], Ok(Length(0))),
            (&[("CONTENT_LENGTH", "17")], Ok(Length(17))),
            (&[("CONTENT_LENGTH", "17"), ("HTTP_TRANSFER_ENCODING", "chunked")], Ok(Length(17))),
            (&[("CONTENT_LENGTH", ""), ("HTTP_TRANSFER_ENCODING", "Chunked")], Ok(Chunked)),
            (&[("HTTP_TRANSFER_ENCODING", "gzip, chunked")], Err(501)),
            (&[("HTTP_CONTENT_LENGTH", "5")], Ok(Length(5))),
            (&[("CONTENT_LENGTH", "-1")], Err(400)),
            (&[("CONTENT_LENGTH", "+1")], Err(400)),
            (&[("CONTENT_LENGTH", "1e3")], Err(400)),
            (&[("CONTENT_LENGTH", "18446744073709551616")], Err(400)),
            (&[("HTTP_CONTENT_LENGTH", "x")], Err(400)),
        ];
        for (variables, want) in rows {
            assert_eq!(invocation(variables).map(|got| got.framing), *want, "{variables:?}");
        }
    }

    /// It was read by its chunks, without a word; `serve` and every other server refuse it.
    #[test]
    fn two_lengths_that_busybox_hands_on_were_one() {
        let both = [("HTTP_CONTENT_LENGTH", "5"), ("HTTP_TRANSFER_ENCODING", "chunked")];
        assert!(invocation(&both).unwrap().arrival.two_lengths);
        let taken_apart = [("CONTENT_LENGTH", "5"), both[0], both[1]];
        for one in [&both[..1], &both[1..], &taken_apart] {
            assert!(!invocation(one).unwrap().arrival.two_lengths, "{one:?}");
        }
    }

    #[test]
    fn only_busybox_keeps_the_rest_of_a_body() {
        let busybox = [("SERVER_SOFTWARE", "busybox httpd/1.35.0"), ("REMOTE_ADDR", "127.0.0.1"), ("REMOTE_PORT", "7")];
        let with = |more: &[(&str, &str)]| {
            let all: Vec<_> = busybox.iter().chain(more).copied().collect();
            invocation(&all).unwrap().rest.map(|peer| peer.to_string())
        };
        assert_eq!(with(&[("HTTP_CONTENT_LENGTH", "5")]).as_deref(), Some("127.0.0.1:7"));
        assert_eq!(with(&[("HTTP_TRANSFER_ENCODING", "chunked")]).as_deref(), Some("127.0.0.1:7"));
        assert_eq!(with(&[("CONTENT_LENGTH", "5"), ("HTTP_CONTENT_LENGTH", "5")]), None);
        assert_eq!(invocation(&[("HTTP_CONTENT_LENGTH", "5"), ("REMOTE_ADDR", "::1")]).unwrap().rest, None);
    }

    #[test]
    fn headers_but_not_the_one_that_is_an_attack() {
        let got = invocation(&[
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_IF_NONE_MATCH", "\"x\""),
            ("HTTP_PROXY", "http://evil"),
            ("HTTP_CONNECTION", "x"),
            ("HTTP_BAD", "a\nb"),
            ("HTTPS", "on"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
            ("SERVER_ADDR", "[::1]"),
            ("SERVER_PORT", "80"),
            ("QUERY_STRING", "size=5"),
        ])
        .unwrap();
        let mut names: Vec<_> = got.request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "if-none-match"]);
        assert_eq!((got.arrival.scheme, got.request.version()), ("https", Version::HTTP_10));
        assert_eq!(got.arrival.local, Some("[::1]:80".parse().unwrap()));
        assert_eq!(got.request.uri().query(), Some("size=5"));
        assert!(invocation(&[("QUERY_STRING", "a b")]).is_err_and(|status| status == 400));
    }
}
