//! `fsck` and `gc` as commands, on a storage that was posted to: what they find, what goes, what they end with.
mod black_box;

use black_box::agent::{self, Server};
use black_box::seed::{self, Seed};
use black_box::sha256;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Runs `pvr-agent <command> --json` on a storage: its exit code and its report.
fn report(storage: &Path, command: &str, more: &[&str]) -> (Option<i32>, Value) {
    let mut run = agent::command();
    let output = run.arg(command).arg("--storage").arg(storage).arg("--json").args(more).output().expect("run it");
    let error = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{command}: {err}: {error}"));
    (output.status.code(), report)
}

/// The `member` of every item of a list.
fn names(report: &Value, list: &str, member: &str) -> Vec<String> {
    let items = report[list].as_array().unwrap_or_else(|| panic!("no {list} in {report}"));
    items.iter().map(|item| item[member].as_str().expect("a name").to_string()).collect()
}

#[test]
fn damage_is_found_and_what_nothing_names_goes() {
    let root = tempfile::tempdir().expect("a folder");
    let seed = Seed::factory(root.path());
    let lonely = seed.object(b"nothing names this");
    let server = Server::start(root.path());
    let object = vec![42; 300_000];
    assert!(server.upload(&object).expect("an upload"));
    let fresh = b"uploaded, not posted yet";
    assert!(server.upload(fresh).expect("an upload"));
    for (revision, json) in [("locals/one", 1), ("locals/two", 2)] {
        let state = format!(
            r##"{{"#spec":"pantavisor-service-system@1","app/data":"{}","app/run.json":{json}}}"##,
            sha256(&object)
        );
        let posted = server.post(&state, Some(revision)).expect("an answer");
        assert_eq!(posted.status, 200, "{posted}");
    }
    drop(server);
    assert_eq!(report(root.path(), "fsck", &[]).0, Some(0));

    let before = seed::tree(root.path());
    let (code, would) = report(root.path(), "gc", &["--dry-run", "--rollbacks", "0"]);
    assert_eq!(code, Some(0));
    assert_eq!(names(&would, "revisions", "name"), ["locals/one"]);
    assert_eq!(names(&would, "objects", "id"), std::slice::from_ref(&lonely));
    assert_eq!(seed::tree(root.path()), before, "a dry run changed something");
    let (code, did) = report(root.path(), "gc", &["--rollbacks", "0"]);
    assert_eq!(code, Some(0));
    for list in ["revisions", "objects", "kept"] {
        assert_eq!(did[list], would[list], "{list}");
    }
    assert!(!root.path().join("trails/locals/one").exists());
    let log = fs::read_to_string(root.path().join(".pvr-agent/audit.log")).expect("the audit log");
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        [&last["did"], &last["rev"], &last["result"], &last["from"]],
        ["gc", "locals/one", "ok", "command line"],
        "{last}"
    );
    let objects = root.path().join("objects");
    assert!(!objects.join(lonely).exists());
    assert!(objects.join(sha256(&object)).exists() && objects.join(sha256(fresh)).exists());
    assert_eq!(report(root.path(), "fsck", &[]).0, Some(0));
    assert_eq!(names(&report(root.path(), "gc", &[]).1, "revisions", "name"), [""; 0], "a second time");

    // One bit, in a file of the size and the name that it had.
    let damaged = objects.join(sha256(&object));
    let mut bytes = object.clone();
    bytes[299_999] ^= 1;
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o644)).expect("make it writable");
    fs::write(&damaged, &bytes).expect("damage it");
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o444)).expect("as it was");
    let (code, found) = report(root.path(), "fsck", &[]);
    assert_eq!(code, Some(1), "{found}");
    let paths = names(&found, "findings", "path");
    assert!(paths.contains(&format!("objects/{}", sha256(&object))), "{found}");
}
