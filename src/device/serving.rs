//! The server of a device: what it has to reach, and what it says of itself to others on the device.
//!
//! ```text
//! <working folder>/serving     0600; locked by the server for as long as it lives
//! {"pid":123,"privileges":{"user":0,…}}
//! ```
//!
//! Of several servers of one device, it has what the first says of itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::{Back, Confined, Device, Reach};

const NAME: &str = "serving";

/// What a server says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Serving {
    /// Its process.
    pub pid: u32,
    /// What it has given up.
    pub privileges: Confined,
}

impl Device {
    /// What has to be within reach to serve this device. Makes the folders that it will need, as far as that can be done.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        reach.change.extend(self.working_folder());
        // Logins that failed are counted beside the accounts, by any server that can.
        reach.change.extend(Some(self.accounts_folder()).filter(|folder| folder.is_dir()));
        reach.read.push(self.accounts_folder());
        reach.change.extend(self.places.transactions.clone());
        let storage = match &self.back {
            Back::Stored(stored) => {
                let storage = stored.storage();
                reach.storage = Some(storage.root().to_owned());
                // Either may be a link to another disk.
                for folder in [storage.store().objects(), &storage.trails_dir()] {
                    reach.change.extend(fs::canonicalize(folder));
                }
                None
            }
            Back::Socket(socket) => {
                reach.socket = Some(socket.path().to_owned());
                reach.change.extend(socket.turns.folder());
                socket.storage()
            }
        };
        if let Some(storage) = storage {
            reach.read.push(storage.root().to_owned());
            reach.read.extend(fs::canonicalize(storage.store().objects()));
        }
        reach.read.push(self.log_folder());
        reach.read.extend(fs::canonicalize(self.log_folder()));
        reach
    }

    /// Says that this process serves the device, until the file is closed. `None`: another one does, or there is no place to say it.
    pub fn serve(&self, privileges: Confined) -> Option<File> {
        let path = self.working_folder().ok()?.join(NAME);
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let mut file = options.open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        file.set_len(0).ok()?;
        let says = serde_json::to_vec(&Serving { pid: std::process::id(), privileges }).ok()?;
        file.write_all(&says).ok()?;
        Some(file)
    }

    /// Who serves the device.
    pub fn serving(&self) -> Option<Serving> {
        read(&self.place_to_work().join(NAME))
    }
}

fn read(path: &Path) -> Option<Serving> {
    let mut file = File::open(path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file).take(4096).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
