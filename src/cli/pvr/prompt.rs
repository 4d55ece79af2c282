//! Questions on the terminal. They go to stderr, the answers come from stdin, and only from a terminal: a pipe is not
//! somebody who can be asked. Passwords are read without echo.

use std::io::{self, BufRead, IsTerminal, Write};

use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};

use super::{screen, show};
use crate::remote::{Ask, AuthError, Credentials};

/// What Ctrl-C sends while signals are off.
const INTERRUPT: u8 = 3;

/// The terminal, if there is one.
pub(super) struct Terminal;

impl Ask for Terminal {
    fn login(&self, endpoint: &str, realm: &str) -> Result<Option<Credentials>, AuthError> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let _question = screen::question();
        show::tell(&format!("*** Login @ {endpoint} (realm={realm}) ***"));
        let username = loop {
            let name = line("Username: ")?;
            if !name.is_empty() {
                break name;
            }
        };
        let password = hidden("Password: ")?;
        show::tell("*****");
        Ok(Some(Credentials { username, password }))
    }

    fn other_server(&self, server: &str, endpoint: &str) -> Result<Option<bool>, AuthError> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let _question = screen::question();
        show::tell(&format!("{server} wants a login at {endpoint}, which is another server."));
        let answer = line("Log in there, and give the token to the one that asks? [y/N] ")?;
        Ok(Some(matches!(answer.as_str(), "y" | "Y" | "yes")))
    }

    fn tell(&self, line: &str) {
        show::tell(line);
    }
}

fn ask(prompt: &str) -> Result<(), AuthError> {
    let mut err = io::stderr().lock();
    write!(err, "{prompt}").and_then(|()| err.flush()).map_err(AuthError::Terminal)
}

/// One line, as the terminal echoes it.
fn line(prompt: &str) -> Result<String, AuthError> {
    ask(prompt)?;
    let mut text = String::new();
    // The buffer of stdin is shared, so that what is typed ahead reaches the next question.
    if io::stdin().lock().read_line(&mut text).map_err(AuthError::Terminal)? == 0 {
        return Err(AuthError::Cancelled);
    }
    Ok(text.trim().to_owned())
}

/// One line that is not shown. The terminal is as it was whatever happens: Ctrl-C ends the line instead of the program.
pub(in crate::cli) fn hidden(prompt: &str) -> Result<String, AuthError> {
    let stdin = io::stdin();
    let before = termios::tcgetattr(&stdin).map_err(|error| AuthError::Terminal(error.into()))?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    quiet.control_chars[SpecialCharacterIndices::VEOL as usize] = INTERRUPT;
    ask(prompt)?;
    termios::tcsetattr(&stdin, SetArg::TCSANOW, &quiet).map_err(|error| AuthError::Terminal(error.into()))?;
    let restore = Restore(before);
    let mut bytes = Vec::new();
    let mut input = stdin.lock();
    let ended = loop {
        let got = input.fill_buf().map_err(AuthError::Terminal)?;
        let Some(&byte) = got.first() else { break false };
        input.consume(1);
        match byte {
            b'\n' | b'\r' => break true,
            INTERRUPT => break false,
            byte => bytes.push(byte),
        }
    };
    drop(restore);
    if !ended {
        show::tell("");
        return Err(AuthError::Cancelled);
    }
    String::from_utf8(bytes).map_err(|error| AuthError::Terminal(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Puts the terminal back.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        // A terminal that has gone needs no modes.
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0).ok();
    }
}
