//! `pvcurl` against a control socket: options, exit codes, what is printed.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
mod control;

use black_box::{program, sha256};
use control::{Config, Daemon};
use std::path::Path;
use std::process::Output;

fn run(words: &[&str]) -> Output {
    program::command().arg("pvcurl").args(words).output().expect("run pvcurl")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

struct Bench {
    daemon: Daemon,
    socket: String,
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let socket = root.path().join("pv-ctrl");
        let daemon = Daemon::start(&root.path().join("store"), &socket, Config::default());
        Self { daemon, socket: socket.to_str().expect("text").to_owned(), root }
    }

    fn ask(&self, words: &[&str]) -> Output {
        run(&[&["-s", "--no-progress-meter", "--unix-socket", &self.socket], words].concat())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.root.path().join(name);
        std::fs::write(&path, bytes).expect("write a file");
        path.to_str().expect("text").to_owned()
    }
}

#[test]
fn any_answer_is_a_success() {
    let bench = Bench::new();
    let listed = bench.ask(&["-X", "GET", "http://localhost/steps"]);
    assert_eq!(listed.status.code(), Some(0));
    assert!(serde_json::from_slice::<serde_json::Value>(&listed.stdout).is_ok_and(|all| all.is_array()));
    let missing = bench.ask(&["-w", "'%{http_code}'", "http://localhost/steps/locals/none"]);
    assert_eq!(missing.status.code(), Some(0));
    assert!(text(&missing).ends_with("404") && text(&missing).contains("Error"), "{missing:?}");
    let with_head = text(&bench.ask(&["-i", "--max-time", "1", "http://localhost/steps"]));
    assert!(with_head.starts_with("HTTP/1.1 200 ") && with_head.contains("\r\n\r\n["), "{with_head}");
    let file = bench.root.path().join("answer");
    let quiet = bench.ask(&["-o", file.to_str().expect("text"), "http://localhost/steps"]);
    assert!(quiet.stdout.is_empty());
    assert_eq!(std::fs::read(&file).expect("the answer"), listed.stdout);
}

#[test]
fn what_is_sent_is_what_was_given() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let sha = sha256(&bytes);
    let path = bench.file("object", &bytes);
    let stored = bench.ask(&["-T", &path, &format!("http://localhost/objects/{sha}"), "-w", "%{http_code}"]);
    assert_eq!(text(&stored), "200", "{stored:?}");
    assert_eq!(std::fs::read(bench.root.path().join("store/objects").join(&sha)).expect("the object"), bytes);
    let back = bench.ask(&[&format!("http://localhost/objects/{sha}")]);
    assert!(back.stdout == bytes);
    // Not cut where its characters are fewer than its bytes.
    let value = "\u{e9}\u{e9}\u{e9} \"quoted\"";
    let put = ["-X", "PUT", "--data", "first", "--data-binary", value, "http://localhost/user-meta/key"];
    assert_eq!(bench.ask(&put).status.code(), Some(0));
    let meta: serde_json::Value =
        serde_json::from_slice(&bench.ask(&["http://localhost/user-meta"]).stdout).expect("JSON");
    assert_eq!(meta["key"], value);
    let command = r#"{"op":"LOCAL_RUN","payload":"locals/none"}"#;
    let header = ["-H", "Content-Type: application/json", "--data", command, "http://localhost/commands"];
    assert_eq!(bench.ask(&header).status.code(), Some(0));
    assert_eq!(bench.daemon.commands().last(), Some(&("LOCAL_RUN".to_owned(), "locals/none".to_owned())));
}

#[test]
fn what_gets_no_answer_and_what_is_no_command_line() {
    let bench = Bench::new();
    let usage = run(&[]);
    assert_eq!(usage.status.code(), Some(0));
    assert!(text(&usage).starts_with("Usage: pvcurl"));
    assert_eq!(run(&["-h"]).stdout, usage.stdout);
    for words in [
        &["http://localhost/steps"][..],
        &["--unix-socket", "/nowhere/pv-ctrl", "http://localhost/steps"],
        &["--unix-socket", &bench.socket],
        &["-k", "--unix-socket", &bench.socket, "http://localhost/steps"],
        &["--unix-socket", &bench.socket, "-T", "/nowhere", "http://localhost/objects/x"],
        &["--unix-socket", &bench.socket, "-o", "/nowhere/x", "http://localhost/steps"],
        &["--unix-socket"],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    let silent = run(&["-s", "--unix-socket", "/nowhere/pv-ctrl", "http://localhost/steps"]);
    assert!(silent.status.code() == Some(1) && silent.stderr.is_empty(), "{silent:?}");
}

#[test]
fn it_goes_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("pvcurl");
    std::os::unix::fs::symlink(program::path(), &link).expect("a link");
    let output = program::called(Path::new(&link)).output().expect("run it");
    assert_eq!(output.stdout, run(&[]).stdout);
}
