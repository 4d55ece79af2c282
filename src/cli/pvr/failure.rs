//! How a command ends when it fails (`cli.md` §1).

use std::fmt::Display;
use std::process::ExitCode;

use super::show;

/// An error on its way to the terminal. The text is escaped where it holds anything from outside.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    text: String,
    plain: bool,
    on_stdout: bool,
}

impl Failure {
    /// The text alone, and an exit code of its own.
    pub(super) fn coded(code: u8, error: impl Display) -> Self {
        Self { code, text: error.to_string(), plain: false, on_stdout: false }
    }

    /// `ERROR: <text>`, exit code 1.
    pub(super) fn plain(error: impl Display) -> Self {
        Self { code: 1, text: error.to_string(), plain: true, on_stdout: false }
    }

    /// On stdout as well, as `post` has it.
    pub(super) fn also_on_stdout(mut self) -> Self {
        self.on_stdout = true;
        self
    }

    /// Prints the text and gives the code.
    pub(super) fn report(self) -> ExitCode {
        let Self { code, text, plain, on_stdout } = self;
        if on_stdout {
            // The text goes to stderr too: failing to write it twice is no news.
            show::print(&format!("ERROR: {text}\n")).ok();
        }
        show::tell(&if plain { format!("ERROR: {text}") } else { text });
        ExitCode::from(code)
    }
}
