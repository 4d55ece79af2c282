//! What every command needs: folders, addresses, the HTTP client.
//!
//! | flag | environment | without both |
//! |---|---|---|
//! | `--config-dir` | `PVR_CONFIG_DIR` | `$HOME/.pvr`, or `.pvr` in the home of the password file |
//! | `--repo-baseurl` | `PVR_REPO_BASEURL` | `https://pvr.pantahub.com` |
//! | `--access-token` | `PVR_ACCESSTOKEN` | none |
//! | `--cacert` | `PVR_CACERT`, `SSL_CERT_FILE` | the authorities that are built in |
//! | `--no-index` | `PVR_NO_INDEX` | no |
//! | `--insecure` | `PVR_INSECURE` | no |
//! | | `PVR_AGENT_MAX_STATE_BYTES`, `PVR_AGENT_MAX_JSON_DEPTH` | see `cli::limits` |
//! | | `PVR_HTTP_TIMEOUT` | 60: seconds without anything moving before a connection is given up |
//!
//! An environment variable that is set to nothing counts as not set.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Globals;
use super::failure::Failure;
use super::show::{self, Progress};
use crate::net::{Client, Patience, Trust, Url};
use crate::remote::{AccessToken, Remote};
use crate::repo::{Place, Reference, ReferenceError, Repo, RepoError, Source};
use crate::state::JsonLimits;

const REPO_BASEURL: &str = "https://pvr.pantahub.com";

/// Folders, addresses, client.
pub(super) struct Context {
    /// The current folder: the only one that can be a repository.
    pub(super) cwd: PathBuf,
    /// The folder of what all repositories share.
    pub(super) config_dir: PathBuf,
    repo_baseurl: Url,
    token: Option<AccessToken>,
    client: Client,
    pub(super) limits: JsonLimits,
    no_index: bool,
}

impl Context {
    pub(super) fn new(globals: &Globals) -> Result<Self, Failure> {
        let cwd = env::current_dir().map_err(|error| Failure::coded(1, format!("no current folder: {error}")))?;
        let given = |flag: &Option<String>, name| flag.clone().filter(|f| !f.is_empty()).or_else(|| variable(name));
        let config_dir = match given(&globals.config_dir, "PVR_CONFIG_DIR") {
            Some(folder) => cwd.join(folder),
            None => env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .ok_or_else(|| Failure::coded(4, "no home folder: set HOME, or give --config-dir"))?
                .join(".pvr"),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&config_dir).map_err(|error| {
            Failure::coded(4, format!("failed to create {}: {error}", crate::repo::shown(&config_dir)))
        })?;
        let base = given(&globals.repo_baseurl, "PVR_REPO_BASEURL").unwrap_or_else(|| REPO_BASEURL.to_owned());
        let repo_baseurl = Url::parse(&base).map_err(|error| Failure::plain(format!("repo-baseurl: {error}")))?;
        let token = match given(&globals.access_token, "PVR_ACCESSTOKEN") {
            None => None,
            Some(token) => Some(
                AccessToken::parse(&token)
                    .ok_or_else(|| Failure::plain("the access token has characters that cannot be sent"))?,
            ),
        };
        let mut patience = Patience::default();
        if let Some(seconds) = variable("PVR_HTTP_TIMEOUT") {
            let seconds = seconds.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
            let seconds =
                seconds.ok_or_else(|| Failure::plain("PVR_HTTP_TIMEOUT is not a number of seconds from 1 to 86400"))?;
            patience.idle = Duration::from_secs(seconds);
        }
        let cacert = given(&globals.cacert, "PVR_CACERT").or_else(|| variable("SSL_CERT_FILE"));
        let trust = match cacert {
            _ if globals.insecure => Trust::Anyone,
            Some(file) => Trust::File(cwd.join(file)),
            None => Trust::BuiltIn,
        };
        let limits = crate::cli::limits::json().map_err(Failure::plain)?;
        Ok(Self {
            cwd,
            config_dir,
            repo_baseurl,
            token,
            client: Client::new(patience, trust),
            limits,
            no_index: globals.no_index,
        })
    }

    /// The repository in the current folder, whether or not there is one.
    pub(super) fn repo(&self) -> Repo {
        let repo = Repo::at(&self.cwd).with_json_limits(self.limits);
        if self.no_index { repo.without_index() } else { repo }
    }

    /// The pool for a new repository: what is given, or `objects` in the config folder; absolute.
    pub(super) fn pool(&self, flag: Option<&str>) -> Result<String, Failure> {
        let given = flag.filter(|given| !given.is_empty());
        let path = given.map_or_else(|| self.config_dir.join("objects"), |given| self.cwd.join(given));
        let path = clean(&path);
        path.into_os_string()
            .into_string()
            .map_err(|_| Failure::coded(3, "the path of the objects folder is not UTF-8"))
    }

    /// Reads a reference that may be a path.
    pub(super) fn reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, &self.repo_baseurl, Some(&self.cwd))
    }

    /// Reads a reference that is never a path.
    pub(super) fn remote_reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, &self.repo_baseurl, None)
    }

    /// Asks an endpoint where its parts are, and says so.
    pub(super) fn discover(&self, url: &Url) -> Result<Remote, RepoError> {
        let remote = Remote::discover(&self.client, url, self.token.clone());
        show::tell(&format!("Getting remote repository info ... [{}]", if remote.is_ok() { "OK" } else { "ERROR" }));
        Ok(remote?)
    }

    /// `get` with what it says on stderr.
    pub(super) fn get(&self, repo: &Repo, reference: &Reference) -> Result<crate::repo::Got, RepoError> {
        let progress = Progress::new();
        let mut copied = |key: &crate::state::StatePath, cached: bool| {
            show::tell(&format!("{} [OK{}]", show::label(key), if cached { " cache" } else { "" }));
        };
        let mut get = |source: &Source<'_>| repo.get(source, &reference.text, &reference.parts, &progress, &mut copied);
        match &reference.place {
            Place::Local(path) => get(&Source::Local(path)),
            Place::Remote(url) => get(&Source::Remote(&self.discover(url)?)),
        }
    }
}

/// An environment variable that holds something.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same path without `.` and `..`, by its text alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
