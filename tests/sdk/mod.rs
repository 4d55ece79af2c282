//! A device with each back end in each shape, for what is beside the protocol of `pvr`: transactions, logs, the description.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use super::black_box::agent::{self, Server};
use super::black_box::http::{Conn, Response};
use super::black_box::seed::{File, Seed};
use super::black_box::sha256;
use super::shape::Shape;
use super::shape::control::{Config, Daemon};
use super::tar;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a device is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Storage,
    Socket,
}

pub struct Device {
    pub server: Server,
    pub shape: Shape,
    pub back: Back,
    pub daemon: Option<Daemon>,
    /// The storage, or what the daemon keeps.
    pub storage: PathBuf,
    pub logs: PathBuf,
    /// What is kept where there is no storage.
    pub state: PathBuf,
    root: tempfile::TempDir,
}

impl Device {
    pub fn start(back: Back, shape: Shape) -> Self {
        Self::with(back, shape, Config::default(), &[])
    }

    /// `more` are variables of the server's environment.
    pub fn with(back: Back, shape: Shape, config: Config, more: &[(&str, &Path)]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        let (storage, socket, logs, state) = (at("storage"), at("pv-ctrl"), at("logs"), at("state"));
        std::fs::create_dir(&logs).expect("a folder for logs");
        let daemon = match back {
            Back::Storage => {
                let files = [
                    ("bsp/kernel.img", File::Object(b"a kernel of the tests\n")),
                    ("bsp/run.json", File::Json(r#"{"linux":"kernel.img"}"#)),
                    ("nb/run.json", File::Json(r#"{"name":"nb"}"#)),
                ];
                Seed::new(&storage).revision("0", &files);
                None
            }
            Back::Socket => Some(Daemon::start(&storage, &socket, config)),
        };
        let place: (&str, &Path) = match back {
            Back::Storage => ("PVR_AGENT_STORAGE", &storage),
            Back::Socket => ("PVR_AGENT_SOCKET", &socket),
        };
        let mut settings = vec![place, ("PVR_AGENT_LOG_DIR", logs.as_path())];
        if back == Back::Socket {
            settings.push(("PVR_AGENT_STATE_DIR", &state));
        }
        settings.extend(more);
        let server = match shape {
            Shape::Serve => {
                let mut command = agent::command();
                command.args(["serve", "--port", "0"]).envs(settings.iter().copied());
                Server::spawn(command)
            }
            shape => shape.start_on(&settings),
        };
        Self { server, shape, back, daemon, storage, logs, state, root }
    }

    pub fn name(&self) -> String {
        format!("{:?} by {}", self.back, self.shape.name())
    }

    /// Below `/cgi-bin/`, as it is given.
    pub fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let answer = Conn::open(&self.server.host())
            .and_then(|mut conn| conn.ask(method, &format!("/cgi-bin/{below}"), headers, body));
        answer.unwrap_or_else(|err| panic!("{}: {method} {below}: {err}", self.name()))
    }

    pub fn get(&self, below: &str) -> Response {
        self.ask("GET", below, &[], b"")
    }

    /// Without a body, but saying so, as clients do.
    pub fn bare(&self, method: &str, below: &str) -> Response {
        self.ask(method, below, &[("Content-Length", "0")], b"")
    }

    /// What has to be answered with 200 and JSON.
    pub fn json(&self, method: &str, below: &str) -> Value {
        let answer = if method == "GET" { self.get(below) } else { self.bare(method, below) };
        assert_eq!(answer.status, 200, "{}: {method} {below}: {answer}", self.name());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {below}");
        answer.json()
    }

    pub fn add(&self, package: &[u8]) -> Response {
        // What curl says of --data-binary.
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask("PUT", "pvtx/add", &form, package)
    }

    /// An error, by its status and its word.
    pub fn refused(&self, answer: &Response, status: u16, reason: &str) {
        assert_eq!(answer.status, status, "{}: {answer}", self.name());
        assert_eq!(answer.json()["reason"], reason, "{}: {answer}", self.name());
    }

    /// Whether the web server lets our program see a query like this; some answer escapes that are no text by themselves.
    pub fn hands_on(&self, query: &str) -> bool {
        let strict = matches!(self.shape, Shape::Lighttpd | Shape::Nginx);
        !(strict && ["%0", "%1", "%ff"].iter().any(|escape| query.contains(escape)))
    }

    pub fn wait_for(&self, rev: &str, done: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            // Around a transition the daemon is deaf.
            let answer = self.get(&format!("pvtx/status?rev={rev}"));
            let status = if answer.status == 200 { answer.json()["progress"]["status"].clone() } else { Value::Null };
            if done.iter().any(|done| status == **done) {
                return;
            }
            assert!(Instant::now() < deadline, "{}: {rev} is not {done:?}: {answer}", self.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a test with each back end in each shape.
pub fn each(test: &str, run: impl Fn(&Device)) {
    for shape in Shape::all(test) {
        for back in [Back::Storage, Back::Socket] {
            let device = Device::start(back, shape);
            run(&device);
            if back == Back::Storage {
                agent::assert_clean(&device.storage, &device.name());
            }
        }
    }
}

/// A package: keys with the bytes of their objects, or with JSON.
pub fn package(objects: &[(&str, &[u8])], json: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut members = vec![r##""#spec":"pantavisor-service-system@1""##.to_owned()];
    for (key, bytes) in objects {
        let sha = sha256(bytes);
        members.push(format!(r#""{key}":"{sha}""#));
        out.extend(tar::file(&format!("objects/{sha}"), bytes));
    }
    members.extend(json.iter().map(|(key, value)| format!(r#""{key}":{value}"#)));
    out.extend(tar::file("json", format!("{{{}}}", members.join(",")).as_bytes()));
    out.extend(tar::end());
    out
}
