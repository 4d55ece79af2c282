//! What a device can answer besides yes.

use crate::pvctrl::ControlError;
use crate::pvtx::PvtxError;
use crate::sig::device::Verdict;
use crate::state::{Finding, ObjectId, Revision, StateError, StatePath};
use crate::store::{ArchiveError, StoreError};
use crate::trails::{InstallError, TrailsError};

/// A device did not do something; what was there before is unchanged. One batch may have to tell several
/// clients, so this can be cloned; what only the log needs is text already.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no such revision, or not with what was asked of it.
    #[error("there is no revision {}", crate::state::escape(.0))]
    NoSuchRevision(String),
    /// Nothing says what runs.
    #[error("no revision is current")]
    NoCurrent,
    /// There is no intact object of this name.
    #[error("there is no intact object {0}")]
    NoSuchObject(ObjectId),
    /// A state needs these.
    #[error("{} objects are missing", .0.len())]
    Missing(Vec<(StatePath, ObjectId)>),
    /// Volumes of a state are not what their manifests say.
    #[error("{} dm-verity volumes are not what their manifests say", .0.len())]
    Verity(Vec<Finding>),
    /// The name is taken by a revision that has been run, with another state.
    #[error("revision {0} exists and has been run")]
    Exists(Revision),
    /// The name is that of the running revision, which has another state.
    #[error("revision {0} is running")]
    Running(Revision),
    /// The name is that of a revision with this very state, whose files are not what the state says.
    #[error("revision {0} is damaged")]
    Damaged(Revision),
    /// The state is not what is demanded here.
    #[error("{}", .0.lines().join("; "))]
    Untrusted(Box<Verdict>),
    /// Disk, quota or reserve. The text says which, for the log.
    #[error("there is not enough space: {0}")]
    Full(String),
    /// There is not as much room as this needs. Bytes.
    #[error("there is not enough space: {need} bytes are needed, {free} are free")]
    NoRoom {
        /// What it needs.
        need: u64,
        /// What is free, less what is left for others.
        free: u64,
        /// What a collection would set free, if that is known.
        reclaimable: Option<u64>,
    },
    /// There is nothing to go back to.
    #[error("{0}\npvr-agent steps lists what is there")]
    NoRollback(String),
    /// What runs is for the Pantavisor to say that uses this storage.
    #[error("a Pantavisor runs this storage\ngo through its control socket: --socket")]
    NotAlone,
    /// A revision is being installed or tested, and nothing can be done beside it.
    #[error("revision {0} is being installed or tested")]
    Updating(String),
    /// Somebody else is sending this object, or Pantavisor collects: it is to be asked again in a moment.
    #[error("object {0} is being uploaded by others")]
    NotYet(ObjectId),
    /// Pantavisor is doing something else.
    #[error("Pantavisor is busy: {0}")]
    Busy(String),
    /// Pantavisor can't be talked to.
    #[error("{0}")]
    Unreachable(String),
    /// Pantavisor doesn't want this state.
    #[error("{0}")]
    Refused(String),
    /// Pantavisor answers in another way than it should.
    #[error("Pantavisor: {0}")]
    Daemon(String),
    /// Bytes came that hash to something else.
    #[error("{0}")]
    WrongHash(String),
    /// Fewer bytes came than were announced.
    #[error("{0}")]
    WrongSize(String),
    /// More bytes came than were announced.
    #[error("{0}")]
    TooLong(String),
    /// There is no such log. The text says whose, of which revision.
    #[error("there is no log {0}")]
    NoLog(String),
    /// A package is larger, or has more in it, than is taken.
    #[error("{0}")]
    PackageTooLarge(String),
    /// No transaction has begun.
    #[error("no transaction is active")]
    NoTransaction,
    /// One has begun already.
    #[error("a transaction is active already")]
    TransactionActive,
    /// One has begun on the device whose objects go somewhere else.
    #[error("the transaction that is active was begun on the device, for another place")]
    TransactionElsewhere,
    /// A package cannot be laid over a state. The text says why.
    #[error("{0}")]
    BadPackage(String),
    /// No part is named.
    #[error("no part is named")]
    NoPart,
    /// A name that a revision cannot have here.
    #[error("{} is not the name of a local revision", crate::state::escape(.0))]
    BadRevision(String),
    /// A state that no revision can have.
    #[error("{0}")]
    BadState(String, Vec<Finding>),
    /// The device failed, for a reason that is nothing to a client.
    #[error("{0}")]
    Failed(String),
}

impl DeviceError {
    /// A failure of the device itself.
    pub fn failed(cause: impl std::fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::WrongHash { .. } => Self::WrongHash(error.to_string()),
            StoreError::WrongSize { .. } => Self::WrongSize(error.to_string()),
            StoreError::TooLong { .. } => Self::TooLong(error.to_string()),
            error if error.is_full() => Self::Full(error.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<TrailsError> for DeviceError {
    fn from(error: TrailsError) -> Self {
        match error {
            TrailsError::Store(error) => error.into(),
            TrailsError::NoCurrent { .. } => Self::NoCurrent,
            error => Self::failed(error),
        }
    }
}

impl From<ControlError> for DeviceError {
    fn from(error: ControlError) -> Self {
        use ControlError as E;
        match &error {
            E::NoSocket | E::Unreachable(_) | E::NoAnswer(_) => Self::Unreachable(error.to_string()),
            E::Checksum { .. } | E::BadObject(_) => Self::WrongHash(error.to_string()),
            E::DiskFull => Self::Full(error.to_string()),
            E::NoObject(id) => Self::NoSuchObject(*id),
            E::NotFound { what, .. } => Self::NoSuchRevision(what.clone()),
            E::Busy { .. } => Self::Busy(error.to_string()),
            E::BadState(_) => Self::Refused(error.to_string()),
            _ => Self::Daemon(error.to_string()),
        }
    }
}

impl From<StateError> for DeviceError {
    fn from(error: StateError) -> Self {
        let text = error.to_string();
        Self::BadState(text, if let StateError::Findings(findings) = error { findings } else { Vec::new() })
    }
}

impl From<PvtxError> for DeviceError {
    fn from(error: PvtxError) -> Self {
        use PvtxError as E;
        match error {
            E::NotActive { .. } => Self::NoTransaction,
            E::Active | E::ActiveQueue => Self::TransactionActive,
            E::Local | E::Remote => Self::TransactionElsewhere,
            E::NoPart => Self::NoPart,
            E::Exists(rev) => Self::Exists(rev),
            E::Control(error) => error.into(),
            E::Store(error) => error.into(),
            E::Install(error) => error.into(),
            E::NotTaken(error) => match error.downcast::<Self>() {
                Ok(error) => *error,
                Err(error) => Self::failed(error),
            },
            E::TooLarge { .. } => Self::PackageTooLarge(error.to_string()),
            E::Package(ref why)
                if matches!(
                    **why,
                    ArchiveError::StateSize { .. } | ArchiveError::Bomb { .. } | ArchiveError::Entries { .. }
                ) =>
            {
                Self::PackageTooLarge(error.to_string())
            }
            E::Package(_)
            | E::Unknown(_)
            | E::ObjectName(_)
            | E::Object { .. }
            | E::State { .. }
            | E::Signature { .. }
            | E::Canonical(_) => Self::BadPackage(error.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<InstallError> for DeviceError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Missing(list) => Self::Missing(list),
            InstallError::Verity(findings) => Self::Verity(findings),
            InstallError::Exists { rev } => Self::Exists(rev),
            InstallError::Running { rev } => Self::Running(rev),
            InstallError::Damaged { rev } => Self::Damaged(rev),
            InstallError::Refused(refused) => Self::Untrusted(refused.0),
            InstallError::Trails(error) => error.into(),
            error => Self::failed(error),
        }
    }
}
