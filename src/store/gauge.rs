//! How far this process has got with reading and writing files: two sums, for whoever shows them to somebody.
//!
//! Work that knows its size says so first. Sums never shrink; a reader takes differences.

use std::sync::{Mutex, PoisonError};

/// Bytes of this process' work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// That are known to be ahead, or done.
    pub planned: u64,
    /// That are done.
    pub done: u64,
}

// A lock, because some processors have no atomic numbers of 64 bits. It is taken once for a hundred kilobytes.
static GAUGE: Mutex<Gauge> = Mutex::new(Gauge { planned: 0, done: 0 });

fn change(how: impl FnOnce(&mut Gauge)) {
    how(&mut GAUGE.lock().unwrap_or_else(PoisonError::into_inner));
}

/// So much is going to be done.
pub(crate) fn plan(bytes: u64) {
    change(|gauge| gauge.planned = gauge.planned.saturating_add(bytes));
}

/// So much has been done.
pub(crate) fn done(bytes: u64) {
    change(|gauge| gauge.done = gauge.done.saturating_add(bytes));
}

/// What the sums are now.
pub fn read() -> Gauge {
    *GAUGE.lock().unwrap_or_else(PoisonError::into_inner)
}
