//! Which way a server goes to its device where Pantavisor runs: in a root of its own, as a container has it, with the control socket
//! and the storage at their usual places.
mod black_box;
mod shape;

use black_box::agent::Server;
use black_box::seed::Seed;
use black_box::{program, skip};
use shape::control::{Config, Daemon};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `None`: it cannot be made here.
fn container(test: &str) -> Option<tempfile::TempDir> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let merged = ["/bin", "/lib", "/lib64"].iter().all(|folder| Path::new(folder).is_symlink());
    if program::emulated() || !is_root || !merged {
        skip(test, "it takes root, a system below /usr, and the program itself");
        return None;
    }
    let root = tempfile::tempdir().expect("a folder");
    let at = |name: &str| root.path().join(name);
    for folder in ["usr", "proc", "run", "tmp", "pantavisor"] {
        fs::create_dir(at(folder)).expect("a folder");
    }
    for folder in ["bin", "lib", "lib64"] {
        symlink(Path::new("usr").join(folder), at(folder)).expect("a link");
    }
    fs::copy(program::path(), at("pvr-agent")).expect("copy the program");
    Some(root)
}

fn serve(root: &Path, arguments: &[&str]) -> Server {
    Server::spawn(command(root, arguments))
}

fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let inside = r#"mount --rbind /usr "$0/usr" && mount -t proc proc "$0/proc" && exec chroot "$0" /pvr-agent serve --port 0 "$@""#;
    command.args(["--mount", "sh", "-c", inside]).arg(root).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PVR")) {
        command.env_remove(name);
    }
    command
}

#[test]
fn a_server_whose_storage_was_named_as_it_is_usual_never_ran_what_was_posted() {
    let Some(root) = container("a_server_whose_storage_was_named") else { return };
    let at = |name: &str| root.path().join(name);
    let daemon = Daemon::start(&at("storage"), &at("pantavisor/pv-ctrl"), Config::default());
    for (number, arguments) in
        [&[][..], &["--storage", "/storage"], &["--storage", "/storage/"]].into_iter().enumerate()
    {
        let server = serve(root.path(), arguments);
        let said = server.log();
        assert!(said.contains("control socket: /pantavisor/pv-ctrl"), "{arguments:?}: {said}");
        assert!(said.contains("objects are read in: /storage"), "{arguments:?}: {said}");
        let state = black_box::http::get(&format!("{}/json", server.base)).body;
        let state = String::from_utf8(state).expect("text");
        let state = state.replacen('{', &format!("{{\"nb/{number}.json\":{{}},"), 1);
        let rev = format!("locals/r{number}");
        let posted = server.post(&state, Some(&rev)).expect("an answer");
        assert_eq!(posted.status, 200, "{posted}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while daemon.current() != rev || daemon.is_updating() {
            assert!(Instant::now() < deadline, "{arguments:?}: {} runs", daemon.current());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Accounts are in the storage: without it, everybody would be let in.
#[test]
fn a_storage_that_is_named_and_not_there_yet_is_not_done_without() {
    let Some(root) = container("a_storage_that_is_named") else { return };
    let at = |name: &str| root.path().join(name);
    let _daemon = Daemon::start(&at("not-mounted-yet"), &at("pantavisor/pv-ctrl"), Config::default());
    let mut serving = command(root.path(), &["--storage", "/storage"]).stderr(Stdio::piped()).spawn().expect("start");
    let deadline = Instant::now() + Duration::from_secs(20);
    let ended = loop {
        match serving.try_wait().expect("look") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                serving.kill().expect("kill");
                panic!("it serves");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut said = String::new();
    serving.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    assert!(!ended.success() && said.contains("/storage"), "{ended}: {said}");
}

#[test]
fn a_storage_of_ones_own_is_not_pantavisors_and_that_is_said() {
    let Some(root) = container("a_storage_of_ones_own") else { return };
    let at = |name: &str| root.path().join(name);
    let daemon = Daemon::start(&at("storage"), &at("pantavisor/pv-ctrl"), Config::default());
    Seed::factory(&at("elsewhere"));
    for arguments in [["--storage", "/elsewhere"], ["--socket", "none"]] {
        let server = serve(root.path(), &arguments);
        server.upload(b"an object\n").expect("upload");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !server.log().contains("privileges: ") {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = server.log();
        let place = if arguments[0] == "--storage" { "storage: /elsewhere" } else { "storage: /storage" };
        assert!(said.contains(place) && said.contains("installed only: "), "{arguments:?}: {said}");
    }
    assert!(daemon.commands().is_empty(), "{:?}", daemon.commands());
}
