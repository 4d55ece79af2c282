//! Where the storage is and what the device is called, for `serve` and `cgi` alike.
//!
//! | environment | configuration (`httpd`) | |
//! |---|---|---|
//! | `PVR_AGENT_SOCKET` | | the control socket; without, the first that is found, unless a storage elsewhere than in `/storage` is named. `none`: the storage alone |
//! | `PVR_AGENT_ON_POST` | | what becomes of a revision: `run`, `run-commit`, `install` |
//! | `PVR_AGENT_GC` | | `1`: Pantavisor may be told to collect where there is no room |
//! | `PVR_AGENT_STORAGE` | `storage` | the storage; without, `/storage`, else `./pvroot` |
//! | `PVR_AGENT_STATE_DIR` | | the folder for what has to be kept; without, `.pvr-agent` in the storage, else `/var/lib/pvr-agent`, and locks of uploads to a control socket in `/run/pvr-agent` |
//! | `PVR_AGENT_LOG_DIR` | `dir`, of `log` | the logs; without, `logs` in the storage, else `/pantavisor/logs` |
//! | `PVTXDIR` | | the transaction; without, `pvtx` in the folder for what has to be kept |
//! | `PVR_AGENT_PUBLIC_URL` | | the URL under which clients see this device |
//! | `PVR_AGENT_URL_HOURS` | | how long signed URLs are good for, 1 hour or more; without, 24 |
//! | `PVR_AGENT_HOST` | | more names that it may be called by, with blanks or commas between them |
//!
//! A flag comes first, then the environment, then the configuration. A variable that is set to nothing counts as not set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::device::{Device, OnPost, Places, Runner, Socketed};
use crate::endpoint::config::{ETC_FILE, Listen};
use crate::endpoint::public::PublicUrl;
use crate::endpoint::{Hosts, Limits};
use crate::pvctrl::{self, Control};
use crate::state::{JsonLimits, escape};
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

/// Folders of the device that somebody has named.
pub(super) fn places(state: Option<&Path>, logs: Option<&Path>, config: Option<&Path>) -> Result<Places> {
    let named = |flag: Option<&Path>, variable: &str| {
        let env = || std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        flag.map(Path::to_owned).or_else(env)
    };
    let logs = match named(logs, "PVR_AGENT_LOG_DIR") {
        Some(logs) => Some(logs),
        None => Listen::from_file(config.unwrap_or(Path::new(ETC_FILE)))?.and_then(|listen| listen.logs),
    };
    Ok(Places { state: named(state, "PVR_AGENT_STATE_DIR"), transactions: named(None, "PVTXDIR"), logs })
}

/// The storage of the device itself: to name it chooses nothing.
const DEVICE: &str = "/storage";

/// The control socket to work with, if it is one that is worked with. Whoever names a storage elsewhere than the device has it means
/// that one, which the Pantavisor that runs here may know nothing of.
pub(super) fn socket(flag: Option<&Path>, storage: Option<&Path>) -> Option<PathBuf> {
    let named = flag
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("PVR_AGENT_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from));
    match named {
        Some(path) => Some(path).filter(|path| path != Path::new("none")),
        None if storage.is_some_and(|path| path != Path::new(DEVICE)) => None,
        None => pvctrl::find(),
    }
}

/// The device behind a control socket; its storage is read where it is mounted.
pub(super) fn behind(
    socket: &Path,
    storage: Option<&Path>,
    json: JsonLimits,
    gc: bool,
    state: Option<&Path>,
) -> Result<Device> {
    // Accounts are in it: who names it and cannot have it is not to be served without.
    let storage = match storage {
        Some(path) => Some(Storage::open_read_only(path)?),
        None if Path::new(DEVICE).join("trails").is_dir() => Storage::open_read_only(Path::new(DEVICE)).ok(),
        None => None,
    };
    let storage = storage.map(|storage| storage.with_json_limits(json));
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let gc = gc || set("PVR_AGENT_GC").is_some_and(|value| value == "1");
    let state = state.map(Path::to_owned).or_else(|| set("PVR_AGENT_STATE_DIR").map(PathBuf::from));
    Ok(Device::behind(Socketed::new(Control::at(socket), storage, json)?.may_collect(gc).state_folder(state)))
}

/// The device that the command line, the environment and the configuration say, as it is.
pub(super) fn device(flag: Option<&Path>, storage: Option<&Path>, json: JsonLimits) -> Result<Device> {
    let named = named_storage(storage, None)?;
    let device = match socket(flag, named.as_deref()) {
        Some(socket) => behind(&socket, named.as_deref(), json, false, None)?,
        None => {
            let storage = Storage::open(&named.unwrap_or_else(Storage::usual_place))?;
            Device::unswept(storage.with_json_limits(json), Runner::detect())?
        }
    };
    Ok(device.on_post(on_post(None)?).with_places(places(None, None, None)?))
}

/// How long signed URLs are good for.
pub(super) fn url_time(flag: Option<u32>) -> Result<Duration> {
    let env = std::env::var("PVR_AGENT_URL_HOURS").ok().filter(|text| !text.is_empty());
    let hours = match (flag, env) {
        (Some(hours), _) => Some(hours),
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| anyhow!("PVR_AGENT_URL_HOURS: '{}' is no number", escape(&text)))?)
        }
        (None, None) => None,
    };
    match hours {
        None => Ok(Limits::default().url_time),
        Some(hours) if (1..=8760).contains(&hours) => Ok(Duration::from_secs(u64::from(hours) * 3600)),
        Some(hours) => Err(anyhow!("signed URLs cannot be good for {hours} hours\nsay 1 to 8760")),
    }
}

/// What becomes of a revision.
pub(super) fn on_post(flag: Option<&str>) -> Result<OnPost> {
    let env = std::env::var("PVR_AGENT_ON_POST").ok();
    match flag.or(env.as_deref()).filter(|word| !word.is_empty()) {
        None => Ok(OnPost::default()),
        Some(word) => OnPost::parse(word).ok_or_else(|| {
            anyhow!("'{}' is nothing that a post could lead to\nsay run, run-commit or install", escape(word))
        }),
    }
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
