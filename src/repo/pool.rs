//! Opening a pool: to change it, to take objects out of it, or only to look.
//!
//! | for | makes it | sweeps, remembers what was hashed | takes locks |
//! |---|---|---|---|
//! | `open` | yes | yes | yes |
//! | `open_to_read` | where it can | where it can | yes |
//! | `look_at` | no | no | those that are there |

use std::path::Path;

use rustix::fs::{Access, access};

use super::error::{Context, RepoError};
use crate::store::pool::{agent_of, is_of_storage};
use crate::store::{ObjectStore, Options, make_folders};

/// Opens a pool, and makes it if there is none.
pub(super) fn open(pool: &Path) -> Result<ObjectStore, RepoError> {
    make_folders(pool, 0o777).on("create", pool)?;
    let options = Options { collected: is_of_storage(pool), ..Options::default() };
    let store = ObjectStore::open_with(pool, &agent_of(pool), options)?;
    // What an import that died had unpacked. That it cannot be removed is no reason not to work.
    store.sweep().ok();
    Ok(store)
}

/// Opens a pool that objects are taken out of. Where nothing can be written (a medium that is mounted read-only, the pool of
/// another user) it stays as it is.
pub(super) fn open_to_read(pool: &Path) -> Result<ObjectStore, RepoError> {
    let agent = agent_of(pool);
    let deepest = [agent.as_path()].into_iter().chain(pool.ancestors()).find(|folder| folder.is_dir());
    // The kernel says of a read-only medium that it cannot be written to even to root.
    match deepest.is_none_or(|folder| access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()) {
        true => open(pool),
        false => look_at(pool),
    }
}

/// Opens a pool without leaving a trace in it. It need not exist.
pub(super) fn look_at(pool: &Path) -> Result<ObjectStore, RepoError> {
    let options = Options { read_only: true, collected: is_of_storage(pool), ..Options::default() };
    Ok(ObjectStore::open_with(pool, &agent_of(pool), options)?)
}
