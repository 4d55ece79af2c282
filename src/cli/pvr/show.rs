//! What people see: lines, and a bar while objects move.
//!
//! Lines about single objects go to stderr and stdout as today. On a terminal, one bar over all running transfers stands
//! below them; without one, stdout has nothing but a line for each object that has moved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::screen::{self};
pub(super) use super::screen::{note, print, say, tell};
use super::working::Working;
use crate::remote::{Announced, Observer, Posted};
use crate::state::{ObjectId, StatePath, escape_text};

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const BAR: usize = 24;

/// Whether the state of the other side is known, so that its objects need not be sent.
pub(super) fn synched(ok: bool) {
    note(&format!("Synching baseline state with device [{}]", if ok { "OK" } else { "ERROR" }));
}

/// A revision that was made.
pub(super) fn posted(posted: &Posted) {
    let sha: String = posted.state_sha.chars().take(8).collect();
    tell(&format!("Successfully posted Revision {} ({sha}) to device id {}", posted.rev, posted.trail_id));
}

/// Warnings about working-tree files.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        tell(&format!("WARNING: {warning}"));
    }
}

/// The beginning of a key, for a column of them.
pub(super) fn label(key: &StatePath) -> String {
    escape_text(key.as_str()).chars().take(15).collect()
}

/// Shows transfers.
pub(super) struct Progress {
    live: bool,
    /// Whether stdout belongs to a document.
    document: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<ObjectId, Transfer>,
    finished: usize,
    drawn: Option<Instant>,
    waiting: Option<Working>,
}

struct Transfer {
    label: String,
    moved: u64,
    size: Option<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { live: screen::is_live(), document: false, state: Mutex::default() }
    }

    /// The same, if stdout is to hold a document and nothing else (`--json`).
    pub(super) fn beside(document: bool) -> Self {
        let mut progress = Self::new();
        progress.document = document;
        progress
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line on stderr, above the bar.
    fn line(&self, line: &str) {
        let mut state = self.state();
        state.drawn = None;
        note(line);
    }

    fn draw(&self, state: &mut State) {
        if !self.live || state.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW_EVERY) {
            return;
        }
        let moved: u64 = state.running.values().map(|transfer| transfer.moved).sum();
        let size: Option<u64> = state.running.values().map(|transfer| transfer.size).sum();
        screen::draw(&transfers(state.finished, state.running.len(), moved, size));
        state.drawn = Some(Instant::now());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // What failed leaves its last frame.
        screen::clear();
    }
}

fn transfers(finished: usize, running: usize, moved: u64, size: Option<u64>) -> String {
    let done = match size {
        Some(size) if size > 0 => bar(moved, size),
        _ => amount(moved),
    };
    format!("{done}, {running} running, {finished} done")
}

/// `[####    ] 1.0 KiB of 2.0 KiB`; `size` is not 0.
pub(super) fn bar(done: u64, size: u64) -> String {
    let full = usize::try_from(u128::from(done.min(size)) * BAR as u128 / u128::from(size.max(1))).unwrap_or(BAR);
    format!("[{}{}] {} of {}", "#".repeat(full), " ".repeat(BAR - full), amount(done), amount(size))
}

pub(super) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

impl Observer for Progress {
    fn record(&self, key: &StatePath, ok: bool) {
        self.line(&format!("Getting object info for: {key} ... [{}]", if ok { "OK" } else { "ERROR" }));
    }

    fn announced(&self, key: &StatePath, what: Announced) {
        let short: String = key.to_string().chars().take(12).collect();
        let outcome = match what {
            Announced::Wanted => " [OK]".to_owned(),
            Announced::There => format!("{short} [OK]"),
            Announced::Linked => format!("{short} [LK]"),
            Announced::Duplicate => format!("{short} [OK - Dupe]"),
            Announced::Failed => " [ERROR]".to_owned(),
        };
        self.line(&format!("Posting object info for: {key} ... {outcome}"));
    }

    fn started(&self, id: &ObjectId, key: &StatePath, size: Option<u64>) {
        let mut state = self.state();
        state.running.insert(*id, Transfer { label: label(key), moved: 0, size });
        self.draw(&mut state);
    }

    fn moved(&self, id: &ObjectId, bytes: u64) {
        let mut state = self.state();
        if let Some(transfer) = state.running.get_mut(id) {
            transfer.moved = bytes;
        }
        self.draw(&mut state);
    }

    fn waits(&self, waits: bool) {
        let working = waits.then(|| Working::begin("waiting for the answer"));
        self.state().waiting = working;
    }

    fn given_up(&self, id: &ObjectId) {
        let mut state = self.state();
        state.running.remove(id);
        state.drawn = None;
        screen::clear();
    }

    fn ended(&self, id: &ObjectId, ok: bool) {
        let mut state = self.state();
        let Some(transfer) = state.running.remove(id) else { return };
        state.drawn = None;
        state.finished += 1;
        screen::clear();
        if !self.document {
            say(&format!("{} [{}]\n", transfer.label, if ok { "OK" } else { "ERROR" })).ok();
        }
        if !state.running.is_empty() {
            self.draw(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_bars() {
        for (bytes, text) in [
            (0, "0.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (300 * 1024 * 1024, "300.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
        assert_eq!(
            transfers(2, 1, 512, Some(1024)),
            "[############            ] 0.5 KiB of 1.0 KiB, 1 running, 2 done"
        );
        assert_eq!(
            transfers(0, 1, 2048, Some(1024)),
            "[########################] 2.0 KiB of 1.0 KiB, 1 running, 0 done"
        );
        assert_eq!(transfers(0, 1, 2048, None), "2.0 KiB, 1 running, 0 done");
    }
}
