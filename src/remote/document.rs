//! Whole documents of an endpoint: a step, a state in place of another, any JSON behind a login.

use std::time::Duration;

use super::auth::{Access, Need};
use super::rest::{self, Call, Session, net, shown};
use super::{Remote, RemoteError};
use crate::net::{Client, Method, Response, Url};
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, State, Value, escape};

/// How long the answer to a state may take.
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(600);

impl Remote {
    /// The step that the endpoint's state belongs to (`stepinfo`): what stands above the state.
    pub fn step(&self, limits: &JsonLimits) -> Result<Value, RemoteError> {
        let url = self.state.parent();
        read(&self.session, &url, Need::Read, limits)
    }

    /// Puts a state in place of the endpoint's (`PUT json-get-url`, `hub.md` B2). All objects have to be there.
    pub fn put(&self, state: &State, limits: &JsonLimits) -> Result<(), RemoteError> {
        let body = state.to_canonical()?;
        let call = Call::send(Method::Put, &self.state, body.as_bytes()).patience(WAIT_FOR_ANSWER);
        let response = self.session.call(call)?;
        if response.status() != 200 {
            return Err(self.session.refusal(&self.state, response));
        }
        value(&self.state, response, limits).map(drop)
    }
}

/// Gets a JSON document. With [`Need::Write`], an anonymous login will not do.
pub fn document(
    client: &Client,
    url: &Url,
    access: &Access,
    need: Need,
    limits: &JsonLimits,
) -> Result<Value, RemoteError> {
    read(&Session::new(client.clone(), access, url), url, need, limits)
}

fn read(session: &Session, url: &Url, need: Need, limits: &JsonLimits) -> Result<Value, RemoteError> {
    let response = session.call(Call::get(url).need(need))?;
    if response.status() != 200 {
        return Err(session.refusal(url, response));
    }
    value(url, response, limits)
}

fn value(url: &Url, response: Response, limits: &JsonLimits) -> Result<Value, RemoteError> {
    let bytes = rest::record_bytes(response).map_err(|error| net(Method::Get, url, error))?;
    let bytes = bytes.trim_ascii();
    // A step holds a state twice; the limit on bytes is the one of records.
    let limits = JsonLimits { bytes: bytes.len().max(limits.bytes), ..*limits };
    parse_strict(bytes, &limits).map_err(|error| RemoteError::Answer {
        url: shown(url),
        why: if bytes.is_empty() {
            "with nothing".to_owned()
        } else {
            format!("with bad JSON: {}", escape(&error.to_string()))
        },
    })
}
