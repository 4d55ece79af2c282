//! The protected header of a signature, as the daemon reads it (`storage.md` §6, §11).

use super::raw::{Kind, Member, Raw, Unreadable};
use super::select::Selection;
use super::verdict::Failure;
use crate::sig::base64;
use crate::sig::jws::Algorithm;

/// Longest header, decoded: twenty certificates and a thousand patterns.
const MAX_HEADER: usize = 128 * 1024;
/// Most patterns in one header.
const MAX_PATTERNS: usize = 4_096;
/// Most certificates in one header. The daemon's library follows eight between a leaf and its root.
const MAX_CERTIFICATES: usize = 16;

/// What `alg` may say. To the daemon it names a hash; with which key a signature is made, the certificate says.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::ES512];

fn algorithm(name: &[u8]) -> Option<Algorithm> {
    ALGORITHMS.into_iter().find(|algorithm| algorithm.name().as_bytes() == name)
}

/// A header that the daemon goes on with.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) selection: Selection,
    /// DER; none: the header names no certificates, and the device's own key is to verify.
    pub(super) certificates: Option<Vec<Vec<u8>>>,
}

impl Header {
    /// Reads what stands in `protected`.
    pub(super) fn parse(protected: &[u8]) -> Result<Self, Failure> {
        let text = decoded(protected).ok_or(Failure::Protected)?;
        if text.len() > MAX_HEADER {
            return Err(Failure::TooLarge("header"));
        }
        let raw = Raw::parse(&text).map_err(|error| match error {
            Unreadable::Syntax => Failure::Header,
            Unreadable::TooLarge => Failure::TooLarge("header"),
        })?;
        if raw.is_empty() {
            return Err(Failure::Header);
        }
        if member(&raw, "typ")?.is_none_or(|(_, typ)| typ != b"PVS") {
            return Err(Failure::Type);
        }
        let algorithm = member(&raw, "alg")?.and_then(|(_, text)| algorithm(text)).ok_or(Failure::Algorithm)?;
        let (_, pvs) = member(&raw, "pvs")?.ok_or(Failure::NoSelection)?;
        let selection = selection(pvs)?;
        let certificates = member(&raw, "x5c")?.map(|(kind, text)| certificates(kind, text)).transpose()?;
        Ok(Self { algorithm, selection, certificates })
    }

    /// Whether every member that counts is there once, where it belongs: the header says to everybody what it says to
    /// the daemon.
    pub(super) fn is_plain(protected: &[u8]) -> bool {
        let Some(text) = decoded(protected) else { return false };
        let Ok(serde_json::Value::Object(members)) = serde_json::from_slice::<serde_json::Value>(&text) else {
            return false;
        };
        let Ok(raw) = Raw::parse(&text) else { return false };
        let once = |name: &str| raw.all(name.as_bytes()).count() == 1;
        let pvs = members.get("pvs").and_then(serde_json::Value::as_object);
        let lists = ["include", "exclude"];
        let has_lists = pvs.is_some_and(|pvs| lists.iter().all(|list| pvs.contains_key(*list)));
        // A second `x5c` that isn't looked at may be the one that another reader takes.
        let x5c = raw.all(b"x5c").count() == usize::from(members.contains_key("x5c"));
        let top = ["typ", "alg", "pvs"];
        has_lists
            && x5c
            && top.iter().all(|name| members.contains_key(*name) && once(name))
            && lists.iter().all(|list| once(list))
    }
}

fn member<'a>(raw: &Raw<'a>, name: &'static str) -> Result<Option<(Kind, &'a [u8])>, Failure> {
    match raw.member(name.as_bytes()) {
        Member::Absent => Ok(None),
        Member::Found(kind, text) => Ok(Some((kind, text))),
        Member::Unclear => Err(Failure::Unclear(name)),
    }
}

fn selection(pvs: &[u8]) -> Result<Selection, Failure> {
    // Whatever it is: without lists in it, the daemon follows a null pointer.
    let raw = Raw::parse(pvs).map_err(|_| Failure::Crash)?;
    let list = |name: &'static str| -> Result<Vec<Vec<u8>>, Failure> {
        let (_, list) = member(&raw, name)?.ok_or(Failure::Crash)?;
        let raw = Raw::parse(list).map_err(|_| Failure::Selection)?;
        let patterns = raw.elements().ok_or(Failure::Selection)?;
        Ok(patterns.into_iter().map(<[u8]>::to_vec).collect())
    };
    let selection = Selection { include: list("include")?, exclude: list("exclude")? };
    if selection.include.len() + selection.exclude.len() > MAX_PATTERNS {
        return Err(Failure::TooLarge("list of patterns"));
    }
    Ok(selection)
}

fn certificates(kind: Kind, text: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let raw = Raw::parse(text).map_err(|_| Failure::NoCertificates)?;
    let elements = raw.elements().filter(|list| kind == Kind::Array && !list.is_empty());
    let elements = elements.ok_or(Failure::NoCertificates)?;
    if elements.len() > MAX_CERTIFICATES {
        return Err(Failure::TooLarge("list of certificates"));
    }
    let read = |(at, element): (usize, &&[u8])| {
        let der = std::str::from_utf8(element).ok().and_then(base64::from_standard);
        der.filter(|der| !der.is_empty()).ok_or(Failure::Certificate(at + 1))
    };
    elements.iter().enumerate().map(read).collect()
}

/// The bytes of base64 as the daemon takes it: of either alphabet, with padding or without. Bits that are left over, which
/// it ignores, we refuse.
pub(super) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.replace('+', "-").replace('/', "_");
    let bare = text.trim_end_matches('=');
    let padding = text.len() - bare.len();
    if padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    base64::from_url(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(header: &str) -> Option<Failure> {
        Header::parse(base64::url(header.as_bytes()).as_bytes()).err()
    }

    #[test]
    fn headers() {
        let with = |pvs: &str| format!(r#"{{"alg":"RS256","typ":"PVS","pvs":{pvs}}}"#);
        for (header, want) in [
            (with(r#"{"include":["a"],"exclude":[]}"#), None),
            (with(r#"{"exclude":[],"include":[1,2]}"#), None),
            (with(r#"{"include":["a"]}"#), Some(Failure::Crash)),
            (with("null"), Some(Failure::Crash)),
            (with("[]"), Some(Failure::Crash)),
            (with(r#"{"include":"a","exclude":[]}"#), Some(Failure::Selection)),
            (with(r#"{"include":[["a"]],"exclude":[]}"#), Some(Failure::Selection)),
            (with(r#"{"include":["exclude"],"exclude":[]}"#), Some(Failure::Unclear("exclude"))),
            (r#"{"alg":"RS256","typ":"PVS"}"#.to_owned(), Some(Failure::NoSelection)),
            (r#"{"alg":"RS256","typ":"JWS"}"#.to_owned(), Some(Failure::Type)),
            (r#"{"alg":"none","typ":"PVS"}"#.to_owned(), Some(Failure::Algorithm)),
            ("hello".to_owned(), Some(Failure::Type)),
            ("{".to_owned(), Some(Failure::Header)),
            (String::new(), Some(Failure::Header)),
        ] {
            assert_eq!(failure(&header), want, "{header}");
        }
        let x5c = |x5c: &str| failure(&format!(r#"{{"x5c":{x5c},{}"#, &with(r#"{"include":[],"exclude":[]}"#)[1..]));
        assert_eq!(x5c(r#"["Zm9v"]"#), None);
        for none in ["null", "[]", r#""Zm9v""#, "{}", "5"] {
            assert_eq!(x5c(none), Some(Failure::NoCertificates), "{none}");
        }
        assert_eq!(x5c(r#"["Zm9v","Zg"]"#), Some(Failure::Certificate(2)));
        assert_eq!(x5c(r#"[""]"#), Some(Failure::Certificate(1)));
        assert_eq!(x5c(&format!("[{}]", ["\"Zm9v\""; 17].join(","))), Some(Failure::TooLarge("list of certificates")));
    }

    #[test]
    fn a_header_that_says_the_same_to_everybody() {
        let plain = |header: &str| Header::is_plain(base64::url(header.as_bytes()).as_bytes());
        let good = r#"{"alg":"RS256","pvs":{"include":["a"],"exclude":[]},"typ":"PVS","x5c":["Zm9v"]}"#;
        assert!(plain(good));
        for (from, to) in [
            (r#"{"alg""#, r#"{"alg":"ES256","alg""#),
            (r#"{"alg""#, r#"{"jwk":{"alg":"ES256"},"alg""#),
            (r#""exclude""#, r#""include":[],"exclude""#),
            (r#"{"alg""#, r#"{"y":{"x5c":[]},"alg""#),
            (r#"{"alg""#, r#"{"y":{"typ":1},"alg""#),
            (r#""alg":"RS256","#, ""),
            ("}", ""),
        ] {
            assert!(!plain(&good.replacen(from, to, 1)), "{to}");
        }
    }

    #[test]
    fn base64_of_either_kind() {
        for (text, want) in [
            ("-_--", Some(&[0xfb, 0xff, 0xbe][..])),
            ("+/++", Some(&[0xfb, 0xff, 0xbe])),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zg=", None),
            ("Zh", None),
            ("Z", None),
            ("Zm9v====", None),
            ("Zm 9v", None),
            ("", Some(b"")),
        ] {
            assert_eq!(decoded(text.as_bytes()).as_deref(), want, "{text}");
        }
    }
}
