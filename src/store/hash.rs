//! SHA-256 of streams.

use super::gauge;
use crate::state::ObjectId;
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind, Read};

/// How much is read at a time: large enough that system calls don't count, small enough for a core's cache.
pub(crate) const CHUNK: usize = 128 << 10;

/// A digest in the making.
#[derive(Debug, Clone)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> ObjectId {
        ObjectId::from_bytes(self.0.finalize().into())
    }
}

/// The sha256 of all that `from` has.
pub(crate) fn hash(mut from: impl Read) -> io::Result<ObjectId> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                gauge::done(n as u64);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
