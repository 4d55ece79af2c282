//! The limits on states hold for every command alike, and can be set.
mod black_box;

use black_box::agent::{self, Server};
use black_box::http;
use black_box::seed::Seed;
use std::fs;
use std::path::Path;
use std::process::Output;

const BYTES: &str = "PVR_AGENT_MAX_STATE_BYTES";
const DEPTH: &str = "PVR_AGENT_MAX_JSON_DEPTH";

fn state(json: &str) -> String {
    format!(r##"{{"#spec":"pantavisor-service-system@1","app/x.json":{json}}}"##)
}

fn pvr(folder: &Path, limits: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = agent::command();
    command.envs(limits.iter().copied()).env("HOME", folder).current_dir(folder).arg("pvr").args(args);
    command.output().expect("run pvr")
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn a_state_over_a_limit_is_taken_once_the_limit_is_raised() {
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    for (json, status, limits) in [(large, 413, [(BYTES, "4194304")]), (nested(600), 400, [(DEPTH, "700")])] {
        let root = tempfile::tempdir().expect("a folder");
        let storage = root.path().join("storage");
        fs::create_dir(&storage).expect("a storage");
        Seed::factory(&storage);
        let state = state(&json);
        let usual = Server::start(&storage);
        let refused = usual.post(&state, Some("locals/big")).expect("an answer");
        assert_eq!(refused.status, status, "{refused}");
        drop(usual);

        let mut command = agent::command();
        command.envs(limits).arg("serve").arg("--storage").arg(&storage).args(["--port", "0"]);
        let raised = Server::spawn(command);
        let posted = raised.post(&state, Some("locals/big")).expect("an answer");
        assert_eq!(posted.status, 200, "{posted}");
        let refused = pvr(root.path(), &[], &["clone", &raised.base, "small"]);
        assert!(!refused.status.success(), "a client with the usual limit took it");
        let cloned = pvr(root.path(), &limits, &["clone", "--canonical", &raised.base, "large"]);
        assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
        assert_eq!(fs::read_to_string(root.path().join("large/app/x.json")).expect("the file"), json);
        let mut fsck = agent::command();
        let fsck = fsck.envs(limits).args(["fsck", "--storage"]).arg(&storage).output().expect("run fsck");
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
    }
}

#[test]
fn a_commit_that_could_not_be_read_again_leaves_the_repository_as_it_was() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path();
    assert!(pvr(folder, &[], &["init"]).status.success());
    let before = fs::read(folder.join(".pvr/json")).expect("the state");
    // A file may be as deep as the limit; in the state it is one level deeper.
    fs::write(folder.join("deep.json"), nested(512)).expect("a file");
    assert!(pvr(folder, &[], &["add", "deep.json"]).status.success());
    let commit = pvr(folder, &[], &["commit"]);
    assert!(!commit.status.success());
    assert!(String::from_utf8_lossy(&commit.stderr).contains(DEPTH), "{commit:?}");
    assert_eq!(fs::read(folder.join(".pvr/json")).expect("the state"), before);
    assert!(pvr(folder, &[], &["status"]).status.success());
    assert!(pvr(folder, &[(DEPTH, "600")], &["commit"]).status.success());
}

#[test]
fn a_limit_that_is_no_number_is_refused_by_name() {
    for args in [&["fsck"][..], &["gc"], &["serve", "--port", "0"], &["pvr", "status"]] {
        let root = tempfile::tempdir().expect("a folder");
        Seed::factory(root.path());
        let mut command = agent::command();
        if args[0] != "pvr" {
            command.arg(args[0]).arg("--storage").arg(root.path()).args(&args[1..]);
        } else {
            command.args(args);
        }
        let output = command.env(BYTES, "2M").env("HOME", root.path()).output().expect("run");
        assert!(!output.status.success(), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(BYTES), "{args:?}: {output:?}");
    }
}

/// What is around a state in a post has room of its own, and the state was given that as well: the running state could not
/// be read again.
#[test]
fn a_post_had_room_for_more_values_than_a_state_may_have() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let server = Server::start(root.path());
    // The state itself counts as five values; its spec and the array are values, too.
    for (zeros, status) in [(131_066, 400), (131_065, 200)] {
        let posted = server.post(&state(&format!("[0{}]", ",0".repeat(zeros - 1))), None).expect("an answer");
        let read = http::get(&format!("{}/json", server.base));
        assert_eq!(read.status, 200, "after a post of {zeros} zeros that was answered {}", posted.status);
        assert_eq!(posted.status, status, "{posted}");
    }
    drop(server);
    agent::assert_clean(root.path(), "posts as large as can be");
}
