//! The endpoint on the control socket of a Pantavisor: by `serve`, and by `cgi`.
mod black_box;
mod shape;

use black_box::agent::{self, JSON, Server, TEXT};
use black_box::http::{self, Conn, Response};
use black_box::sha256;
use serde_json::{Value, json};
use shape::Shape;
use shape::control::{Caller, Config, Daemon, Defects, Pace};
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Device {
    daemon: Daemon,
    server: Server,
    store: PathBuf,
    root: tempfile::TempDir,
}

impl Device {
    fn start(config: Config) -> Self {
        Self::with(config, Shape::Serve, &[])
    }

    fn with(config: Config, shape: Shape, more: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let (store, socket) = (root.path().join("store"), root.path().join("pv-ctrl"));
        let daemon = Daemon::start(&store, &socket, config);
        let server = match shape {
            Shape::Serve => {
                let mut command = agent::command();
                command.args(["serve", "--port", "0", "--socket"]).arg(&socket).args(more);
                command.arg("--state-dir").arg(root.path().join("state"));
                Server::spawn(command)
            }
            shape => {
                shape.start_on(&[("PVR_AGENT_SOCKET", &socket), ("PVR_AGENT_STATE_DIR", &root.path().join("state"))])
            }
        };
        Self { daemon, server, store, root }
    }

    fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let answer = http::ask(&format!("{}/{below}", self.server.base), method, headers, body);
        answer.unwrap_or_else(|err| panic!("{method} {below}: {err}"))
    }

    fn get(&self, below: &str) -> Response {
        self.ask("GET", below, &[], b"")
    }

    fn post(&self, envelope: &str) -> Response {
        self.ask("POST", "steps", TEXT, envelope.as_bytes())
    }

    /// The running state with one more object.
    fn state_with(&self, sha: &str) -> String {
        let state = String::from_utf8(self.get("json").body).expect("text");
        state.replacen("\"nb/run.json\"", &format!("\"nb/data\":\"{sha}\",\"nb/run.json\""), 1)
    }

    fn listed(&self, sha: &str) -> Option<String> {
        let list = self.get("objects").json();
        let all = list.as_array().expect("a list");
        let size = all.iter().find(|object| object["sha256"] == sha).map(|object| object["size"].clone());
        size.and_then(|size| size.as_str().map(str::to_owned))
    }

    fn wait_for(&self, rev: &str, status: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.get(&format!("steps/{rev}/progress"));
            let progress = if answer.status == 200 { answer.json() } else { Value::Null };
            if progress["status"] == status {
                return progress;
            }
            assert!(Instant::now() < deadline, "{rev} is not {status}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn by_hand(defects: Defects) -> Config {
    Config { defects, pace: Pace::ByHand, ..Config::default() }
}

/// What a client of the device does, in each shape.
#[test]
fn a_post_goes_through_to_the_daemon_and_is_run() {
    for shape in Shape::all("a_post_goes_through") {
        let device = Device::with(Config::default(), shape, &[]);
        let remote = device.server.remote();
        assert_eq!(remote["json-get-url"], format!("{}/json", device.server.base));
        assert_eq!(device.get("status").json()["running"], "0", "{}", shape.name());
        assert_eq!(device.get("status").json()["backend"], "control socket");
        let step = device.get("").json();
        assert_eq!((&step["name"], &step["rev"]), (&json!("0"), &json!(0)));
        assert_eq!(device.get("steps/7/json").status, 404);

        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
        let sha = sha256(&bytes);
        assert!(device.server.upload(&bytes).expect("upload"), "{}", shape.name());
        assert!(!device.server.upload(&bytes).expect("upload"), "it is there");
        assert_eq!(std::fs::read(device.store.join("objects").join(&sha)).expect("the object"), bytes);
        let blob = device.get(&format!("objects/{sha}/blob"));
        assert!(blob.status == 200 && blob.body == bytes, "{}: {}", shape.name(), blob.body.len());
        if shape.ranges() {
            let part = device.ask("GET", &format!("objects/{sha}/blob"), &[("Range", "bytes=100000-200000")], b"");
            assert!(part.status == 206 && part.body == bytes[100_000..=200_000], "{}", shape.name());
        }
        let state = device.state_with(&sha);
        let posted = device.post(&format!(r#"{{"commit-msg":"mine é","rev":-1,"state":{state}}}"#));
        assert_eq!(posted.status, 200, "{}: {posted}", shape.name());
        let posted = posted.json();
        let name = posted["revlocal"].as_str().expect("a name").to_owned();
        assert_eq!((&posted["rev"], &posted["state-sha"]), (&json!(-1), &json!(sha256(state.as_bytes()))));
        device.wait_for(&name, "UPDATED");
        assert_eq!(device.daemon.commands().last(), Some(&("LOCAL_RUN".to_owned(), name.clone())));
        assert_eq!(device.daemon.current(), name);
        assert_eq!(device.get("json").body, state.as_bytes(), "what the next clone sees");
        assert_eq!(device.get("status").json()["running"], name);
        assert_eq!(device.get(&format!("steps/{name}")).json()["commit-msg"], "mine é");
        // The same again is no change, and no command.
        let commands = device.daemon.commands().len();
        let again = device.post(&format!(r#"{{"rev":"{name}","state":{state}}}"#));
        assert_eq!((again.status, device.daemon.commands().len()), (200, commands), "{again}");
        let factory = std::fs::read(device.store.join("trails/0/.pvr/json")).expect("the state");
        let put = device.ask("PUT", "json", JSON, &factory);
        assert_eq!(put.status, 200, "{}: {put}", shape.name());
    }
}

#[test]
fn what_becomes_of_a_post_is_said_by_it_or_by_serve() {
    for (flag, member, command) in [
        (None, None, Some("LOCAL_RUN")),
        (Some("install"), None, None),
        (Some("run-commit"), None, Some("LOCAL_RUN_COMMIT")),
        (Some("install"), Some("run"), Some("LOCAL_RUN")),
        (None, Some("run-commit"), Some("LOCAL_RUN_COMMIT")),
        (Some("run"), Some("install"), None),
    ] {
        let more: Vec<&str> = flag.map(|flag| ["--on-post", flag]).into_iter().flatten().collect();
        let device = Device::with(by_hand(Defects::ALL), Shape::Serve, &more);
        let state = device.state_with(&sha256(b"x"));
        device.server.upload(b"x").expect("upload");
        let member = member.map_or_else(String::new, |word| format!(r#""on-post":"{word}","#));
        let answer = device.post(&format!(r#"{{{member}"rev":"locals/x","state":{state}}}"#));
        assert_eq!(answer.status, 200, "{flag:?} {member}: {answer}");
        let given: Vec<_> = device.daemon.commands().into_iter().map(|(op, _)| op).collect();
        assert_eq!(given, command.into_iter().collect::<Vec<_>>(), "{flag:?} {member}");
        assert_eq!(device.get("steps/locals/x/json").body, state.as_bytes());
    }
    let device = Device::start(by_hand(Defects::ALL));
    let bad = device.post(r##"{"on-post":"reboot","state":{"#spec":"pantavisor-service-system@1"}}"##);
    assert_eq!(bad.status, 422, "{bad}");
}

/// Before the first byte is read: room, a running update, the name. The daemon is asked for nothing then.
#[test]
fn what_cannot_be_is_refused_before_the_daemon_hears_of_it() {
    for (name, defects) in Defects::each().into_iter().chain([("all", Defects::ALL), ("none", Defects::NONE)]) {
        let device = Device::start(by_hand(defects));
        device.server.upload(b"x").expect("upload");
        let state = device.state_with(&sha256(b"x"));
        let large = sha256(b"large");
        let full = device.server.announce(&large, 1 << 40).expect("announce");
        assert_eq!(full.status, 507, "{name}: {full}");
        let full = full.json();
        assert_eq!(full["need"], 1_u64 << 40, "{name}");
        assert!(full["free"].as_u64().is_some_and(|free| free > 0), "{name}: {full}");
        assert_eq!(full["reclaimable"], 1, "{name}: the object that no revision has: {full}");
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        conn.head("PUT", &format!("/cgi-bin/pvr/objects/{large}/blob"), &[("Expect", "100-continue")], Some(1 << 40))
            .expect("send");
        assert_eq!(conn.receive_one("PUT").expect("an answer").status, 507, "{name}: and never a 100");

        let missing = state.replace(&sha256(b"x"), &sha256(b"never sent"));
        let answer = device.post(&format!(r#"{{"rev":"locals/m","state":{missing}}}"#));
        assert_eq!((answer.status, &answer.json()["reason"]), (422, &json!("missing-objects")), "{name}");
        // An object that somebody else began to send and that is not whole.
        let part = sha256(b"a whole object");
        std::fs::write(device.store.join("objects").join(&part), b"a whole").expect("write");
        let broken = state.replace(&sha256(b"x"), &part);
        let answer = device.post(&format!(r#"{{"rev":"locals/m","state":{broken}}}"#));
        assert_eq!((answer.status, &answer.json()["reason"]), (422, &json!("missing-objects")), "{name}");
        assert!(device.server.upload(b"a whole object").expect("upload"), "{name}: and sending it mends it");

        let running = String::from_utf8(device.get("json").body).expect("text");
        assert_eq!(device.post(&format!(r#"{{"rev":"locals/x","state":{state}}}"#)).status, 200, "{name}");
        assert_eq!(device.daemon.commands().len(), 1, "{name}");
        device.daemon.advance();
        assert_eq!(device.daemon.current(), "locals/x", "{name}");
        std::thread::sleep(Duration::from_millis(2100));
        let busy = device.post(&format!(r#"{{"rev":"locals/y","state":{running}}}"#));
        assert_eq!((busy.status, &busy.json()["reason"]), (503, &json!("update-running")), "{name}: {busy}");
        assert!(busy.header("retry-after").is_some());
        assert_eq!(device.server.announce(&large, 1).expect("announce").status, 503, "{name}");
        device.daemon.advance();
        std::thread::sleep(Duration::from_millis(2100));
        let taken = device.post(&format!(r#"{{"rev":"locals/x","state":{running}}}"#));
        assert_eq!((taken.status, &taken.json()["reason"]), (409, &json!("revision-running")), "{name}");
        assert_eq!(device.get("steps/locals/x/json").body, state.as_bytes(), "{name}: it is still there");
        assert_eq!(device.daemon.commands().len(), 1, "{name}");
    }
}

#[test]
fn an_upload_that_breaks_off_or_lies_leaves_nothing() {
    let shapes = Shape::all("an_upload_that_breaks_off");
    let all = shapes.into_iter().flat_map(|shape| [Defects::ALL, Defects::NONE].map(|defects| (shape, defects)));
    for (shape, defects) in all {
        let device = Device::with(by_hand(defects), shape, &[]);
        let bytes = vec![3; 1_000_000];
        let sha = sha256(&bytes);
        let path = format!("/cgi-bin/pvr/objects/{sha}/blob");
        let mut left = Conn::open(&device.server.host()).expect("connect");
        left.head("PUT", &path, &[], Some(bytes.len() as u64)).expect("send");
        left.raw(&bytes[..700_000]).expect("send");
        drop(left);
        let deadline = Instant::now() + Duration::from_secs(20);
        while device.listed(&sha).is_some_and(|size| size != "1000000")
            || device.store.join("objects").join(&sha).exists()
        {
            assert!(Instant::now() < deadline, "what came of it stays");
            std::thread::sleep(Duration::from_millis(20));
        }
        let wrong = device.ask("PUT", &format!("objects/{sha}/blob"), &[], &vec![4; 1_000_000]);
        assert_eq!((wrong.status, device.listed(&sha)), (422, None), "{wrong}");
        assert!(device.server.upload(&bytes).expect("upload"));
        assert!(device.server.upload(b"").expect("upload"), "the empty one");
        assert!(!device.server.upload(b"").expect("upload"), "whose second upload the daemon would never answer");
    }
}

#[test]
fn a_state_that_the_daemon_refuses_is_the_clients_error() {
    let device = Device::start(Config { strict: true, ..by_hand(Defects::ALL) });
    let state = String::from_utf8(device.get("json").body).expect("text");
    let answer = device.post(&format!(r#"{{"rev":"locals/u","state":{state}}}"#));
    assert_eq!((answer.status, &answer.json()["reason"]), (422, &json!("refused-by-pantavisor")), "{answer}");
    assert_eq!(device.get("steps/locals/u").status, 404);
    assert!(device.daemon.commands().is_empty());
}

#[test]
fn a_daemon_that_does_not_answer_or_does_not_let_us_is_an_answer() {
    let device = Device::start(by_hand(Defects::ALL));
    device.daemon.deafen(Duration::from_secs(2));
    assert_eq!(device.get("json").status, 200, "deaf for a while is waited for");
    device.daemon.configure(|config| config.caller = Caller::Container("nb".to_owned()));
    assert_eq!(device.get("json").status, 502);
    let root = tempfile::tempdir().expect("a folder");
    let mut command = agent::command();
    command.arg("cgi").env("PVR_AGENT_SOCKET", root.path().join("none")).env("REQUEST_METHOD", "GET");
    let output = command.env("PATH_INFO", "/json").output().expect("run pvr-agent");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Status: 503 ") && text.contains("pantavisor-unreachable"), "{text}");
}

/// It removes what was just uploaded: never behind anybody's back, and not even when told, while something waits.
#[test]
fn the_daemons_collector_runs_only_when_told_and_when_it_takes_nothing_away() {
    for (flags, collects) in [(&[][..], false), (&["--gc"][..], true)] {
        let device = Device::with(by_hand(Defects::ALL), Shape::Serve, flags);
        let garbage = sha256(b"garbage");
        std::fs::write(device.store.join("objects").join(&garbage), b"garbage").expect("write");
        assert!(device.server.upload(b"waiting").expect("upload"));
        let full = |what: &str| {
            let answer = device.server.announce(&sha256(b"large"), 1 << 40).expect("announce");
            assert_eq!(answer.status, 507, "{what}: {answer}");
        };
        full("an upload waits");
        assert!(device.listed(&garbage).is_some() && device.listed(&sha256(b"waiting")).is_some());
        let state = device.state_with(&sha256(b"waiting"));
        let posted = device.post(&format!(r#"{{"on-post":"install","rev":"locals/x","state":{state}}}"#));
        assert_eq!(posted.status, 200, "{posted}");
        full("a revision waits");
        assert!(device.listed(&garbage).is_some() && device.get("steps/locals/x").status == 200);
        assert_eq!(device.post(&format!(r#"{{"rev":"locals/x","state":{state}}}"#)).status, 200);
        device.daemon.advance();
        device.daemon.advance();
        std::thread::sleep(Duration::from_millis(2100));
        full("nothing waits");
        assert_eq!(device.listed(&garbage).is_none(), collects, "{flags:?}");
        assert!(device.listed(&sha256(b"waiting")).is_some(), "it runs");
    }
}

/// Where the storage is mounted as well, objects are read there, and are what their names say.
#[test]
fn objects_are_read_in_a_storage_that_is_mounted_too() {
    let root = tempfile::tempdir().expect("a folder");
    let (store, socket) = (root.path().join("store"), root.path().join("pv-ctrl"));
    let daemon = Daemon::start(&store, &socket, by_hand(Defects::ALL));
    let mut command = agent::command();
    command.args(["serve", "--port", "0", "--socket"]).arg(&socket).arg("--storage").arg(&store);
    command.arg("--state-dir").arg(root.path().join("state"));
    let server = Server::spawn(command);
    assert!(
        server.log().contains("control socket:") && server.log().contains("objects are read in:"),
        "{}",
        server.log()
    );
    let bytes = vec![9; 200_000];
    assert!(server.upload(&bytes).expect("upload"));
    let blob = format!("{}/objects/{}/blob", server.base, sha256(&bytes));
    assert_eq!(http::get(&blob).body, bytes);
    // What is read on disk needs no answer.
    drop(daemon);
    assert_eq!(http::get(&blob).body, bytes);
    assert!(!store.join(".pvr-agent").exists(), "nothing is written there");
}

/// The daemon writes all of them into one file: as they come, one of them is refused, and what is there then is a part.
#[test]
fn the_same_object_was_uploaded_several_times_at_once() {
    for shape in Shape::all("the_same_object_was_uploaded") {
        let device = Device::with(by_hand(Defects::ALL), shape, &[]);
        // Another process at the same socket, as beside a web server.
        let (socket, state) = (device.root.path().join("pv-ctrl"), device.root.path().join("state"));
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--socket"]).arg(&socket).arg("--state-dir").arg(&state);
        let beside = Server::spawn(command);
        for round in 0..3u8 {
            let bytes = vec![round; 3_000_000];
            let path = format!("objects/{}/blob", sha256(&bytes));
            let put = |base: &str| {
                let answer = http::ask(&format!("{base}/{path}"), "PUT", &[], &bytes).expect("an answer");
                assert_eq!(answer.status, 200, "{}: {answer}", shape.name());
            };
            std::thread::scope(|scope| {
                (0..6).for_each(|_| drop(scope.spawn(|| put(&device.server.base))));
                (0..2).for_each(|_| drop(scope.spawn(|| put(&beside.base))));
            });
            let stored = std::fs::read(device.store.join("objects").join(sha256(&bytes))).expect("the object");
            assert!(stored == bytes, "{}", shape.name());
        }
    }
}

/// One that is killed while it sends an object leaves its lock to the next.
#[test]
fn an_upload_that_was_killed_keeps_nobody_waiting() {
    let device = Device::start(by_hand(Defects::ALL));
    let bytes = vec![7; 3_000_000];
    let path = format!("/cgi-bin/pvr/objects/{}/blob", sha256(&bytes));
    let mut command = agent::command();
    command.args(["serve", "--port", "0", "--socket"]).arg(device.root.path().join("pv-ctrl"));
    command.arg("--state-dir").arg(device.root.path().join("state"));
    let mut beside = Server::spawn(command);
    let mut slow = Conn::open(&beside.host()).expect("connect");
    slow.head("PUT", &path, &[], Some(bytes.len() as u64)).expect("send");
    slow.raw(&bytes[..2_000_000]).expect("send");
    let deadline = Instant::now() + Duration::from_secs(20);
    while device.listed(&sha256(&bytes)).is_none() {
        assert!(Instant::now() < deadline, "it never begins");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| device.ask("PUT", &format!("objects/{}/blob", sha256(&bytes)), &[], &bytes).status);
        std::thread::sleep(Duration::from_millis(300));
        assert!(!other.is_finished(), "it waits");
        beside.kill();
        assert_eq!(other.join().expect("an upload"), 200);
    });
    assert!(std::fs::read(device.store.join("objects").join(sha256(&bytes))).expect("the object") == bytes);
}

/// Each looked whether the name was free, then hashed objects for long, and then sent its state: over the other's, which was to run.
#[test]
fn two_processes_posted_under_one_name_at_once() {
    for round in 0..4 {
        let device = Device::start(by_hand(Defects::ALL));
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--socket"]).arg(device.root.path().join("pv-ctrl"));
        command.arg("--state-dir").arg(device.root.path().join("state"));
        let beside = Server::spawn(command);
        // Nobody has seen them come: each process reads them.
        let states = [1, 2].map(|byte| {
            let bytes = vec![byte; 8_000_000];
            std::fs::write(device.store.join("objects").join(sha256(&bytes)), &bytes).expect("write");
            device.state_with(&sha256(&bytes))
        });
        let post = |base: &str, state: &str| {
            let body = format!(r#"{{"rev":"locals/x","state":{state}}}"#);
            http::ask(&format!("{base}/steps"), "POST", TEXT, body.as_bytes()).expect("an answer").status
        };
        let answers = std::thread::scope(|scope| {
            let other = scope.spawn(|| post(&beside.base, &states[1]));
            [post(&device.server.base, &states[0]), other.join().expect("a post")]
        });
        let won: Vec<_> = (0..2).filter(|n| answers[*n] == 200).collect();
        assert!(won.len() == 1 && [409, 503].contains(&answers[1 - won[0]]), "{round}: {answers:?}");
        assert_eq!(device.daemon.commands().len(), 1, "{round}");
        (0..3).for_each(|_| device.daemon.advance());
        assert_eq!(device.daemon.current(), "locals/x", "{round}");
        assert!(device.get("steps/locals/x/json").body == states[won[0]].as_bytes(), "{round}: it is the other's");
        assert!(
            ["DONE", "UPDATED"].contains(&device.get("steps/locals/x/progress").json()["status"].as_str().unwrap())
        );
    }
}

/// It was remembered as whole for good, whatever came under its name afterwards.
#[test]
fn an_object_that_was_whole_and_is_a_part_now_was_taken_for_whole() {
    let device = Device::start(by_hand(Defects::ALL));
    let bytes = b"an object that is cut";
    assert!(device.server.upload(bytes).expect("upload"));
    let state = device.state_with(&sha256(bytes));
    let path = device.store.join("objects").join(sha256(bytes));
    // An upload by somebody else's hands has begun, and has broken off.
    std::fs::write(&path, &bytes[..7]).expect("write");
    let answer = device.post(&format!(r#"{{"rev":"locals/x","state":{state}}}"#));
    assert_eq!((answer.status, &answer.json()["reason"]), (422, &json!("missing-objects")), "{answer}");
    assert!(device.server.upload(bytes).expect("upload"), "sending it again mends it");
    let answer = device.post(&format!(r#"{{"rev":"locals/x","state":{state}}}"#));
    assert_eq!(answer.status, 200, "{answer}");
}
