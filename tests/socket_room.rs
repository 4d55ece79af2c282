//! Before the first byte, on a control socket: is there room, is an update running, is the name taken; and who may have the
//! daemon collect. With the storage mounted beside it and without, by `serve` and as a CGI.
mod black_box;
mod shape;

use black_box::agent::{self, Server, TEXT};
use black_box::http::{self, Conn, Response};
use black_box::sha256;
use serde_json::{Value, json};
use shape::Shape;
use shape::control::{Config, Daemon, Defects, Facts, Pace};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const TOTAL: u64 = 1_000_000;
/// More than there will ever be.
const LARGE: usize = 1 << 40;

struct Device {
    daemon: Daemon,
    root: tempfile::TempDir,
    mounted: bool,
}

impl Device {
    fn new(mounted: bool) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let facts = Facts { total: TOTAL, ..Facts::default() };
        let config = Config { defects: Defects::ALL, pace: Pace::ByHand, facts, ..Config::default() };
        let daemon = Daemon::start(&root.path().join("store"), &root.path().join("pv-ctrl"), config);
        Self { daemon, root, mounted }
    }

    fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn serve(&self, flags: &[&str]) -> Server {
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--socket"]).arg(self.root.path().join("pv-ctrl")).args(flags);
        command.arg("--state-dir").arg(self.root.path().join("state"));
        if self.mounted {
            command.arg("--storage").arg(self.store());
        }
        Server::spawn(command)
    }

    /// Under a web server, in the same state folder.
    fn cgi(&self, shape: Shape, gc: &str) -> Server {
        let (socket, state, store) = (self.root.path().join("pv-ctrl"), self.root.path().join("state"), self.store());
        let mut settings = vec![("PVR_AGENT_SOCKET", socket.as_path()), ("PVR_AGENT_STATE_DIR", &state)];
        settings.extend((!gc.is_empty()).then_some(("PVR_AGENT_GC", std::path::Path::new(gc))));
        settings.extend(self.mounted.then_some(("PVR_AGENT_STORAGE", store.as_path())));
        shape.start_on(&settings)
    }

    /// Runs what was posted to its end. The agent asks again every two seconds.
    fn settle(&self) {
        (0..3).for_each(|_| self.daemon.advance());
        std::thread::sleep(Duration::from_millis(2100));
    }

    fn object(&self, bytes: &[u8]) -> PathBuf {
        self.store().join("objects").join(sha256(bytes))
    }
}

fn get(server: &Server, below: &str) -> Response {
    http::get(&format!("{}/{below}", server.base))
}

/// The factory's state, with an object.
fn state_with(bytes: &[u8]) -> String {
    let factory = shape::control::FACTORY.trim_end();
    factory.replacen("\"nb/run.json\"", &format!("\"nb/data\":\"{}\",\"nb/run.json\"", sha256(bytes)), 1)
}

fn post(server: &Server, rev: &str, bytes: &[u8], on_post: &str) -> Response {
    let body = format!(r#"{{"on-post":"{on_post}","rev":"{rev}","state":{}}}"#, state_with(bytes));
    http::ask(&format!("{}/steps", server.base), "POST", TEXT, body.as_bytes()).expect("an answer")
}

/// What is said where there is no room.
fn refused(server: &Server, what: &str) -> Value {
    let answer = server.announce(&sha256(b"large"), LARGE).expect("an answer");
    assert_eq!((answer.status, &answer.json()["reason"]), (507, &json!("no-space")), "{what}: {answer}");
    answer.json()
}

#[test]
fn what_a_collection_would_free_is_said_and_nothing_is_collected() {
    for mounted in [false, true] {
        let device = Device::new(mounted);
        let server = device.serve(&[]);
        let upload = |bytes: &[u8]| assert!(server.upload(bytes).expect("an upload"));
        // Of a rollback point; of one that ran and is none, and is not the running one any more; of one that waits.
        for (rev, bytes, how) in [
            ("locals/done", vec![1; 1000], "run-commit"),
            ("locals/ran", vec![2; 2000], "run"),
            ("locals/runs", vec![3; 4000], "run"),
            ("locals/waits", vec![4; 8000], "install"),
        ] {
            upload(&bytes);
            let answer = post(&server, rev, &bytes, how);
            assert_eq!(answer.status, 200, "{rev}: {answer}");
            device.settle();
        }
        assert_eq!(device.daemon.current(), "locals/runs");
        upload(&[5; 16_000]);
        let elsewhere = [6; 32_000];
        fs::write(device.object(&elsewhere), elsewhere).expect("write");
        fs::hard_link(device.object(&elsewhere), device.root.path().join("elsewhere")).expect("link");
        // It is remembered for a while; another one looks.
        let server = device.serve(&[]);
        let said = refused(&server, "full");
        // Another's link is seen only where the storage is.
        let reclaimable = 2000 + 8000 + 16_000 + if mounted { 0 } else { 32_000 };
        assert_eq!((&said["need"], &said["reclaimable"]), (&json!(LARGE), &json!(reclaimable)), "mounted: {mounted}");
        assert!(said["free"].as_u64().is_some_and(|free| free < TOTAL && free > TOTAL / 2), "{said}");
        assert_eq!(get(&server, "status").json()["storage"]["reclaimable"], reclaimable, "mounted: {mounted}");
        for bytes in [&[2; 2000][..], &[4; 8000], &[5; 16_000], &elsewhere] {
            assert!(device.object(bytes).exists(), "it was collected");
        }
        assert_eq!(get(&server, "steps/locals/waits").status, 200);
        // The daemon frees as much, at least.
        let before: u64 = sizes(&device);
        let mut conn = std::os::unix::net::UnixStream::connect(device.daemon.socket()).expect("connect");
        std::io::Write::write_all(&mut conn, b"POST /storage/gc HTTP/1.0\r\n\r\n").expect("send");
        std::io::Read::read_to_end(&mut conn, &mut Vec::new()).expect("an answer");
        let freed = before - sizes(&device);
        assert!(freed >= reclaimable - if mounted { 0 } else { 32_000 }, "{freed} of {reclaimable}");
    }
}

fn sizes(device: &Device) -> u64 {
    let objects = fs::read_dir(device.store().join("objects")).expect("list");
    objects.map(|entry| entry.expect("an entry").metadata().expect("metadata").len()).sum()
}

#[test]
fn room_a_running_update_and_a_taken_name_come_before_the_first_byte() {
    for mounted in [false, true] {
        let device = Device::new(mounted);
        let server = device.serve(&[]);
        let never = |size: u64, status: u16| {
            let path = format!("/cgi-bin/pvr/objects/{}/blob", sha256(b"large"));
            let mut conn = Conn::open(&server.host()).expect("connect");
            conn.head("PUT", &path, &[("Expect", "100-continue")], Some(size)).expect("send");
            assert_eq!(conn.receive_one("PUT").expect("an answer").status, status, "and never a 100");
        };
        let never_posted = |size: u64, status: u16| {
            for (method, below) in [("POST", "steps"), ("PUT", "json")] {
                let mut conn = Conn::open(&server.host()).expect("connect");
                let headers = [("Expect", "100-continue"), ("Content-Type", "application/json")];
                conn.head(method, &format!("/cgi-bin/pvr/{below}"), &headers, Some(size)).expect("send");
                let answer = conn.receive_one(method).expect("an answer");
                assert_eq!(answer.status, status, "{method} {below}, and never a 100: {answer}");
            }
        };
        never(LARGE as u64, 507);
        never_posted(TOTAL + TOTAL / 2, 507);
        assert!(server.upload(b"x").expect("an upload") && server.upload(b"y").expect("an upload"));
        assert_eq!(post(&server, "locals/x", b"x", "run").status, 200);
        device.daemon.advance();
        std::thread::sleep(Duration::from_millis(2100));
        never(1, 503);
        never_posted(1, 503);
        let busy = post(&server, "locals/y", b"y", "run");
        assert_eq!((busy.status, &busy.json()["reason"]), (503, &json!("update-running")), "{busy}");
        device.settle();
        let taken = post(&server, "locals/x", b"y", "run");
        assert_eq!((taken.status, &taken.json()["reason"]), (409, &json!("revision-running")), "{taken}");
        assert_eq!(post(&server, "locals/y", b"y", "run").status, 200);
        device.settle();
        let taken = post(&server, "locals/x", b"y", "run");
        assert_eq!((taken.status, &taken.json()["reason"]), (409, &json!("revision-exists")), "{taken}");
        assert_eq!(device.daemon.commands().len(), 2, "the daemon was told nothing else");
    }
}

/// The collector took what another process had been sent a moment before: who asked for it knew only of what came to itself.
#[test]
fn what_came_to_another_process_was_collected() {
    for shape in Shape::cgi("what_came_to_another_process") {
        for mounted in [false, true] {
            let device = Device::new(mounted);
            let (server, beside) = (device.serve(&["--gc"]), device.cgi(shape, ""));
            let garbage = device.object(b"garbage");
            fs::write(&garbage, b"garbage").expect("write");
            assert!(beside.upload(b"waiting").expect("an upload"));
            refused(&server, "an upload waits");
            assert!(garbage.exists() && device.object(b"waiting").exists(), "{}", shape.name());
            let posted = post(&beside, "locals/x", b"waiting", "run");
            assert_eq!(posted.status, 200, "{}: {posted}", shape.name());
            device.settle();
            // Somebody is told that an object is there, and will not send it.
            fs::write(device.object(b"promised"), b"promised").expect("write");
            assert_eq!(beside.announce(&sha256(b"promised"), 8).expect("an answer").status, 409);
            refused(&server, "a promise waits");
            assert!(garbage.exists() && device.object(b"promised").exists(), "{}", shape.name());
            assert_eq!(post(&beside, "locals/y", b"promised", "run").status, 200);
            device.settle();
            refused(&server, "nothing waits");
            assert!(!garbage.exists() && device.object(b"promised").exists(), "{}: it collects", shape.name());
        }
    }
}

/// After a collection the daemon says for a while that there is as little room as before.
#[test]
fn an_upload_that_fits_after_a_collection_was_refused() {
    let programs = Shape::cgi("an_upload_that_fits").into_iter().next();
    for mounted in [false, true] {
        for shape in [Some(Shape::Serve), programs].into_iter().flatten() {
            for told in [false, true] {
                let device = Device::new(mounted);
                let garbage = vec![7; 600_000];
                fs::write(device.object(&garbage), &garbage).expect("write");
                let server = match shape {
                    Shape::Serve => device.serve(if told { &["--gc"] } else { &[] }),
                    shape => device.cgi(shape, if told { "1" } else { "" }),
                };
                let bytes = vec![8; 700_000];
                let answer = server.announce(&sha256(&bytes), bytes.len()).expect("an answer");
                let want = if told { 200 } else { 507 };
                assert_eq!(answer.status, want, "{} mounted: {mounted}: {answer}", shape.name());
                assert_eq!(device.object(&garbage).exists(), !told, "{}", shape.name());
                assert_eq!(answer.json()["reclaimable"], if told { Value::Null } else { json!(600_000) });
            }
        }
    }
}

/// One that failed with a log of more than the daemon's list shows was taken for one that has yet to run, for as long as it was there.
#[test]
fn a_revision_that_failed_with_a_long_log_kept_the_collector_away() {
    let device = Device::new(false);
    let server = device.serve(&["--gc"]);
    let folder = device.store().join("trails/locals/failed/.pvr");
    fs::create_dir_all(&folder).expect("make a folder");
    fs::write(folder.join("json"), shape::control::FACTORY).expect("write");
    let garbage = device.object(b"garbage");
    fs::write(&garbage, b"garbage").expect("write");
    device.daemon.say("locals/failed", "NEW", "x", 0);
    refused(&server, "a revision waits");
    assert!(garbage.exists());
    device.daemon.say("locals/failed", "ERROR", &"an object is not what it should be; ".repeat(20), 100);
    refused(&server, "nothing waits");
    assert!(!garbage.exists());
}
