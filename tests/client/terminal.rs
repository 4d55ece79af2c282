//! A terminal for the program, and somebody who types.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::pvr::{Ran, program};

/// What no program writes.
const END: &str = "<<< the end >>>";

pub struct Terminal {
    keyboard: File,
    slave: File,
    screen: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    /// Starts a command with this terminal for all of its streams.
    pub fn start(mut command: Command) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(got @ 1..) = reader.read(&mut buf) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..got]));
            }
        });
        Self { keyboard, slave, screen, child }
    }

    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until the screen shows this for the `nth` time, then types.
    #[track_caller]
    pub fn answer(&mut self, nth: usize, prompt: &str, text: &str, echo: bool) {
        let begun = Instant::now();
        while self.screen().matches(prompt).count() < nth || self.echoes() != echo {
            assert!(begun.elapsed() < program::patience(Duration::from_secs(20)), "{prompt:?}: {}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end. What was on the screen is `err`.
    pub fn end(mut self) -> Ran {
        let begun = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if begun.elapsed() > program::patience(Duration::from_secs(60)) => {
                    self.child.kill().unwrap();
                    break self.child.wait().unwrap().code();
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(self.echoes(), "the terminal is left without echo");
        // All that was written comes before this.
        self.slave.write_all(END.as_bytes()).unwrap();
        loop {
            let screen = self.screen();
            if let Some(err) = screen.strip_suffix(END) {
                return Ran { code, out: String::new(), err: err.to_owned() };
            }
            assert!(begun.elapsed() < program::patience(Duration::from_secs(90)), "{screen}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
