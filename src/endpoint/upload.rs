//! `PUT objects/<sha>/blob`: from the network to a nameless file, hashed on the way.
//!
//! The network is read while the disk writes: what has come in the meantime is handed over in one job. A thread
//! of the pool is never kept waiting for the network, and at most [`AHEAD`] bytes of each wait for the disk.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use tokio::time::sleep;

use super::Endpoint;
use super::body::BodyReader;
use super::disk::{Disk, Job};
use super::error::ApiError;
use super::limits::Limit;
use super::reply::{self, Reply};
use crate::device::{Device, DeviceError, Upload as Writer};
use crate::state::ObjectId;

/// Bytes of an upload that may wait while as many are written. Larger hand-overs to the disk are fewer; but all uploads together
/// have [`TOGETHER`] waiting, unless each were to get less than the lower bound.
const AHEAD: (usize, usize) = (128 * 1024, 320 * 1024);
const TOGETHER: usize = 2 * 1024 * 1024;

/// The same where they are passed on to the control socket, which keeps pieces of its own and takes them in small ones: larger
/// hand-overs make nothing faster there.
const PASSED_ON: usize = 64 * 1024;

/// How long an upload waits for another one of the same object, and how long until it looks again. Nothing of it has been read
/// yet, so it keeps no thread and no memory.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

/// One of the uploads that are being received.
struct Receiving<'a>(&'a AtomicUsize);

impl<'a> Receiving<'a> {
    /// One more, if there are not as many as there may be.
    fn begin(uploads: &'a AtomicUsize, most: usize) -> Option<Self> {
        let one = Self(uploads);
        (uploads.fetch_add(1, Ordering::Relaxed) < most).then_some(one)
    }

    /// Bytes that may wait for this writer now.
    fn ahead(&self, passed_on: bool) -> usize {
        if passed_on { PASSED_ON } else { ahead(self.0.load(Ordering::Relaxed)) }
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The share of each of so many uploads.
fn ahead(uploads: usize) -> usize {
    (TOGETHER / uploads.max(1)).clamp(AHEAD.0, AHEAD.1)
}

/// A writer, and the buffer that it has emptied.
type Written = (Writer, Vec<u8>);
type Writing = Job<Result<Written, DeviceError>>;

/// What happens first.
enum Event {
    Written(Result<Written, DeviceError>),
    Data(Result<Option<Bytes>, ApiError>),
}

impl Endpoint {
    /// Takes an object in. `size` is what its announcement declared, if the URL says so.
    pub(super) async fn put_blob(
        &self,
        id: ObjectId,
        size: Option<u64>,
        body: &mut BodyReader,
    ) -> Result<Reply, ApiError> {
        let size = declared(size, body)?;
        if size > self.limits().object_bytes {
            let message = format!("object {id} has {size} bytes, more than this device takes");
            let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "object-too-large", message);
            return Err(error.past(Limit::ObjectBytes).close());
        }
        let receiving = Receiving::begin(&self.uploads, self.limits().uploads).ok_or_else(|| {
            let message = "too many objects are being uploaded";
            let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
            error.retry_after(5).past(Limit::Uploads).close()
        })?;
        let begun = Instant::now();
        let writer = loop {
            let patient = begun.elapsed() < PATIENCE;
            let begin = move |device: &Device| match device.begin_upload(id, size) {
                Err(DeviceError::NotYet(_)) if patient => Ok(None),
                begun => begun.map(Some),
            };
            match self.blocking(begin).await? {
                Some(writer) => break writer,
                None => sleep(PAUSE).await,
            }
        };
        let writer = match receive(self.disk(), &receiving, writer, body).await {
            Ok(writer) => writer,
            Err((error, writer)) => {
                // Giving a large file back to the file system, or telling somebody else, takes its time.
                let _ = self.disk().work(move || writer.map(Writer::abandon)).await;
                return Err(error);
            }
        };
        let sealed = self.blocking(move |device| device.finish_upload(writer)).await?;
        self.publisher().publish(sealed).await?;
        self.metrics().objects.add(1);
        self.metrics().object_bytes.add(size);
        Ok(reply::empty(StatusCode::OK))
    }
}

/// How many bytes have to come. The length of the request and that of the announcement must not disagree.
fn declared(announced: Option<u64>, body: &BodyReader) -> Result<u64, ApiError> {
    match (announced, body.declared()) {
        (Some(announced), Some(length)) if announced != length => {
            let message = format!("the body has {length} bytes, the announced object {announced}");
            Err(ApiError::new(StatusCode::BAD_REQUEST, "wrong-length", message).close())
        }
        (Some(size), _) | (None, Some(size)) => Ok(size),
        (None, None) => {
            let message = "the length of the object is not known before it comes";
            Err(ApiError::new(StatusCode::LENGTH_REQUIRED, "length-required", message)
                .hint("send Content-Length, or use the signed-puturl that announcing the object returns")
                .close())
        }
    }
}

/// Moves the body into the writer. With the error comes what is left of the writer.
///
/// Two buffers take turns: one is filled from the network, the other is being written. What arrives is copied into the first at
/// once, so that the connection reads into the same warm memory again: keeping its buffers until they are written had the kernel
/// map, clear and unmap fresh memory for every one of them, which cost more than the copies do.
async fn receive(
    disk: &Disk,
    receiving: &Receiving<'_>,
    writer: Writer,
    body: &mut BodyReader,
) -> Result<Writer, (ApiError, Option<Writer>)> {
    let passed_on = writer.is_passed_on();
    let mut idle = Some((writer, Vec::new()));
    let mut job: Option<Writing> = None;
    let mut ahead = Vec::new();
    let mut complete = false;
    loop {
        if let Some((mut writer, spare)) = idle.take_if(|_| !ahead.is_empty()) {
            let mut full = std::mem::replace(&mut ahead, spare);
            let most = receiving.ahead(passed_on);
            job = Some(disk.work(move || {
                writer.write_all(&full)?;
                full.clear();
                if full.capacity() > 2 * most {
                    full.shrink_to(most);
                }
                Ok((writer, full))
            }));
        }
        let room = !complete && ahead.len() < receiving.ahead(passed_on);
        if complete && job.is_none() {
            return idle.map(|(writer, _)| writer).ok_or_else(|| (ApiError::internal("an upload lost its file"), None));
        }
        let event = poll_fn(|cx| {
            if let Some(job) = &mut job
                && let Poll::Ready(written) = Pin::new(job).poll(cx)
            {
                let written = written.unwrap_or_else(|e| Err(DeviceError::failed(e)));
                return Poll::Ready(Event::Written(written));
            }
            if room {
                return body.poll_next(cx).map(Event::Data);
            }
            Poll::Pending
        });
        match event.await {
            Event::Written(Ok(written)) => {
                job = None;
                idle = Some(written);
            }
            Event::Written(Err(error)) => return Err((ApiError::from(error).close(), None)),
            Event::Data(Ok(None)) => complete = true,
            Event::Data(Ok(Some(data))) => ahead.extend_from_slice(&data),
            Event::Data(Err(error)) => {
                if let Some(job) = job {
                    idle = job.await.ok().and_then(Result::ok);
                }
                return Err((error, idle.map(|(writer, _)| writer)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_uploads_took_three_times_the_memory_so_that_few_were_faster() {
        assert_eq!((ahead(0), ahead(1), ahead(5)), (AHEAD.1, AHEAD.1, AHEAD.1));
        for uploads in 1..200 {
            assert!(ahead(uploads) == AHEAD.0 || ahead(uploads) * uploads <= TOGETHER, "{uploads}");
        }
        assert_eq!(ahead(64), AHEAD.0, "as it was");
        let count = AtomicUsize::new(0);
        let both = (Receiving::begin(&count, 2), Receiving::begin(&count, 2));
        assert!(both.0.is_some() && both.1.is_some() && Receiving::begin(&count, 2).is_none());
        assert_eq!(count.load(Ordering::Relaxed), 2, "one that is refused is none");
        drop(both);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
