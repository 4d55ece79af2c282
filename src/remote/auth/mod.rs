//! Logging in: what is done about a 401 or 403 (`hub.md` A2, A3), and who may see which token.
//!
//! A token belongs to the server that it was got for. When a server asks for a login, the following is tried, each once:
//!
//! 1. the token in `auth.json` for the endpoint and realm that it names;
//! 2. a new one in place of that one, if the server has refused it;
//! 3. an anonymous one, where it is only about reading;
//! 4. name and password: `PVR_USERNAME` and `PVR_PASSWORD` at the hub, else what is typed on the terminal. Three times
//!    at most, then the server's answer stands.
//!
//! A server names the endpoint where tokens come from. If that is on another server, it could have itself given the
//! tokens of a third one (`hub.md` D1): such a pair is asked about, and refused where there is nobody to ask. The hub's
//! own pair, `--baseurl` and `--repo-baseurl`, was named by the user and counts as one server.

mod cache;
mod challenge;
mod error;
mod login;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use error::AuthError;

use self::cache::Cache;
use self::challenge::Challenge;
use super::RemoteError;
use super::rest::{AccessToken, shown};
use crate::net::{Client, Url};

/// Logins with a name, wrong ones included, that one server is given.
const LOGINS: u32 = 3;

/// A name and its password.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Keeps passwords out of debug output.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Whom to ask. All texts are shown safely already.
pub trait Ask: Send + Sync {
    /// Name and password for this endpoint; `None` where there is nobody.
    fn login(&self, endpoint: &str, realm: &str) -> Result<Option<Credentials>, AuthError>;
    /// Whether to log in at `endpoint` for `server`, and to give the token to `server`; `None` where there is nobody.
    fn other_server(&self, server: &str, endpoint: &str) -> Result<Option<bool>, AuthError>;
    /// Says something.
    fn tell(&self, line: &str);
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Anybody may do, if the server agrees.
    Read,
    /// Somebody has to.
    Write,
}

/// Tokens, and how to come by them. Shared by all calls of a command.
pub struct Auth {
    cache: Cache,
    hub: Vec<String>,
    credentials: Option<(Credentials, Vec<String>)>,
    ask: Box<dyn Ask>,
    places: Mutex<BTreeMap<String, Place>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("cache", &self.cache).field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// How far logging in at one server has got.
#[derive(Debug, Default)]
struct Place {
    held: Option<Held>,
    challenge: Option<Challenge>,
    agreed: Option<String>,
    cache_tried: bool,
    refreshes: u32,
    anonymous_tried: bool,
    credentials_tried: bool,
    logins: u32,
}

#[derive(Debug, Clone)]
struct Held {
    token: AccessToken,
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cached,
    Anonymous,
    Named,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The same call again.
    Again,
    /// It stands.
    Leave,
}

impl Auth {
    /// Tokens are kept in `auth.json` in `folder`. `baseurl` and `repo_baseurl` are the hub's two faces; the credentials
    /// are for the hub.
    pub fn new(
        folder: PathBuf,
        baseurl: &Url,
        repo_baseurl: &Url,
        credentials: Option<Credentials>,
        ask: Box<dyn Ask>,
    ) -> Self {
        Self {
            cache: Cache::new(folder),
            hub: vec![baseurl.origin(), repo_baseurl.origin()],
            credentials: credentials.map(|credentials| (credentials, vec![baseurl.origin()])),
            ask,
            places: Mutex::default(),
        }
    }

    /// Lets the credentials be used at this server too: the user has named it for a login.
    #[must_use]
    pub fn credentials_also_at(mut self, url: &Url) -> Self {
        if let Some((_, origins)) = &mut self.credentials {
            origins.push(url.origin());
        }
        self
    }

    /// The servers that are one with `url`'s.
    pub(super) fn same_server(&self, url: &Url) -> Vec<String> {
        let origin = url.origin();
        if self.hub.contains(&origin) { self.hub.clone() } else { vec![origin] }
    }

    /// The token that this server has been given so far.
    pub(super) fn held(&self, url: &Url) -> Option<AccessToken> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Some(places.get(&url.origin())?.held.as_ref()?.token.clone())
    }

    /// Forgets the tokens of the server's own endpoints; says what the endpoint is called and whether there was one. A hub has it at
    /// its root, a device beside what it serves.
    pub fn forget(&self, server: &Url) -> Result<(String, bool), AuthError> {
        let (mut endpoint, mut was) = (server.at_root("auth"), false);
        for (key, _) in self.cache.all()? {
            let of = key.split_once(" realm=").and_then(|(endpoint, _)| Url::parse(endpoint).ok());
            if let Some(own) = of.filter(|endpoint| endpoint.origin() == server.origin()) {
                was |= self.cache.remove(&key)?;
                endpoint = own;
            }
        }
        Ok((shown(&endpoint), was))
    }

    /// Every endpoint that there is a token for, with the token.
    pub fn known(&self) -> Result<Vec<(Url, AccessToken)>, AuthError> {
        let all = self.cache.all()?;
        Ok(all
            .into_iter()
            .filter_map(|(key, entry)| {
                let endpoint = key.split_once(" realm=").map_or(key.as_str(), |(endpoint, _)| endpoint);
                Some((Url::parse(endpoint).ok()?, AccessToken::parse(&entry.access)?))
            })
            .collect())
    }

    /// A server has refused a call: what can be done about it. Others wait meanwhile, so that nobody is asked twice.
    pub(super) fn refused(
        &self,
        client: &Client,
        url: &Url,
        refusal: (u16, Option<&str>),
        used: Option<&AccessToken>,
        need: Need,
    ) -> Result<Next, RemoteError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(url.origin()).or_default();
        if place.held.as_ref().map(|held| &held.token) != used {
            // Another thread was here in the meantime.
            return Ok(Next::Again);
        }
        let (status, header) = refusal;
        let kind = place.held.as_ref().map(|held| held.kind);
        let challenge = match (header, &place.challenge) {
            (Some(header), _) => Challenge::parse(header, url)?,
            (None, Some(challenge)) if status == 403 && kind == Some(Kind::Anonymous) => challenge.clone(),
            (None, _) => return Ok(Next::Leave),
        };
        if status == 403 && kind == Some(Kind::Named) {
            return Ok(Next::Leave);
        }
        if status == 403 && kind == Some(Kind::Anonymous) {
            self.ask.tell("** ACCESS DENIED: user cannot access repository. **");
        }
        self.permit(url, &challenge, place)?;
        place.challenge = Some(challenge.clone());
        self.next_token(client, &challenge, place, status, need)
    }

    /// Whether tokens of this endpoint may be given to this server.
    fn permit(&self, url: &Url, challenge: &Challenge, place: &mut Place) -> Result<(), AuthError> {
        let endpoint = challenge.endpoint.origin();
        if self.same_server(url).contains(&endpoint) || place.agreed.as_ref() == Some(&endpoint) {
            return Ok(());
        }
        match self.ask.other_server(&url.origin(), &shown(&challenge.endpoint))? {
            Some(true) => {
                place.agreed = Some(endpoint);
                Ok(())
            }
            answer => Err(AuthError::OtherServer {
                server: url.origin(),
                endpoint: shown(&challenge.endpoint),
                asked: answer.is_some(),
            }),
        }
    }

    fn next_token(
        &self,
        client: &Client,
        challenge: &Challenge,
        place: &mut Place,
        status: u16,
        need: Need,
    ) -> Result<Next, RemoteError> {
        let (key, endpoint) = (challenge.key(), &challenge.endpoint);
        let held = place.held.clone();
        if !challenge.error && !place.cache_tried {
            place.cache_tried = true;
            if let Some(entry) = self.cache.get(&key)?
                && held.as_ref().is_none_or(|held| held.text != entry.access)
                && place.hold(&entry.access, Kind::Cached)
            {
                return Ok(Next::Again);
            }
        }
        if let Some(held) = &held
            && status == 401
            && held.kind != Kind::Anonymous
            && place.refreshes < LOGINS
        {
            place.refreshes += 1;
            let old = self.cache.get(&key)?.filter(|entry| entry.access == held.text && !entry.refresh.is_empty());
            if let Some(entry) = old
                && let Some(token) = login::refresh(client, endpoint, &entry.refresh)?
            {
                self.cache.set(&key, &token)?;
                if place.hold(&token, held.kind) {
                    return Ok(Next::Again);
                }
            }
            self.ask.tell(&format!("The login at {} is no longer valid.", shown(endpoint)));
        }
        let credentials = self.credentials.as_ref().filter(|(_, at)| at.contains(&endpoint.origin()));
        if need == Need::Read && !challenge.error && !place.anonymous_tried && credentials.is_none() {
            place.anonymous_tried = true;
            match login::anonymous(client, endpoint) {
                Ok(token) => {
                    self.cache.set(&key, &token)?;
                    place.hold(&token, Kind::Anonymous);
                    return Ok(Next::Again);
                }
                // An endpoint that lets nobody in without a name may let in somebody with one.
                Err(RemoteError::Auth(AuthError::Failed { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let mut last = None;
        while place.logins < LOGINS {
            place.logins += 1;
            let given = credentials.filter(|_| !place.credentials_tried).map(|(who, _)| who.clone());
            place.credentials_tried = true;
            let who = match given {
                Some(who) => who,
                None => match self.ask.login(&shown(endpoint), &crate::state::escape(&challenge.realm))? {
                    Some(who) => who,
                    None => {
                        let nobody = AuthError::NobodyToAsk {
                            endpoint: shown(endpoint),
                            hub: self.hub.contains(&endpoint.origin()),
                        };
                        return Err(last.unwrap_or_else(|| nobody.into()));
                    }
                },
            };
            match login::named(client, endpoint, &who) {
                Ok(token) => {
                    self.cache.set(&key, &token)?;
                    place.hold(&token, Kind::Named);
                    return Ok(Next::Again);
                }
                Err(error @ RemoteError::Auth(AuthError::Failed { .. })) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(Next::Leave), Err)
    }
}

impl Place {
    /// Gives the server this token from now on, if it can stand in a header.
    fn hold(&mut self, text: &str, kind: Kind) -> bool {
        let Some(token) = AccessToken::parse(text) else { return false };
        self.held = Some(Held { token, text: text.to_owned(), kind });
        true
    }
}

/// How a command gets in: with a token that the user has given, and nothing else, or by logging in where it is asked to.
#[derive(Debug, Clone)]
pub struct Access {
    /// Everything about logging in.
    pub auth: Arc<Auth>,
    /// The user's token. With one, nobody is asked anything.
    pub token: Option<AccessToken>,
}

impl Access {
    /// The same without the user's token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { auth: Arc::clone(&self.auth), token: None }
    }

    /// Whether two addresses are on servers that get the same tokens.
    pub fn is_one_server(&self, a: &Url, b: &Url) -> bool {
        self.auth.same_server(a).contains(&b.origin())
    }
}
