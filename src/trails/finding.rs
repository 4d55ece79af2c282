//! What can be wrong with a storage.

use serde::Serialize;

/// What is wrong, in one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// An object's bytes are not what its name says.
    ObjectContent,
    /// A file in `objects/` that is neither an object nor a download under way.
    ObjectName,
    /// An object that is no regular file.
    ObjectType,
    /// A revision names an object that is not there.
    ObjectMissing,
    /// An object has more links than there are files in revisions.
    LinkCount,
    /// A revision without a state.
    StateMissing,
    /// A state that cannot be parsed or used.
    StateInvalid,
    /// A file of the state is not in the revision.
    FileMissing,
    /// A file of the state is a folder, a symlink or a device.
    FileType,
    /// A file of the state is not the same inode as its object.
    FileInode,
    /// A JSON file doesn't hold the state's value, or a file that is not its object's has other bytes than that.
    FileContent,
    /// A file or an empty folder in a revision that its state doesn't have, or a file where only revisions should be.
    FileUnknown,
    /// `trails/current` points nowhere.
    CurrentInvalid,
    /// A file or folder that cannot be read, so that nothing can be said of what is in it.
    Unreadable,
    /// Something that an interrupted process has left behind; the next start of anything removes it.
    Debris,
}

impl Kind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ObjectContent => "object-content",
            Self::ObjectName => "object-name",
            Self::ObjectType => "object-type",
            Self::ObjectMissing => "object-missing",
            Self::LinkCount => "link-count",
            Self::StateMissing => "state-missing",
            Self::StateInvalid => "state-invalid",
            Self::FileMissing => "file-missing",
            Self::FileType => "file-type",
            Self::FileInode => "file-inode",
            Self::FileContent => "file-content",
            Self::FileUnknown => "file-unknown",
            Self::CurrentInvalid => "current-invalid",
            Self::Unreadable => "unreadable",
            Self::Debris => "debris",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// Where, relative to the storage. As it is: escape it before showing it.
    pub path: String,
    /// What, in words. Escape it before showing it.
    pub what: String,
}
