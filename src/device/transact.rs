//! Transactions (`pvtx`) for whoever is not on the device.
//!
//! On a storage a transaction is local to `pvtx`: its objects go into the storage, durably, when the package that brings them has
//! been found whole. On the control socket they go to Pantavisor as they come, each checked as every upload is. Either way it
//! ends as a revision, by the one way in that there is ([`Device::post`]), and is not run by that.
//!
//! The transaction's files are in `pvtx` of the working folder, or in `PVTXDIR`, where the commands of a shell on the device find
//! the same transaction.

use std::io::{self, Read};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Back, Checks, Device, DeviceError, OnPost, Post, Verity};
use crate::pvtx::{Base, PvtxError, Target, Transaction, revision_for};
use crate::state::{JsonLimits, ObjectId, Revision, Spec, State};
use crate::store::ArchiveError;

/// Bytes of one read.
const PIECE: usize = 64 * 1024;

/// How long an object of a package waits for another upload of the same, and how long until it looks again. A client that has left
/// is noticed in that time; longer, and the package's own client would be taken for one that sends nothing.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

impl Device {
    fn transaction(&self, limits: &JsonLimits) -> Result<Transaction, DeviceError> {
        let dir = match &self.places.transactions {
            Some(dir) => dir.clone(),
            None => self.working_folder()?.join("pvtx"),
        };
        Ok(Transaction::at(&dir).with_json_limits(*limits))
    }

    /// Removes what a process that died has left of its files.
    pub(super) fn tidy_transaction(&self) {
        if let Ok(transaction) = self.transaction(&JsonLimits::default()) {
            transaction.tidy();
        }
    }

    /// Begins one with the running state, or with nothing. Returns the state.
    pub fn begin(&self, empty: bool, limits: &JsonLimits) -> Result<String, DeviceError> {
        let transaction = self.transaction(limits)?;
        let objects = match &self.back {
            Back::Stored(stored) => {
                let objects = stored.storage().store().objects();
                // The transaction outlives this process, and where it was started.
                Some(std::fs::canonicalize(objects).map_err(DeviceError::failed)?)
            }
            Back::Socket(_) => None,
        };
        let base = match empty {
            true => Base::Empty,
            // One that is active is said before the device is asked.
            false if is_active(&transaction)?.is_some() => return Err(DeviceError::TransactionActive),
            false => Base::State(self.state_text(None)?.into_bytes()),
        };
        Ok(transaction.begin(&base, objects.as_deref())?)
    }

    /// The state of the transaction.
    pub fn show(&self, limits: &JsonLimits) -> Result<Vec<u8>, DeviceError> {
        Ok(self.transaction(limits)?.show()?)
    }

    /// Whether a package could be added now: a transaction is active, and nothing else is under way.
    pub fn check_add(&self, limits: &JsonLimits) -> Result<(), DeviceError> {
        let target = is_active(&self.transaction(limits)?)?.ok_or(DeviceError::NoTransaction)?;
        if matches!(target, Target::Remote) != matches!(self.back, Back::Socket(_)) {
            return Err(DeviceError::TransactionElsewhere);
        }
        self.check_upload(0)
    }

    /// Lays a package over the state: a tar file, gzipped or not, or the JSON of a state. Returns the state.
    pub fn add(&self, from: &mut dyn Read, size: Option<u64>, limits: &JsonLimits) -> Result<String, DeviceError> {
        let transaction = self.transaction(limits)?;
        let changed = match &self.back {
            Back::Stored(_) => transaction.add(from, size)?,
            Back::Socket(_) => transaction.add_through(from, size, &mut |id, size, from| self.take(id, size, from))?,
        };
        Ok(changed.state)
    }

    /// Takes an object of a package in. One that is there is passed over.
    fn take(&self, id: ObjectId, size: u64, from: &mut dyn Read) -> Result<(), PvtxError> {
        let not_taken = |error: DeviceError| PvtxError::NotTaken(Box::new(error));
        if self.keep_object(&id, size).map_err(not_taken)?.is_some() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut upload = loop {
            match self.begin_upload(id, size) {
                Err(DeviceError::NotYet(_)) if begun.elapsed() < PATIENCE => sleep(PAUSE),
                begun => break begun.map_err(not_taken)?,
            }
        };
        let mut piece = vec![0; PIECE];
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => upload.write_all(piece.get(..got).unwrap_or_default()).map_err(not_taken)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    upload.abandon();
                    return Err(ArchiveError::from(error).into());
                }
            }
        }
        let taken = self.finish_upload(upload).and_then(|received| self.publish(vec![received]));
        taken.map_err(not_taken)
    }

    /// Removes a part of the state. Returns what is left.
    pub fn remove(&self, part: &str, limits: &JsonLimits) -> Result<String, DeviceError> {
        Ok(self.transaction(limits)?.remove(part)?.state)
    }

    /// Ends the transaction as if it had never begun; that there is none is fine.
    pub fn abort(&self, limits: &JsonLimits) -> Result<(), DeviceError> {
        self.transaction(limits)?.abort()?;
        Ok(())
    }

    /// Makes a revision of the state, under this name or one of its own. It is not run.
    pub fn commit(&self, name: Option<&str>, limits: &JsonLimits) -> Result<Revision, DeviceError> {
        let named = name.map(|name| match Revision::parse(name) {
            Ok(rev) if rev.local_name().is_some() => Ok(rev),
            _ => Err(DeviceError::BadRevision(name.to_owned())),
        });
        let named = named.transpose()?;
        self.transaction(limits)?.end(|text| {
            let rev = match &named {
                Some(rev) if self.resolve(&rev.to_string()).is_ok() => return Err(DeviceError::Exists(rev.clone())),
                Some(rev) => rev.clone(),
                None => revision_for(text)?,
            };
            let state = State::parse_strict(text.as_bytes(), limits, Spec::Known)?;
            let post = Post {
                rev: Some(rev),
                state,
                text: text.to_owned(),
                commit_msg: None,
                on_post: Some(OnPost::Install),
                checks: Checks { verity: Verity::Check },
            };
            Ok(self.post(post)?.rev)
        })
    }
}

/// Where the objects of the active one go, if there is one.
fn is_active(transaction: &Transaction) -> Result<Option<Target>, DeviceError> {
    let status = transaction.status()?.filter(|status| status.phase == crate::pvtx::Phase::Active);
    Ok(status.map(|status| status.target))
}
