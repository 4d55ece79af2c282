//! `GET` and `HEAD` of an object's bytes: ranges, validators, and a body that reads ahead.
//!
//! An object's bytes never change, so its name is a strong entity tag. One range is served (RFC 9110 §14.2 lets
//! a server ignore the header, which is what happens to several ranges and to units other than bytes).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::ApiError;
use super::outbox::{self, Outbox};
use super::pulled::PulledBody;
use super::reply::{Reply, ReplyBody};
use crate::device::Content;
use crate::state::ObjectId;

/// Bytes of one read. Two are in memory: one being sent, one being read.
const PIECE: usize = 128 * 1024;

/// The bytes of a file from one position to another.
///
/// What the kernel has in memory goes through the connection's [`Outbox`], or where there is none, is read on the spot,
/// which takes less time than telling another thread to do it. Where a read would wait for the disk, or the file
/// system can't tell, the blocking pool reads, one piece ahead of the network.
pub struct FileBody {
    file: Arc<File>,
    /// Whether the kernel can be asked for what it has in memory.
    at_once: bool,
    /// Where the next read begins.
    position: u64,
    end: u64,
    /// Not yet handed out.
    left: u64,
    outbox: Option<Arc<Outbox>>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    /// Buffers that the network is done with. Taking new ones for every piece would spread them over the heaps of
    /// all threads of the pool.
    spare: Spare,
}

type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece of a file; its buffer comes back when the network has it.
struct Piece {
    buffer: Vec<u8>,
    len: usize,
    spare: Spare,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

impl Piece {
    fn new(len: usize, spare: Spare) -> Self {
        let buffer = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut piece = Self { buffer: buffer.unwrap_or_default(), len, spare };
        if piece.buffer.len() < len {
            piece.buffer.resize(len, 0);
        }
        piece
    }

    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }

    /// Reads all of it, waiting for the disk if need be.
    fn read(mut self, file: &File, position: u64) -> io::Result<Bytes> {
        file.read_exact_at(self.room(), position)?;
        Ok(Bytes::from_owner(self))
    }
}

impl FileBody {
    /// Bytes `start..end` of `file`, by way of `outbox` if there is one.
    pub fn new(file: File, start: u64, end: u64, outbox: Option<Arc<Outbox>>) -> Self {
        Self {
            file: Arc::new(file),
            at_once: true,
            position: start,
            end,
            left: end.saturating_sub(start),
            outbox,
            job: None,
            spare: Spare::default(),
        }
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The piece that comes next, and where it is.
    fn next_piece(&self) -> Option<(Piece, u64)> {
        let left = self.end.saturating_sub(self.position);
        let len = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        (len > 0).then(|| (Piece::new(len, Arc::clone(&self.spare)), self.position))
    }

    /// The next piece, as far as the kernel has it in memory.
    fn take_at_once(&mut self) -> Option<Bytes> {
        match self.outbox.clone() {
            Some(outbox) => self.send_at_once(&outbox),
            None => self.read_at_once(),
        }
    }

    /// Queues as much of the file as the kernel seems to have in memory. It is asked for the ends of each [`PIECE`], since
    /// what reads ahead fills its memory in order. A gap between them costs this thread a wait for the disk.
    ///
    /// To ask for a byte that is not there makes the kernel read its page, and no other: whoever came next would take all
    /// before it for being there, too. So the pool is told at once to read the piece that the byte is in.
    fn send_at_once(&mut self, outbox: &Outbox) -> Option<Bytes> {
        let left = self.end.saturating_sub(self.position);
        let longest = usize::try_from(left).map_or(outbox::LONGEST, |left| left.min(outbox::LONGEST));
        let mut len = 0;
        while len < longest && (len > 0 || self.is_in_memory(self.position)) {
            let next = (len + PIECE).min(longest);
            if !self.is_in_memory(self.position + next as u64 - 1) {
                break;
            }
            len = next;
        }
        if len == 0 {
            return None;
        }
        let data = outbox.push(&self.file, self.position, len);
        self.position += len as u64;
        if len < longest {
            self.start_read();
        }
        Some(data)
    }

    fn is_in_memory(&mut self, position: u64) -> bool {
        let mut byte = [0];
        let read = preadv2(&self.file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT);
        self.at_once &= matches!(read, Ok(_) | Err(Errno::AGAIN | Errno::INTR));
        read == Ok(1)
    }

    fn read_at_once(&mut self) -> Option<Bytes> {
        let (mut piece, position) = self.next_piece()?;
        let mut room = [IoSliceMut::new(piece.room())];
        match preadv2(&self.file, &mut room, position, ReadWriteFlags::NOWAIT) {
            Ok(got) if got > 0 => {
                piece.len = got;
                self.position += got as u64;
                Some(Bytes::from_owner(piece))
            }
            // The end is where it shouldn't be: the other way of reading says so.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => None,
            // An old kernel, or a file system that doesn't know.
            Err(_) => {
                self.at_once = false;
                None
            }
        }
    }

    fn start_read(&mut self) {
        let Some((piece, position)) = self.next_piece() else { return };
        self.position += piece.len as u64;
        let file = Arc::clone(&self.file);
        self.job = Some(spawn_blocking(move || piece.read(&file, position)));
    }

    /// The next piece. An error ends the connection: the length has been promised already.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.job.is_none() {
            if self.at_once
                && let Some(data) = self.take_at_once()
            {
                self.left = self.left.saturating_sub(data.len() as u64);
                return Poll::Ready(Some(Ok(data)));
            }
            self.start_read();
        }
        let Some(job) = &mut self.job else { return Poll::Ready(None) };
        let read = match Pin::new(job).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read.map_err(io::Error::other).flatten(),
        };
        self.job = None;
        if let Ok(data) = &read {
            self.left = self.left.saturating_sub(data.len() as u64);
            self.start_read();
        }
        Poll::Ready(Some(read))
    }
}

/// What a `Range` header comes to for a representation of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranged {
    Whole,
    Part(u64, u64),
    Impossible,
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`; anything else is ignored as RFC 9110 §14.2 has it.
fn range(header: &str, size: u64) -> Ranged {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit are more than any size.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let Some((unit, spec)) = header.split_once('=') else { return Ranged::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Ranged::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Ranged::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Ranged::Whole,
        (Some(first), _) if first >= size => Ranged::Impossible,
        (Some(first), Some(last)) => Ranged::Part(first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => Ranged::Part(first, size),
        (None, Some(0)) if first.is_empty() => Ranged::Impossible,
        (None, Some(_)) if first.is_empty() && size == 0 => Ranged::Impossible,
        (None, Some(suffix)) if first.is_empty() => Ranged::Part(size.saturating_sub(suffix), size),
        _ => Ranged::Whole,
    }
}

/// Answers with the object's bytes, a part of them, or that the client has them already.
pub fn answer(
    request: &Parts,
    id: &ObjectId,
    content: Content,
    size: u64,
    outbox: Option<Arc<Outbox>>,
) -> Result<Reply, ApiError> {
    let (method, request) = (&request.method, &request.headers);
    let etag = format!("\"{id}\"");
    let mut reply = Response::new(ReplyBody::empty());
    let headers = reply.headers_mut();
    set(headers, ETAG, &etag);
    set(headers, ACCEPT_RANGES, "bytes");
    // The name is the hash of the bytes: whoever has them never needs to ask again.
    set(headers, CACHE_CONTROL, "private, max-age=31536000, immutable");
    if lists(request, IF_NONE_MATCH, &etag) {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(reply);
    }
    let valid = request.get(IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let wanted = match request.get(RANGE).and_then(|value| value.to_str().ok()) {
        Some(header) if valid && method == Method::GET => range(header, size),
        _ => Ranged::Whole,
    };
    let (start, end) = match wanted {
        Ranged::Impossible => {
            let message = format!("object {id} has {size} bytes, the range is not among them");
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad-range", message);
            return Err(error.content_range(size));
        }
        Ranged::Whole => (0, size),
        Ranged::Part(start, end) => {
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(reply.headers_mut(), CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
            (start, end)
        }
    };
    set(reply.headers_mut(), CONTENT_TYPE, "application/octet-stream");
    set(reply.headers_mut(), CONTENT_LENGTH, &(end - start).to_string());
    if method == Method::GET {
        *reply.body_mut() = match content {
            Content::File(file) => ReplyBody::file(FileBody::new(file, start, end, outbox)),
            Content::Stream(stream) => ReplyBody::pulled(PulledBody::new(stream, start, end)),
        };
    }
    Ok(reply)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a list of entity tags has ours; a weak one compares equal too (RFC 9110 §13.1.2).
fn lists(request: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    request.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    /// What a download that was broken off had looked at was all that was in memory; a later one took all between for
    /// being there, and its thread waited for the disk.
    #[test]
    fn looking_at_the_ends_of_a_piece_made_a_gap_that_was_taken_for_memory() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 2 * outbox::LONGEST]).unwrap();
        file.as_file().sync_all().unwrap();
        rustix::fs::fadvise(file.as_file(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let outbox = Arc::new(Outbox::default());
        let open = || {
            let file = File::open(file.path()).unwrap();
            // So that nothing is read ahead: how much that is depends on the disk.
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
            file
        };
        let body = || FileBody::new(open(), 0, 2 * outbox::LONGEST as u64, Some(Arc::clone(&outbox)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        for broken_off in 0..8 {
            let taken = match body().poll_data(&mut Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(data) => data.unwrap().unwrap().len(),
                Poll::Pending => 0,
            };
            // What the pool was told to read comes in a while; what nobody reads never does.
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while in_memory(file.path()) < taken {
                let late = std::time::Instant::now() > deadline;
                assert!(!late, "of {taken} bytes, after {broken_off} downloads that were broken off");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Bytes of a file that the kernel has in memory, asked in a way that reads none.
    fn in_memory(path: &std::path::Path) -> usize {
        let output = std::process::Command::new("fincore").args(["-b", "-n", "-o", "RES"]).arg(path).output();
        let text = String::from_utf8(output.expect("fincore, of util-linux").stdout).unwrap();
        text.trim().parse().unwrap()
    }

    #[test]
    fn ranges() {
        use Ranged::*;
        for (header, size, want) in [
            ("bytes=0-0", 10, Part(0, 1)),
            ("bytes=0-", 10, Part(0, 10)),
            ("bytes=4-6", 10, Part(4, 7)),
            ("bytes=4-99", 10, Part(4, 10)),
            ("bytes=9-", 10, Part(9, 10)),
            ("BYTES = 1-2", 10, Part(1, 3)),
            ("bytes=-3", 10, Part(7, 10)),
            ("bytes=-99", 10, Part(0, 10)),
            ("bytes=0-99999999999999999999", 10, Part(0, 10)),
            ("bytes=10-", 10, Impossible),
            ("bytes=99999999999999999999-", 10, Impossible),
            ("bytes=-0", 10, Impossible),
            ("bytes=0-", 0, Impossible),
            ("bytes=-1", 0, Impossible),
            ("bytes=6-4", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1-x", 10, Whole),
            ("bytes=-", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(range(header, size), want, "{header} of {size}");
        }
    }
}
