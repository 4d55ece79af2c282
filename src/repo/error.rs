//! What can go wrong with a working copy.

use std::io;
use std::path::{Path, PathBuf};

use super::reference::ReferenceError;
use crate::dm::DmError;
use crate::net::UrlError;
use crate::pvctrl::ControlError;
use crate::remote::RemoteError;
use crate::state::canonical::CanonicalError;
use crate::state::{JsonError, ObjectId, StateError, StatePath, escape};
use crate::store::StoreError;
use crate::store::archive::ArchiveError;
use crate::trails::InstallError;

/// An operation on a working copy failed. What was there before is unchanged, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// A system call failed.
    #[error("failed to {verb} {}: {source}", shown(.path))]
    Io {
        /// What was being done.
        verb: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no `.pvr/json`.
    #[error("not a pvr repository: there is no .pvr/json in {}\npvr init makes one", shown(.0))]
    NotARepo(PathBuf),
    /// There is a `.pvr` already.
    #[error("pvr init: .pvr directory/file found ({}). Cannot initialize an existing repository.", shown(.0))]
    Exists(PathBuf),
    /// The committed state is none.
    #[error("{} is not a state: {source}", shown(.path))]
    Pristine {
        /// `.pvr/json`.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// The new state is over a limit, so that nothing could read it. Nothing was changed.
    #[error(
        "the new state is not written, because it could not be read again: {source}\nPVR_AGENT_MAX_STATE_BYTES and PVR_AGENT_MAX_JSON_DEPTH set the limits"
    )]
    Unreadable {
        /// Which limit.
        source: StateError,
    },
    /// The new state is not what is demanded of it. Nothing was changed.
    #[error("{0}\nnothing was deployed")]
    Refused(#[from] crate::trails::Refused),
    /// `.pvr/config` or `.pvr/new` is not what it should be.
    #[error("{} cannot be read: {why}", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; escaped.
        why: String,
    },
    /// A tracked `.json` file is not JSON.
    #[error("JSON Unmarshal ({key}): {source}\npvr add --raw tracks a file as it is{}", limits(.source))]
    Json {
        /// The file.
        key: StatePath,
        /// What is wrong with it.
        source: JsonError,
    },
    /// A name that a state cannot hold.
    #[error("\"{}\" cannot be added: {why}", escape(.name))]
    Name {
        /// The name; lossy where it is not UTF-8.
        name: String,
        /// Why.
        why: String,
    },
    /// A pattern that `add` was given.
    #[error("syntax error in pattern \"{}\"", escape(.0))]
    Pattern(String),
    /// The working tree does not make a state.
    #[error("the working tree is not a state: {0}")]
    Working(StateError),
    /// What would be the new state is none.
    #[error(transparent)]
    State(#[from] StateError),
    /// A number that is too large to be written out, or the like.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Objects are not in the pool, or damaged.
    #[error("{}", missing(.pool, .objects))]
    Objects {
        /// The pool.
        pool: PathBuf,
        /// Which.
        objects: Vec<(StatePath, ObjectId)>,
    },
    /// A symbolic link stands where a checkout wants a folder.
    #[error("{} is a symbolic link; nothing is checked out through one\nremove it, then check out again", shown(.0))]
    LinkInTheWay(PathBuf),
    /// The source of a `get` is no repository.
    #[error("{} is not a .pvr folder: it has no json file{}", shown(.path), if *.inside { "\nthere is one in its .pvr: give that" } else { "" })]
    NoSource {
        /// What was given.
        path: PathBuf,
        /// Whether it is a working copy itself.
        inside: bool,
    },
    /// An archive is not what it should be.
    #[error("failed to read {}: {source}", shown(.path))]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ArchiveError>,
    },
    /// A state names an object that is neither in the archive nor on the device.
    #[error("object {id} ({key}) is neither in {} nor on the device: the revision could not run", shown(.path))]
    NotInArchive {
        /// The archive.
        path: PathBuf,
        /// The key that names it.
        key: StatePath,
        /// The object.
        id: ObjectId,
    },
    /// The control socket refused something, or does not answer.
    #[error(transparent)]
    Control(Box<ControlError>),
    /// A folder was given to `import`.
    #[error("{} is a folder, not an export\npvr get takes the .pvr folder of another repository", shown(.0))]
    ImportFolder(PathBuf),
    /// An object of the source is not there, or is not what its name says.
    #[error("object {id} ({key}) of {} cannot be used: {source}", shown(.from))]
    SourceObject {
        /// The object.
        id: ObjectId,
        /// The key.
        key: StatePath,
        /// The source.
        from: PathBuf,
        /// Why.
        source: Box<StoreError>,
    },
    /// An endpoint answered with a state without a single key.
    #[error("{0} has no such revision: its state is empty")]
    EmptyState(String),
    /// No address was given, and none is remembered.
    #[error(
        "no repository was given, and none is remembered in .pvr/config\ngive a device's address, a URL or user/device"
    )]
    NoDefault,
    /// A remembered address cannot be used.
    #[error("the address \"{}\" in .pvr/config cannot be used: {source}", escape(.text))]
    DefaultUrl {
        /// The address.
        text: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// What was given as a repository is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The envelope of a post is no JSON object.
    #[error("the envelope is not a JSON object: {0}")]
    Envelope(String),
    /// The parts of a copy do not go together.
    #[error(transparent)]
    Copy(#[from] crate::remote::CopyError),
    /// `--rev` is neither a number nor a name.
    #[error(transparent)]
    Revision(#[from] crate::state::revision::RevisionError),
    /// The target of a clone is there already.
    #[error("rename {} {}: file exists\nremove it, or give another folder as the last argument", shown(.from), shown(.to))]
    TargetExists {
        /// What would have been renamed.
        from: PathBuf,
        /// The target.
        to: PathBuf,
    },
    /// Untracked files lie where a deploy has something else.
    #[error("{}", in_the_way(.0))]
    InTheWay(Vec<String>),
    /// `bsp/run.json` names files for the boot loader that the state does not have.
    #[error("bsp/run.json names what the state does not have: {}\nnothing was deployed, because it would not boot", .0.iter().map(|key| escape(key)).collect::<Vec<_>>().join(", "))]
    BootFiles(Vec<String>),
    /// The pool cannot be linked into a folder.
    #[error(
        "{} and {} are on different file systems, hardlinks between them are impossible\npvr init --objects in the folder chooses a pool beside it",
        shown(.pool), shown(.target)
    )]
    OtherFileSystem {
        /// The pool.
        pool: PathBuf,
        /// The folder.
        target: PathBuf,
    },
    /// A file was changed while its successor was made.
    #[error("{} was changed meanwhile, and nothing was done\nrepeat the command", shown(.0))]
    ChangedMeanwhile(PathBuf),
    /// Something else stands where a file has to be.
    #[error("{} is not a regular file", shown(.0))]
    NotAFile(PathBuf),
    /// A volume has no tree, or not one that could be made.
    #[error("{}: {source}", shown(.path))]
    Dm {
        /// The volume, or its manifest.
        path: PathBuf,
        /// Why.
        source: Box<DmError>,
    },
    /// Nothing tracked is a volume of this name.
    #[error("there is no dm-verity volume {} here\npvr dm-verify without a name checks all that are tracked", escape(.0))]
    NoVolume(String),
    /// A file of a container is not what a conversion could change. Nothing was changed.
    #[error("{} cannot be changed: {why}", shown(.path))]
    Container {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; escaped.
        why: String,
    },
    /// The files of a state could not be laid out.
    #[error(transparent)]
    Install(Box<InstallError>),
    /// The pool.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The endpoint.
    #[error(transparent)]
    Remote(Box<RemoteError>),
}

impl From<RemoteError> for RepoError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(Box::new(error))
    }
}

fn missing(pool: &Path, objects: &[(StatePath, ObjectId)]) -> String {
    let mut text = format!("objects are missing from {}, or damaged there:", shown(pool));
    for (key, id) in objects.iter().take(20) {
        text.push_str(&format!("\n{id} ({key})"));
    }
    if objects.len() > 20 {
        text.push_str(&format!("\nand {} more", objects.len() - 20));
    }
    text
}

/// A list for people.
fn in_the_way(files: &[String]) -> String {
    let mut text = "untracked files are in the way, and nothing was deployed:".to_owned();
    for file in files.iter().take(20) {
        text.push_str(&format!("\n{file}"));
    }
    if files.len() > 20 {
        text.push_str(&format!("\nand {} more", files.len() - 20));
    }
    text.push_str("\nmove them away, or let --clean remove all untracked files");
    text
}

/// What else can be done where a limit was in the way.
fn limits(error: &JsonError) -> &'static str {
    match error {
        JsonError::TooLarge { .. } | JsonError::TooDeep { .. } | JsonError::TooMany { .. } => {
            "; PVR_AGENT_MAX_STATE_BYTES and PVR_AGENT_MAX_JSON_DEPTH set the limits"
        }
        _ => "",
    }
}

/// A path for people.
pub(crate) fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

/// Says what was being done, and on what.
pub(super) trait Context<T> {
    /// "failed to `verb` `path`".
    fn on(self, verb: &'static str, path: &Path) -> Result<T, RepoError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T, RepoError> {
        self.map_err(|error| RepoError::Io { verb, path: path.to_owned(), source: error.into() })
    }
}

impl From<ControlError> for RepoError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}
