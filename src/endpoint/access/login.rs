//! Logins, as the clients of a hub make them (`hub.md` A3, C1): `POST auth/login`, `GET auth/login` for a new token in place
//! of an old one, and `GET auth/auth_status`.
//!
//! Today's client logs in as nobody in particular first. That is always refused, because one that holds such a token cannot log
//! in again in that process, and it is never counted as a failure. A device without accounts has none of this: 404.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::jwt::{self, Claims};
use super::{Access, Accounts, Caller, Who, attempts, bad_token, bearer, password};
use crate::endpoint::Endpoint;
use crate::endpoint::Limit;
use crate::endpoint::audit::Deed;
use crate::endpoint::body::BodyReader;
use crate::endpoint::error::ApiError;
use crate::endpoint::objects::bad_json;
use crate::endpoint::reply::{self, Reply};
use crate::endpoint::route::RouteError;
use crate::state::{JsonLimits, Value, clock, parse::parse_strict};
use attempts::Outcome;

/// Who nobody in particular is.
const ANONYMOUS: &str = "prn:pantahub.com:auth:/anon";
/// Largest request for a login.
const MAX_BYTES: usize = 16 * 1024;
/// Seconds after which a place may be free.
const A_WHILE: u32 = 2;

#[derive(Serialize)]
struct Token {
    token: String,
}

#[derive(Serialize)]
struct Status<'a> {
    id: &'a str,
    nick: &'a str,
    prn: String,
    scopes: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Endpoint {
    /// `POST auth/login`. Who has logged in is left in `caller`.
    pub(in crate::endpoint) async fn login(
        &self,
        accounts: Option<Arc<Accounts>>,
        body: &mut BodyReader,
        deed: Arc<Deed>,
        caller: &mut Caller,
    ) -> Result<Reply, ApiError> {
        // What is no attempt, is none: only one that is verified is written down.
        deed.forget();
        let accounts = accounts.ok_or(RouteError::NotFound)?;
        let held = body.whole(MAX_BYTES, Limit::EnvelopeBytes, self.held()).await?;
        let asked = parse_strict(&held.bytes, &JsonLimits { bytes: MAX_BYTES, depth: 8 }).map_err(bad_json)?;
        let text = |key| asked.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, password) = (text("username"), text("password"));
        if name == ANONYMOUS {
            return Err(refused("nobody is let in without a name"));
        }
        let outcome = self.access().verify(Arc::clone(&accounts), caller, name.clone(), password).await?;
        if let Some(verified @ (Outcome::Right | Outcome::Wrong)) = outcome {
            self.metrics().logins[usize::from(verified == Outcome::Wrong)].add(1);
            // A name that nobody has is no account that somebody tries: strangers could push out with such what others did.
            if accounts.named(&name).is_some() {
                deed.tell(|told| (told.did, told.who) = ("login", name.clone()));
            }
        }
        match outcome {
            Some(Outcome::Right) => {}
            Some(Outcome::Wrong) => return Err(refused("there is no such account, or this is not its password")),
            Some(Outcome::TooMany(wait)) => {
                let message = "too many logins of this name or from this address have failed";
                let wait = u32::try_from(wait).unwrap_or(u32::MAX);
                return Err(too_many("too-many-logins", message).hint(format!("wait {wait} s")).retry_after(wait));
            }
            None => return Err(too_many("login-busy", "too many logins wait to be verified").retry_after(A_WHILE)),
        }
        let account = accounts.named(&name).ok_or_else(|| refused("there is no such account"))?;
        let now = clock::seconds(clock::now());
        *caller = Caller { who: Who::Account(name), scope: Some(account.scope), address: caller.address };
        Ok(reply::json(StatusCode::OK, &Token { token: Claims::of(account, now, now).sealed(&accounts.key()) }))
    }

    /// `GET auth/login`.
    pub(in crate::endpoint) fn renew(
        &self,
        accounts: Option<Arc<Accounts>>,
        head: &Parts,
        caller: &mut Caller,
    ) -> Result<Reply, ApiError> {
        let accounts = accounts.ok_or(RouteError::NotFound)?;
        let now = clock::seconds(clock::now());
        let renewed = bearer(head)?.and_then(|token| jwt::renewed(&accounts, token, now));
        let (token, name) = renewed.ok_or_else(|| bad_token(jwt::Refused::Expired))?;
        let scope = accounts.named(&name).map(|account| account.scope);
        *caller = Caller { who: Who::Account(name), scope, address: caller.address };
        Ok(reply::json(StatusCode::OK, &Token { token }))
    }

    /// `GET auth/auth_status`.
    pub(in crate::endpoint) fn auth_status(&self, caller: &Caller) -> Result<Reply, ApiError> {
        let (Who::Account(name), Some(scope)) = (&caller.who, caller.scope) else {
            return Err(RouteError::NotFound.into());
        };
        let status = Status { id: name, nick: name, prn: jwt::prn(name), scopes: scope.name(), kind: "USER" };
        Ok(reply::json(StatusCode::OK, &status))
    }
}

impl Access {
    /// Whether it is the password of that name. `None`: too many wait to be told. A name that there isn't takes as long as one
    /// that there is.
    async fn verify(
        &self,
        accounts: Arc<Accounts>,
        caller: &Caller,
        name: String,
        password: String,
    ) -> Result<Option<Outcome>, ApiError> {
        let (folder, address) = (self.file.folder().to_owned(), caller.address);
        let tried = name.clone();
        let place = spawn_blocking(move || {
            // Who is past the limit takes no place that somebody else could have.
            match attempts::hopeless(&folder, address, &tried, clock::seconds(clock::now()))? {
                Some(wait) => Ok(Err(wait)),
                None => attempts::place(&folder).map(Ok),
            }
        });
        let place: std::io::Result<_> = place.await.map_err(ApiError::internal)?;
        let place = match place.map_err(ApiError::internal)? {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(None),
            Err(wait) => return Ok(Some(Outcome::TooMany(wait))),
        };
        let turn = Arc::clone(&self.verifying).acquire_owned().await.map_err(ApiError::internal)?;
        let work = move || {
            let _turn = turn;
            let now = || clock::seconds(clock::now());
            let verify = || match accounts.named(&name).and_then(|account| account.password.as_ref()) {
                Some(kept) => kept.is(password.as_bytes()),
                None => {
                    password::work_for_nothing(password.as_bytes());
                    false
                }
            };
            place.attempt(address, &name, now, verify)
        };
        let outcome = spawn_blocking(work).await.map_err(ApiError::internal)?;
        outcome.map(Some).map_err(ApiError::internal)
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "bad-login", message)
}

fn too_many(reason: &'static str, message: &str) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, reason, message).past(Limit::Logins)
}
