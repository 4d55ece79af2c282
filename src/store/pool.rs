//! The objects of a working copy or a transaction: a folder of its own, or that of a storage.

use std::path::{Path, PathBuf};

/// The working folder of a pool. A storage's objects have the one that all who work on the storage share.
pub(crate) fn agent_of(pool: &Path) -> PathBuf {
    let storage = pool.parent().filter(|_| is_of_storage(pool)).unwrap_or(pool);
    storage.join(".pvr-agent")
}

/// Whether a pool is the `objects` of a storage.
pub(crate) fn is_of_storage(pool: &Path) -> bool {
    pool.ends_with("objects") && pool.parent().is_some_and(|storage| storage.join("trails").is_dir())
}
