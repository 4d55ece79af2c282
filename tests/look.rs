//! `pvr-agent status`, `steps` and `rollback`, on both back ends.
mod black_box;
#[path = "support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
mod control;

use black_box::agent::{self, Server};
use black_box::seed::{Seed, visible};
use control::{Config, Daemon, Defects, Pace};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;

fn on(storage: &Path, args: &[&str]) -> Output {
    agent::command().args(args).arg("--storage").arg(storage).output().expect("run pvr-agent")
}

fn through(socket: &Path, args: &[&str]) -> Output {
    agent::command().args(args).arg("--socket").arg(socket).output().expect("run pvr-agent")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&text(output)).expect("JSON")
}

/// Three revisions that ran, the last of which runs.
fn device(root: &Path) {
    Seed::factory(root);
    let server = Server::start(root);
    let factory = fs::read_to_string(root.join("trails/0/.pvr/json")).expect("the state");
    for name in ["a", "b"] {
        let state = factory.replace("builtin-lxc-docker", name);
        let answer = server.post(&state, Some(&format!("locals/{name}"))).expect("post");
        assert_eq!(answer.status, 200, "{answer}");
        // The date of a rollback point has seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
}

#[test]
fn a_stand_alone_device_goes_back_to_what_ran_before() {
    let root = tempfile::tempdir().expect("a folder");
    device(root.path());
    let current = || fs::read_link(root.path().join("trails/current")).expect("the link").display().to_string();
    let before = visible(root.path());
    let dry = on(root.path(), &["rollback", "--dry-run", "--json"]);
    assert_eq!(json_of(&dry), json!({"from": "locals/b", "to": "locals/a", "dry-run": true}));
    assert_eq!(visible(root.path()), before);
    assert_eq!(text(&on(root.path(), &["rollback"])), "went back to locals/a from locals/b\n");
    assert_eq!(current(), "locals/a");
    assert_eq!(text(&on(root.path(), &["rollback", "0"])), "went back to 0 from locals/a\n");
    assert_eq!(current(), "0");
    agent::assert_clean(root.path(), "going back");
    // Nothing that never ran, and nothing that is not there.
    let server = Server::start(root.path());
    let state = fs::read_to_string(root.path().join("trails/0/.pvr/json")).expect("the state").replace("docker", "x");
    let posted = format!(r#"{{"on-post":"install","rev":"locals/new","state":{state}}}"#);
    let answer = black_box::http::ask(&format!("{}/steps", server.base), "POST", agent::TEXT, posted.as_bytes());
    assert_eq!(answer.expect("post").status, 200);
    for rev in ["locals/new", "locals/none", "locals/..", "\u{1b}[2J"] {
        let refused = on(root.path(), &["rollback", rev]);
        assert_eq!(refused.status.code(), Some(1), "{rev}: {refused:?}");
        assert!(!String::from_utf8_lossy(&refused.stderr).contains('\u{1b}'), "{refused:?}");
        assert_eq!(current(), "0");
    }
    assert_eq!(on(&root.path().join("none"), &["rollback"]).status.code(), Some(2));
}

#[test]
fn a_damaged_revision_is_nothing_to_go_back_to() {
    let root = tempfile::tempdir().expect("a folder");
    device(root.path());
    let file = root.path().join("trails/locals/a/app/run.json");
    fs::remove_file(&file).expect("remove a file");
    let refused = on(root.path(), &["rollback", "locals/a"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("damaged"), "{refused:?}");
    let current = fs::read_link(root.path().join("trails/current")).expect("the link");
    assert_eq!(current, Path::new("locals/b"));
}

#[test]
fn how_a_device_is_fits_on_a_screen_and_into_json() {
    let root = tempfile::tempdir().expect("a folder");
    device(root.path());
    let progress = r#"{"status":"ERROR","status-msg":"Object validation \u001b[2J went wrong","progress":100}"#;
    fs::write(root.path().join("trails/locals/a/.pv/progress"), progress).expect("write");
    let status = json_of(&on(root.path(), &["status", "--json"]));
    assert_eq!((&status["running"], &status["status"]), (&json!("locals/b"), &json!("DONE")));
    assert_eq!((&status["backend"], &status["update-in-progress"]), (&json!("storage, stand-alone"), &json!(null)));
    assert_eq!(status["failed"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["failed"][0]["name"], "locals/a");
    assert_eq!(status["installed"].as_array().map(Vec::len), Some(3));
    for member in ["total", "free", "reserved", "reclaimable"] {
        assert!(status["storage"][member].is_u64(), "{member}: {status}");
    }
    let screen = text(&on(root.path(), &["status"]));
    for line in ["running      locals/b  DONE", "failed       locals/a  ERROR  Object validation", "room         "] {
        assert!(screen.contains(line), "{line}: {screen}");
    }
    assert!(!screen.contains('\u{1b}') && screen.lines().count() < 24, "{screen}");
    let steps = text(&on(root.path(), &["steps"]));
    assert_eq!(steps.lines().filter(|line| line.starts_with("* locals/b")).count(), 1, "{steps}");
    assert_eq!(steps.lines().count(), 3, "{steps}");
    let steps = json_of(&on(root.path(), &["steps", "--json"]));
    let running: Vec<_> = steps.as_array().expect("a list").iter().filter(|step| step["running"] == true).collect();
    assert_eq!((running.len(), &running[0]["name"]), (1, &json!("locals/b")));
    assert_eq!(on(&root.path().join("none"), &["status"]).status.code(), Some(2));
}

#[test]
fn a_device_behind_a_control_socket_is_told_to_go_back() {
    let root = tempfile::tempdir().expect("a folder");
    let (store, socket) = (root.path().join("store"), root.path().join("pv-ctrl"));
    let config = Config { defects: Defects::ALL, pace: Pace::ByHand, ..Config::default() };
    let daemon = Daemon::start(&store, &socket, config);
    let nothing = through(&socket, &["rollback"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    let mut command = agent::command();
    command.args(["serve", "--port", "0", "--on-post", "run-commit", "--socket"]).arg(&socket);
    let server = Server::spawn(command);
    let factory = fs::read_to_string(store.join("trails/0/.pvr/json")).expect("the state");
    for name in ["a", "b"] {
        let state =
            factory.replace("\"group\":\"data\",\"name\":\"nb\"", &format!("\"group\":\"{name}\",\"name\":\"nb\""));
        let answer = server.post(state.trim_end(), Some(&format!("locals/{name}"))).expect("post");
        assert_eq!(answer.status, 200, "{answer}");
        for _ in 0..4 {
            daemon.advance();
        }
        assert_eq!(daemon.current(), format!("locals/{name}"));
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    let status = json_of(&through(&socket, &["status", "--json"]));
    assert_eq!((&status["running"], &status["backend"]), (&json!("locals/b"), &json!("control socket")));
    let commands = daemon.commands().len();
    let dry = json_of(&through(&socket, &["rollback", "--dry-run", "--json"]));
    assert_eq!((&dry["to"], daemon.commands().len()), (&json!("locals/a"), commands));
    assert!(through(&socket, &["rollback"]).status.success());
    assert_eq!(daemon.commands().last(), Some(&("LOCAL_RUN_COMMIT".to_owned(), "locals/a".to_owned())));
    for _ in 0..4 {
        daemon.advance();
    }
    assert_eq!(daemon.current(), "locals/a");
    let steps = text(&through(&socket, &["steps"]));
    assert!(steps.lines().any(|line| line.starts_with("* locals/a")), "{steps}");
}

/// The daemon shows no progress of more than 512 bytes in its list: a revision that had failed with a log was none that had failed.
#[test]
fn a_revision_that_failed_with_a_long_log_was_not_known_to_have_failed() {
    let root = tempfile::tempdir().expect("a folder");
    let (store, socket) = (root.path().join("store"), root.path().join("pv-ctrl"));
    let daemon = Daemon::start(&store, &socket, Config { pace: Pace::ByHand, ..Config::default() });
    fs::create_dir_all(store.join("trails/locals/long/.pvr")).expect("make a folder");
    fs::copy(store.join("trails/0/.pvr/json"), store.join("trails/locals/long/.pvr/json")).expect("copy");
    fs::create_dir_all(store.join("trails/locals/none")).expect("make a folder");
    daemon.say("locals/long", "ERROR", &"an object is not what it should be; ".repeat(20), 100);
    let status = json_of(&through(&socket, &["status", "--json"]));
    assert_eq!(status["failed"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(status["failed"][0]["name"], "locals/long");
    let steps = text(&through(&socket, &["steps"]));
    let of = |name: &str| steps.lines().find(|line| line.contains(name)).expect("a line").to_owned();
    assert!(of("locals/long").contains("ERROR") && of("locals/none").contains('?'), "{steps}");
}
