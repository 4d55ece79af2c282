//! A device in one of its shapes: what it is reached by ([`Shape`]) and what is behind it ([`Back`]).
use super::control::{Config, Daemon, Defects, Pace};
use super::{Server, Shape, agent};
use crate::black_box::agent::TEXT;
use crate::black_box::http::{self, Conn, Response};
use crate::black_box::seed::{File, Seed, debris};
use crate::black_box::sha256;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the endpoint acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Storage,
    /// The control socket of a daemon with all its defects, but for being deaf now and then, which only takes time.
    Socket,
}

/// A storage with one revision, the endpoint on it, and between the two a daemon, if that is its back end.
pub struct Device {
    pub server: Server,
    pub shape: Shape,
    pub back: Back,
    pub daemon: Option<Daemon>,
    pub root: tempfile::TempDir,
    /// Of revision 0, canonical.
    pub state: String,
}

const PATIENCE: Duration = Duration::from_secs(90);

pub fn kernel() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}

impl Back {
    pub const BOTH: [Self; 2] = [Self::Storage, Self::Socket];
}

impl Device {
    pub fn start(shape: Shape, back: Back) -> Self {
        Self::holding(shape, back, |seed| {
            let files = [
                ("app/empty", File::Object(b"")),
                ("bsp/kernel.img", File::Object(&kernel())),
                ("bsp/run.json", File::Json(r#"{"linux":"kernel.img"}"#)),
            ];
            seed.revision("0", &files)
        })
    }

    /// One whose revision 0 is laid out by `seed`, which returns its state.
    pub fn holding(shape: Shape, back: Back, seed: impl FnOnce(&Seed) -> String) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let store = root.path().join("store");
        let state = seed(&Seed::new(&store));
        let (server, daemon) = match back {
            Back::Storage => (shape.start(&store), None),
            Back::Socket => {
                let socket = root.path().join("pv-ctrl");
                let pace = Pace::Every(Duration::from_millis(5));
                let daemon = Daemon::start(
                    &store,
                    &socket,
                    Config { defects: Defects { deaf: false, ..Defects::ALL }, pace, ..Config::default() },
                );
                let locks = root.path().join("state");
                let server = match shape {
                    Shape::Serve => {
                        let mut command = agent::command();
                        command.args(["serve", "--port", "0", "--socket"]).arg(&socket).arg("--state-dir").arg(&locks);
                        Server::spawn(command)
                    }
                    shape => shape.start_on(&[("PVR_AGENT_SOCKET", &socket), ("PVR_AGENT_STATE_DIR", &locks)]),
                };
                (server, Some(daemon))
            }
        };
        Self { server, shape, back, daemon, root, state }
    }

    pub fn name(&self) -> String {
        let back = if self.back == Back::Storage { "storage" } else { "control socket" };
        format!("{} on the {back}", self.shape.name())
    }

    pub fn is_on_storage(&self) -> bool {
        self.back == Back::Storage
    }

    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    pub fn object(&self, sha: &str) -> PathBuf {
        self.store().join("objects").join(sha)
    }

    pub fn url(&self, below: &str) -> String {
        format!("{}/{below}", self.server.base)
    }

    pub fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.patiently(|| http::ask(&self.url(below), method, headers, body))
            .unwrap_or_else(|err| panic!("{}: {method} {below}: {err}", self.name()))
    }

    /// As a client does that is told to come again: an update that was begun before may still be running.
    pub fn patiently(&self, ask: impl Fn() -> std::io::Result<Response>) -> std::io::Result<Response> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask()?;
            let again =
                self.back == Back::Socket && answer.status == 503 && answer.json()["reason"] == "update-running";
            if !again || Instant::now() > deadline {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn get(&self, below: &str) -> Response {
        self.ask("GET", below, &[], b"")
    }

    pub fn post(&self, envelope: &str) -> Response {
        self.ask("POST", "steps", TEXT, envelope.as_bytes())
    }

    /// Head and body as they are given, in one write.
    pub fn raw(&self, bytes: &[u8], method: &str) -> Response {
        self.try_raw(bytes, method).unwrap_or_else(|err| panic!("{}: {err}", self.name()))
    }

    /// The same; some servers end the connection without a word.
    pub fn try_raw(&self, bytes: &[u8], method: &str) -> std::io::Result<Response> {
        let mut conn = Conn::open(&self.server.host())?;
        conn.raw(bytes)?;
        conn.receive(method)
    }

    /// Waits until what was posted runs: at once on a storage, when the daemon has got to it on its socket.
    pub fn wait_until_it_runs(&self, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.get("json");
            let runs = now.status == 200 && now.body == state.as_bytes();
            if runs && self.daemon.as_ref().is_none_or(|daemon| !daemon.is_updating()) {
                return;
            }
            assert!(Instant::now() < deadline && !self.is_on_storage(), "{}: {now}", self.name());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing is half done, and every object is what its name says.
    pub fn assert_clean(&self, when: &str) {
        let when = format!("{when}, {}", self.name());
        if self.is_on_storage() {
            agent::assert_clean(&self.store(), &when);
            assert_eq!(debris(&self.store()), Vec::<String>::new(), "{when}");
            return;
        }
        assert!(!self.store().join(".pvr-agent").exists(), "{when}: it writes into a storage that is the daemon's");
        for entry in std::fs::read_dir(self.store().join("objects")).expect("list") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert_eq!(sha256(&std::fs::read(&path).expect("an object")), name, "{when}");
        }
    }
}

/// The state of a device, with one more member in front of `before`.
pub fn with_member(state: &str, before: &str, key: &str, value: &Value) -> String {
    state.replacen(&format!("{before:?}"), &format!("{key:?}:{value},{before:?}"), 1)
}

/// Runs a test in every shape, on both back ends.
pub fn each(test: &str, run: impl Fn(&Device)) {
    each_on(&Back::BOTH, test, run);
}

/// The same, on some of them.
pub fn each_on(backs: &[Back], test: &str, run: impl Fn(&Device)) {
    for shape in Shape::all(test) {
        for back in backs {
            let device = Device::start(shape, *back);
            run(&device);
            device.assert_clean(test);
        }
    }
}

/// The names of the tests in a file of `tests/`.
pub fn tests_of(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file).with_extension("rs");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let after = text.split("#[test]\n").skip(1);
    after.filter_map(|rest| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned())).collect()
}
