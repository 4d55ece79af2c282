//! Typed calls of Pantavisor's control socket (`pvctrl.md`).
//!
//! | call | request |
//! |---|---|
//! | [`Control::objects`], [`open_object`](Control::open_object), [`put_object`](Control::put_object) | `GET /objects`, `GET` and `PUT /objects/<sha>` |
//! | [`Control::steps`], [`step`](Control::step), [`put_step`](Control::put_step) | `GET /steps`, `GET` and `PUT /steps/<rev>` |
//! | [`Control::progress`], [`put_commit_message`](Control::put_commit_message) | `GET …/progress`, `PUT …/commitmsg` |
//! | [`Control::command`] | `POST /commands` |
//! | [`Control::collect`] | `POST /storage/gc` |
//! | [`Control::metadata`], [`put_metadata`](Control::put_metadata), [`delete_metadata`](Control::delete_metadata) | `/user-meta`, `/device-meta` |
//! | [`Control::containers`], [`groups`](Control::groups), [`daemons`](Control::daemons), [`drivers`](Control::drivers) and what is done to them | `/containers`, … |
//! | [`Control::config`], [`config2`](Control::config2), [`build_info`](Control::build_info), [`wakelocks`](Control::wakelocks), [`xconnect_graph`](Control::xconnect_graph) | the same |
//! | [`Control::signal`] | `POST /signal` |
//!
//! What the daemon does that one has to know, and what is done about it here:
//!
//! - It serves in its main loop: around a transition nobody answers for seconds. Connecting is tried again for as long as
//!   [`Waits::connect`]; a GET that got no answer is sent again. Nothing else is ever sent twice.
//! - It answers twice to much that it refuses. Every call has a connection of its own, and the first answer counts.
//! - A request without a body, where one is expected, is never answered. None is sent.
//! - It says 200 to an upload for which there was no room. What was uploaded is looked up in the list afterwards.
//! - An upload that breaks off stays under its final name. It is made to be removed; see [`Control::put_object`].
//! - It decodes nothing in a path and cuts names at `/progress` and `/commitmsg`. Names are [`Segment`]s and
//!   [`StepName`]s, which can hold nothing that it would read as something else.
//! - It takes a prefix of a command for the command. Commands are an enum.
//! - Sizes are checked before anything is sent: beyond them it answers in ways that cannot be read.

mod call;
mod command;
mod control;
mod error;
mod follow;
mod info;
mod meta;
mod name;
mod objects;
mod socket;
mod steps;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use call::{Reply, Sent};
pub use command::Command;
pub use control::{ContainerAction, DaemonAction, DriverAction, Signal};
pub use error::{ControlError, Limited, Refusal};
pub use follow::LOST;
pub use info::{Container, Daemon, Group, Setting};
pub use meta::Meta;
pub use name::{NameError, Segment, StepName};
pub use objects::{ListedObject, ObjectBody};
pub use socket::{SOCKETS, find};
pub use steps::ListedStep;

use crate::net::{Client, Patience, Trace};

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// For the socket to take a connection. The daemon is deaf for two to four seconds around a transition.
    pub connect: Duration,
    /// For an answer, from the last byte that was sent; and for anything to move meanwhile.
    pub answer: Duration,
    /// For the answer to what the daemon does before it answers: collecting, and hashing an object that it has already.
    pub work: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(8), answer: Duration::from_secs(15), work: Duration::from_secs(180) }
    }
}

/// Largest list that is read. One of 100,000 objects has 10 MB.
pub const MAX_LIST: usize = 16 * 1024 * 1024;
/// Largest metadata value that the daemon takes.
pub const MAX_META: usize = 4096;
/// Largest commit message that the daemon takes.
pub const MAX_COMMIT_MESSAGE: usize = 256;
/// Largest command, and largest signal, that the daemon takes.
pub const MAX_COMMAND: usize = 4096;
/// Largest request about a container or a daemon that the daemon takes.
pub const MAX_ACTION: usize = 1024;

/// A control socket. Cheap to clone; nothing stays open between calls.
#[derive(Debug, Clone)]
pub struct Control {
    client: Client,
    socket: PathBuf,
    waits: Waits,
}

impl Control {
    /// The socket of this machine: the first of [`SOCKETS`] that is one.
    pub fn find() -> Result<Self, ControlError> {
        find().map(|socket| Self::at(&socket)).ok_or(ControlError::NoSocket)
    }

    /// That socket. Whether somebody listens there, the first call finds out.
    pub fn at(socket: &Path) -> Self {
        Self::with_waits(socket, Waits::default())
    }

    /// That socket, with waits of one's own.
    pub fn with_waits(socket: &Path, waits: Waits) -> Self {
        let patience = Patience { connect: waits.connect, idle: waits.answer };
        Self { client: Client::on_socket(socket, patience), socket: socket.to_owned(), waits }
    }

    /// The same, with somebody looking on.
    #[must_use]
    pub fn traced(self, trace: Trace) -> Self {
        Self { client: self.client.traced(trace), ..self }
    }

    /// Where it is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How long it waits for what.
    pub fn waits(&self) -> Waits {
        self.waits
    }
}

/// Whether there is something to send, and not too much.
fn within(size: usize, limit: usize, what: Limited) -> Result<(), ControlError> {
    match size {
        0 => Err(ControlError::Empty(what)),
        size if size > limit => Err(ControlError::TooLong { what, size: size as u64, limit: limit as u64 }),
        _ => Ok(()),
    }
}
