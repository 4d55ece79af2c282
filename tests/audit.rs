//! The audit log: who did what to which revision, from where, and what came of it; in every shape, on both back ends.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::{agent, http, sha256};
use sdk::{Back, Device, package};
use serde_json::Value;
use shape::Shape;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn folder(device: &Device) -> PathBuf {
    if device.back == Back::Storage { device.storage.join(".pvr-agent") } else { device.state.clone() }
}

fn lines(device: &Device) -> Vec<Value> {
    let text = fs::read_to_string(folder(device).join("audit.log")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits for so many lines: they are written by a thread of their own, and nobody waits for it.
fn wait_for(device: &Device, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + black_box::program::patience(Duration::from_secs(20));
    loop {
        let lines = lines(device);
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{}: {} lines of {count}: {lines:?}", device.name(), lines.len());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_done_over_the_network_is_written_down() {
    sdk::each("what_is_done_over_the_network_is_written_down", |device| {
        let bytes = b"an object that is new here\n";
        let state = String::from_utf8(device.get("pvr/json").body).expect("text");
        for below in ["pvr/steps", "pvr/status", "pvr/objects"] {
            assert_eq!(device.get(below).status, 200);
        }
        assert!(!folder(device).join("audit.log").exists(), "{}: reading changes nothing", device.name());
        device.server.upload(bytes).expect("upload");
        let post = |rev: &str, state: &str| {
            let body = format!(r#"{{"rev":"{rev}","on-post":"install","state":{state}}}"#);
            device.ask("POST", "pvr/steps", &[], body.as_bytes())
        };
        assert_eq!(post("locals/one", &state).status, 200);
        assert_eq!(post("locals/\\u001b[31m", &state).status, 422);
        assert_eq!(post("locals/two", "[]").status, 422);
        device.json("POST", "pvtx/begin");
        assert_eq!(device.add(&package(&[("a/b", b"bytes")], &[])).status, 200);
        device.json("PUT", "pvtx/remove?part=a%2Fb");
        assert_eq!(device.bare("POST", "pvtx/commit?rev=locals/three").status, 200);
        assert_eq!(device.bare("POST", "pvtx/run?rev=locals/nothing").status, 404);
        assert_eq!(device.bare("POST", "pvtx/abort").status, 200);
        // What strangers try is not among it.
        assert_eq!(device.ask("POST", "pvr/steps", &[("Origin", "http://evil.example")], b"{}").status, 403);
        let row = |did: &str, rev: &str, to: &str, result: &str, status: u64| {
            (did.to_owned(), rev.to_owned(), to.to_owned(), result.to_owned(), status)
        };
        let wanted = [
            row("upload", "", &sha256(bytes), "ok", 200),
            row("post", "locals/one", "", "ok", 200),
            row("post", "", "", "refused", 422),
            row("post", "locals/two", "", "refused", 422),
            row("pvtx-begin", "", "", "ok", 200),
            row("pvtx-add", "", "", "ok", 200),
            row("pvtx-remove", "", "a/b", "ok", 200),
            row("pvtx-commit", "locals/three", "", "ok", 200),
            row("run", "locals/nothing", "", "refused", 404),
            row("pvtx-abort", "", "", "ok", 200),
        ];
        let all = wait_for(device, wanted.len());
        assert_eq!(all.len(), wanted.len(), "{}: {all:?}", device.name());
        for (line, wanted) in all.iter().zip(&wanted) {
            let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
            let told = (text("did"), text("rev"), text("to"), text("result"), line["status"].as_u64().unwrap_or(0));
            assert_eq!(&told, wanted, "{}", device.name());
            assert_eq!(line["from"], "127.0.0.1", "{line}");
            assert!(line["request-id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        }
        let mode = fs::metadata(folder(device).join("audit.log")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn an_upload_whose_client_leaves_is_written_down_as_left() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let sha = sha256(b"never sent");
    let mut stream = TcpStream::connect(device.server.host()).expect("connect");
    let head =
        format!("PUT /cgi-bin/pvr/objects/{sha}/blob HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nbegun");
    stream.write_all(head.as_bytes()).expect("send");
    std::thread::sleep(Duration::from_millis(200));
    drop(stream);
    let all = wait_for(&device, 1);
    assert_eq!((&all[0]["did"], &all[0]["to"]), (&"upload".into(), &sha.into()), "{all:?}");
    assert_ne!(all[0]["result"], "ok", "{all:?}");
}

#[test]
fn the_file_is_set_aside_when_it_is_full_and_by_several_processes_without_loss() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let second = agent::Server::start(&device.storage);
    let log = folder(&device).join("audit.log");
    fs::create_dir_all(folder(&device)).expect("the folder");
    // Nearly full. Whoever finds it full while another is setting it aside writes a line more.
    let filler = format!("{{\"did\":\"filler\",\"x\":\"{}\"}}\n", "x".repeat(480));
    let count = 256 * 1024 / filler.len();
    fs::write(&log, filler.repeat(count)).expect("fill it");
    let each = 20;
    std::thread::scope(|scope| {
        for server in [&device.server, &second] {
            scope.spawn(move || {
                for number in 0..each {
                    let below = format!("pvtx/run?rev=locals/{}-{number}", server.pid());
                    let url = server.base.replace("/cgi-bin/pvr", &format!("/cgi-bin/{below}"));
                    let answer = http::ask(&url, "POST", &[("Content-Length", "0")], b"").expect("an answer");
                    assert_eq!(answer.status, 404, "{answer}");
                }
            });
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let before = fs::read_to_string(folder(&device).join("audit.log.1")).unwrap_or_default();
        let text = before.clone() + &fs::read_to_string(&log).unwrap_or_default();
        let runs: std::collections::BTreeSet<String> = text
            .split_inclusive('\n')
            // An empty one says nothing; one without an end is being written.
            .filter(|line| line.ends_with('\n') && line.len() > 1)
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .filter(|line| line["did"] == "run")
            .map(|line| line["rev"].to_string())
            .collect();
        if runs.len() == 2 * each {
            assert!(!before.is_empty() && before.len() <= 512 * 1024, "{}", before.len());
            assert!(fs::metadata(&log).expect("the file").len() < 64 * 1024);
            return;
        }
        assert!(Instant::now() < deadline, "{} of {}", runs.len(), 2 * each);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_said_once_and_stops_nobody() {
    let device = Device::start(Back::Storage, Shape::Serve);
    // A folder in its place: no file can be made there.
    fs::create_dir_all(folder(&device).join("audit.log")).expect("a folder");
    for _ in 0..3 {
        assert_eq!(device.bare("POST", "pvtx/abort").status, 200);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !device.server.log().contains("the audit log cannot be written") {
        assert!(Instant::now() < deadline, "{}", device.server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(device.server.log().matches("the audit log cannot be written").count(), 1);
}

#[test]
fn a_rollback_by_the_command_line_is_written_down() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let state = String::from_utf8(device.get("pvr/json").body).expect("text");
    let body = format!(r#"{{"rev":"locals/one","state":{state}}}"#);
    assert_eq!(device.ask("POST", "pvr/steps", &[], body.as_bytes()).status, 200);
    let rollback = |args: &[&str]| {
        let mut command = agent::command();
        command.arg("rollback").arg("--storage").arg(&device.storage).args(args);
        command.output().expect("run rollback")
    };
    assert!(rollback(&["--dry-run"]).status.success());
    wait_for(&device, 1);
    assert_eq!(lines(&device).len(), 1, "a dry run has done nothing");
    let done = rollback(&[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let all = wait_for(&device, 2);
    let last = &all[1];
    assert_eq!(
        (&last["did"], &last["rev"], &last["result"]),
        (&"rollback".into(), &"0".into(), &"ok".into()),
        "{last}"
    );
    assert_eq!(last["from"], "command line");
}
