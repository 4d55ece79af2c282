//! `commit`: the state goes to Pantavisor as a revision. It is neither run nor made current.

use super::error::{Asked, PvtxError};
use super::status::{Phase, Status, Target};
use super::transaction::Transaction;
use crate::pvctrl::StepName;
use crate::state::{Revision, clock};
use crate::store::hash;

impl Transaction {
    /// Sends the state as `locals/<name>`; without a name, as `locals/pvtx-<unix time>-<8 hex of its sha256>-<0..999>`.
    pub fn commit(&self, name: Option<&str>) -> Result<Revision, PvtxError> {
        let (held, status) = self.hold_active(Asked::End)?;
        if status.target != Target::Remote {
            return Err(PvtxError::Local);
        }
        let name = name.filter(|name| !name.is_empty());
        let named = name.map(revision).transpose()?;
        let text = self.current()?.text(&self.limits)?;
        let revision = match named {
            Some(revision) => revision,
            None => revision_for(&text)?,
        };
        let control = self.control()?;
        // The daemon replaces what has the name, and throws it away where it refuses the state.
        if name.is_some()
            && control.has_step(&StepName::parse(&revision.to_string()).map_err(crate::pvctrl::ControlError::from)?)?
        {
            return Err(PvtxError::Exists(revision));
        }
        control.put_step(&revision, text.as_bytes())?;
        // It is a revision. A transaction that could not be ended stays active, until it is aborted.
        held.set_status(&Status { phase: Phase::Committed, target: status.target, queue: None }).ok();
        Ok(revision)
    }
}

impl Transaction {
    /// Ends it with somebody who makes a revision of the state, wherever its objects went. Nobody else changes it meanwhile; what
    /// fails leaves it as it was.
    pub fn end<T, E: From<PvtxError>>(&self, install: impl FnOnce(&str) -> Result<T, E>) -> Result<T, E> {
        let (held, status) = self.hold_active(Asked::End)?;
        let text = self.current()?.text(&self.limits)?;
        let installed = install(&text)?;
        // As above.
        held.set_status(&Status { phase: Phase::Committed, target: status.target, queue: None }).ok();
        Ok(installed)
    }
}

fn revision(name: &str) -> Result<Revision, PvtxError> {
    if !name.starts_with("locals/") {
        return Err(PvtxError::NotLocal(name.chars().take(80).collect()));
    }
    Ok(Revision::parse(name)?)
}

/// The name of a revision with this state that nobody has named: `locals/pvtx-<unix time>-<8 hex of its sha256>-<0..999>`.
pub fn revision_for(text: &str) -> Result<Revision, PvtxError> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let sha = hash(text.as_bytes()).map_err(crate::store::ArchiveError::from)?.to_string();
    let seconds = clock::seconds(clock::now());
    let chance = RandomState::new().build_hasher().finish() % 1000;
    Ok(Revision::local(&format!("pvtx-{seconds}-{}-{chance}", &sha[..8]))?)
}
