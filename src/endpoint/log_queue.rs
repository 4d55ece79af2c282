//! Lines on their way to wherever the log goes.
//!
//! Whoever logs is a thread that waits for all clients, and standard error may be a pipe that nobody reads. Lines
//! therefore wait in a buffer that one thread of its own writes out. A full buffer takes no more; how many lines were
//! lost is said as soon as there is room again.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait to be written.
const LONGEST: usize = 64 * 1024;

/// How long a flush waits at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stack of the thread, which does nothing but write.
const STACK: usize = 64 * 1024;

/// Makes a line that says how many lines were lost.
type Lost = Box<dyn Fn(u64) -> String + Send>;

/// See the module.
pub struct LogQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told when there is something to write, or nothing will come any more.
    filled: Condvar,
    /// Told when all is written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: String,
    /// Lines that were lost and have not been told of.
    lost: u64,
    /// And those that have.
    told: u64,
    writing: bool,
    closed: bool,
}

impl LogQueue {
    /// Writes to `out`; what `lost` makes goes there as well.
    pub fn to(out: Box<dyn Write + Send>, lost: Lost) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("pvr-agent-log".to_owned()).stack_size(STACK);
        thread.spawn(move || writer.write_to(out, &lost))?;
        Ok(Self(shared))
    }

    /// Queues a line, or counts it as lost.
    pub fn line(&self, line: &str) {
        let mut state = self.0.lock();
        if state.waiting.len() + line.len() < LONGEST {
            state.waiting.push_str(line);
            state.waiting.push('\n');
        } else {
            state.lost += 1;
        }
        self.0.filled.notify_one();
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        let state = self.0.lock();
        state.lost + state.told
    }

    /// Waits until everything is written, but not for ever: a reader that has gone to sleep keeps no process alive.
    pub fn flush(&self) {
        let unwritten = |state: &mut State| state.writing || !state.waiting.is_empty() || state.lost > 0;
        drop(self.0.emptied.wait_timeout_while(self.0.lock(), PATIENCE, unwritten));
    }
}

impl Drop for LogQueue {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
        self.flush();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: Box<dyn Write + Send>, lost: &Lost) {
        let mut lines = String::new();
        let mut state = self.lock();
        loop {
            if state.waiting.is_empty() && state.lost == 0 {
                self.emptied.notify_all();
                if state.closed {
                    return;
                }
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            std::mem::swap(&mut lines, &mut state.waiting);
            if state.lost > 0 {
                state.told += state.lost;
                lines.push_str(&lost(std::mem::take(&mut state.lost)));
                lines.push('\n');
            }
            state.writing = true;
            drop(state);
            // A log that cannot be written is no reason to stop serving.
            let _ = out.write_all(lines.as_bytes());
            lines.clear();
            state = self.lock();
            state.writing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, Read};

    fn queue(out: impl Write + Send + 'static) -> LogQueue {
        LogQueue::to(Box::new(out), Box::new(|lost| format!("{lost} lines were lost"))).unwrap()
    }

    #[test]
    fn a_reader_that_reads_nothing_stops_nobody_and_is_told_what_it_missed() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let queue = queue(writer);
        let line = "x".repeat(99);
        let sent = 5_000;
        for _ in 0..sent {
            queue.line(&line); // 500 KB: more than the pipe and the buffer take together
        }
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text).unwrap()
        });
        drop(queue);
        let text = reading.join().unwrap();
        let whole = text.lines().filter(|got| *got == line).count() as u64;
        let lost: u64 =
            text.lines().filter_map(|line| line.strip_suffix(" lines were lost")?.parse::<u64>().ok()).sum();
        assert_eq!(whole + lost, sent, "every line is there or counted");
        assert!(whole > 0 && lost > 0, "{whole} of them came, {lost} were lost");
    }

    #[test]
    fn that_a_line_was_lost_was_not_said_until_the_next_one() {
        let (reader, writer) = std::io::pipe().unwrap();
        let queue = queue(writer);
        queue.line("so that the writer is known to sleep");
        queue.flush();
        queue.line(&"x".repeat(LONGEST));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(std::io::BufReader::new(reader).lines().nth(1)));
        let said = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(said.unwrap().unwrap(), "1 lines were lost");
    }

    #[test]
    fn the_last_line_before_the_end_is_written() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let queue = queue(writer);
        queue.line("the last word");
        drop(queue);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the last word\n");
    }
}
