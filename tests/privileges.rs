//! What a running server has given up, as the kernel sees it: in each of its threads, on a storage and on a control socket, as root
//! and as somebody else; and that it serves all the same.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::agent::{self, Server};
use black_box::{program, skip};
use sdk::{Back, Device, package};
use serde_json::Value;
use shape::Shape;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

const DAC_OVERRIDE: u64 = 1 << 1;
const FOWNER: u64 = 1 << 3;
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// `/proc` shows the emulator, where there is one; and without root there is nothing to give up.
fn can_run(test: &str) -> bool {
    if program::emulated() {
        skip(test, "/proc shows the emulator, not the program");
        return false;
    }
    if !is_root() {
        skip(test, "only root has something to give up");
        return false;
    }
    true
}

/// The members of `status` of each thread of a process.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let read = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let members = text.lines().filter_map(|line| line.split_once(':'));
        Some(members.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    };
    tasks.map_while(Result::ok).filter_map(read).collect()
}

/// Holds every thread to these capabilities, in the sets that can have any.
fn hold(server: &Server, kept: u64, uid: u32) {
    let threads = threads(server.pid());
    assert!(threads.len() > 2, "the network, the log and the disk have threads: {}", threads.len());
    for thread in threads {
        let set = |name: &str| u64::from_str_radix(&thread[name], 16).expect("a set");
        let name = &thread["Name"];
        for (which, wanted) in [("CapEff", kept), ("CapPrm", kept), ("CapBnd", kept), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(set(which), wanted, "{name}: {which}: {thread:?}");
        }
        assert_eq!(thread["NoNewPrivs"], "1", "{name}");
        let uids = thread["Uid"].split_whitespace();
        assert!(uids.map(|uid| uid.parse::<u32>().expect("a user")).all(|found| found == uid), "{name}: {thread:?}");
    }
}

fn privileges(server: &Server) -> Value {
    let answer = black_box::http::get(&format!("{}/status", server.base));
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["privileges"].clone()
}

/// All that a server does, done once.
fn work(device: &Device) {
    device.server.upload(b"an object of the test\n").expect("upload");
    let state = String::from_utf8(device.get("pvr/json").body).expect("text");
    let body = format!(r#"{{"rev":"locals/one","state":{state}}}"#);
    let posted = device.ask("POST", "pvr/steps", &[], body.as_bytes());
    assert_eq!(posted.status, 200, "{}: {posted}", device.name());
    device.wait_for("locals/one", &["DONE", "UPDATED"]);
    device.json("POST", "pvtx/begin");
    assert_eq!(device.add(&package(&[("a/b", b"bytes")], &[])).status, 200);
    let committed = device.bare("POST", "pvtx/commit?rev=locals/two");
    assert_eq!(committed.status, 200, "{}: {committed}", device.name());
    let log = device.logs.join("0/pantavisor");
    fs::create_dir_all(&log).expect("a folder");
    fs::write(log.join("pantavisor.log"), "a line\n").expect("a log");
    let read = device.get("logs?rev=0");
    assert_eq!((read.status, read.body.as_slice()), (200, &b"a line\n"[..]), "{}: {read}", device.name());
}

#[test]
fn every_thread_has_only_what_it_needs_and_serves() {
    if !can_run("every_thread_has_only_what_it_needs_and_serves") {
        return;
    }
    // On a storage, Pantavisor's own folders may be closed to their owner; the socket is root's.
    for (back, kept, names) in [(Back::Storage, DAC_OVERRIDE, vec!["CAP_DAC_OVERRIDE"]), (Back::Socket, 0, vec![])] {
        let device = Device::start(back, Shape::Serve);
        work(&device);
        hold(&device.server, kept, 0);
        let told = privileges(&device.server);
        assert_eq!(told["capabilities"], serde_json::json!(names), "{told}");
        assert_eq!(
            (&told["user"], &told["no-new-privileges"], &told["bounded"]),
            (&0.into(), &true.into(), &true.into())
        );
        let said = device.server.log();
        assert!(said.contains("privileges: user 0, capabilities "), "{said}");
    }
}

#[test]
fn a_storage_of_somebody_elses_takes_one_more() {
    if !can_run("a_storage_of_somebody_elses_takes_one_more") {
        return;
    }
    let device = Device::start(Back::Storage, Shape::Serve);
    let given = Command::new("chown").args(["-R", "nobody"]).arg(&device.storage).status().expect("chown");
    assert!(given.success());
    let server = Server::start(&device.storage);
    hold_with_threads(&server, DAC_OVERRIDE | FOWNER);
    server.upload(b"another object\n").expect("upload");
    let state = String::from_utf8(black_box::http::get(&format!("{}/json", server.base)).body).expect("text");
    let posted = server.post(&state, Some("locals/x")).expect("an answer");
    assert_eq!(posted.status, 200, "{posted}");
}

/// The same, once something was done that takes a thread of the pool.
fn hold_with_threads(server: &Server, kept: u64) {
    privileges(server);
    hold(server, kept, 0);
}

#[test]
fn files_beside_the_storage_are_out_of_reach() {
    if !can_run("files_beside_the_storage_are_out_of_reach") {
        return;
    }
    let device = Device::start(Back::Storage, Shape::Serve);
    let told = privileges(&device.server);
    if told["landlock"] != "confined" {
        skip("files_beside_the_storage_are_out_of_reach", told["landlock"].as_str().unwrap_or("?"));
        return;
    }
    // Through a folder of the storage that leads elsewhere: followed where links are, refused where it leads.
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("progress"), r#"{"status":"DONE"}"#).expect("a file");
    let link = device.storage.join("trails/0/.pv");
    fs::rename(&link, device.storage.join("trails/0/.pv.kept")).expect("set it aside");
    std::os::unix::fs::symlink(outside.path(), &link).expect("a link");
    let answer = device.get("pvr/steps/0/progress");
    assert!(answer.status >= 400, "a file outside was read: {answer}");
    assert!(!answer.body.windows(4).any(|four| four == b"DONE"), "{answer}");
    // The same link by a process that is not confined.
    let output =
        agent::command().args(["steps", "--json", "--storage"]).arg(&device.storage).output().expect("run steps");
    assert!(String::from_utf8_lossy(&output.stdout).contains("DONE"), "the link leads where it should: {output:?}");
}

#[test]
fn nothing_is_written_beside_the_storage() {
    if !can_run("nothing_is_written_beside_the_storage") {
        return;
    }
    let device = Device::start(Back::Storage, Shape::Serve);
    let told = privileges(&device.server);
    if told["landlock"] != "confined" {
        skip("nothing_is_written_beside_the_storage", told["landlock"].as_str().unwrap_or("?"));
        return;
    }
    let held = |folder: &Path| fs::read_dir(folder).expect("list").count();
    // What was the folder of objects when the server began is now a link that leads elsewhere.
    let outside = tempfile::tempdir().expect("a folder");
    let link = device.storage.join("objects");
    fs::rename(&link, device.storage.join("objects.kept")).expect("set it aside");
    std::os::unix::fs::symlink(outside.path(), &link).expect("a link");
    let refused = device.server.upload(b"an object of the test\n");
    assert!(refused.is_err(), "an object was stored outside");
    assert_eq!(held(outside.path()), 0);
    // Who starts now is told by the link where the objects are.
    let server = Server::start(&device.storage);
    server.upload(b"an object of the test\n").expect("upload");
    assert!(held(outside.path()) > 0, "the link leads where it should");
}

#[test]
fn another_user_serves_a_storage_of_its_own_and_no_other() {
    if !can_run("another_user_serves_a_storage_of_its_own_and_no_other") {
        return;
    }
    let root = tempfile::tempdir().expect("a folder");
    fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("open it");
    let storage = root.path().join("storage");
    black_box::seed::Seed::factory(&storage);
    let serve = |user: &str| {
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--user", user, "--storage"]).arg(&storage);
        command
    };
    // Root's: it ends, and says why.
    let mut command = serve("nobody");
    let refused = command.output().expect("run serve");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("storage"), "{said}");
    give(&storage);
    let server = Server::spawn(serve("nobody"));
    server.upload(b"an object\n").expect("upload");
    let state = String::from_utf8(black_box::http::get(&format!("{}/json", server.base)).body).expect("text");
    assert_eq!(server.post(&state, Some("locals/x")).expect("an answer").status, 200);
    hold(&server, 0, NOBODY);
    assert_eq!(privileges(&server)["user"], NOBODY);
    let revision = fs::metadata(storage.join("trails/locals/x")).expect("the revision");
    assert_eq!(revision.uid(), NOBODY);
    for bad in ["no such user", "1:x", ""] {
        let refused = serve(bad).output().expect("run serve");
        assert!(!refused.status.success(), "{bad}");
    }
}

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("give it away");
    if path.symlink_metadata().expect("what it is").is_dir() {
        for entry in fs::read_dir(path).expect("list") {
            let path = entry.expect("an entry").path();
            if !path.is_symlink() {
                give(&path);
            }
        }
    }
}

#[test]
fn another_user_keeps_what_the_control_socket_takes() {
    if !can_run("another_user_keeps_what_the_control_socket_takes") {
        return;
    }
    let device = Device::start(Back::Socket, Shape::Serve);
    let socket = device.storage.parent().expect("a folder").join("pv-ctrl");
    // As on a device: everybody may look, root may write.
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("as the daemon has it");
    fs::set_permissions(socket.parent().expect("a folder"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("open");
    let state = tempfile::tempdir().expect("a folder");
    give(state.path());
    let mut command = agent::command();
    command.args(["serve", "--port", "0", "--user", "nobody", "--socket"]).arg(&socket);
    command.env("PVR_AGENT_STATE_DIR", state.path());
    let server = Server::spawn(command);
    server.upload(b"an object\n").expect("upload");
    hold(&server, DAC_OVERRIDE, NOBODY);
}

#[test]
fn status_on_the_device_says_what_the_server_gave_up() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let status = |more: &[&str]| {
        let mut command = agent::command();
        command.args(["status", "--storage"]).arg(&device.storage).args(more);
        let output = command.output().expect("run status");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let serving: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    assert_eq!(serving["serving"]["privileges"], privileges(&device.server), "{serving}");
    if !program::emulated() {
        assert_eq!(serving["serving"]["pid"], device.server.pid());
    }
    let people = status(&[]);
    assert!(people.contains("served       by process ") && people.contains("capabilities "), "{people}");
    let Device { mut server, storage, .. } = device;
    server.kill();
    let mut command = agent::command();
    let output = command.args(["status", "--storage"]).arg(&storage).output().expect("run status");
    let people = String::from_utf8(output.stdout).expect("text");
    assert!(people.contains("served       by no pvr-agent serve"), "{people}");
}
