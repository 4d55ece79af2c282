//! What a terminal shows while files are read and written: a bar over `store::gauge`, once that takes longer than a second
//! (`PVR_PROGRESS_AFTER`: than so many).

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::context::variable;
use super::{screen, show};
use crate::store::gauge::{self, Gauge};

const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Work under way; the bar goes with this value.
#[derive(Debug)]
#[must_use = "the bar is there as long as this value"]
pub(super) struct Working {
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Working {
    /// Begins to count. `what` is what is done, as in "committing".
    pub(super) fn begin(what: &'static str) -> Self {
        let after = variable("PVR_PROGRESS_AFTER").and_then(|text| text.parse().ok()).map_or(1, |seconds: u32| seconds);
        let after = Duration::from_secs(after.into());
        if !screen::is_live() {
            return Self { drawing: None };
        }
        let (begun, at) = (Instant::now(), gauge::read());
        let draw = move || {
            if begun.elapsed() >= after {
                screen::draw(&frame(what, at, gauge::read(), begun.elapsed()));
            }
        };
        draw();
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            while stopped.recv_timeout(REDRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
                draw();
            }
        };
        // A machine without a thread to spare has no bar.
        Self { drawing: thread::Builder::new().spawn(run).ok().map(|thread| (stop, thread)) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            thread.join().ok();
            screen::clear();
        }
    }
}

fn frame(what: &str, before: Gauge, now: Gauge, time: Duration) -> String {
    let (planned, done) = (now.planned.saturating_sub(before.planned), now.done.saturating_sub(before.done));
    match (planned, done) {
        (0, 0) => format!("{what}, {} s", time.as_secs()),
        // What has to be hashed although it was not expected to.
        _ if done > planned => format!("{}, {what}", show::amount(done)),
        _ => format!("{}, {what}", show::bar(done, planned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let gauge = |planned, done| Gauge { planned, done };
        let frame =
            |planned: u64, done: u64| frame("x", gauge(10, 20), gauge(10 + planned, 20 + done), Duration::from_secs(7));
        assert_eq!(frame(0, 0), "x, 7 s");
        assert_eq!(frame(2048, 1024), "[############            ] 1.0 KiB of 2.0 KiB, x");
        assert_eq!(frame(0, 1024), "1.0 KiB, x");
    }
}
