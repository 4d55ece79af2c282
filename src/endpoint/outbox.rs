//! File bytes that go from the kernel's memory to the socket without passing through ours (`sendfile`).
//!
//! The HTTP library frames answers and hands what it frames to the stream below it; it knows bytes, not files. A body
//! therefore gives it *stand-ins*: slices of one block of zeros that exists for nothing else. Which bytes of which file
//! they stand for is queued in the connection's [`Outbox`], in the order in which they go out. When the stream is
//! given a stand-in, which it knows by its address, it sends the file's bytes in its place and reports them as
//! written. The library gathers slices for `writev` and copies none of them, so none loses its address on the way.
//!
//! A TLS connection has no outbox: its bytes are encrypted in our memory, so they have to come there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What one stand-in stands for at most. Zeros that nobody reads take address space, not memory.
pub const LONGEST: usize = 512 * 1024;

/// Bytes of one write where the kernel can't send a file by itself.
const COPY: usize = 16 * 1024;

static STAND_IN: OnceLock<Vec<u8>> = OnceLock::new();

fn stand_in() -> &'static [u8] {
    STAND_IN.get_or_init(|| vec![0; LONGEST])
}

/// Whether these bytes stand for others.
pub fn is_stand_in(bytes: &[u8]) -> bool {
    STAND_IN.get().is_some_and(|all| all.as_ptr_range().contains(&bytes.as_ptr()))
}

/// The parts of files that one connection has yet to send, first to last.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<VecDeque<Part>>,
}

#[derive(Debug)]
struct Part {
    file: Arc<File>,
    position: u64,
    left: usize,
}

impl Outbox {
    /// Queues `len` bytes of `file`, at most [`LONGEST`]; returns what stands for them.
    pub fn push(&self, file: &Arc<File>, position: u64, len: usize) -> Bytes {
        let stand_in = stand_in();
        let bytes = Bytes::from_static(stand_in.get(..len).unwrap_or(stand_in));
        let part = Part { file: Arc::clone(file), position, left: bytes.len() };
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(part);
        bytes
    }

    /// Sends what the next `room` stand-in bytes stand for, as far as the socket takes it.
    /// [`ErrorKind::WouldBlock`]: it takes nothing now.
    pub fn try_send(&self, stream: &TcpStream, room: usize) -> io::Result<usize> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let part = queue.front_mut().ok_or_else(|| io::Error::other("a stand-in that stands for nothing"))?;
        let len = part.left.min(room);
        let sent = stream.try_io(Interest::WRITABLE, || part.send(stream, len))?;
        part.position += sent as u64;
        part.left -= sent;
        if part.left == 0 {
            queue.pop_front();
        }
        Ok(sent)
    }
}

impl Part {
    fn send(&self, stream: &TcpStream, len: usize) -> io::Result<usize> {
        let mut position = self.position;
        match sendfile(stream, &self.file, Some(&mut position), len) {
            // The length has been promised: a file that is shorter now can only end the connection.
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(sent) => Ok(sent),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.copy(stream, len),
            Err(error) => Err(error.into()),
        }
    }

    /// For file systems that cannot do it.
    fn copy(&self, stream: &TcpStream, len: usize) -> io::Result<usize> {
        let mut buffer = [0; COPY];
        let room = buffer.get_mut(..len.min(COPY)).unwrap_or_default();
        match self.file.read_at(room, self.position)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(rustix::io::write(stream, room.get(..read).unwrap_or_default())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// A file of `len` bytes, none of which says what it says by chance.
    fn file(len: usize) -> (Arc<File>, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (Arc::new(file), bytes)
    }

    fn sent(send: impl AsyncFnOnce(&TcpStream, &Outbox)) -> Vec<u8> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            all
        });
        runtime().block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            send(&stream, &Outbox::default()).await;
        });
        peer.join().unwrap()
    }

    async fn send_all(stream: &TcpStream, outbox: &Outbox, mut stands: Bytes, step: usize) {
        while !stands.is_empty() {
            stream.writable().await.unwrap();
            match outbox.try_send(stream, stands.len().min(step)) {
                Ok(sent) => drop(stands.split_to(sent)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    #[test]
    fn what_goes_out_is_the_file_and_never_the_zeros() {
        let (file, bytes) = file(3 * LONGEST);
        for (start, len, step) in [(0, LONGEST, LONGEST), (5, 70_001, 4_096), (LONGEST + 3, 1, 1), (9, 333, 100)] {
            let got = sent(async |stream, outbox| {
                let stands = outbox.push(&file, start as u64, len);
                assert!(is_stand_in(&stands) && is_stand_in(&stands[len - 1..]));
                send_all(stream, outbox, stands, step).await;
            });
            assert!(got == bytes[start..start + len], "{len} bytes from {start}");
        }
        assert!(!is_stand_in(&bytes) && !is_stand_in(b""));
    }

    #[test]
    fn a_file_system_without_sendfile_is_copied_from() {
        let (file, bytes) = file(50_000);
        let got = sent(async |stream, _| {
            let mut part = Part { file, position: 0, left: 50_000 };
            while part.left > 0 {
                stream.writable().await.unwrap();
                let sent = part.copy(stream, part.left).unwrap_or(0);
                part.position += sent as u64;
                part.left -= sent;
            }
        });
        assert!(got == bytes);
    }

    #[test]
    fn a_file_that_ends_early_ends_the_answer() {
        let (file, bytes) = file(10);
        let got = sent(async |stream, outbox| {
            let stands = outbox.push(&file, 0, 20);
            assert_eq!(stands.len(), 20);
            stream.writable().await.unwrap();
            assert_eq!(outbox.try_send(stream, 20).unwrap(), 10);
            assert_eq!(outbox.try_send(stream, 10).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        });
        assert!(got == bytes);
    }
}
