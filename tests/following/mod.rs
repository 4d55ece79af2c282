//! A device whose updates go as a test says, on either back end: what it says of a revision is written by the test, as the daemon
//! would write it.
#![allow(dead_code, reason = "every test binary uses its part of this")]

use super::black_box::agent::{self, Server, TEXT};
use super::black_box::http::{self, Response};
use super::black_box::program;
use super::black_box::seed::{File, Seed};
use super::shape::Shape;
use super::shape::control::{Config, Daemon, Pace};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the endpoint reaches the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Storage,
    Socket,
}

pub const BACKS: [Back; 2] = [Back::Storage, Back::Socket];

pub struct Device {
    pub server: Server,
    pub daemon: Option<Daemon>,
    pub storage: PathBuf,
    port: u16,
    _root: tempfile::TempDir,
}

impl Device {
    pub fn start(back: Back) -> Self {
        Self::with(back, Shape::Serve)
    }

    pub fn with(back: Back, shape: Shape) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let (storage, socket) = (root.path().join("store"), root.path().join("pv-ctrl"));
        let config = Config { pace: Pace::ByHand, ..Config::default() };
        let daemon = (back == Back::Socket).then(|| Daemon::start(&storage, &socket, config));
        if daemon.is_none() {
            Seed::new(&storage).revision("0", &[("bsp/run.json", File::Json("{}"))]);
        }
        let place = if daemon.is_some() { &socket } else { &storage };
        let variable = if daemon.is_some() { "PVR_AGENT_SOCKET" } else { "PVR_AGENT_STORAGE" };
        let (server, port) = match shape {
            Shape::Serve => serve(daemon.is_some(), place),
            shape => (shape.start_on(&[(variable, place)]), 0),
        };
        Self { server, daemon, storage, port, _root: root }
    }

    /// Starts `serve` again, where it was.
    pub fn start_again(&mut self) {
        let socket = self.daemon.as_ref().map(|daemon| daemon.socket().to_owned());
        let place = socket.as_deref().unwrap_or(&self.storage);
        self.server = spawn(socket.is_some(), place, self.port);
    }

    pub fn url(&self, below: &str) -> String {
        format!("{}/{below}", self.server.base)
    }

    pub fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        http::ask(&self.url(below), method, headers, body).unwrap_or_else(|err| panic!("{method} {below}: {err}"))
    }

    pub fn get(&self, below: &str) -> Response {
        self.ask("GET", below, &[], b"")
    }

    /// Makes a revision that nobody runs.
    pub fn install(&self, name: &str) {
        let state = String::from_utf8(self.get("json").body).expect("text");
        let state = state.trim_end().replacen('{', &format!("{{\"{name}/src.json\":{{}},"), 1);
        let body = format!(r#"{{"on-post":"install","rev":"locals/{name}","state":{state}}}"#);
        let answer = self.ask("POST", "steps", TEXT, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.json()["events-url"], self.url(&format!("steps/locals/{name}/events")));
    }

    /// Has a revision say something else.
    pub fn say(&self, rev: &str, status: &str) {
        let (message, progress) = (format!("about {status}"), 42);
        match &self.daemon {
            Some(daemon) => daemon.say(rev, status, &message, progress),
            None => {
                let text =
                    format!(r#"{{"status":"{status}","status-msg":"{message}","progress":{progress},"retries":0}}"#);
                // As the daemon does, and so that nobody sees half of it.
                let file = self.storage.join("trails").join(rev).join(".pv/progress");
                let new = file.with_extension("tmp");
                std::fs::write(&new, text).expect("write a progress");
                std::fs::rename(new, file).expect("replace the progress");
            }
        }
    }
}

/// On a port that is free, and stays ours when the server on it ends: nobody else here asks for one by its number.
fn serve(socket: bool, place: &Path) -> (Server, u16) {
    let server = spawn(socket, place, 0);
    let port = http::Target::parse(&server.base).host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (server, port.expect("a port"))
}

fn spawn(socket: bool, place: &Path, port: u16) -> Server {
    let mut command = agent::command();
    command.arg("serve").arg(if socket { "--socket" } else { "--storage" }).arg(place);
    command.args(["--port", &port.to_string()]);
    Server::spawn(command)
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + program::patience(Duration::from_secs(40));
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
