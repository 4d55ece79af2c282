//! Transactions: a state that is put together of packages before it becomes a revision.
//!
//! A [`Transaction`] begins with a state, packages are added and parts removed, and it ends as a folder (`deploy`, for a
//! local one) or with Pantavisor (`commit`, for a remote one). Between two commands all of it is on disk:
//!
//! | file | what |
//! |---|---|
//! | [`status`] | `.status`: how far it has come and where its objects go |
//! | `place` | the folder, its lock, and how its files are replaced |
//! | `document`, `claims`, `merge` | the state, what its signatures claim, and what comes and goes |
//! | `package`, `objects` | a package, read once; its objects on their way into a folder or to Pantavisor |
//! | `transaction`, `commit`, `deploy` | begin, add, remove, show, abort; the two ends |
//! | `step`, `queue` | steps that are collected first and become a transaction later |
//!
//! Whatever fails leaves the transaction as it was.

mod claims;
mod commit;
mod deploy;
mod document;
mod error;
mod merge;
mod objects;
mod package;
mod place;
mod queue;
pub mod status;
mod step;
mod transaction;

pub use commit::revision_for;
pub use deploy::Deployed;
pub use error::{Asked, PvtxError};
pub use objects::Taker;
pub use place::usual_place;
pub use queue::QueueFolders;
pub use status::{Phase, QueueStatus, Status, Target};
pub use transaction::{Base, Changed, Transaction};
