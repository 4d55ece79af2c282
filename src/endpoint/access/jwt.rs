//! Tokens of logins: JWT (RFC 7519) with HS256, as the client of a hub takes them (`hub.md` C1).
//!
//! A client reads nothing in one. It is good for four hours, because today's client logs in once and then sends a whole revision; it can be
//! had anew with the old one for a day from the login, even when that is over. What its account may do is looked up
//! with each request, and so is whether there still is one of that `acc`.

use serde::{Deserialize, Serialize};

use super::accounts::{Account, Accounts};
use super::{SLACK, mac, mac_is};
use crate::sig::base64;

/// `{"alg":"HS256","typ":"JWT"}`. No other is read, so no token chooses how it is verified.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Seconds that a token is good for.
pub(super) const LIFE: u64 = 4 * 60 * 60;
/// Seconds from the login within which it can be had anew.
const RENEWABLE: u64 = 24 * 60 * 60;
/// Longest that is looked at.
const MAX: usize = 2048;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    acc: String,
    exp: u64,
    iat: u64,
    id: String,
    nick: String,
    orig_iat: u64,
    prn: String,
    scopes: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Why a token is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// We have not made it, or its account is gone.
    Unknown,
    /// Its time is over.
    Expired,
}

impl Claims {
    /// Of an account, for a login at `first`.
    pub(super) fn of(account: &Account, now: u64, first: u64) -> Self {
        Self {
            acc: account.id.clone(),
            exp: now + LIFE,
            iat: now,
            id: account.name.clone(),
            nick: account.name.clone(),
            orig_iat: first,
            prn: prn(&account.name),
            scopes: account.scope.name().to_owned(),
            kind: "USER".to_owned(),
        }
    }

    /// The token.
    pub(super) fn sealed(&self, key: &[u8; 64]) -> String {
        // Strings and numbers have no way not to serialise.
        let payload = base64::url(&serde_json::to_vec(self).unwrap_or_default());
        let mac = base64::url(&mac(key, &[HEADER, ".", &payload]));
        format!("{HEADER}.{payload}.{mac}")
    }
}

/// What an account is called among all things.
pub(super) fn prn(name: &str) -> String {
    format!("prn:pvr-agent:accounts:/{name}")
}

/// What a token of ours says, and whose it is; its time is not looked at.
fn read<'a>(accounts: &'a Accounts, token: &str) -> Option<(&'a Account, Claims)> {
    let (signed, seal) = token.rsplit_once('.').filter(|_| token.len() <= MAX)?;
    let payload = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
    if !mac_is(&accounts.key(), &[signed], seal) {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&base64::from_url(payload)?).ok()?;
    Some((accounts.named(&claims.id).filter(|account| account.id == claims.acc)?, claims))
}

/// Whose token it is. One that ends later than any that was handed out now is one of a clock that was wrong.
pub(super) fn holder<'a>(accounts: &'a Accounts, token: &str, now: u64) -> Result<&'a Account, Refused> {
    let (account, claims) = read(accounts, token).ok_or(Refused::Unknown)?;
    let good = claims.exp > now && claims.exp <= now + LIFE + SLACK;
    if good { Ok(account) } else { Err(Refused::Expired) }
}

/// A new token for an old one.
pub(super) fn renewed(accounts: &Accounts, token: &str, now: u64) -> Option<(String, String)> {
    let (account, claims) = read(accounts, token)?;
    let first = claims.orig_iat;
    let good = first <= now + SLACK && now < first.saturating_add(RENEWABLE);
    good.then(|| (Claims::of(account, now, first).sealed(&accounts.key()), account.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::some_accounts;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_token_is_good_for_its_time_and_its_account() {
        let accounts = some_accounts();
        let ann = accounts.named("ann").unwrap();
        let token = Claims::of(ann, NOW, NOW).sealed(&accounts.key());
        let holder = |token: &str, now| holder(&accounts, token, now).map(|account| account.name.as_str());
        assert_eq!(holder(&token, NOW), Ok("ann"));
        assert_eq!(holder(&token, NOW + LIFE - 1), Ok("ann"));
        assert_eq!(holder(&token, NOW + LIFE), Err(Refused::Expired));
        assert_eq!(holder(&token, NOW - SLACK), Ok("ann"), "a clock that was set right by a little");
        assert_eq!(holder(&token, NOW - SLACK - 1), Err(Refused::Expired), "and by much");
        // Anew until a day after the login, and no longer however often.
        let (again, name) = renewed(&accounts, &token, NOW + LIFE + 1).unwrap();
        assert_eq!((holder(&again, NOW + LIFE + 1), name.as_str()), (Ok("ann"), "ann"));
        assert!(renewed(&accounts, &again, NOW + RENEWABLE - 1).is_some());
        assert!(renewed(&accounts, &again, NOW + RENEWABLE).is_none());
        // Another of that name.
        let other = some_accounts();
        assert!(other.key() != accounts.key() && super::holder(&other, &token, NOW).is_err());
        let gone = Claims { acc: "0".repeat(16), ..Claims::of(ann, NOW, NOW) }.sealed(&accounts.key());
        assert_eq!(holder(&gone, NOW), Err(Refused::Unknown));
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed() {
        let accounts = some_accounts();
        let token = Claims::of(accounts.named("ann").unwrap(), NOW, NOW).sealed(&accounts.key());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(read(&accounts, &changed).is_none(), "{at}");
            assert!(read(&accounts, &token[..at]).is_none(), "{at}");
        }
        let (_, rest) = token.split_once('.').unwrap();
        let none = base64::url(br#"{"alg":"none","typ":"JWT"}"#);
        let (payload, _) = rest.split_once('.').unwrap();
        for forged in
            [format!("{none}.{payload}."), format!("{none}.{rest}"), format!("{HEADER}.{payload}."), "..".into()]
        {
            assert!(read(&accounts, &forged).is_none(), "{forged}");
        }
    }
}
