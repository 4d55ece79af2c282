//! What can go wrong with a transaction, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};

use crate::pvctrl::ControlError;
use crate::state::canonical::CanonicalError;
use crate::state::{ObjectId, Revision, StateError, escape};
use crate::store::{ArchiveError, Shown, StoreError};
use crate::trails::InstallError;

/// A command that cannot do what it is told. What was there is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PvtxError {
    /// Nothing has begun.
    #[error("no transaction is active\nbegin one with: pvtx begin")]
    NotActive {
        /// Who asked.
        asked: Asked,
    },
    /// One has begun already.
    #[error("a transaction is active already\nend it with deploy, commit or abort")]
    Active,
    /// The same, for a queue.
    #[error("a transaction is active; end it with deploy, commit or abort before a new queue")]
    ActiveQueue,
    /// There is no queue.
    #[error("no queue is defined, or its folder {} does not exist\ndefine one with: pvtx queue new", Shown(.dir))]
    NoQueue {
        /// Where it would be.
        dir: PathBuf,
        /// Who asked.
        asked: Asked,
    },
    /// A commit of what is local.
    #[error("this transaction is local; end it with: pvtx deploy DIR")]
    Local,
    /// A deploy of what is remote.
    #[error("this transaction is remote; end it with: pvtx commit")]
    Remote,
    /// No part.
    #[error("the part is missing\nname the package, file or signature that is to go")]
    NoPart,
    /// No folder can be found for transactions.
    #[error("no folder for transactions can be found: neither PVTXDIR nor HOME is set\nset PVTXDIR")]
    NoPlace,
    /// There is no state at a path.
    #[error("no state at {}\na base is \"current\", \"empty\", a file of JSON, or a folder with json or .pvr/json", Shown(.0))]
    NoBase(PathBuf),
    /// What should be a file is something else.
    #[error("{} is not a file", Shown(.0))]
    NotAFile(PathBuf),
    /// A file is over the limit.
    #[error("{what} has more than {limit} bytes\nPVR_AGENT_MAX_STATE_BYTES sets the limit")]
    TooLarge {
        /// What it is.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// A text is not a state.
    #[error("{what} is not a state: {source}")]
    State {
        /// Where it comes from.
        what: String,
        /// What is wrong with it.
        source: Box<StateError>,
    },
    /// The header of a signature cannot be read.
    #[error("the header of the signature \"{}\" cannot be read: it has to be JSON in base64url", escape(.key))]
    Signature {
        /// Its key.
        key: String,
    },
    /// The result has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Neither a package nor a state.
    #[error("it is neither a package (tar, gzipped or not) nor a state: {0}")]
    Unknown(Box<StateError>),
    /// A package is damaged.
    #[error("the package is not taken: {0}")]
    Package(Box<ArchiveError>),
    /// A package has an object with a name that is none.
    #[error("the package is not taken: \"{}\" in it is not named by a sha256", escape(.0))]
    ObjectName(String),
    /// An object is not what its name says.
    #[error("the object {id} is not taken: {source}")]
    Object {
        /// Its name.
        id: ObjectId,
        /// What it is.
        source: Box<StoreError>,
    },
    /// Whoever takes the objects of a package has not taken one, for a reason of its own.
    #[error("{0}")]
    NotTaken(Box<dyn std::error::Error + Send + Sync>),
    /// The folder of the objects is not there.
    #[error("the folder of the objects {} does not exist\ncreate it, or begin with another one", Shown(.0))]
    NoObjects(PathBuf),
    /// Objects that a deploy needs are missing or damaged.
    #[error("objects are missing or damaged in {}:{}", Shown(.dir), list(.objects))]
    Missing {
        /// The folder of the objects.
        dir: PathBuf,
        /// Keys and objects.
        objects: Vec<(String, ObjectId)>,
    },
    /// A path does not fit into `.status`.
    #[error("the path {} is too long: 4095 bytes are what can be kept", Shown(.0))]
    LongPath(PathBuf),
    /// The folder that is to be replaced is not there.
    #[error("the folder {} does not exist\ncreate it first", Shown(.0))]
    NoFolder(PathBuf),
    /// What a deploy would throw away lies in the folder that it replaces.
    #[error("{} lies in {}, which would be replaced\ndeploy to a folder of its own", Shown(.inside), Shown(.folder))]
    Inside {
        /// The objects, or the transaction.
        inside: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Objects and folder cannot be linked.
    #[error("{} and {} are on different file systems, hardlinks between them are impossible", Shown(.objects), Shown(.folder))]
    TwoFileSystems {
        /// The folder of the objects.
        objects: PathBuf,
        /// The folder to deploy to.
        folder: PathBuf,
    },
    /// A step of a queue cannot be used.
    #[error("step \"{}\" of the queue: {source}", escape(.step))]
    Step {
        /// Its name.
        step: String,
        /// What is wrong with it.
        source: Box<PvtxError>,
    },
    /// A step has no state.
    #[error("it has no file json")]
    NoJson,
    /// A name that a queue cannot keep.
    #[error("\"{}\" cannot be the name of a step", escape(.0))]
    StepName(String),
    /// A step of that number and name is there already.
    #[error("too many steps")]
    TooManySteps,
    /// A revision's name.
    #[error(transparent)]
    Revision(#[from] crate::state::revision::RevisionError),
    /// A name of a revision that is not local.
    #[error("\"{}\" is not the name of a local revision\na local revision is called locals/<name>", escape(.0))]
    NotLocal(String),
    /// A revision could not be laid out.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Pantavisor did not do what it was asked for.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A revision of that name is there: the control socket would replace it.
    #[error("revision {0} exists already\ncommit under another name")]
    Exists(Revision),
    /// Something about objects or folders.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which command wanted what is not there: each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `add`
    Add,
    /// `remove`
    Remove,
    /// `show`, `commit`, `deploy`
    End,
    /// `queue remove`, `queue unpack`
    Queue,
    /// `queue process`
    Process,
}

impl PvtxError {
    /// The exit code of today's program.
    pub fn code(&self) -> u8 {
        match self {
            Self::NotActive { asked: Asked::Add } | Self::NoQueue { asked: Asked::Queue, .. } => 1,
            Self::NotActive { asked: Asked::Remove | Asked::Process } => 3,
            Self::NoPart => 4,
            Self::NotActive { asked: Asked::End } => 11,
            Self::ActiveQueue | Self::Local => 12,
            _ => 255,
        }
    }
}

impl From<ArchiveError> for PvtxError {
    fn from(error: ArchiveError) -> Self {
        Self::Package(Box::new(error))
    }
}

/// Says what was being done, and on what.
pub(super) trait Context<T> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T, PvtxError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T, PvtxError> {
        crate::store::Context::on(self, verb, path).map_err(PvtxError::Store)
    }
}

fn list(objects: &[(String, ObjectId)]) -> String {
    let mut text = String::new();
    for (key, id) in objects.iter().take(20) {
        text.push_str(&format!("\n{id} (\"{}\")", escape(key)));
    }
    if objects.len() > 20 {
        text.push_str(&format!("\nand {} more", objects.len() - 20));
    }
    text
}
