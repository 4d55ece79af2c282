//! What a state has to pass before it is laid out, be it as a revision or as a deployed folder: the one place for it.

use std::fs::File;
use std::io::{self, Read};

use super::demand::Demands;
use super::error::InstallError;
use super::verity::{Verity, check_volumes};
use crate::state::{ObjectId, State};
use crate::store::ObjectStore;

/// Which checks there are. Without being told, all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Its dm-verity volumes.
    pub verity: Verity,
}

impl Default for Checks {
    fn default() -> Self {
        Self { verity: Verity::Check }
    }
}

/// Where the objects of a state are read.
pub trait Objects {
    /// An object and its size. `None`: it is not there, or not intact.
    fn open(&self, id: &ObjectId) -> io::Result<Option<(Opened, u64)>>;
}

/// The bytes of an object.
pub enum Opened {
    /// In a file.
    File(File),
    /// As they come, from the first to the last. If they are not what the name stands for, their end is an error of the kind
    /// `InvalidData`.
    Stream(Box<dyn Read + Send>),
}

impl Objects for ObjectStore {
    fn open(&self, id: &ObjectId) -> io::Result<Option<(Opened, u64)>> {
        let opened = self.open_object(id).map_err(io::Error::other)?;
        Ok(opened.map(|(file, size)| (Opened::File(file), size)))
    }
}

/// Looks at a state: whether it is what is demanded, and then at those of its objects that are there. A post, a put, a
/// transaction and a deploy all go through here. Nothing is locked meanwhile: it may take long.
pub fn admit(state: &State, objects: &dyn Objects, demands: &Demands, checks: Checks) -> Result<(), InstallError> {
    demands.of_state(state)?;
    check_volumes(objects, state, checks.verity)
}
