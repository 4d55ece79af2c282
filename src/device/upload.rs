//! An object on its way in.
//!
//! What comes from a client is pushed, piece by piece; the control socket pulls what it sends. Between the two is a thread and a
//! channel of two pieces: a client that is faster than the daemon waits, and nothing is kept but these and the last one that came.
//! That is sent when the request has come to a good end: what the daemon has whole it keeps, whatever is answered.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DeviceError;
use super::turns::Turn;
use crate::pvctrl::{Control, ControlError};
use crate::state::ObjectId;
use crate::store::{Sealed, Writer};

/// Pieces that wait for the daemon.
const AHEAD: usize = 2;

/// Stack of the thread that sends.
const STACK: usize = 256 * 1024;

/// An object that is being taken in. Dropped before it is finished, nothing of it stays.
#[derive(Debug)]
pub struct Upload(Way);

#[derive(Debug)]
enum Way {
    Stored(Writer),
    Socket {
        id: ObjectId,
        pieces: Option<SyncSender<Vec<u8>>>,
        /// What came last.
        last: Vec<u8>,
        sending: JoinHandle<Result<(), DeviceError>>,
    },
}

/// An object that has come whole.
#[derive(Debug)]
pub struct Received(Whole);

#[derive(Debug)]
enum Whole {
    Sealed(Sealed),
    Daemon(ObjectId),
}

impl Upload {
    pub(super) fn stored(writer: Writer) -> Self {
        Self(Way::Stored(writer))
    }

    /// Through to the control socket, in this object's turn.
    pub(super) fn through(control: Control, turn: Turn, id: ObjectId, size: u64) -> Result<Self, DeviceError> {
        let (pieces, coming) = sync_channel(AHEAD);
        let thread = std::thread::Builder::new().name("pvr-agent-upload".to_owned()).stack_size(STACK);
        let sending = thread.spawn(move || {
            let mut pieces = Pieces { coming, piece: Vec::new(), at: 0, left: size };
            // Of nothing, there is no last piece to wait for.
            let given_up = size == 0 && pieces.coming.recv().is_err();
            if given_up {
                return turn.end(false);
            }
            let sent = control.put_object(&id, size, &mut pieces);
            turn.end(sent.is_ok())?;
            match sent {
                Err(ControlError::Source(cause)) => Err(DeviceError::WrongSize(cause.to_string())),
                sent => Ok(sent?),
            }
        });
        let sending = sending.map_err(DeviceError::failed)?;
        Ok(Self(Way::Socket { id, pieces: Some(pieces), last: Vec::new(), sending }))
    }

    /// Takes more bytes in.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        match &mut self.0 {
            Way::Stored(writer) => Ok(writer.write_all(bytes)?),
            Way::Socket { pieces, last, .. } => {
                let piece = std::mem::replace(last, bytes.to_vec());
                // Whoever takes no more has a reason, which the end of it tells.
                if !piece.is_empty() && pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_err()) {
                    *pieces = None;
                }
                Ok(())
            }
        }
    }

    /// Gives it up, and waits until nothing of it is left: where a process ends after one request, nobody else would.
    pub fn abandon(self) {
        if let Way::Socket { pieces, sending, .. } = self.0 {
            drop(pieces);
            // How that ended is what the caller knows already.
            let _ = sending.join();
        }
    }

    /// Checks that all of it came.
    pub(super) fn finish(self) -> Result<Received, DeviceError> {
        match self.0 {
            Way::Stored(writer) => Ok(Received(Whole::Sealed(writer.finish()?))),
            Way::Socket { id, pieces, last, sending } => {
                // As above.
                let _ = pieces.map(|pieces| pieces.send(last));
                let sent = sending.join().map_err(|_| DeviceError::failed("the thread of an upload ended early"))?;
                sent.map(|()| Received(Whole::Daemon(id)))
            }
        }
    }
}

impl Received {
    pub(super) fn sealed(self) -> Option<Sealed> {
        match self.0 {
            Whole::Sealed(sealed) => Some(sealed),
            Whole::Daemon(_) => None,
        }
    }

    pub(super) fn stored_by_the_daemon(&self) -> Option<ObjectId> {
        match &self.0 {
            Whole::Sealed(_) => None,
            Whole::Daemon(id) => Some(*id),
        }
    }
}

/// What has been pushed, to be pulled.
struct Pieces {
    coming: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    left: u64,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.coming.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) if self.left == 0 => return Ok(0),
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body ended early")),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let got = rest.len().min(out.len());
        if let (Some(out), Some(rest)) = (out.get_mut(..got), rest.get(..got)) {
            out.copy_from_slice(rest);
        }
        self.at += got;
        self.left = self.left.saturating_sub(got as u64);
        Ok(got)
    }
}
