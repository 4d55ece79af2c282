//! An object on its way in.
//!
//! What comes from a client is pushed, piece by piece; the control socket pulls what it sends. Between the two is a thread and a
//! channel of one piece: a client that is faster than the daemon waits, and nothing is kept but this and the last one that came.
//! That is sent when the request has come to a good end: what the daemon has whole it keeps, whatever is answered.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DeviceError;
use super::turns::Turn;
use crate::pvctrl::{Control, ControlError};
use crate::state::ObjectId;
use crate::store::{Sealed, Writer};

/// Pieces that wait for the daemon, and the bytes of one at most: whatever comes at once, an upload keeps three of them (one waits,
/// one is being sent, one is the last).
const AHEAD: usize = 1;
const PIECE: usize = 64 * 1024;

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
        size: u64,
        pieces: Option<SyncSender<Vec<u8>>>,
        /// What came last.
        last: Vec<u8>,
        /// Bytes that may still come.
        left: u64,
        sending: Option<JoinHandle<Result<(), DeviceError>>>,
    },
}

/// An object that has come whole.
#[derive(Debug)]
pub struct Received(Whole);

#[derive(Debug)]
enum Whole {
    Sealed(Sealed),
    /// With its size.
    Daemon(ObjectId, u64),
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
        let sending = Some(sending.map_err(DeviceError::failed)?);
        Ok(Self(Way::Socket { id, size, pieces: Some(pieces), last: Vec::new(), left: size, sending }))
    }

    /// Whether its bytes go on to the control socket instead of onto a disk.
    pub fn is_passed_on(&self) -> bool {
        matches!(self.0, Way::Socket { .. })
    }

    /// Takes more bytes in.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        match &mut self.0 {
            Way::Stored(writer) => Ok(writer.write_all(bytes)?),
            Way::Socket { id, pieces, last, left, sending, .. } => {
                let fits = left.checked_sub(bytes.len() as u64);
                let mut taken = bytes.chunks(PIECE).map(|chunk| {
                    let piece = std::mem::replace(last, chunk.to_vec());
                    piece.is_empty() || pieces.as_ref().is_some_and(|to| to.send(piece).is_ok())
                });
                if let Some(rest) = fits.filter(|_| taken.all(|taken| taken)) {
                    *left = rest;
                    return Ok(());
                }
                // Whoever takes no more has a reason. Nobody else would wait until nothing of it is left.
                *pieces = None;
                let ended = end(sending);
                let too_long = || DeviceError::TooLong(format!("more bytes came than object {id} was said to have"));
                if fits.is_none() { Err(too_long()) } else { ended.and_then(|()| Err(too_long())) }
            }
        }
    }

    /// Gives it up, and waits until nothing of it is left: where a process ends after one request, nobody else would.
    pub fn abandon(self) {
        if let Way::Socket { pieces, mut sending, .. } = self.0 {
            drop(pieces);
            // How that ended is what the caller knows already.
            let _ = end(&mut sending);
        }
    }

    /// Checks that all of it came.
    pub(super) fn finish(self) -> Result<Received, DeviceError> {
        match self.0 {
            Way::Stored(writer) => Ok(Received(Whole::Sealed(writer.finish()?))),
            Way::Socket { id, size, pieces, last, mut sending, .. } => {
                // If it is not taken, the end tells why.
                let _ = pieces.map(|pieces| pieces.send(last));
                end(&mut sending).map(|()| Received(Whole::Daemon(id, size)))
            }
        }
    }
}

/// Waits for the thread that sends.
fn end(sending: &mut Option<JoinHandle<Result<(), DeviceError>>>) -> Result<(), DeviceError> {
    let ended = sending.take().and_then(|sending| sending.join().ok());
    ended.unwrap_or_else(|| Err(DeviceError::failed("the thread of an upload ended early")))
}

impl Received {
    pub(super) fn sealed(self) -> Option<Sealed> {
        match self.0 {
            Whole::Sealed(sealed) => Some(sealed),
            Whole::Daemon(..) => None,
        }
    }

    pub(super) fn stored_by_the_daemon(&self) -> Option<(ObjectId, u64)> {
        match &self.0 {
            Whole::Sealed(_) => None,
            Whole::Daemon(id, size) => Some((*id, *size)),
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
