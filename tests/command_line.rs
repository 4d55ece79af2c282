//! What `pvr-agent` says to somebody who has not seen it before: help, and what to do after an error.

mod black_box;

use black_box::agent::{self, Server};
use black_box::{http, program};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn help_kept_exit_codes_and_environment_to_itself() {
    for (command, texts) in [
        ("fsck", ["Exits with 0 if everything is right, 1 if there are findings", "--storage <DIR>"]),
        ("gc", ["the running revision, rollback points, revision 0", "Exits with 0, or with 2"]),
        ("serve", ["PVR_AGENT_LISTEN", "PVR_AGENT_PORT"]),
    ] {
        let output = agent::run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        // However the terminal breaks the lines.
        let help = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        for wanted in texts {
            assert!(help.contains(wanted), "{command}: {help}");
        }
    }
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    // What a web server says to its program is no option.
    names.filter(|name| !matches!(*name, "help" | "cgi")).map(str::to_owned).collect()
}

#[test]
fn on_armv7_some_commands_never_came_to_an_end() {
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(words) = left.pop() {
        let mut command = agent::command();
        command.args(&words).arg("--help").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).map(|_| text)
        });
        let deadline = Instant::now() + program::patience(Duration::from_secs(20));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{words:?} --help does not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let help = reading.join().unwrap().unwrap();
        assert!(status.success() && help.contains("sage:"), "{words:?}: {status}, {help}");
        seen += 1;
        left.extend(commands(&help).into_iter().map(|name| [&words[..], &[name]].concat()));
    }
    assert!(seen > 40, "{seen} commands");
}

#[test]
fn help_promised_that_a_revision_may_be_a_number() {
    let output = agent::run(&["pvr", "post", "--help"]);
    let help = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("--rev <REV> Name of the revision: locals/<name>; -1 leaves it to the device"), "{help}");
}

#[test]
fn a_taken_port_was_named_without_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = agent::command().args(["serve", "--port", &port]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("stop it, or choose a port with --port"), "{}", text(&output));
}

#[test]
fn a_storage_that_is_none_was_answered_with_what_had_just_been_tried() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["fsck", "gc", "serve"] {
        let output = agent::command().args([command, "--storage"]).arg(dir.path().join("none")).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains("pvr-agent serve without --storage makes one"), "{}", text(&output));
    }
}

#[test]
fn a_clone_called_whole_objects_wrong_because_another_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().join("pvroot");
    pvr_agent::trails::factory::make(&storage).unwrap();
    let bad = fs::read_dir(storage.join("objects")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&bad, b"something else").unwrap();
    let server = Server::start(&storage);
    let output = agent::command()
        .args(["pvr", "clone", &server.base, "c"])
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = text(&output);
    assert_eq!(said.matches("[ERROR]").count(), 1, "{said}");
    assert!(said.contains("there is no intact object") && said.contains("upload it (again)"), "{said}");
}

#[test]
fn a_device_whose_running_state_is_damaged_reported_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().join("pvroot");
    pvr_agent::trails::factory::make(&storage).unwrap();
    let server = Server::start(&storage);
    let warnings = || http::get(&format!("{}/status", server.base)).json()["warnings"].clone();
    assert_eq!(warnings(), serde_json::json!([]));
    let state = storage.join("trails/0/.pvr/json");
    let good = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    fs::write(&state, b"{").unwrap();
    assert!(warnings()[0].as_str().unwrap().contains("pvr-agent fsck says why"), "{}", warnings());
    fs::write(&state, good).unwrap();
    assert_eq!(warnings(), serde_json::json!([]));
}

#[test]
fn a_device_with_a_damaged_running_state_could_not_be_mended_by_a_post() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().join("pvroot");
    pvr_agent::trails::factory::make(&storage).unwrap();
    let server = Server::start(&storage);
    let pvr = |folder: &str, args: &[&str]| {
        let mut command = agent::command();
        command.arg("pvr").args(args).current_dir(dir.path().join(folder)).env("HOME", dir.path());
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    assert_eq!(pvr("", &["clone", &server.base, "c"]).0, Some(0));
    let state = storage.join("trails/0/.pvr/json");
    fs::remove_file(&state).unwrap();
    fs::write(&state, b"{").unwrap();
    let (code, said) = pvr("", &["clone", &server.base, "d"]);
    assert!(code == Some(7) && said.contains("\trequest-id "), "{said}");
    let (code, said) = pvr("c", &["post"]);
    assert!(code == Some(0) && said.contains("Synching baseline state with device [ERROR]\n"), "{said}");
    assert_eq!(pvr("", &["clone", &server.base, "d"]).0, Some(0));
}

#[test]
fn a_link_named_pvr_is_pvr() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("pvr");
    std::os::unix::fs::symlink(program::path(), &link).unwrap();
    let repository = dir.path().join("r");
    fs::create_dir(&repository).unwrap();
    let run = |args: &[&str]| {
        program::called(&link).args(args).current_dir(&repository).env("HOME", dir.path()).output().unwrap()
    };
    assert_eq!(run(&["init"]).status.code(), Some(0));
    assert!(repository.join(".pvr/json").exists());
    // A command of pvr-agent's own, not of pvr's.
    let gc = run(&["gc"]);
    assert!(!gc.status.success(), "{}", text(&gc));
}
