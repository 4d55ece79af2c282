//! What requests leave in the audit log of the device (`device/audit.rs`).
//!
//! A [`Deed`] is begun when a request that changes something may, and written when the last who has it lets go of it: the answer, or a
//! job on the disk that goes on when its client has left. So each is there once, with what came of it.
//!
//! Lines wait for a thread of their own, which is started for the first of them: nobody waits for a disk to say what was done.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::ApiError;
use super::log::{Level, Log};
use super::log_queue::LogQueue;
use super::metrics::Metrics;
use crate::device::{AuditLog, Audited, Device};

/// Where lines go.
pub struct Audit {
    device: Arc<Device>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    queue: OnceLock<Option<LogQueue>>,
}

/// Something that is being done.
pub struct Deed {
    audit: Arc<Audit>,
    told: Mutex<Audited>,
}

impl Audit {
    /// Nothing has been done.
    pub fn new(device: Arc<Device>, log: Arc<Log>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { device, log, metrics, queue: OnceLock::new() })
    }

    /// Begins something; what is said of it until its end may be added.
    pub fn begin(self: &Arc<Self>, told: Audited) -> Arc<Deed> {
        Arc::new(Deed { audit: Arc::clone(self), told: Mutex::new(Audited { result: "left", ..told }) })
    }

    /// Something was done.
    pub fn record(&self, told: Audited) {
        if let Some(queue) = self.queue() {
            queue.line(&told.line());
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.queue.get().and_then(Option::as_ref).map_or(0, LogQueue::lost)
    }

    /// Waits a moment for what was done to be written.
    pub fn flush(&self) {
        if let Some(Some(queue)) = self.queue.get() {
            queue.flush();
        }
    }

    fn queue(&self) -> Option<&LogQueue> {
        let made = || {
            let out = Out { device: Arc::clone(&self.device), log: Arc::clone(&self.log), to: None, failed: false };
            let lost = |lines| {
                Audited { did: "lost", what: Some(format!("{lines} lines")), result: "failed", ..Audited::default() }
                    .line()
            };
            let queue = LogQueue::to(Box::new(out), Box::new(lost));
            queue.inspect_err(|error| self.log.note(Level::Error, &format!("no audit log: {error}"))).ok()
        };
        self.queue.get_or_init(made).as_ref()
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Deed {
    /// Adds to what is said.
    pub fn tell(&self, more: impl FnOnce(&mut Audited)) {
        more(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It is nothing that was done; unless something is told of it after that.
    pub fn forget(&self) {
        self.tell(|told| told.did = "");
    }

    /// It came to this, whether or not anybody waits for the answer.
    pub fn came<T>(&self, outcome: &Result<T, ApiError>) {
        match outcome {
            Ok(_) => self.ended(200, None),
            Err(error) => self.ended(error.status().as_u16(), Some(error.reason())),
        }
    }

    /// It has an answer.
    pub fn ended(&self, status: u16, reason: Option<&'static str>) {
        self.tell(|told| {
            told.result = match status {
                ..400 => "ok",
                400..500 | 507 => "refused",
                _ => "failed",
            };
            told.status = Some(status);
            told.reason = reason;
        });
    }
}

impl Drop for Deed {
    fn drop(&mut self) {
        let told = std::mem::take(self.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        if told.did.is_empty() {
            return;
        }
        if told.result == "ok" && matches!(told.did, "post" | "put" | "pvtx-commit") {
            self.audit.metrics.revisions.add(1);
        }
        self.audit.record(told);
    }
}

/// The file, which is looked for when there is something to write.
struct Out {
    device: Arc<Device>,
    log: Arc<Log>,
    to: Option<AuditLog>,
    /// That it cannot be written has been said.
    failed: bool,
}

impl Out {
    fn add(&mut self, lines: &str) -> io::Result<()> {
        let log = match &self.to {
            Some(log) => log,
            None => self.to.insert(self.device.audit_log().map_err(io::Error::other)?),
        };
        lines.lines().try_for_each(|line| log.add(line))
    }
}

impl Write for Out {
    /// Whole lines, as the queue has them.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let written = self.add(&String::from_utf8_lossy(lines));
        match &written {
            Ok(()) => self.failed = false,
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                self.log.note(Level::Error, &format!("the audit log cannot be written: {error}"));
            }
            Err(_) => {}
        }
        written.map(|()| lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
