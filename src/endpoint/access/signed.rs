//! URLs for the bytes of objects, which are asked for without a token.
//!
//! ```text
//! objects/<sha256>/blob?size=<bytes>&until=<seconds after 1970>&by=<account>&mac=<base64url>
//! ```
//!
//! The MAC is over the class of methods (`GET`, which allows HEAD, or `PUT`), the object, the size, the end, the account and which of
//! those of its name it is. None of it takes a percent escape: today's client stumbles over one. A URL may do no more than its
//! account may when it is used, and the account has to be there.

use std::sync::Arc;

use hyper::Method;

use super::accounts::Accounts;
use super::{SLACK, Scope, mac, mac_is};
use crate::endpoint::objects::decimal;
use crate::sig::base64;
use crate::state::ObjectId;

/// What is done to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Class {
    Get,
    Put,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }

    pub(super) fn of(method: &Method) -> Self {
        if method == Method::PUT { Self::Put } else { Self::Get }
    }

    /// What it takes.
    pub(super) fn needs(self) -> Scope {
        match self {
            Self::Get => Scope::Read,
            Self::Put => Scope::Deploy,
        }
    }
}

/// Makes URLs for one caller.
#[derive(Debug)]
pub(in crate::endpoint) struct Links(Option<Signer>);

#[derive(Debug)]
struct Signer {
    accounts: Arc<Accounts>,
    account: String,
    until: u64,
}

impl Links {
    /// Of a device without accounts: for everybody, and for ever.
    pub(super) fn open() -> Self {
        Self(None)
    }

    /// For that account, until then.
    pub(super) fn of(accounts: Arc<Accounts>, account: &str, until: u64) -> Self {
        Self(Some(Signer { accounts, account: account.to_owned(), until }))
    }

    /// Where the bytes of an object are put or got, below the base.
    pub(in crate::endpoint) fn to(&self, class: Class, object: &ObjectId, size: u64) -> String {
        let plain = format!("objects/{object}/blob");
        match &self.0 {
            None if class == Class::Get => plain,
            None => format!("{plain}?size={size}"),
            Some(Signer { accounts, account, until }) => {
                let id = accounts.named(account).map_or("", |account| &account.id);
                let signed = signed(class, object, size, *until, account, id);
                let mac = base64::url(&mac(&accounts.key(), &[&signed]));
                format!("{plain}?size={size}&until={until}&by={account}&mac={mac}")
            }
        }
    }

    /// Seconds from now until they end.
    pub(in crate::endpoint) fn last(&self, now: u64) -> Option<u64> {
        self.0.as_ref().map(|signer| signer.until.saturating_sub(now))
    }
}

fn signed(class: Class, object: &ObjectId, size: u64, until: u64, account: &str, id: &str) -> String {
    // No token begins like this, so neither can stand for the other.
    format!("pvr-agent url 1\n{}\n{object}\n{size}\n{until}\n{account}\n{id}", class.name())
}

/// Why a URL is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadUrl {
    /// It has been altered, or is used for something else, or its account is gone.
    Forged,
    /// Its time is over.
    Expired,
}

/// Whether the query claims to be of such a URL.
pub(super) fn is_signed(query: &str) -> bool {
    query.split('&').any(|pair| pair.starts_with("mac="))
}

/// Whose URL it is. `most`: how long one may last that is handed out now.
pub(super) fn holder<'a>(
    accounts: &'a Accounts,
    class: Class,
    object: &ObjectId,
    query: &str,
    now: u64,
    most: u64,
) -> Result<&'a super::Account, BadUrl> {
    let once = |name: &str| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
        values.next().filter(|_| values.next().is_none()).map(|(_, value)| value)
    };
    let parts = || Some((decimal(once("size")?)?, decimal(once("until")?)?, once("by")?, once("mac")?));
    let (size, until, by, seal) = parts().ok_or(BadUrl::Forged)?;
    let account = accounts.named(by).ok_or(BadUrl::Forged)?;
    if !mac_is(&accounts.key(), &[&signed(class, object, size, until, by, &account.id)], seal) {
        return Err(BadUrl::Forged);
    }
    // One that ends later than any that is handed out now is one of a clock that was wrong.
    let good = until > now && until <= now.saturating_add(most + SLACK);
    if good { Ok(account) } else { Err(BadUrl::Expired) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::some_accounts;
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn object(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 32])
    }

    #[test]
    fn a_url_is_for_one_class_object_size_account_and_time() {
        let accounts = Arc::new(some_accounts());
        let links = Links::of(Arc::clone(&accounts), "ann", NOW + DAY);
        let url = links.to(Class::Put, &object(1), 16);
        assert!(!url.contains('%') && url.starts_with(&format!("objects/{}/blob?size=16&", object(1))), "{url}");
        let query = url.split_once('?').unwrap().1;
        let holder = |class, id, query: &str, now| {
            holder(&accounts, class, &object(id), query, now, DAY).map(|account| account.name.clone())
        };
        assert!(is_signed(query));
        assert_eq!(holder(Class::Put, 1, query, NOW), Ok("ann".to_owned()));
        assert_eq!(holder(Class::Put, 1, query, NOW + DAY - 1), Ok("ann".to_owned()));
        assert_eq!(holder(Class::Put, 1, query, NOW + DAY), Err(BadUrl::Expired));
        assert_eq!(holder(Class::Put, 1, query, NOW - SLACK - 1), Err(BadUrl::Expired));
        assert_eq!(holder(Class::Get, 1, query, NOW), Err(BadUrl::Forged));
        assert_eq!(holder(Class::Put, 2, query, NOW), Err(BadUrl::Forged));
        for (from, to) in [
            ("size=16", "size=17"),
            ("size=16", "size=016"),
            ("size=16", "size=16&size=16"),
            ("size=16&", ""),
            ("by=ann", "by=box"),
            ("by=ann", "by=nobody"),
            ("until=1", "until=2"),
            ("mac=", "mac=x"),
            ("mac=", "mac"),
        ] {
            let changed = query.replacen(from, to, 1);
            assert_ne!(changed, query, "{from}");
            // Zeros before a number say the same.
            let want = if to == "size=016" { Ok("ann".to_owned()) } else { Err(BadUrl::Forged) };
            assert_eq!(holder(Class::Put, 1, &changed, NOW), want, "{to}");
        }
        let get = links.to(Class::Get, &object(1), 16);
        assert_eq!(holder(Class::Get, 1, get.split_once('?').unwrap().1, NOW), Ok("ann".to_owned()));
        assert_eq!(Links::open().to(Class::Get, &object(1), 16), format!("objects/{}/blob", object(1)));
    }

    #[test]
    fn a_url_of_an_account_that_is_another_one_now_is_none() {
        let (accounts, other) = (Arc::new(some_accounts()), some_accounts());
        let url = Links::of(Arc::clone(&accounts), "ann", NOW + DAY).to(Class::Get, &object(1), 16);
        let query = url.split_once('?').unwrap().1;
        assert!(holder(&other, Class::Get, &object(1), query, NOW, DAY).is_err());
        assert!(holder(&accounts, Class::Get, &object(1), query, NOW, DAY).is_ok());
    }
}
