//! A server on the storage of a place.

use super::Place;
use super::talk::Talk;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The server of the storage `s`, on a port that is free.
pub fn serve(place: &Place) -> Command {
    let storage = place.at("s");
    place.agent("", &["serve", "--storage", storage.to_str().expect("a path"), "--port", "0"])
}

/// Where a server says that it listens.
pub fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("http://") && line.contains("/cgi-bin/pvr"))?;
    let url = &line[line.find("http://")?..];
    Some(url[..url.find("/cgi-bin/pvr")? + "/cgi-bin/pvr".len()].to_owned())
}

/// A server that nothing befalls. Killed when dropped.
pub struct Serving {
    child: Child,
    pub talk: Talk,
}

impl Serving {
    /// The storage `s`.
    pub fn start(place: &Place) -> Result<Self, String> {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let output = || Stdio::from(File::options().append(true).open(log.path()).expect("open it"));
        let mut child = serve(place).stdout(output()).stderr(output()).spawn().expect("start a server");
        loop {
            let text = fs::read_to_string(log.path()).expect("read the log");
            if let Some(base) = address(&text) {
                return Ok(Self { child, talk: Talk { base } });
            }
            if let Some(status) = child.try_wait().expect("look at the server") {
                return Err(format!("the server does not start: {status}\n{text}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
