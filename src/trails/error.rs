//! What can go wrong with revisions.

use super::name::RevisionName;
use crate::state::{Finding, ObjectId, Revision, StateError, StatePath, escape};
use crate::store::{Shown, StoreError};
use std::path::PathBuf;
use thiserror::Error;

/// A storage or a revision cannot be read, checked or collected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrailsError {
    /// The file system or the objects.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder lacks what every storage has.
    #[error(
        "{} is no storage: it has no folder '{lacks}'\n\
         Pantavisor's is /storage; pvr-agent serve without --storage makes one in ./pvroot to try things with",
        Shown(path)
    )]
    NotAStorage {
        /// The folder.
        path: PathBuf,
        /// What it lacks.
        lacks: &'static str,
    },
    /// A revision's state cannot be used.
    #[error("the state of revision {name} cannot be read: {source}")]
    State {
        /// The revision.
        name: RevisionName,
        /// Why.
        source: Box<StateError>,
    },
    /// A file is larger than anything of its kind.
    #[error("{} has more than {limit} bytes", Shown(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Nothing says which revision runs.
    #[error("trails/current of {} names no revision, so nothing says which one must not be removed", Shown(path))]
    NoCurrent {
        /// The storage.
        path: PathBuf,
    },
}

/// A state was not installed. What was there before is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Objects that the state names are not there, or not intact.
    #[error("{} of the state's objects are missing, the first is {}", .0.len(), first(.0))]
    Missing(Vec<(StatePath, ObjectId)>),
    /// The name belongs to a revision that ran, or is about to, with another state.
    #[error("revision {rev} exists and has been run\npost under another name: --rev locals/<name>")]
    Exists {
        /// The name.
        rev: Revision,
    },
    /// The name belongs to the running revision, and the state is another.
    #[error("revision {rev} is running and cannot be changed\npost under another name: --rev locals/<name>")]
    Running {
        /// The name.
        rev: Revision,
    },
    /// The name belongs to a revision that ran, with this very state, and its files are not what the state says.
    #[error(
        "revision {rev} has this state, but its files do not: pvr-agent fsck names them\n\
         post under another name: --rev locals/<name>"
    )]
    Damaged {
        /// The name.
        rev: Revision,
    },
    /// Volumes of the state are not what their manifests say; at least one.
    #[error("{}", summary(.0))]
    Verity(Vec<Finding>),
    /// A volume of the state could not be looked at.
    #[error("\"{key}\": {why}")]
    Unread {
        /// The key of its manifest.
        key: StatePath,
        /// Why not.
        why: String,
    },
    /// The state is not what is demanded here.
    #[error(transparent)]
    Refused(#[from] super::demand::Refused),
    /// A value of the state has no canonical form that could be stored.
    #[error(transparent)]
    Canonical(#[from] crate::state::canonical::CanonicalError),
    /// The storage failed.
    #[error(transparent)]
    Trails(#[from] TrailsError),
}

impl TrailsError {
    /// Whether a full disk is the cause.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(e) if e.is_full())
    }
}

impl InstallError {
    /// Whether a full disk is the cause.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Trails(e) if e.is_full())
    }
}

impl From<super::demand::Unmet> for InstallError {
    fn from(error: super::demand::Unmet) -> Self {
        match error {
            super::demand::Unmet::Refused(refused) => Self::Refused(refused),
            super::demand::Unmet::Canonical(error) => Self::Canonical(error),
        }
    }
}

impl From<StoreError> for InstallError {
    fn from(error: StoreError) -> Self {
        Self::Trails(error.into())
    }
}

fn summary(findings: &[Finding]) -> String {
    let mut text = String::from("dm-verity volumes of the state are not what their manifests say:");
    for finding in findings.iter().take(20) {
        text.push_str(&format!("\n\"{}\": {}", escape(&finding.key), finding.why));
    }
    if findings.len() > 20 {
        text.push_str(&format!("\nand {} more", findings.len() - 20));
    }
    text
}

fn first(missing: &[(StatePath, ObjectId)]) -> String {
    missing.first().map(|(path, id)| format!("\"{path}\" ({id})")).unwrap_or_default()
}
