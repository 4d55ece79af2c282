//! Which way a server goes to its device where Pantavisor runs: in a root of its own, as a container has it, with the control socket
//! and the storage at their usual places.
mod black_box;
mod shape;

use black_box::agent::Server;
use black_box::seed::Seed;
use black_box::{program, skip};
use shape::control::{Config, Daemon};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
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
    let mut command = Command::new("unshare");
    let inside = r#"mount --rbind /usr "$0/usr" && mount -t proc proc "$0/proc" && exec chroot "$0" /pvr-agent serve --port 0 "$@""#;
    command.args(["--mount", "sh", "-c", inside]).arg(root).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PVR")) {
        command.env_remove(name);
    }
    Server::spawn(command)
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

#[test]
fn a_storage_of_ones_own_is_not_pantavisors_and_that_is_said() {
    let Some(root) = container("a_storage_of_ones_own") else { return };
    let at = |name: &str| root.path().join(name);
    let daemon = Daemon::start(&at("storage"), &at("pantavisor/pv-ctrl"), Config::default());
    Seed::factory(&at("elsewhere"));
    for arguments in [["--storage", "/elsewhere"], ["--socket", "none"]] {
        let server = serve(root.path(), &arguments);
        let said = server.log();
        let place = if arguments[0] == "--storage" { "storage: /elsewhere" } else { "storage: /storage" };
        assert!(said.contains(place) && said.contains("installed only: "), "{arguments:?}: {said}");
        server.upload(b"an object\n").expect("upload");
    }
    assert!(daemon.commands().is_empty(), "{:?}", daemon.commands());
}
