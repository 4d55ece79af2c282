//! Making uploads durable together.
//!
//! A client sends several objects at a time, and each wants its 200 as soon as it is safe. Syncing a disk takes
//! the same time for one object as for ten, so what is finished while one sync runs waits for the next one, and
//! goes with it in one batch. Alone, an upload waits for nobody.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::disk::Disk;
use super::error::ApiError;
use crate::device::{Device, DeviceError, Received as Sealed};

/// At most this many in one batch: each holds a descriptor.
const BATCH: usize = 64;

type Outcome = Result<(), DeviceError>;

/// The uploads that are complete and not durable yet.
#[derive(Debug)]
pub struct Publisher {
    device: Arc<Device>,
    disk: Disk,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Sealed, oneshot::Sender<Outcome>)>,
    /// A task is at work and will look at the queue again.
    running: bool,
}

impl Publisher {
    /// Nothing is waiting.
    pub fn new(device: Arc<Device>, disk: Disk) -> Arc<Self> {
        Arc::new(Self { device, disk, queue: Mutex::default() })
    }

    /// Returns when the object is durable and has its name.
    pub async fn publish(self: &Arc<Self>, sealed: Sealed) -> Result<(), ApiError> {
        let (tell, told) = oneshot::channel();
        let start = {
            let mut queue = self.lock();
            queue.waiting.push((sealed, tell));
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            // A task of its own: the client of the first upload may go away in the middle of everybody's batch.
            tokio::spawn(Arc::clone(self).run());
        }
        match told.await {
            Ok(outcome) => outcome.map_err(ApiError::from),
            Err(_) => Err(ApiError::internal("the batch of an upload was given up")),
        }
    }

    async fn run(self: Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            let device = Arc::clone(&self.device);
            // Only a server that is going down cancels this; then nobody waits for an answer any more.
            let _ = self.disk.work(move || publish(&device, batch)).await;
        }
    }

    fn next_batch(&self) -> Option<Vec<(Sealed, oneshot::Sender<Outcome>)>> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.running = false;
            return None;
        }
        let rest = queue.waiting.len().min(BATCH);
        let rest = queue.waiting.split_off(rest);
        Some(std::mem::replace(&mut queue.waiting, rest))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(device: &Device, batch: Vec<(Sealed, oneshot::Sender<Outcome>)>) {
    let (sealed, tell): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let outcome = device.publish(sealed);
    for tell in tell {
        let _ = tell.send(outcome.clone());
    }
}
