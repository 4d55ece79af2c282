//! `pvr login`, `logout` and `whoami`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::net::Url;
use crate::remote::{Access, AuthError, Need, RemoteError, document};
use crate::state::escape;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What needs the login [default: the hub]
    #[arg(value_name = "URL")]
    url: Vec<String>,
}

impl Args {
    /// The address that was given, or `path` on the hub.
    fn url(&self, hub: &Url, path: &str) -> Result<Url, Failure> {
        match self.url.as_slice() {
            [] => Ok(hub.with_appended(path)),
            [text] => Url::parse(text)
                .map_err(|error| Failure::coded(4, format!("\"{}\" is not a usable URL: {error}", escape(text)))),
            _ => Err(Failure::plain("post can have at most 1 argument. See --help.")),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Nothing {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// Forgets the token of the server, then reads something that needs a login.
pub(super) fn login(context: &Context, args: &Args) -> Result<(), Failure> {
    let failed = |error: RemoteError| Failure::coded(4, error);
    let url = args.url(&context.baseurl, "auth/auth_status")?;
    let access = context.access_for(&url)?;
    access.auth.forget(&url).map_err(|error| failed(error.into()))?;
    let value = document(&context.client, &url, &access, Need::Write, &context.limits).map_err(failed)?;
    let text = pretty(&value, Style::WORKING_TREE).map_err(|error| Failure::coded(4, error))?;
    show::print(&format!("Response of GET {}\n{text}\nLoggedIn Successfully!\n", escape(&url.to_string())))
}

/// Forgets the token of the server.
pub(super) fn logout(context: &Context, args: &Args) -> Result<(), Failure> {
    let url = args.url(&context.baseurl, "")?;
    let (endpoint, was) = context.access.auth.forget(&url).map_err(|error| Failure::coded(4, error))?;
    show::tell(&if was { format!("Logged out of {endpoint}") } else { format!("Not logged in at {endpoint}") });
    Ok(())
}

/// Asks every endpoint that there is a token for, each with its own.
pub(super) fn whoami(context: &Context) -> Result<(), Failure> {
    let failed = |error: AuthError| Failure::coded(2, error);
    let mut known = Vec::new();
    for (endpoint, token) in context.access.auth.known().map_err(failed)? {
        known.push((endpoint, Access { token: Some(token), ..context.access.clone() }));
    }
    if context.access.token.is_some() {
        known.insert(0, (context.baseurl.with_appended("auth"), context.access.clone()));
    }
    let mut wrong = Vec::new();
    for (endpoint, access) in known {
        let url = endpoint.with_appended("auth_status");
        match document(&context.client, &url, &access, Need::Read, &context.limits) {
            Ok(claims) => {
                let claim = |name| claims.get(name).and_then(|value| value.as_str()).unwrap_or_default();
                let shown = format!("{}({}) at {endpoint}", claim("nick"), claim("prn"));
                show::tell(&escape(&shown));
            }
            Err(error) => wrong.push(format!("nobody at {}: {error}", escape(&endpoint.to_string()))),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::coded(2, wrong.join("\n"))) }
}
