//! Questions to an endpoint that change nothing there: what a dry run is made of.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::rest::{self, Call, Session, net};
use super::work::each;
use super::{Objects, Remote, RemoteError};
use crate::net::{Method, Url};
use crate::state::ObjectId;

/// Questions at a time.
const THREADS: usize = 5;

/// The disk of a device, as its `status` has it. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// How large it is.
    pub total: u64,
    /// What is free on it.
    pub free: u64,
    /// What of that is left to others.
    #[serde(default)]
    pub reserved: u64,
    /// What a collection would set free, where that is known.
    #[serde(default)]
    pub reclaimable: Option<u64>,
}

/// The part of a `status` that is read. Servers may say more, or nothing.
#[derive(Debug, Deserialize)]
struct Status {
    storage: Disk,
}

impl Remote {
    /// Which of these objects the endpoint lacks.
    pub fn lacks(&self, ids: BTreeSet<ObjectId>) -> Result<BTreeSet<ObjectId>, RemoteError> {
        self.objects.lacks(ids)
    }

    /// The bytes of these objects together, where the endpoint tells them all. One that it lacks is an error.
    pub fn bytes(&self, ids: impl IntoIterator<Item = ObjectId>) -> Result<Option<u64>, RemoteError> {
        let sum = Mutex::new(Some(0_u64));
        each(THREADS, ids.into_iter().collect(), |id, _| -> Result<(), RemoteError> {
            let size = self.object_record(&id)?.size;
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            *sum = sum.zip(size).map(|(sum, size)| sum.saturating_add(size));
            Ok(())
        })?;
        Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much room the device has, where it says so.
    pub fn disk(&self) -> Result<Option<Disk>, RemoteError> {
        disk(&self.session, &self.base.with_appended("status"))
    }
}

impl Objects {
    /// Which of these objects the endpoint lacks.
    pub fn lacks(&self, ids: BTreeSet<ObjectId>) -> Result<BTreeSet<ObjectId>, RemoteError> {
        let lacked = Mutex::new(BTreeSet::new());
        each(THREADS, ids.into_iter().collect(), |id, _| {
            let url = self.url.with_appended(&id.to_string());
            let response = self.session.call(Call::get(&url))?;
            match response.status() {
                200 => {}
                // The hub says of others' objects that they are forbidden: they would have to be sent as well.
                403 | 404 | 410 => drop(lacked.lock().unwrap_or_else(PoisonError::into_inner).insert(id)),
                _ => return Err(self.session.refusal(&url, response)),
            }
            Ok(())
        })?;
        Ok(lacked.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn disk(session: &Session, url: &Url) -> Result<Option<Disk>, RemoteError> {
    let response = session.call(Call::get(url))?;
    if response.status() != 200 {
        return Ok(None);
    }
    let bytes = rest::record_bytes(response).map_err(|source| net(Method::Get, url, source))?;
    // Whatever else an address answers with tells nothing about a disk.
    Ok(serde_json::from_slice(&bytes).ok().map(|status: Status| status.storage))
}
