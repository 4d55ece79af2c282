//! What the endpoint acts on: a device, reached in one of two ways.
//!
//! | back end | when | how |
//! |---|---|---|
//! | *control socket* (`socket`) | there is one, or one is named | objects and states go through to Pantavisor, which is then told to run them |
//! | *storage* (`stored`) | else | revisions are laid out in the storage directory; who runs them is somebody else, or nobody |
//!
//! Reading, taking objects in, installing a revision: the endpoint asks for these and doesn't know how they are done. What
//! has to hold before a revision is installed is in one place for both, [`Device::post`]. Transactions end there, too
//! (`transact`); logs are files either way (`logs`), and what has to be kept has its place in `places`. Who did what is in `audit`, and
//! what a server gives up before it serves in `confine`.
//!
//! Everything here blocks.

mod audit;
mod confine;
mod error;
mod logs;
mod outlook;
mod places;
mod post;
mod rollback;
mod room;
mod serving;
mod socket;
mod stored;
mod transact;
mod turns;
mod updating;
mod upload;
mod volumes;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use audit::{AuditLog, Audited};
pub use confine::{Confined, Reach, User, UserError, confine};
pub use error::DeviceError;
pub use logs::{Follow, LogReader, Part, Source};
pub use outlook::Outlook;
pub use places::Places;
pub use post::{OnPost, Post, Posted};
pub use rollback::Rollback;
pub use serving::Serving;
pub use socket::Socketed;
pub use upload::{Received, Upload};

pub use crate::trails::{Checks, Verity};

use crate::pvctrl::{self, ObjectBody};
use crate::state::{ObjectId, Value};
use crate::store::Space;
use crate::trails::{Demands, Storage};
use stored::Stored;

/// Who runs what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// A Pantavisor.
    Pantavisor,
    /// Nobody: the newest revision counts as running.
    Nobody,
}

impl Runner {
    /// Looks for the control socket of a Pantavisor.
    pub fn detect() -> Self {
        if pvctrl::find().is_some() { Self::Pantavisor } else { Self::Nobody }
    }
}

/// A device.
#[derive(Debug)]
pub struct Device {
    back: Back,
    on_post: OnPost,
    demands: Demands,
    places: Places,
}

#[derive(Debug)]
enum Back {
    Stored(Stored),
    Socket(Box<Socketed>),
}

/// A revision as listings show it.
#[derive(Clone, Debug)]
pub struct Step {
    /// `0`, `locals/x`, or the escaped name of a folder that somebody else made.
    pub name: String,
    /// When its folder was last changed.
    pub date: String,
    /// What its author says of it.
    pub commit_msg: String,
    /// Its progress, as JSON.
    pub progress: Option<Vec<u8>>,
}

/// How a device is.
#[derive(Clone, Debug)]
pub struct Status {
    /// The running revision.
    pub running: Option<String>,
    /// The sha256 of its canonical state.
    pub state_sha: Option<ObjectId>,
    /// What became of it.
    pub progress: Option<Vec<u8>>,
    /// How the device is reached.
    pub backend: &'static str,
    /// Bytes.
    pub space: Space,
    /// Bytes that a collector would set free, as of a while ago; `None`: nobody could look.
    pub reclaimable: Option<u64>,
    /// A revision on its way.
    pub update: Option<String>,
}

/// A file of the running state.
#[derive(Clone, Debug)]
pub enum RunningFile {
    /// Inline.
    Json(Value),
    /// The bytes of an object.
    Bytes(Vec<u8>),
}

/// The bytes of an object.
pub enum Content {
    /// In a file that we can read.
    File(File),
    /// As the daemon sends them, from the first to the last. If they are not what the name stands for, their end is an error.
    Stream(Box<ObjectBody>),
}

impl Device {
    /// A device by its storage. Removes what others left unfinished.
    pub fn open(storage: Storage, runner: Runner) -> Result<Self, DeviceError> {
        let device = Self::unswept(storage, runner)?;
        device.settle()?;
        Ok(device)
    }

    /// Takes only states that are what is demanded.
    #[must_use]
    pub fn demanding(self, demands: Demands) -> Self {
        Self { demands, ..self }
    }

    /// What is demanded of states before they are installed.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// A device by its storage, as it is. Whoever changes something has to [settle](Self::settle) it before.
    pub fn unswept(storage: Storage, runner: Runner) -> Result<Self, DeviceError> {
        Ok(Self {
            back: Back::Stored(Stored::new(storage, runner)?),
            on_post: OnPost::default(),
            demands: Demands::default(),
            places: Places::default(),
        })
    }

    /// A device by its control socket.
    pub fn behind(socket: Socketed) -> Self {
        Self {
            back: Back::Socket(Box::new(socket)),
            on_post: OnPost::default(),
            demands: Demands::default(),
            places: Places::default(),
        }
    }

    /// What becomes of a revision, unless its post says so.
    #[must_use]
    pub fn on_post(mut self, on_post: OnPost) -> Self {
        self.on_post = on_post;
        self
    }

    /// Removes what others left unfinished, and uploads that no post came for within a day.
    pub fn sweep(&self) -> Result<(), DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.sweep(),
            Back::Socket(socket) => socket.sweep(),
        }
    }

    /// Finishes or removes what others left half done.
    pub fn settle(&self) -> Result<(), DeviceError> {
        match &self.back {
            Back::Stored(stored) => {
                self.tidy_transaction();
                stored.settle()
            }
            Back::Socket(socket) => socket.sweep(),
        }
    }

    /// The device's id at the hub, or `local`.
    pub fn trail_id(&self) -> &str {
        match &self.back {
            Back::Stored(stored) => stored.trail_id(),
            Back::Socket(socket) => socket.trail_id(),
        }
    }

    /// Where what it has is: the storage, or the control socket.
    pub fn place(&self) -> PathBuf {
        match &self.back {
            Back::Stored(stored) => stored.storage().root().to_owned(),
            Back::Socket(socket) => socket.path().to_owned(),
        }
    }

    /// The storage that objects are read from, if there is one.
    pub fn storage(&self) -> Option<&Path> {
        match &self.back {
            Back::Stored(stored) => Some(stored.storage().root()),
            Back::Socket(socket) => socket.storage().map(Storage::root),
        }
    }

    /// What runs, by the name that a client gave it.
    pub fn resolve(&self, text: &str) -> Result<String, DeviceError> {
        match &self.back {
            Back::Stored(stored) => Ok(stored.resolve(text)?.to_string()),
            Back::Socket(socket) => socket.resolve(text),
        }
    }

    /// The state of a revision, or of the running one, in canonical form.
    pub fn state_text(&self, rev: Option<&str>) -> Result<String, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.state_text(rev),
            Back::Socket(socket) => socket.state_text(rev),
        }
    }

    /// The JSON file at `key` in the running state, be it inline or an object of at most `limit` bytes.
    pub fn running_file(&self, key: &str, limit: u64) -> Result<Option<RunningFile>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.running_file(key, limit),
            Back::Socket(socket) => socket.running_file(key, limit),
        }
    }

    /// All revisions.
    pub fn steps(&self) -> Result<Vec<Step>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.steps(),
            Back::Socket(socket) => socket.steps(),
        }
    }

    /// One revision, or the running one, and the sha256 of its state where it can be read.
    pub fn step(&self, rev: Option<&str>) -> Result<(Step, Option<ObjectId>), DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.step(rev),
            Back::Socket(socket) => socket.step(rev),
        }
    }

    /// The progress of a revision, as JSON.
    pub fn progress_text(&self, rev: &str) -> Result<Vec<u8>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.progress_text(rev),
            Back::Socket(socket) => socket.progress_text(rev),
        }
    }

    /// All objects by name, unchecked, and their sizes.
    pub fn objects(&self) -> Result<Vec<(ObjectId, u64)>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.objects(),
            Back::Socket(socket) => socket.objects(),
        }
    }

    /// The bytes and the size of an object that is known to be intact; nothing is hashed, nobody waited for. `None`:
    /// [`open_object`](Self::open_object) has to find out.
    pub fn open_known_object(&self, id: &ObjectId) -> Result<Option<(Content, u64)>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => Ok(stored.open_known_object(id)?.map(|(file, size)| (Content::File(file), size))),
            Back::Socket(_) => Ok(None),
        }
    }

    /// The bytes and the size of an intact object.
    pub fn open_object(&self, id: &ObjectId) -> Result<(Content, u64), DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.open_object(id).map(|(file, size)| (Content::File(file), size)),
            Back::Socket(socket) => socket.open_object(id),
        }
    }

    /// Makes sure that an intact object of `size` bytes stays until it is posted. `None`: it is not here.
    pub fn keep_object(&self, id: &ObjectId, size: u64) -> Result<Option<u64>, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.keep_object(id),
            Back::Socket(socket) => socket.keep_object(id, size),
        }
    }

    /// Whether an object of this size could be taken in now.
    pub fn check_upload(&self, size: u64) -> Result<(), DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.check_space(size),
            Back::Socket(socket) => socket.check(size),
        }
    }

    /// Whether a post of this size could be taken in now. On a storage its size says nothing: a state that is there takes no room,
    /// and what another one takes is counted before it is written.
    pub fn check_post(&self, size: u64) -> Result<(), DeviceError> {
        match &self.back {
            Back::Stored(_) => Ok(()),
            Back::Socket(socket) => socket.check(size),
        }
    }

    /// Begins to take an object in. Its space is set aside, where that is ours to do.
    pub fn begin_upload(&self, id: ObjectId, size: u64) -> Result<Upload, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.begin_upload(id, size).map(Upload::stored),
            Back::Socket(socket) => socket.begin_upload(id, size),
        }
    }

    /// Checks an object that has come whole.
    pub fn finish_upload(&self, upload: Upload) -> Result<Received, DeviceError> {
        let received = upload.finish()?;
        if let (Back::Socket(socket), Some((id, size))) = (&self.back, received.stored_by_the_daemon()) {
            socket.is_whole(id, size);
        }
        Ok(received)
    }

    /// Makes objects durable and names them, as far as that has not been done.
    pub fn publish(&self, received: Vec<Received>) -> Result<(), DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.publish(received.into_iter().filter_map(Received::sealed).collect()),
            // The daemon has named them.
            Back::Socket(socket) => socket.make_durable(),
        }
    }

    /// How the device is.
    pub fn status(&self) -> Result<Status, DeviceError> {
        match &self.back {
            Back::Stored(stored) => stored.status(),
            Back::Socket(socket) => socket.status(),
        }
    }
}
