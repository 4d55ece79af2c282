//! What a server asks for when it answers 401 or 403: `WWW-Authenticate` (`hub.md` A3).
//!
//! ```text
//! JWT realm="pantahub services", ph-aeps="https://api.pantahub.com/auth"
//! Bearer Realm="pantahub services", ph-aeps="…", scope="…", error="insufficient_scope", error_description="…"
//! ```

use super::AuthError;
use crate::net::Url;
use crate::state::escape;

/// Longest realm that is shown and stored.
const MAX_REALM: usize = 200;

/// A request to log in, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where tokens come from.
    pub(super) endpoint: Url,
    /// For what.
    pub(super) realm: String,
    /// The server says that what it got is no good: neither a stored token nor an anonymous one will do.
    pub(super) error: bool,
}

impl Challenge {
    /// Reads the header of an answer of `from`.
    pub(super) fn parse(header: &str, from: &Url) -> Result<Self, AuthError> {
        let unknown = || AuthError::Header { url: super::shown(from), header: escape(header).into_owned() };
        let (scheme, rest) = header.trim().split_once([' ', '\t']).ok_or_else(unknown)?;
        if !scheme.eq_ignore_ascii_case("JWT") && !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(unknown());
        }
        let (mut realm, mut endpoint, mut error) = (None, None, false);
        for (name, value) in parameters(rest).ok_or_else(unknown)? {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "ph-aeps" => endpoint = value.split(',').map(str::trim).find(|one| !one.is_empty()).map(str::to_owned),
                "error" => error = true,
                _ => {}
            }
        }
        let endpoint = endpoint.ok_or_else(|| AuthError::NoEndpoint { url: super::shown(from) })?;
        let endpoint = Url::parse(endpoint.trim_end_matches('/')).map_err(|_| unknown())?.without_fragment();
        let realm: String = realm.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_REALM).collect();
        Ok(Self { endpoint, realm, error })
    }

    /// The name under which `auth.json` has the token.
    pub(super) fn key(&self) -> String {
        key(&self.endpoint, &self.realm)
    }
}

/// The name of a token in `auth.json`.
pub(super) fn key(endpoint: &Url, realm: &str) -> String {
    format!("{endpoint} realm={realm}")
}

/// `name=value` and `name="value"`, with commas between. A comma inside quotes is part of the value; today's servers
/// use no backslashes there.
fn parameters(text: &str) -> Option<Vec<(&str, String)>> {
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        found.push((name.trim(), value.trim().to_owned()));
        rest = behind.trim_start().trim_start_matches(',').trim_start();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_they_come() {
        let from = Url::parse("https://pvr.example/u/d/.pvrremote").unwrap();
        let ok = |endpoint: &str, realm: &str, error| {
            Some(Challenge { endpoint: Url::parse(endpoint).unwrap(), realm: realm.to_owned(), error })
        };
        let table = [
            (
                "JWT realm=\"pantahub services\", ph-aeps=\"https://a/auth\"",
                ok("https://a/auth", "pantahub services", false),
            ),
            ("Bearer Realm=\"x\", ph-aeps=\"https://a/auth\"", ok("https://a/auth", "x", false)),
            ("jwt realm=x,ph-aeps=https://a/auth", ok("https://a/auth", "x", false)),
            ("JWT realm=\"a, b\", ph-aeps=\"https://a/auth, https://b/auth\"", ok("https://a/auth", "a, b", false)),
            ("JWT ph-aeps=\"https://a/auth/\", error=\"expired\"", ok("https://a/auth", "", true)),
            ("JWT", None),
            ("", None),
            ("Basic realm=\"x\"", None),
            ("JWT realm", None),
            ("JWT realm=\"x", None),
            ("JWT realm=\"x\"", None),
            ("JWT realm=\"x\", ph-aeps=\"\"", None),
            ("JWT realm=\"x\", ph-aeps=\"/auth\"", None),
            ("JWT realm=\"x\", ph-aeps=\"https://u:p@a/auth\"", None),
        ];
        for (header, expected) in table {
            assert_eq!(Challenge::parse(header, &from).ok(), expected, "{header}");
        }
    }

    #[test]
    fn tokens_are_named_as_todays_file_has_them() {
        let endpoint = Url::parse("https://api.pantahub.com/auth").unwrap();
        assert_eq!(key(&endpoint, "pantahub services"), "https://api.pantahub.com/auth realm=pantahub services");
    }
}
