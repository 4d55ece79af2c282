//! Who the user is, and which servers the user has named.
//!
//! | flag | environment | without both |
//! |---|---|---|
//! | `--access-token` | `PVR_ACCESSTOKEN` | none: logins where a server wants one |
//! | `--baseurl` | `PVR_BASEURL` | `https://api.pantahub.com` |
//! | | `PVR_USERNAME`, `PVR_PASSWORD` | the terminal is asked |

use std::path::PathBuf;
use std::sync::Arc;

use super::context::variable;
use super::failure::Failure;
use super::prompt::Terminal;
use crate::net::Url;
use crate::remote::{Access, AccessToken, Auth, Credentials};

const BASEURL: &str = "https://api.pantahub.com";

/// The API of the hub.
pub(super) fn baseurl(flag: Option<&str>) -> Result<Url, Failure> {
    let given = flag.filter(|given| !given.is_empty());
    Url::parse(given.unwrap_or(BASEURL)).map_err(|error| Failure::plain(format!("baseurl: {error}")))
}

/// How commands get in. `named` is a server that the user has named for a login.
pub(super) fn access(
    token: Option<&str>,
    config_dir: PathBuf,
    baseurl: &Url,
    repo_baseurl: &Url,
    named: Option<&Url>,
) -> Result<Access, Failure> {
    let token = token.filter(|given| !given.is_empty());
    let token = token
        .map(|token| {
            AccessToken::parse(token)
                .ok_or_else(|| Failure::plain("the access token has characters that cannot be sent"))
        })
        .transpose()?;
    let credentials = match (variable("PVR_USERNAME"), variable("PVR_PASSWORD")) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        _ => None,
    };
    let mut auth = Auth::new(config_dir, baseurl, repo_baseurl, credentials, Box::new(Terminal));
    if let Some(named) = named {
        auth = auth.credentials_also_at(named);
    }
    Ok(Access { auth: Arc::new(auth), token })
}
