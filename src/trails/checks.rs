//! What a state has to pass before it is laid out, be it as a revision or as a deployed folder: the one place for it.

use super::error::InstallError;
use super::verity::{Verity, check_volumes};
use crate::state::State;
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

impl Checks {
    /// Looks at a state and at those of its objects that are in the store. Nothing is locked meanwhile: it may take long.
    pub fn pass(self, store: &ObjectStore, state: &State) -> Result<(), InstallError> {
        check_volumes(store, state, self.verity)
    }
}
