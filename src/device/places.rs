//! Where the device's own folders are, beside its storage.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Back, Device, DeviceError};
use crate::store::pool::agent_of;

/// Where there is no storage to keep something in.
const USUAL: &str = "/var/lib/pvr-agent";

/// Where the logs of containers are, in a container.
const MOUNTED_LOGS: &str = "/pantavisor/logs";

/// Folders that somebody has named.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// What has to outlive a request: transactions, slots of those who follow a log.
    pub state: Option<PathBuf>,
    /// The transaction.
    pub transactions: Option<PathBuf>,
    /// The logs.
    pub logs: Option<PathBuf>,
}

impl Device {
    /// With these folders instead of its own.
    #[must_use]
    pub fn with_places(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// The working folder, 0700: the one that is named, else `.pvr-agent` of a storage that is there and can be written, else
    /// `/var/lib/pvr-agent`. It is made if it is not there.
    pub fn working_folder(&self) -> Result<PathBuf, DeviceError> {
        let folder = self.place_to_work();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
            let folder = crate::state::escape(&folder.to_string_lossy()).into_owned();
            let hint = "name another one: --state-dir, or PVR_AGENT_STATE_DIR";
            DeviceError::failed(format!("failed to make the folder '{folder}': {error}; {hint}"))
        })?;
        Ok(folder)
    }

    /// The folder of the accounts: the one that is named, else `.pvr-agent` of a storage that is there, else `/var/lib/pvr-agent`. It is not made,
    /// and it does not depend on what whoever asks may write: what root adds has to be what an endpoint goes by.
    pub fn accounts_folder(&self) -> PathBuf {
        let storage = match &self.back {
            Back::Stored(stored) => Some(stored.storage()),
            Back::Socket(socket) => socket.storage(),
        };
        let own = || storage.map(|storage| agent_of(storage.store().objects()));
        self.places.state.clone().or_else(own).unwrap_or_else(|| Path::new(USUAL).to_owned())
    }

    /// The same folder, whether it is there or not.
    pub(super) fn place_to_work(&self) -> PathBuf {
        let folder = self.places.state.clone().or_else(|| match &self.back {
            Back::Stored(stored) => Some(agent_of(stored.storage().store().objects())),
            Back::Socket(socket) => {
                let storage = socket.storage()?;
                access(storage.root(), Access::WRITE_OK).is_ok().then(|| agent_of(storage.store().objects()))
            }
        });
        folder.unwrap_or_else(|| PathBuf::from(USUAL))
    }

    /// The folder of the logs.
    pub fn log_folder(&self) -> PathBuf {
        let own = || self.storage().map(|root| root.join("logs"));
        self.places.logs.clone().or_else(own).unwrap_or_else(|| Path::new(MOUNTED_LOGS).to_owned())
    }
}
