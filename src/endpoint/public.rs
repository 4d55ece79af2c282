//! The URL under which clients see this server, where they don't see it directly.

use super::guard::split_port;

/// A parsed `--public-url`: scheme, authority and perhaps a path that a proxy takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    /// How much of `text` is scheme and authority.
    origin: usize,
}

/// A text is no public URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a public URL\nit has the form http[s]://host[:port][/prefix], without escapes, query or fragment"
)]
pub struct PublicUrlError(String);

impl PublicUrl {
    /// Parses `http[s]://host[:port][/prefix]`.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let error = || PublicUrlError(crate::state::escape(text).into_owned());
        let trimmed = text.trim_end_matches('/');
        let rest = ["http://", "https://"].iter().find_map(|scheme| trimmed.strip_prefix(scheme));
        let rest = rest.ok_or_else(error)?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        split_port(authority).ok_or_else(error)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~".contains(&b);
        if !prefix.bytes().all(plain) {
            return Err(error());
        }
        let origin = trimmed.len() - rest.len() + authority.len();
        Ok(Self { text: trimmed.to_owned(), origin })
    }

    /// The whole, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme and authority.
    pub fn origin(&self) -> &str {
        &self.text[..self.origin]
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        let authority = self.origin().split_once("://").map_or("", |(_, authority)| authority);
        split_port(authority).map_or("", |(host, _)| host)
    }
}

impl std::str::FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_once() {
        let url = PublicUrl::parse("https://fleet.example:8443/dev-1/").unwrap();
        assert_eq!(url.as_str(), "https://fleet.example:8443/dev-1");
        assert_eq!((url.origin(), url.host()), ("https://fleet.example:8443", "fleet.example"));
        assert_eq!(PublicUrl::parse("http://[::1]").unwrap().host(), "[::1]");
        for bad in [
            "",
            "fleet.example",
            "ftp://x",
            "http://",
            "http://a b",
            "http://u@x",
            "http://x/?q",
            "http://x/#f",
            "http://x/%20",
            "http://x:99999",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
