//! Turns at what may keep a thread for long.
//!
//! A disk that hangs keeps whoever writes, syncs or hashes for as long as it likes. Such jobs leave some threads to those
//! that only read what is there and is usually in memory: states, listings, objects that are known.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use super::server::BLOCKING_THREADS;

/// Threads that only readers get.
const FOR_READERS: usize = 2;

/// The turns of an endpoint.
#[derive(Clone, Debug)]
pub struct Disk {
    turns: Arc<Semaphore>,
}

/// What a job will come to. The job is done whether or not anybody waits for this.
#[derive(Debug)]
pub struct Job<T>(oneshot::Receiver<T>);

/// A job was given up: the server is going down, or it panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a job on the disk was given up")]
pub struct GivenUp;

impl Disk {
    /// Nobody is at work.
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(BLOCKING_THREADS - FOR_READERS)) }
    }

    /// Does a job that writes, syncs or hashes, as soon as it has its turn.
    pub fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let (tell, told) = oneshot::channel();
        let run = |turn| {
            spawn_blocking(move || {
                let _turn = turn;
                // If nobody waits, what comes of it is dropped here, where that may block.
                let _ = tell.send(job());
            })
        };
        match Arc::clone(&self.turns).try_acquire_owned() {
            // Nearly always; without a task of its own.
            Ok(turn) => drop(run(Some(turn))),
            Err(_) => {
                let turns = Arc::clone(&self.turns);
                // An error would say that nobody gives turns any more; nobody ever says so.
                tokio::spawn(async move { drop(run(turns.acquire_owned().await.ok())) });
            }
        }
        Job(told)
    }
}

impl<T> Future for Job<T> {
    type Output = Result<T, GivenUp>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).map_err(|_| GivenUp))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use hyper::Request;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::super::log::{Format, Log};
    use super::super::{Arrival, Endpoint, Hosts, Limits};
    use super::*;
    use crate::device::{Device, Runner};

    #[test]
    fn nobody_could_read_while_a_disk_kept_eight_writers() {
        let dir = tempfile::tempdir().unwrap();
        let storage = crate::trails::factory::make(dir.path()).unwrap();
        let (id, size) = storage.store().list().unwrap()[0];
        let device = Device::open(storage, Runner::Nobody).unwrap();
        let log = Log::to(Format::Text, Box::new(std::io::sink())).unwrap();
        let endpoint = Endpoint::new(device, Limits::default(), Hosts::new(&[], None), log, Vec::new());
        let runtime =
            Builder::new_current_thread().enable_time().max_blocking_threads(BLOCKING_THREADS).build().unwrap();
        let disk = Arc::new(Mutex::new(0));
        let hangs = disk.lock().unwrap();
        runtime.block_on(async {
            let write = |_| {
                let disk = Arc::clone(&disk);
                endpoint.disk().work(move || *disk.lock().unwrap() += 1)
            };
            let writers: Vec<Job<()>> = (0..2 * BLOCKING_THREADS).map(write).collect();
            let blob = format!("/objects/{id}/blob");
            let object = format!("/objects/{id}");
            for path in
                ["", "/json", "/status", "/steps", "/steps/0/json", "/steps/0/progress", "/objects", &object, &blob]
            {
                let request = Request::get(format!("http://localhost/cgi-bin/pvr{path}")).header("Host", "localhost");
                let arrival = Arrival {
                    scheme: "http",
                    local: None,
                    peer: None,
                    two_lengths: false,
                    outbox: None,
                    mount: None,
                    certificate: None,
                    stopping: None,
                };
                let answer = async {
                    let reply = endpoint.handle(request.body(Empty::<Bytes>::new()).unwrap(), arrival).await;
                    (reply.status().as_u16(), reply.into_body().collect().await.unwrap().to_bytes().len())
                };
                // Only so that a failure ends: nothing gives a thread back before.
                let answer = timeout(Duration::from_secs(20), answer).await.expect(path);
                assert!(answer.0 == 200 && (path != blob || answer.1 as u64 == size), "{path}: {answer:?}");
            }
            drop(hangs);
            for writer in writers {
                writer.await.unwrap();
            }
        });
        assert_eq!(*disk.lock().unwrap(), 2 * BLOCKING_THREADS, "all had their turn");
    }
}
