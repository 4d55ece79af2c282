//! Tokens from an authentication endpoint: `POST <endpoint>/login`, and `GET <endpoint>/login` for a new one in place of
//! an old one (`hub.md` A3).

use serde::{Deserialize, Serialize};

use super::super::RemoteError;
use super::super::rest::{AccessToken, json_type, net, record_bytes};
use super::{AuthError, Credentials};
use crate::net::{Client, Method, Request, Response, Url};
use crate::state::escape;

/// Who anybody is: what it is called, and its password.
const ANONYMOUS: &str = "prn:pantahub.com:auth:/anon";
/// What anybody may do.
const ANONYMOUS_SCOPE: &str = "devices.readonly objects.readonly trails.readonly";
/// What is shown of a refusal.
const MAX_SHOWN: usize = 300;

#[derive(Serialize)]
struct Login<'a> {
    password: &'a str,
    scope: &'a str,
    username: &'a str,
}

#[derive(Serialize)]
struct Refresh<'a> {
    token: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
}

/// Logs in as nobody in particular.
pub(super) fn anonymous(client: &Client, endpoint: &Url) -> Result<String, RemoteError> {
    login(client, endpoint, &Login { password: ANONYMOUS, scope: ANONYMOUS_SCOPE, username: ANONYMOUS })
}

/// Logs in.
pub(super) fn named(client: &Client, endpoint: &Url, who: &Credentials) -> Result<String, RemoteError> {
    login(client, endpoint, &Login { password: &who.password, scope: "", username: &who.username })
}

fn login(client: &Client, endpoint: &Url, body: &Login<'_>) -> Result<String, RemoteError> {
    let url = endpoint.with_appended("login");
    let body = serde_json::to_vec(body).map_err(|error| failed(endpoint, &error.to_string()))?;
    let request = Request::new(Method::Post, &url).header("Content-Type", json_type()).bytes(&body);
    let response = client.send(request).map_err(|source| net(Method::Post, &url, source))?;
    token(endpoint, response)
}

/// Has a token replaced by a newer one. `None`: it is too old for that.
pub(super) fn refresh(client: &Client, endpoint: &Url, token_now: &str) -> Result<Option<String>, RemoteError> {
    let Some(bearer) = AccessToken::parse(token_now) else { return Ok(None) };
    let url = endpoint.with_appended("login");
    let body =
        serde_json::to_vec(&Refresh { token: token_now }).map_err(|error| failed(endpoint, &error.to_string()))?;
    let request = Request::new(Method::Get, &url)
        .header("Authorization", bearer.value())
        .header("Content-Type", json_type())
        .bytes(&body);
    let response = client.send(request).map_err(|source| net(Method::Get, &url, source))?;
    if response.status() != 200 {
        return Ok(None);
    }
    Ok(token(endpoint, response).ok())
}

fn token(endpoint: &Url, response: Response) -> Result<String, RemoteError> {
    let status = response.status();
    let bytes = record_bytes(response).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    if status != 200 {
        let shown: String = text.trim().chars().take(MAX_SHOWN).collect();
        let shown = if shown.is_empty() { status.to_string() } else { format!("{status} {shown}") };
        return Err(failed(endpoint, &format!("failed to Login: {shown}")));
    }
    match serde_json::from_str::<Answer>(&text) {
        // What cannot stand in a header is of no use.
        Ok(Answer { token }) if AccessToken::parse(&token).is_some() => Ok(token),
        _ => Err(failed(endpoint, "illegal response: there is no usable token in it")),
    }
}

fn failed(endpoint: &Url, why: &str) -> RemoteError {
    AuthError::Failed { endpoint: super::shown(endpoint), why: escape(why).into_owned() }.into()
}
