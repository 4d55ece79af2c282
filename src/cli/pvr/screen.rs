//! The two streams, and on a terminal one line below all others that is drawn again and again.
//!
//! | | stream | with `--quiet` |
//! |---|---|---|
//! | `print` | stdout | results: they come all the same |
//! | `say` | stdout | nothing |
//! | `tell` | stderr | errors, warnings, questions: they come all the same |
//! | `note` | stderr | nothing |
//! | `draw` | stdout, if that is a terminal | nothing |
//!
//! Nothing is ever coloured, so `NO_COLOR` has nothing to change. A terminal that cannot move its cursor (`TERM=dumb`) gets
//! lines only, as a file or a pipe does.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::failure::Failure;

#[derive(Debug)]
struct Screen {
    quiet: bool,
    /// Whether the cursor stands in a line that is drawn again.
    drawn: bool,
    /// Whether somebody is being asked: nothing is drawn over a question.
    asking: bool,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { quiet: false, drawn: false, asking: false });

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write("\r\u{1b}[K").ok();
        }
    }
}

/// A reader that has gone away is no error.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// From here on, only results, warnings and errors.
pub(super) fn be_quiet() {
    screen().quiet = true;
}

/// What was asked for.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    // Held until all is written: nothing is to be drawn in between.
    let mut screen = screen();
    screen.clear();
    write(text).map_err(|error| Failure::coded(3, format!("stdout: {error}")))
}

/// What is done, on stdout.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    if screen().quiet { Ok(()) } else { print(text) }
}

/// A line that has to be seen.
pub(super) fn tell(line: &str) {
    let mut screen = screen();
    screen.clear();
    // When stderr cannot be written to, there is nobody to tell that.
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// A line about what is done.
pub(super) fn note(line: &str) {
    if !screen().quiet {
        tell(line);
    }
}

/// Whether there is a line to draw in.
pub(super) fn is_live() -> bool {
    !screen().quiet && io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Draws the line, in the place of what is in it.
pub(super) fn draw(text: &str) {
    let mut screen = screen();
    if screen.asking {
        return;
    }
    write(&format!("\r{text}\u{1b}[K")).ok();
    screen.drawn = true;
}

/// A question that is on the screen; gone with this value.
#[must_use = "the question is there as long as this value"]
pub(super) struct Question;

/// Keeps the line free for a question and its answer.
pub(super) fn question() -> Question {
    let mut screen = screen();
    screen.clear();
    screen.asking = true;
    Question
}

impl Drop for Question {
    fn drop(&mut self) {
        screen().asking = false;
    }
}

/// Takes the line away.
pub(super) fn clear() {
    screen().clear();
}
