//! What every command needs: folders, addresses, the HTTP client.
//!
//! | flag | environment | without both |
//! |---|---|---|
//! | `--config-dir` | `PVR_CONFIG_DIR` | `$HOME/.pvr`, or `.pvr` in the home of the password file |
//! | `--repo-baseurl` | `PVR_REPO_BASEURL` | `https://pvr.pantahub.com` |
//! | `--access-token`, `--baseurl` | | see `access.rs` |
//! | `--cacert` | `PVR_CACERT`, `SSL_CERT_FILE` | the authorities that are built in |
//! | `--no-index` | `PVR_NO_INDEX` | no |
//! | `--insecure` | `PVR_INSECURE` | no |
//! | `--http-proxy` | `PVR_HTTP_PROXY` | `system`: `http_proxy`, `https_proxy`, `no_proxy` |
//! | `--debug` | `PVR_DEBUG` | no |
//! | `--quiet` | `PVR_QUIET` | no |
//! | | `PVR_AGENT_MAX_STATE_BYTES`, `PVR_AGENT_MAX_JSON_DEPTH` | see `cli::limits` |
//! | | `PVR_PROGRESS_AFTER` | 1: seconds before a bar is drawn |
//! | | `PVR_HTTP_TIMEOUT` | 60: seconds without anything moving before a connection is given up |
//!
//! An environment variable that is set to nothing counts as not set.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Globals;
use super::access;
use super::failure::Failure;
use super::show::{self, Progress};
use super::working::Working;
use super::{report, screen};
use crate::net::{Client, Patience, Proxies, Trust, Url};
use crate::remote::{Access, Objects, Remote};
use crate::repo::{GetOptions, How, Place, Reference, ReferenceError, Repo, RepoError, Source};
use crate::state::JsonLimits;
use crate::store::make_folders;

const REPO_BASEURL: &str = "https://pvr.pantahub.com";

/// Folders, addresses, client.
pub(super) struct Context {
    /// The current folder: the only one that can be a repository.
    pub(super) cwd: PathBuf,
    /// The folder of what all repositories share.
    pub(super) config_dir: PathBuf,
    repo_baseurl: Url,
    /// The API of the hub.
    pub(super) baseurl: Url,
    token: Option<String>,
    pub(super) access: Access,
    pub(super) client: Client,
    pub(super) limits: JsonLimits,
    no_index: bool,
}

impl Context {
    pub(super) fn new(globals: &Globals) -> Result<Self, Failure> {
        if globals.quiet {
            screen::be_quiet();
        }
        let cwd = crate::repo::current_folder().map_err(|error| Failure::coded(1, error))?;
        // What a variable says is in the flags already: see `grammar`.
        let given = |flag: &Option<String>| flag.clone().filter(|text| !text.is_empty());
        let config_dir = match given(&globals.config_dir) {
            Some(folder) => cwd.join(folder),
            None => env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .ok_or_else(|| Failure::coded(4, "no home folder: set HOME, or give --config-dir"))?
                .join(".pvr"),
        };
        make_folders(&config_dir, 0o700).map_err(|error| {
            Failure::coded(4, format!("failed to create {}: {error}", crate::repo::shown(&config_dir)))
        })?;
        let base = given(&globals.repo_baseurl).unwrap_or_else(|| REPO_BASEURL.to_owned());
        let repo_baseurl = Url::parse(&base).map_err(|error| Failure::plain(format!("repo-baseurl: {error}")))?;
        let baseurl = access::baseurl(globals.baseurl.as_deref())?;
        let token = globals.access_token.clone();
        let access = access::access(token.as_deref(), config_dir.clone(), &baseurl, &repo_baseurl, None)?;
        let mut patience = Patience::default();
        if let Some(seconds) = variable("PVR_HTTP_TIMEOUT") {
            let seconds = seconds.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
            let seconds =
                seconds.ok_or_else(|| Failure::plain("PVR_HTTP_TIMEOUT is not a number of seconds from 1 to 86400"))?;
            patience.idle = Duration::from_secs(seconds);
        }
        let cacert = given(&globals.cacert).or_else(|| variable("SSL_CERT_FILE"));
        let trust = match cacert {
            _ if globals.insecure => Trust::Anyone,
            Some(file) => Trust::File(cwd.join(file)),
            None => Trust::BuiltIn,
        };
        let limits = crate::cli::limits::json().map_err(Failure::plain)?;
        let proxy = given(&globals.http_proxy);
        let proxies = match proxy.as_deref() {
            None | Some("system") => Proxies::system(|name| env::var(name).ok()),
            Some("no") => Ok(Proxies::none()),
            Some(url) => Proxies::fixed(url),
        };
        let proxies = proxies.map_err(|error| Failure::plain(format!("http-proxy not a valid url\n{error}")))?;
        let mut client = Client::new(patience, trust).through(proxies);
        if globals.debug {
            client = client.traced(Arc::new(show::tell));
        }
        Ok(Self { cwd, config_dir, repo_baseurl, baseurl, token, access, client, limits, no_index: globals.no_index })
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

    /// The pool that no flag and no variable but that of the config folder chooses.
    pub(super) fn config_pool(&self) -> Result<String, Failure> {
        let path = clean(&self.config_dir.join("objects"));
        path.into_os_string()
            .into_string()
            .map_err(|_| Failure::coded(3, "the path of the objects folder is not UTF-8"))
    }

    /// Reads a reference that may be a path.
    pub(super) fn reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        let path = clean(&self.cwd.join(text.split('#').next().unwrap_or_default()));
        let repo = if path.ends_with(".pvr") { path.parent().unwrap_or(&path) } else { &path };
        // Should a deploy have died there, and what it left be out of reach, the path says so itself.
        crate::repo::settle(repo).ok();
        Reference::parse(text, &self.repo_baseurl, Some(&self.cwd))
    }

    /// Reads a reference that is never a path.
    pub(super) fn remote_reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, &self.repo_baseurl, None)
    }

    /// Asks an endpoint where its parts are, and says so.
    pub(super) fn discover(&self, url: &Url) -> Result<Remote, RepoError> {
        self.discover_as(url, &self.access)
    }

    /// Two endpoints, of which the second is written to. The user's token is for that one.
    pub(super) fn discover_both(&self, source: &Url, destination: &Url) -> Result<(Remote, Remote), RepoError> {
        let one = self.access.is_one_server(source, destination);
        let reader = if one { self.access.clone() } else { self.access.without_token() };
        Ok((self.discover_as(source, &reader)?, self.discover(destination)?))
    }

    fn discover_as(&self, url: &Url, access: &Access) -> Result<Remote, RepoError> {
        let remote = Remote::discover(&self.client, url, access);
        show::note(&format!("Getting remote repository info ... [{}]", if remote.is_ok() { "OK" } else { "ERROR" }));
        Ok(remote?)
    }

    /// An objects endpoint.
    pub(super) fn objects(&self, url: &Url) -> Objects {
        Objects::at(&self.client, url, &self.access)
    }

    /// How to get in at a server that the user has named for a login.
    pub(super) fn access_for(&self, url: &Url) -> Result<Access, Failure> {
        let (token, folder) = (self.token.as_deref(), self.config_dir.clone());
        access::access(token, folder, &self.baseurl, &self.repo_baseurl, Some(url))
    }

    /// `get` and `merge` with what they say on stderr.
    pub(super) fn get(
        &self,
        repo: &Repo,
        reference: &Reference,
        how: How,
        flags: report::Flags,
    ) -> Result<crate::repo::Got, RepoError> {
        let progress = Progress::beside(flags.json);
        let mut copied = |key: &crate::state::StatePath, cached: bool| {
            show::note(&format!("{} [OK{}]", show::label(key), if cached { " cache" } else { "" }));
        };
        let options = GetOptions { uri: &reference.text, selection: &reference.parts, how, run: flags.run() };
        let mut get = |source: &Source<'_>| repo.get(source, options, &progress, &mut copied);
        let got = match &reference.place {
            Place::Local(path) => {
                let _working = Working::begin("getting");
                get(&Source::Local(path))
            }
            Place::Remote(url) => get(&Source::Remote(&self.discover(url)?)),
        }?;
        show::warn(&got.fetched.warnings);
        Ok(got)
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
