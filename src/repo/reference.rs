//! What people write for a repository (`cli.md` §6), made into an address or a path.
//!
//! | written | is |
//! |---|---|
//! | `http://…`, `https://…` | that address |
//! | `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80` | the endpoint of that device: `http://…:12368/cgi-bin/pvr` |
//! | a path that exists, or begins with `/`, `./` or `../` | that folder |
//! | `name:port` | the endpoint of that device |
//! | `user/device` | `<repo-baseurl>/user/device` |
//!
//! Behind the first `#` is the part selection: a comma list of folders and keys, `-` before what is left out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::net::{Url, UrlError};
use crate::state::{PartSelection, escape};

/// Port of the endpoint on a device.
pub const DEVICE_PORT: u16 = 12368;
/// Path of the endpoint on a device.
pub const DEVICE_PATH: &str = "/cgi-bin/pvr";

/// Where a repository is, and which parts of it are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where.
    pub place: Place,
    /// Which parts.
    pub parts: PartSelection,
    /// The parts as they were written, in their order; empty where the whole is meant.
    pub names: Vec<String>,
    /// What is remembered in `.pvr/config`: the whole, with the selection.
    pub text: String,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Behind an endpoint.
    Remote(Url),
    /// On this machine.
    Local(PathBuf),
}

/// A text that is no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// One word.
    #[error("device nick is missing. (syntax:pvr get <USER_NICK>/<DEVICE_NICK>[#<part>]). See --help")]
    NickMissing,
    /// Several slashes, or nothing we know.
    #[error("clone URL is not a valid URL, nor in pvr device ref format; see --help")]
    Neither,
    /// A path to nothing.
    #[error("there is no file or folder {}", escape(.0))]
    NoSuchPath(String),
    /// An address with something wrong in it.
    #[error("\"{}\" is not a usable URL: {source}", escape(.text))]
    Url {
        /// The address.
        text: String,
        /// What is wrong.
        source: UrlError,
    },
}

impl Reference {
    /// Reads what was written. `base` is where `user/device` lives; paths are seen from `cwd`, and where there is none,
    /// nothing is a path.
    pub fn parse(text: &str, base: &Url, cwd: Option<&Path>) -> Result<Self, ReferenceError> {
        let (body, fragment) = match text.split_once('#') {
            Some((body, fragment)) => (body, Some(fragment)),
            None => (text, None),
        };
        let remembered = |place: &Place| {
            let body = match place {
                Place::Remote(url) => url.without_fragment().to_string(),
                Place::Local(_) => body.to_owned(),
            };
            // A bare host is remembered as it was written, not with the `/` that goes onto the wire.
            let body = if body.strip_suffix('/') == Some(text) { text } else { &body };
            fragment.map_or_else(|| body.to_owned(), |fragment| format!("{body}#{fragment}"))
        };
        let place = place(body, base, cwd)?;
        let list = fragment.map(decode).unwrap_or_default();
        let names = list.split(',').map(|name| name.trim_end_matches('/')).filter(|name| !name.is_empty());
        let names = names.map(str::to_owned).collect();
        Ok(Self { text: remembered(&place), place, parts: PartSelection::parse(&list), names })
    }
}

fn place(body: &str, base: &Url, cwd: Option<&Path>) -> Result<Place, ReferenceError> {
    let bad_url = |source| ReferenceError::Url { text: body.to_owned(), source };
    match Url::parse(body) {
        Ok(url) => return Ok(Place::Remote(url)),
        Err(UrlError::NotAbsolute) => {}
        Err(source) => return Err(bad_url(source)),
    }
    if let Some(host) = address(body) {
        return device(&host).map(Place::Remote).map_err(bad_url);
    }
    if body.is_empty() {
        return Err(ReferenceError::NickMissing);
    }
    if let Some(path) = cwd.map(|cwd| cwd.join(body)).filter(|path| path.exists()) {
        return Ok(Place::Local(path));
    }
    if body.starts_with('/') || matches!(body.split('/').next(), Some("." | "..")) {
        return Err(ReferenceError::NoSuchPath(body.to_owned()));
    }
    if !body.contains('/') && body.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return device(body).map(Place::Remote).map_err(bad_url);
    }
    match body.split('/').collect::<Vec<_>>().as_slice() {
        [_] => Err(ReferenceError::NickMissing),
        [user, device] if !user.is_empty() && !device.is_empty() => {
            // A question mark would begin a query.
            let nick = body.replace('?', "%3F");
            Ok(Place::Remote(base.with_appended(&nick)))
        }
        _ => Err(ReferenceError::Neither),
    }
}

/// The authority of an address with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare.and_then(|bare| bare.parse::<Ipv6Addr>().ok()) {
        return Some(format!("[{address}]:{DEVICE_PORT}"));
    }
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => Some(format!("{address}:{DEVICE_PORT}")),
        IpAddr::V6(address) => Some(format!("[{address}]:{DEVICE_PORT}")),
    }
}

fn device(authority: &str) -> Result<Url, UrlError> {
    Url::parse(&format!("http://{authority}{DEVICE_PATH}"))
}

/// Undoes percent escapes, as today's program does with fragments. What is no escape stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        if first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            // Two hex digits are at most 255.
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_references() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::create_dir_all(folder.path().join("host:8080")).unwrap();
        std::fs::write(folder.path().join("x.tgz"), "").unwrap();
        let base = Url::parse("http://hub.example/").unwrap();
        // Ok: the address, or the path after `path:`.
        let table: &[(&str, Result<&str, ReferenceError>)] = &[
            ("1.2.3.4", Ok("http://1.2.3.4:12368/cgi-bin/pvr")),
            ("1.2.3.4#p", Ok("http://1.2.3.4:12368/cgi-bin/pvr#p")),
            ("1.2.3.4:80", Ok("http://1.2.3.4/cgi-bin/pvr")),
            ("::1", Ok("http://[::1]:12368/cgi-bin/pvr")),
            ("[::1]", Ok("http://[::1]:12368/cgi-bin/pvr")),
            ("[::1]:99#a,-b", Ok("http://[::1]:99/cgi-bin/pvr#a,-b")),
            ("device:12368", Ok("http://device:12368/cgi-bin/pvr")),
            ("device.local:1", Ok("http://device.local:1/cgi-bin/pvr")),
            ("host:8080", Ok("path:host:8080")),
            ("http://1.2.3.4/x?y#z", Ok("http://1.2.3.4/x?y#z")),
            ("a", Ok("path:a")),
            ("a/b#c", Ok("path:a/b")),
            ("x.tgz", Ok("path:x.tgz")),
            ("./a", Ok("path:./a")),
            ("user/dev", Ok("http://hub.example/user/dev")),
            ("user/dev#_config/x", Ok("http://hub.example/user/dev#_config/x")),
            ("u/d?x", Ok("http://hub.example/u/d%3Fx")),
            ("word", Err(ReferenceError::NickMissing)),
            ("", Err(ReferenceError::NickMissing)),
            ("#part", Err(ReferenceError::NickMissing)),
            ("a:b", Err(ReferenceError::NickMissing)),
            ("u/d/e", Err(ReferenceError::Neither)),
            ("u/", Err(ReferenceError::Neither)),
            ("../nosuch", Err(ReferenceError::NoSuchPath("../nosuch".to_owned()))),
            ("/no/such", Err(ReferenceError::NoSuchPath("/no/such".to_owned()))),
            ("ftp://x/", Err(ReferenceError::Url { text: "ftp://x/".to_owned(), source: UrlError::Scheme })),
            ("http://a b/", Err(ReferenceError::Url { text: "http://a b/".to_owned(), source: UrlError::Host })),
        ];
        for (text, expected) in table {
            let got = Reference::parse(text, &base, Some(folder.path()));
            match (got, expected) {
                (Ok(Reference { place: Place::Remote(_), text: got, .. }), Ok(expected)) => {
                    assert_eq!(got, **expected, "{text}")
                }
                (Ok(Reference { place: Place::Local(path), .. }), Ok(expected)) => {
                    assert_eq!(Some(path), expected.strip_prefix("path:").map(|p| folder.path().join(p)), "{text}");
                }
                (Err(error), Err(expected)) => assert_eq!(error, *expected, "{text}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn parts_are_decoded() {
        let base = Url::parse("http://hub.example").unwrap();
        for (text, key, selected) in [
            ("1.2.3.4", "anything", true),
            ("1.2.3.4#app", "app/x", true),
            ("1.2.3.4#app", "app2/x", false),
            ("1.2.3.4#a%20b", "a b/x", true),
            ("1.2.3.4#a%2Fb", "a/b/c", true),
            ("1.2.3.4#50%", "50%/c", true),
            ("1.2.3.4#a#b", "a#b/c", true),
            ("1.2.3.4#a,-a/b", "a/b/c", false),
        ] {
            let reference = Reference::parse(text, &base, None).unwrap();
            assert_eq!(reference.parts.selects(key), selected, "{text} {key}");
        }
    }
}
