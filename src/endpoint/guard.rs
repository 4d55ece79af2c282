//! Who may talk to this server from where, checked before anything else is looked at.
//!
//! The layers, and why in this order:
//!
//! 1. *One length.* A request with both `Content-Length` and `Transfer-Encoding` has two ends; whatever stands
//!    between the client and us may have seen the other one. Nothing of such a request can be trusted. The one transfer
//!    encoding that is known is `chunked`, alone.
//! 2. *Host.* A page that makes its own name resolve to this device (DNS rebinding) is of the same origin as we
//!    are for a browser, so layer 3 would not see it. Only names that such a page cannot have are served: IP
//!    literals, `localhost`, the name of this machine, `.local`, and what is configured. 421 otherwise. This
//!    comes before any URL is made from the name.
//! 3. *Origin.* What changes something must not come from a page of another origin: browsers send `Origin` or
//!    `Sec-Fetch-Site` with every such request, and nobody else has to. 403 otherwise. There is no CORS, so a
//!    foreign page cannot read either.
//!
//! Then follow route and method, who asks and what they may do (`access`), then the length, the name and the space for a body; only then
//! is its first byte read. `X-Forwarded-*` is never looked at: anybody can send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::error::ApiError;
use super::outbox::Outbox;
use super::public::PublicUrl;
use super::stop::Stopping;
use crate::state::escape;

/// How a request reached us. A CGI fills it from its environment, the server from the socket.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// `http` or `https`: what the listener speaks, never what a header claims.
    pub scheme: &'static str,
    /// Our own address, for clients that name no host (HTTP/1.0).
    pub local: Option<SocketAddr>,
    /// The client.
    pub peer: Option<IpAddr>,
    /// The head had both a length and a transfer encoding.
    pub two_lengths: bool,
    /// Where files for the client go, if its connection sends them by itself.
    pub outbox: Option<Arc<Outbox>>,
    /// Where we are, if it is a web server that runs us and knows us by another path.
    pub mount: Option<String>,
    /// The common name of the client's certificate, if it has one that somebody vouches for whom we were told to believe.
    pub certificate: Option<String>,
    /// Ends what would go on for ever, if the server can be asked to stop.
    pub stopping: Option<Stopping>,
}

/// The names under which this device may be addressed.
#[derive(Clone, Debug)]
pub struct Hosts {
    names: Vec<String>,
    public: Option<PublicUrl>,
}

impl Hosts {
    /// The machine's own name, `names` and the public URL's.
    pub fn new(names: &[String], public: Option<PublicUrl>) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let names = std::iter::once(own).chain(names.iter().cloned());
        let names = names.map(|name| normal(&name)).filter(|name| !name.is_empty());
        Self { names: names.collect(), public }
    }

    /// Whether a host (without port, brackets kept) is one of ours.
    fn allows(&self, host: &str) -> bool {
        let host = normal(host);
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        bracketed.is_some_and(|h| h.parse::<Ipv6Addr>().is_ok())
            || host.parse::<Ipv4Addr>().is_ok()
            || host == "localhost"
            || host.ends_with(".local")
            || self.names.contains(&host)
            || self.public.as_ref().is_some_and(|url| normal(url.host()) == host)
    }

    /// Layers 1 and 2. Returns what every URL in the answer begins with.
    pub fn base(&self, request: &Parts, arrival: &Arrival) -> Result<Base, ApiError> {
        one_length(&request.headers, arrival)?;
        let authority = authority(request, arrival)?;
        if let Some(authority) = &authority {
            let host = split_port(authority).map(|(host, _)| host);
            if !host.is_some_and(|host| self.allows(host)) {
                let message = format!("this device is not called {}", escape(authority));
                return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", message)
                    .hint("use its address, its name or a .local name, or start it with --host NAME")
                    .close());
            }
        }
        let own = match (authority, arrival.local) {
            (Some(authority), _) => authority.to_ascii_lowercase(),
            // Without the zone of a link-local address, which no URL can hold.
            (None, Some(local)) => SocketAddr::new(local.ip().to_canonical(), local.port()).to_string(),
            (None, None) => "localhost".to_owned(),
        };
        let own = format!("{}://{own}", arrival.scheme);
        let shown = self.public.as_ref().map_or_else(|| own.clone(), |url| url.as_str().to_owned());
        // A path that a URL could not hold is not one that anybody has asked for.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._~-".contains(&b);
        let mount = arrival.mount.as_deref().filter(|path| path.starts_with('/') && path.bytes().all(plain));
        Ok(Base { own, shown, mount: mount.unwrap_or(super::route::BASE).to_owned() })
    }

    /// Layer 3.
    pub fn check_origin(&self, request: &Parts, base: &Base) -> Result<(), ApiError> {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let refuse = |why: String| {
            Err(ApiError::new(StatusCode::FORBIDDEN, "foreign-origin", why)
                .hint("pages of other origins may not change this device")
                .close())
        };
        for origin in request.headers.get_all(ORIGIN) {
            let text = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
            let ours = same_origin(&text, &base.own)
                || self.public.as_ref().is_some_and(|url| same_origin(&text, url.origin()));
            if !ours {
                return refuse(format!("a page of {} may not change this device", escape(&text)));
            }
        }
        for site in request.headers.get_all("sec-fetch-site") {
            if site.as_bytes().eq_ignore_ascii_case(b"cross-site") {
                return refuse("a page of another site may not change this device".to_owned());
            }
        }
        Ok(())
    }
}

/// What absolute URLs begin with: scheme, authority, perhaps a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// As the client has it.
    own: String,
    /// As URLs have it.
    shown: String,
    /// The path behind either.
    mount: String,
}

impl Base {
    /// The URL of something below `/cgi-bin/pvr`, or wherever a web server has put that.
    pub fn url(&self, below: &str) -> String {
        format!("{}{}/{below}", self.shown, self.mount)
    }

    /// What the paths of all URLs stand behind.
    pub fn origin(&self) -> &str {
        &self.shown
    }

    /// What `WWW-Authenticate` says (`hub.md` C1).
    pub fn challenge(&self) -> String {
        format!("JWT realm=\"pantahub services\", ph-aeps=\"{}\"", self.url("auth"))
    }
}

fn one_length(headers: &HeaderMap, arrival: &Arrival) -> Result<(), ApiError> {
    if arrival.two_lengths || (headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)) {
        let message = "the request has both Content-Length and Transfer-Encoding";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "two-lengths", message).close());
    }
    // Chunks of something else would be taken for the bytes themselves, and two encodings are read by different readers differently.
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (encodings.next().map(chunked), encodings.next()) {
        (None | Some(true), None) => Ok(()),
        _ => {
            let message = "the transfer encoding is something else than 'chunked'";
            Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "unknown-encoding", message).close())
        }
    }
}

/// The authority a request names: that of its target where it has one (RFC 9112 §3.2.2), else its `Host`.
fn authority(request: &Parts, arrival: &Arrival) -> Result<Option<String>, ApiError> {
    let bad = |message: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-host", message).close());
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => match host.to_str().map(str::trim) {
            Ok(host) if split_port(host).is_some() => Some(host),
            _ => return bad("the Host header is malformed"),
        },
        (Some(_), Some(_)) => return bad("the request has more than one Host header"),
        (None, _) if request.version >= Version::HTTP_11 && arrival.local.is_some() => {
            return bad("the request has no Host header");
        }
        (None, _) => None,
    };
    match request.uri.authority() {
        Some(target) if split_port(target.as_str()).is_none() => bad("the authority of the target is malformed"),
        Some(target) => Ok(Some(target.as_str().to_owned())),
        None => Ok(host.map(str::to_owned)),
    }
}

/// `host[:port]` in its parts, if it is nothing but that: no user, no escapes, nothing that a URL could not hold.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => {
            let (host, port) = authority.split_at(colon);
            let digits = &port[1..];
            let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
            (host, Some(number?))
        }
        _ => (authority, None),
    };
    let plain = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
    };
    plain.then_some((host, port))
}

fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Compares origins; a default port may be written or not.
fn same_origin(a: &str, b: &str) -> bool {
    fn parts(origin: &str) -> Option<(&str, String, u16)> {
        let (scheme, authority) = origin.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        Some((scheme, normal(host), port.unwrap_or(default)))
    }
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn arrival() -> Arrival {
        Arrival {
            scheme: "http",
            local: Some(([127, 0, 0, 1], 12368).into()),
            peer: None,
            two_lengths: false,
            outbox: None,
            mount: None,
            certificate: None,
            stopping: None,
        }
    }

    fn check(hosts: &Hosts, method: &str, version: Version, headers: &[(&str, &str)]) -> Result<String, u16> {
        let mut request = Request::builder().method(method).uri("/cgi-bin/pvr/json").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let base = hosts.base(&parts, &arrival());
        let base = base.and_then(|base| hosts.check_origin(&parts, &base).map(|()| base));
        base.map(|base| base.shown).map_err(|e| e.status().as_u16())
    }

    #[test]
    fn hosts_that_are_ours_and_hosts_that_are_not() {
        let hosts = Hosts::new(&["Factory.Example".into()], None);
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for good in [
            "127.0.0.1",
            "192.168.1.7:12368",
            "[::1]:12368",
            "[fe80::1]",
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "device.local",
            "device.local.:12368",
            "factory.example:1",
            &own,
            &format!("{own}.local"),
        ] {
            let got = check(&hosts, "GET", Version::HTTP_11, &[("host", good)]);
            assert_eq!(got, Ok(format!("http://{}", good.to_ascii_lowercase())), "{good}");
        }
        for (bad, status) in [
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("local", 421),
            ("notlocalhost", 421),
            ("0x7f000001", 421),
            ("127.1", 421),
            ("user@127.0.0.1", 400),
            ("127.0.0.1:port", 400),
            ("127.0.0.1:99999", 400),
            ("127.0.0.1:", 400),
            ("127.0.0.1/x", 400),
            ("[::1", 400),
            ("a b", 400),
            ("", 400),
        ] {
            assert_eq!(check(&hosts, "GET", Version::HTTP_11, &[("host", bad)]), Err(status), "{bad}");
        }
    }

    #[test]
    fn a_request_without_host_is_http_1_0() {
        let hosts = Hosts::new(&[], None);
        assert_eq!(check(&hosts, "GET", Version::HTTP_11, &[]), Err(400));
        assert_eq!(check(&hosts, "GET", Version::HTTP_10, &[]), Ok("http://127.0.0.1:12368".into()));
        assert_eq!(check(&hosts, "GET", Version::HTTP_11, &[("host", "localhost"), ("host", "localhost")]), Err(400));
    }

    #[test]
    fn a_url_made_of_our_own_address_had_the_zone_of_a_link_in_it() {
        let (parts, ()) = Request::get("/").version(Version::HTTP_10).body(()).unwrap().into_parts();
        for (ip, want) in [("fe80::1", "http://[fe80::1]:80"), ("::ffff:10.0.0.1", "http://10.0.0.1:80")] {
            let local = std::net::SocketAddrV6::new(ip.parse().unwrap(), 80, 0, 2);
            let arrival = Arrival { local: Some(local.into()), ..arrival() };
            assert_eq!(Hosts::new(&[], None).base(&parts, &arrival).unwrap().shown, want);
        }
    }

    #[test]
    fn foreign_pages_read_nothing_new_and_change_nothing() {
        let public = PublicUrl::parse("https://fleet.example/dev1").unwrap();
        let hosts = Hosts::new(&[], Some(public));
        let host = ("host", "127.0.0.1:12368");
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u16>);
        let rows: &[Row<'_>] = &[
            ("PUT", &[host], None),
            ("PUT", &[host, ("origin", "http://127.0.0.1:12368")], None),
            ("PUT", &[host, ("origin", "https://fleet.example")], None),
            ("PUT", &[host, ("origin", "https://fleet.example:443")], None),
            ("GET", &[host, ("origin", "http://evil.example")], None),
            ("PUT", &[host, ("sec-fetch-site", "same-origin")], None),
            ("PUT", &[host, ("sec-fetch-site", "none")], None),
            ("PUT", &[host, ("origin", "http://evil.example")], Some(403)),
            ("POST", &[host, ("origin", "null")], Some(403)),
            ("POST", &[host, ("origin", "https://127.0.0.1:12368")], Some(403)),
            ("POST", &[host, ("origin", "http://127.0.0.1:80")], Some(403)),
            ("POST", &[host, ("sec-fetch-site", "cross-site")], Some(403)),
            ("DELETE", &[host, ("sec-fetch-site", "Cross-Site")], Some(403)),
        ];
        for (method, headers, refused) in rows {
            let got = check(&hosts, method, Version::HTTP_11, headers);
            assert_eq!(got.err(), *refused, "{method} {headers:?}");
        }
        let base = check(&hosts, "GET", Version::HTTP_11, &[host, ("x-forwarded-host", "evil.example")]);
        assert_eq!(base, Ok("https://fleet.example/dev1".into()));
    }
}
