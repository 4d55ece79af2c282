//! Who may do what.
//!
//! Each request is decided on once, before anything of its body is read: who asks (`decide`), and whether they may what the
//! table (`routes`) says that it takes (`check`). A device without accounts is open, as it always was; one whose accounts
//! cannot be read lets nobody in.
//!
//! | file | what |
//! |---|---|
//! | `accounts` | who there is, on disk |
//! | `password` | argon2id |
//! | `attempts` | how many logins may fail, and how many are verified at a time |
//! | `jwt` | what a login is answered with |
//! | `login` | logins |
//! | `signed` | URLs for bytes |
//! | `caller` | who asks |
//! | `exposure` | what to warn of |
//!
//! Who asks is found out in this order, and the first that is there decides: a signed URL, `Authorization: Bearer` (a token of a
//! login, or one that was made with `access token`), the certificate of the connection.

mod accounts;
mod attempts;
mod caller;
mod exposure;
mod jwt;
mod login;
mod password;
mod signed;

pub use accounts::{AccessError, Account, Accounts, AccountsFile, Credential};
pub use caller::{Caller, NoScope, Scope, Who};
pub use exposure::Exposure;
pub(super) use signed::{Class, Links};

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::ApiError;
use super::guard::Arrival;
use super::route::Route;
use crate::sig::base64;
use crate::state::clock;
use accounts::Stamp;

/// Seconds that a clock may have been set back without everything handed out before being refused.
const SLACK: u64 = 300;

/// The accounts as they are now.
#[derive(Debug)]
pub(super) struct Access {
    file: AccountsFile,
    seen: Arc<Mutex<Seen>>,
    /// Only one thread of the pool waits for its turn to verify.
    verifying: Arc<Semaphore>,
}

/// What was read, and from which file.
#[derive(Debug, Default)]
struct Seen {
    /// There was a file.
    known: bool,
    stamp: Option<Stamp>,
    /// An empty list: everybody is let in.
    read: Option<Arc<Accounts>>,
}

impl Access {
    /// By the accounts of this folder.
    pub(super) fn by(folder: PathBuf) -> Self {
        Self { file: AccountsFile::within(folder), seen: Arc::default(), verifying: Arc::new(Semaphore::new(1)) }
    }

    /// The accounts. `None`: there are none.
    pub(super) async fn accounts(&self) -> Result<Option<Arc<Accounts>>, ApiError> {
        let (file, seen) = (self.file.clone(), Arc::clone(&self.seen));
        match spawn_blocking(move || look(&file, &seen)).await {
            Ok(Ok(accounts)) => Ok(accounts),
            Ok(Err(why)) => Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "access-damaged",
                "the accounts of this device cannot be read, so that nobody is let in",
            )
            .hint("on the device, pvr-agent access ls says why")
            .cause(why)
            .close()),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    #[cfg(test)]
    fn accounts_now(&self) -> Result<Option<Arc<Accounts>>, String> {
        look(&self.file, &self.seen)
    }
}

/// Reads the file, if it is another one than before.
fn look(file: &AccountsFile, seen: &Mutex<Seen>) -> Result<Option<Arc<Accounts>>, String> {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match fs::metadata(file.path()) {
        Ok(meta) if seen.stamp == Some(Stamp::of(&meta)) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && !seen.known && !file.is_lost() => return Ok(None),
        // `access rm` leaves an empty list: whoever removes the file means something, but not that everybody be let in.
        Err(error) => {
            *seen = Seen { known: seen.known, ..Seen::default() };
            return Err(format!("'{}': {error}; what it said before no longer counts", file.path().display()));
        }
        Ok(_) => {
            // An error is not kept: out of descriptors, or memory, nobody should be locked out for longer than that.
            *seen = Seen { known: true, ..Seen::default() };
            let read = file.read_stamped().map_err(|error| error.to_string())?;
            let (accounts, stamp) = read.ok_or_else(|| "it has just gone".to_owned())?;
            *seen = Seen { known: true, stamp: Some(stamp), read: Some(Arc::new(accounts)) };
        }
    }
    Ok(seen.read.clone().filter(|accounts| !accounts.all().is_empty()))
}

/// Who asks for something that takes a scope. `most`: seconds that a URL may last.
pub(super) fn decide(
    accounts: &Accounts,
    head: &Parts,
    arrival: &Arrival,
    route: &Route,
    most: u64,
) -> Result<Caller, ApiError> {
    let now = clock::seconds(clock::now());
    let caller = |account: &Account, scope| Caller {
        who: Who::Account(account.name.clone()),
        scope: Some(scope),
        address: arrival.peer,
    };
    let query = head.uri.query().unwrap_or_default();
    if let Route::Blob(object) | Route::PutBlob(object) = route
        && signed::is_signed(query)
    {
        let class = Class::of(&head.method);
        let account = signed::holder(accounts, class, object, query, now, most).map_err(bad_url)?;
        return match !account.has_ended(now) && account.scope >= class.needs() {
            true => Ok(caller(account, class.needs())),
            false => Err(bad_url(signed::BadUrl::Expired)),
        };
    }
    if let Some(token) = bearer(head)? {
        let account = match by_token(accounts, token) {
            Some(account) if account.has_ended(now) => Err(jwt::Refused::Expired),
            Some(account) => Ok(account),
            None => jwt::holder(accounts, token, now),
        };
        return account.map(|account| caller(account, account.scope)).map_err(bad_token);
    }
    let Some(name) = &arrival.certificate else { return Ok(Caller::nobody(arrival.peer)) };
    // A token's name is not enough to be let in without the token.
    match accounts.named(name).filter(|account| account.token.is_none()) {
        Some(account) => Ok(caller(account, account.scope)),
        None => {
            let message = format!("there is no account '{}', which the certificate is for", crate::state::escape(name));
            Err(ApiError::new(StatusCode::FORBIDDEN, "unknown-certificate", message).close())
        }
    }
}

/// Whether the caller may do what takes `needs`. `None`: anybody may.
pub(super) fn check(caller: &Caller, needs: Option<Scope>) -> Result<(), ApiError> {
    let Some(needs) = needs.filter(|needs| !caller.may(*needs)) else { return Ok(()) };
    if caller.who == Who::Nobody {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "login-needed", "a login is needed for this").close());
    }
    let message = format!("{} may not do this: it takes the scope {needs}", caller.name());
    Err(ApiError::new(StatusCode::FORBIDDEN, "insufficient-scope", message).wants(needs).close())
}

/// URLs for the caller, `last` seconds long.
pub(super) fn links(accounts: Option<Arc<Accounts>>, caller: &Caller, last: u64) -> Links {
    match (accounts, &caller.who) {
        (Some(accounts), Who::Account(name)) => {
            Links::of(accounts, name, clock::seconds(clock::now()).saturating_add(last))
        }
        _ => Links::open(),
    }
}

/// The token of the request, if it has one.
fn bearer(head: &Parts) -> Result<Option<&str>, ApiError> {
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
            let token = Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty());
            token.map(Some).ok_or_else(|| bad_token(jwt::Refused::Unknown))
        }
        _ => Err(bad_token(jwt::Refused::Unknown)),
    }
}

/// Whose token it is that was made with `access token`. All are looked at, whichever it is.
fn by_token<'a>(accounts: &'a Accounts, token: &str) -> Option<&'a Account> {
    let given = sha256(token.as_bytes());
    let mut found = None;
    for account in accounts.all() {
        let kept = account.token.as_deref().unwrap_or_default();
        if bool::from(kept.as_bytes().ct_eq(given.as_bytes())) {
            found = Some(account);
        }
    }
    found
}

fn bad_token(refused: jwt::Refused) -> ApiError {
    let (reason, message) = match refused {
        jwt::Refused::Unknown => ("bad-token", "the token is none of this device's, or its account is gone"),
        jwt::Refused::Expired => ("expired-token", "the token is no longer valid"),
    };
    ApiError::new(StatusCode::UNAUTHORIZED, reason, message).close()
}

fn bad_url(refused: signed::BadUrl) -> ApiError {
    let (reason, message) = match refused {
        signed::BadUrl::Forged => {
            ("bad-url", "this URL is not one that was handed out for this, or its account is gone")
        }
        signed::BadUrl::Expired => ("expired-url", "this URL is no longer valid"),
    };
    ApiError::new(StatusCode::FORBIDDEN, reason, message).hint("ask for the record of the object again").close()
}

/// What is handed out is signed with this, by HMAC-SHA-256. The key is one block, as HMAC would make it.
fn keyed(key: &[u8; 64], parts: &[&str]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(&(*key).into());
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac
}

fn mac(key: &[u8; 64], parts: &[&str]) -> [u8; 32] {
    keyed(key, parts).finalize().into_bytes().into()
}

/// Whether this is the MAC, in constant time.
fn mac_is(key: &[u8; 64], parts: &[&str], seal: &str) -> bool {
    base64::from_url(seal).is_some_and(|seal| keyed(key, parts).verify_slice(&seal).is_ok())
}

fn sha256(bytes: &[u8]) -> String {
    accounts::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    pub(super) fn some_accounts() -> Accounts {
        let folder = tempfile::tempdir().unwrap();
        let file = AccountsFile::within(folder.path().to_owned());
        for (name, scope) in [("ann", Scope::Admin), ("box", Scope::Read)] {
            assert!(file.add(name, scope, Credential::Certificate, false, false).unwrap().is_none());
        }
        file.read().unwrap().unwrap()
    }

    #[test]
    fn a_file_that_is_changed_counts_at_once_and_one_that_is_damaged_or_gone_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::by(folder.path().join("state"));
        assert!(access.accounts_now().unwrap().is_none(), "there is none");
        assert!(!folder.path().join("state").exists(), "looking makes nothing");
        let (file, names) = (access.file.clone(), || {
            let accounts = access.accounts_now()?;
            Ok::<_, String>(accounts.map(|accounts| accounts.all().iter().map(|a| a.name.clone()).collect::<String>()))
        });
        file.add("a", Scope::Read, Credential::Certificate, false, false).unwrap();
        assert_eq!(names(), Ok(Some("a".to_owned())));
        file.add("b", Scope::Read, Credential::Token(None), false, false).unwrap();
        assert_eq!(names(), Ok(Some("ab".to_owned())));
        file.remove("a", false, false).unwrap();
        assert_eq!(names(), Ok(Some("b".to_owned())));
        let good = fs::read(file.path()).unwrap();
        for bad in [&b""[..], b"{", b"null", &good[..good.len() / 2], &good.repeat(2)] {
            fs::write(file.path(), bad).unwrap();
            assert!(names().is_err(), "{}", String::from_utf8_lossy(bad));
            assert!(
                file.add("c", Scope::Read, Credential::Certificate, false, false).is_err(),
                "it is not written over"
            );
        }
        fs::write(file.path(), &good).unwrap();
        assert_eq!(names(), Ok(Some("b".to_owned())));
        let mode = |mode| fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        assert!(names().unwrap_err().contains("chmod 600"));
        mode(0o600);
        assert_eq!(names(), Ok(Some("b".to_owned())));
        file.remove("b", true, false).unwrap();
        assert_eq!(names(), Ok(None), "the last one was removed as one that is meant");
        fs::write(file.path(), &good).unwrap();
        fs::remove_file(file.path()).unwrap();
        assert!(names().is_err(), "the file has gone");
        assert!(
            Access::by(folder.path().join("state")).accounts_now().is_err(),
            "for who never saw it, too: a program of a web server sees it once"
        );
    }
}
