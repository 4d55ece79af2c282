//! The client side of the pvr REST protocol (`hub.md` part B).
//!
//! | call | request | needs |
//! |---|---|---|
//! | [`Remote::discover`] | `GET <url>/.pvrremote` | 200, addresses of the rest |
//! | [`Remote::state`] | `GET json-get-url` | 200, a state |
//! | [`Remote::download`] | `GET <objects-endpoint>/<sha>`, `GET signed-geturl` | 200, the bytes of that sha256 |
//! | [`Remote::upload`] | `POST <objects-endpoint>/`, `PUT signed-puturl` | 200, or 409 with `Pantahub-Object-Type`; 200 |
//! | [`Remote::post`] | `POST post-url` | 200, `rev` |
//! | [`Remote::follow`] | `GET events-url` of the post's answer, else of its step | 200 and `progress` |
//! | [`Remote::put`] | `PUT json-get-url` | 200, JSON |
//! | [`Remote::step`] | `GET json-get-url/..` | 200, JSON |
//! | [`Remote::lacks`] | `GET <objects-endpoint>/<sha>` | 200 or 404 |
//! | [`Remote::disk`] | `GET <url>/status` | 200 and `storage`, or it is not known |
//!
//! Addresses in answers may be relative. What fails on the way is tried again a few times, each time after a longer
//! wait, except for the post. An answer is an error unless it has exactly the status it needs, whatever its body looks
//! like. An access token goes to the server that the user named and to no other; see [`Auth`] for the tokens of logins.

mod ask;
mod auth;
mod copy;
mod document;
mod download;
mod error;
mod follow;
mod observer;
mod post;
mod record;
mod rest;
mod upload;
mod work;

use std::fmt;

pub use ask::Disk;
pub use auth::{Access, Ask, Auth, AuthError, Credentials, Need};
pub use copy::{CopyError, copied};
pub use document::document;
pub use error::{RemoteError, StatusError};
pub use observer::{Announced, Observer, Silent};
pub use post::{Post, PostRev, Posted};
pub use record::RemoteRecord;
pub use rest::AccessToken;
pub use upload::{Objects, Resend, Uploaded};

use self::rest::{Call, Session, net, shown};
use crate::net::{Client, Method, Url};
use crate::state::{JsonLimits, Spec, State};

/// An endpoint that was found to speak the protocol.
#[derive(Debug)]
pub struct Remote {
    session: Session,
    base: Url,
    state: Url,
    objects: Objects,
    post: Url,
    json_key: String,
    record: RemoteRecord,
}

impl Remote {
    /// Asks the endpoint at `url` where its parts are. A fragment of `url` is not sent.
    pub fn discover(client: &Client, url: &Url, access: &Access) -> Result<Self, RemoteError> {
        let session = Session::new(client.clone(), access, url);
        let address = url.with_appended(".pvrremote");
        let response = session.call(Call::get(&address))?;
        if response.status() != 200 {
            return Err(session.refusal(&address, response));
        }
        let record: RemoteRecord = rest::json(&address, response)?;
        let part = |field, text: &str| {
            if text.is_empty() {
                return Err(RemoteError::Answer { url: shown(&address), why: format!("without {field}") });
            }
            resolve(&address, field, text)
        };
        Ok(Self {
            base: url.without_fragment(),
            state: part("json-get-url", &record.json_get_url)?,
            objects: Objects::new(session.clone(), part("objects-endpoint", &record.objects_endpoint)?),
            post: part("post-url", &record.post_url)?,
            // What today's client calls it where the endpoint does not say (`hub.md` B1).
            json_key: Some(record.json_key.clone()).filter(|key| !key.is_empty()).unwrap_or_else(|| "post".to_owned()),
            session,
            record,
        })
    }

    /// The endpoint's state. One without a single key is what the hub answers for revisions that do not exist
    /// (`hub.md` D13); the caller decides what that means.
    pub fn state(&self, limits: &JsonLimits) -> Result<State, RemoteError> {
        let response = self.session.call(Call::get(&self.state))?;
        if response.status() != 200 {
            return Err(self.session.refusal(&self.state, response));
        }
        let bytes = response.into_bytes(limits.bytes).map_err(|e| net(Method::Get, &self.state, e))?;
        State::parse_strict(bytes.trim_ascii_end(), limits, Spec::Any)
            .map_err(|source| RemoteError::State { url: shown(&self.state), source })
    }

    /// What the endpoint says about itself.
    pub fn record(&self) -> &RemoteRecord {
        &self.record
    }
}

fn resolve(base: &Url, field: &'static str, text: &str) -> Result<Url, RemoteError> {
    base.join(text).map_err(|source| RemoteError::Address {
        url: shown(base),
        field,
        text: text.chars().take(200).collect(),
        source,
    })
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.state))
    }
}
