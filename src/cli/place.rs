//! Where the storage is and what the device is called, for `serve` and `cgi` alike.
//!
//! | environment | configuration (`httpd`) | |
//! |---|---|---|
//! | `PVR_AGENT_STORAGE` | `storage` | the storage; without, `/storage`, else `./pvroot` |
//! | `PVR_AGENT_PUBLIC_URL` | | the URL under which clients see this device |
//! | `PVR_AGENT_HOST` | | more names that it may be called by, with blanks or commas between them |
//!
//! A flag comes first, then the environment, then the configuration. A variable that is set to nothing counts as not set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::endpoint::Hosts;
use crate::endpoint::config::{ETC_FILE, Listen};
use crate::endpoint::public::PublicUrl;
use crate::trails::Storage;

/// The storage that somebody has named.
pub(super) fn named_storage(flag: Option<&Path>, config: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = flag {
        return Ok(Some(path.to_owned()));
    }
    if let Some(path) = std::env::var_os("PVR_AGENT_STORAGE").filter(|path| !path.is_empty()) {
        return Ok(Some(path.into()));
    }
    // Whoever names a configuration that is not there hears of it elsewhere.
    Ok(Listen::from_file(config.unwrap_or(Path::new(ETC_FILE)))?.and_then(|listen| listen.storage))
}

/// The storage that is named, or the device's.
pub(super) fn storage() -> Result<Storage> {
    let named = named_storage(None, None)?;
    Ok(Storage::open(&named.unwrap_or_else(Storage::usual_place))?)
}

/// The names of this device: those of the command line, if there is one, and those of the environment.
pub(super) fn hosts(names: &[String], public: Option<PublicUrl>) -> Result<Hosts> {
    let from_env = std::env::var("PVR_AGENT_HOST").unwrap_or_default();
    let more = from_env.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Vec<String> = names.iter().cloned().chain(more).collect();
    let public = match (public, std::env::var("PVR_AGENT_PUBLIC_URL").ok().filter(|url| !url.is_empty())) {
        (None, Some(url)) => {
            let parsed = PublicUrl::parse(&url).map_err(|error| anyhow!("{error}"));
            Some(parsed.context("PVR_AGENT_PUBLIC_URL cannot be used")?)
        }
        (public, _) => public,
    };
    Ok(Hosts::new(&names, public))
}
