//! Which way a connection goes: straight, or through a proxy.
//!
//! `http` addresses are asked of the proxy by their whole address; for `https` it is asked to open a tunnel (`CONNECT`),
//! and sees nothing of what goes through. A proxy is spoken to over plain TCP. What stands before its host (`user:password@`)
//! goes to it as `Proxy-Authorization: Basic …` (RFC 7617), to nobody else, and is shown nowhere.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{HeaderValue, NetError, Scheme, Url, UrlError, head};

/// Largest head of an answer to `CONNECT`.
const MAX_HEAD: usize = 16 * 1024;

/// Which proxy is used for what.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<String>,
}

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    url: Url,
    login: Option<HeaderValue>,
}

impl Proxy {
    /// Where it is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The value of a `Proxy-Authorization` header, if it wants one.
    pub(super) fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }
}

/// Keeps passwords out of debug output.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Proxy").field(&self.url).finish()
    }
}

impl Proxies {
    /// No proxy at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// One proxy for everything.
    pub fn fixed(text: &str) -> Result<Self, UrlError> {
        let proxy = parse(text)?;
        Ok(Self { http: Some(proxy.clone()), https: Some(proxy), except: Vec::new() })
    }

    /// What the environment says: `http_proxy`, `https_proxy` and `no_proxy`, in capitals too. This machine itself is
    /// never reached through a proxy then.
    pub fn system(variable: impl Fn(&str) -> Option<String>) -> Result<Self, UrlError> {
        let find = |name: &str| {
            let given = variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
            given.filter(|given| !given.trim().is_empty())
        };
        let proxy = |name: &str| find(name).map(|text| parse(text.trim())).transpose();
        // HTTP_PROXY in capitals is what a web server makes of a request's header `Proxy`.
        let in_cgi = variable("REQUEST_METHOD").is_some();
        let http =
            if in_cgi { variable("http_proxy").map(|text| parse(&text)).transpose()? } else { proxy("http_proxy")? };
        let mut except: Vec<String> = ["localhost".to_owned()].into();
        if let Some(list) = find("no_proxy") {
            except.extend(
                list.split([',', ' ']).map(|one| one.trim().to_ascii_lowercase()).filter(|one| !one.is_empty()),
            );
        }
        Ok(Self { http, https: proxy("https_proxy")?, except })
    }

    /// The proxy on the way to this address.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        }?;
        let own = !self.except.is_empty() && url.host().parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let excepted = own || self.except.iter().any(|rule| excepts(rule, url));
        (!excepted).then_some(proxy)
    }
}

/// `http://proxy:3128`, `proxy:3128`, `http://user:password@proxy:3128` with `%40` and the like for what cannot stand there.
fn parse(text: &str) -> Result<Proxy, UrlError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (login, rest) = match rest[..authority].rfind('@') {
        Some(at) => (Some(login(&rest[..at])?), &rest[at + 1..]),
        None => (None, rest),
    };
    let url = Url::parse(&format!("{scheme}://{rest}"))?;
    if url.scheme() == Scheme::Https { Err(UrlError::Scheme) } else { Ok(Proxy { url, login }) }
}

/// `user:password`, or `user`, as a header has it.
fn login(text: &str) -> Result<HeaderValue, UrlError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (user, password) = (decoded(user), decoded(password));
    // A colon would move what follows it to the password.
    if user.contains(&b':') {
        return Err(UrlError::Credentials);
    }
    let value = format!("Basic {}", base64(&[user, b":".to_vec(), password].concat()));
    HeaderValue::parse(&value).ok_or(UrlError::Credentials)
}

/// The bytes that `%41` and the like stand for. What is no escape stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    out
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// `*`, `host`, `.domain`, `domain`, each with a port behind it or not.
fn excepts(rule: &str, url: &Url) -> bool {
    if rule == "*" {
        return true;
    }
    let (rule, port) = match rule.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (rule, None),
    };
    if port.is_some_and(|port| port != url.port()) {
        return false;
    }
    let rule = rule.trim_start_matches('*').trim_start_matches('[').trim_end_matches(']');
    let bare = rule.trim_start_matches('.');
    url.host() == bare || url.host().strip_suffix(bare).is_some_and(|rest| !bare.is_empty() && rest.ends_with('.'))
}

/// Has the proxy at the other end of `stream` open a tunnel.
pub(super) fn tunnel(stream: &mut TcpStream, proxy: &Proxy, url: &Url, patience: Duration) -> Result<(), NetError> {
    const DOING: &str = "waiting for the proxy";
    let failed = |error| NetError::from_io(error, DOING, patience);
    stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience))).map_err(failed)?;
    let host = url.origin();
    let host = host.split_once("://").map_or(host.as_str(), |(_, host)| host);
    let login = proxy.login().map(|login| format!("Proxy-Authorization: {}\r\n", login.as_str())).unwrap_or_default();
    stream.write_all(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n").as_bytes()).map_err(failed)?;
    // Byte by byte: what follows the head belongs to TLS.
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err(NetError::Closed { doing: DOING }),
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if bytes.ends_with(b"\n")
            && let Some((head, _)) = head::parse(&bytes)?
        {
            return if head.status == 200 { Ok(()) } else { Err(NetError::Proxy(head.status)) };
        }
        if bytes.len() >= MAX_HEAD {
            return Err(NetError::Protocol("the proxy's head is too large"));
        }
        if Instant::now() > deadline {
            return Err(NetError::Timeout { doing: DOING, seconds: patience.as_secs().max(1) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_through_which_proxy() {
        let variable = |name: &str| {
            let table =
                [("http_proxy", "http://a:1"), ("HTTPS_PROXY", "b:2"), ("no_proxy", "x.org, .y.org,z:99,[::5]")];
            table.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let system = Proxies::system(variable).unwrap();
        let fixed = Proxies::fixed("c:3").unwrap();
        for (url, by_system, by_fixed) in [
            ("http://w.org/", Some("a"), Some("c")),
            ("https://w.org/", Some("b"), Some("c")),
            ("http://x.org/", None, Some("c")),
            ("http://www.x.org/", None, Some("c")),
            ("http://yx.org/", Some("a"), Some("c")),
            ("http://www.y.org/", None, Some("c")),
            ("http://z:99/", None, Some("c")),
            ("http://z/", Some("a"), Some("c")),
            ("http://[::5]/", None, Some("c")),
            ("http://localhost:80/", None, Some("c")),
            ("http://127.0.0.2/", None, Some("c")),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(system.on_the_way_to(&url).map(|proxy| proxy.url().host()), by_system, "{url}");
            assert_eq!(fixed.on_the_way_to(&url).map(|proxy| proxy.url().host()), by_fixed, "{url}");
            assert!(Proxies::none().on_the_way_to(&url).is_none());
        }
        assert!(Proxies::fixed("https://c:3").is_err());
        assert!(Proxies::fixed("::").is_err());
    }

    #[test]
    fn a_password_of_a_proxy_was_refused() {
        // The examples of RFC 7617 §2, and RFC 4648 §10 behind a user's name.
        for (text, host, login) in [
            ("http://Aladdin:open%20sesame@c:3", "c", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("test:123%C2%A3@c:3/", "c", Some("Basic dGVzdDoxMjPCow==")),
            ("http://u@c:3", "c", Some("Basic dTo=")),
            ("http://u:p%40x@y@c:3", "c", Some("Basic dTpwQHhAeQ==")),
            ("http://u:100%@c:3", "c", Some("Basic dToxMDAl")),
            ("http://u:é@[::1]:3", "::1", Some("Basic dTrDqQ==")),
            ("http://c:3/@x", "c", None),
        ] {
            let proxy = parse(text).unwrap();
            assert_eq!((proxy.url().host(), proxy.login().map(HeaderValue::as_str)), (host, login), "{text}");
            assert!(!proxy.url().to_string().contains("sesame") && !format!("{proxy:?}").contains("QWxh"));
        }
        assert!(parse("http://a%3ab:c@d:1").is_err());
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_request_cannot_choose_the_proxy_of_a_cgi() {
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("http://evil:1".to_owned()),
            "REQUEST_METHOD" => Some("GET".to_owned()),
            _ => None,
        };
        assert!(Proxies::system(variable).unwrap().http.is_none());
    }
}
