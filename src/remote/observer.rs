//! Who is told what happens. The command line shows it; tests and libraries need not.

use super::RemoteError;
use crate::state::{ObjectId, StatePath};

/// What came of announcing an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It has to be sent.
    Wanted,
    /// It is there.
    There,
    /// It is there as a link to somebody else's.
    Linked,
    /// The same object was announced under another key.
    Duplicate,
    /// Announcing it failed.
    Failed,
}

/// Follows what a batch of transfers does, from several threads at once.
pub trait Observer: Sync {
    /// The record of an object was asked for.
    fn record(&self, _key: &StatePath, _ok: bool) {}
    /// An object was announced.
    fn announced(&self, _key: &StatePath, _what: Announced) {}
    /// The bytes of an object begin to move; `size` where it is known.
    fn started(&self, _id: &ObjectId, _key: &StatePath, _size: Option<u64>) {}
    /// So many bytes have moved by now; less than before when a transfer begins anew.
    fn moved(&self, _id: &ObjectId, _bytes: u64) {}
    /// All bytes have moved, or never will.
    fn ended(&self, _id: &ObjectId, _ok: bool) {}
    /// Everything is sent, and the answer may take a while; or it has come.
    fn waits(&self, _waits: bool) {}
    /// Given up, because another transfer of the batch has failed. Nothing is known to be wrong with this one.
    fn given_up(&self, _id: &ObjectId) {}
}

/// Tells how a transfer ended.
pub(super) fn tell<T>(observer: &dyn Observer, id: &ObjectId, result: &Result<T, RemoteError>) {
    match result {
        Err(RemoteError::Stopped) => observer.given_up(id),
        result => observer.ended(id, result.is_ok()),
    }
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
