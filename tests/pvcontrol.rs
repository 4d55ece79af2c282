//! `pvcontrol` against a control socket with each of the daemon's defects, with all, and with none.
#[path = "support/control/mod.rs"]
mod control;
mod program;
#[path = "support/tar.rs"]
mod tar;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use control::{Caller, Config, Daemon, Defects, FACTORY, Facts, Pace};
use tar::sha;

struct Device {
    dir: tempfile::TempDir,
    daemon: Daemon,
}

impl Device {
    fn new(defects: Defects) -> Self {
        Self::with(Config { defects, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(&dir.path().join("storage"), &dir.path().join("pv-ctrl"), config);
        Self { dir, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        self.fed(args, b"")
    }

    fn fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = program::command();
        command.arg("pvcontrol").arg("-s").arg(self.daemon.socket()).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).ok();
        child.wait_with_output().unwrap()
    }

    /// Has to end with 0; what it says.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", both(&output));
        assert_eq!(text(&output.stderr), "", "{args:?}");
        text(&output.stdout)
    }

    /// Has to end with that code; what it says on standard error, and nothing on standard output.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", both(&output));
        assert_eq!(text(&output.stdout), "", "{args:?}");
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn both(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn every_defect() -> Vec<(&'static str, Defects)> {
    let mut all = Defects::each();
    all.push(("all", Defects::ALL));
    all.push(("none", Defects::NONE));
    all
}

/// A state that only restarts `nb`, with one object.
fn state(object: &str) -> String {
    let factory = FACTORY.trim_end();
    format!("{},\"nb/root.bin\":\"{object}\"}}", factory.strip_suffix('}').unwrap())
}

#[test]
fn objects_and_steps_go_there_and_come_back() {
    for (defect, defects) in every_defect() {
        let device = Device::new(defects);
        let bytes: Vec<u8> = (0..1_500_000u32).map(|i| (i * 7 % 253) as u8).collect();
        let (id, file) = (sha(&bytes), device.write("object", &bytes));
        assert_eq!(device.ok(&["objects", "ls"]), "[]\n", "{defect}");
        assert_eq!(device.ok(&["objects", "put", &file, &id]), "\n", "{defect}");
        assert_eq!(device.ok(&["objects", "put", &file, &id]), "\n", "{defect}: once more");
        let listed = format!("[{{\"sha256\":\"{id}\",\"size\":\"1500000\"}}]\n");
        assert_eq!(device.ok(&["objects", "ls"]), listed, "{defect}");
        assert_eq!(device.run(&["objects", "get", &id]).stdout, bytes, "{defect}");
        let out = device.path("out").to_str().unwrap().to_owned();
        assert_eq!(device.ok(&["-f", &out, "objects", "get", &id]), "");
        assert_eq!(fs::read(&out).unwrap(), bytes, "{defect}");
        let fed = device.fed(&["objects", "put", "-5", &sha(b"hello")], b"hello");
        assert_eq!((fed.status.code(), text(&fed.stdout).as_str()), (Some(0), "\n"), "{defect}: {}", both(&fed));

        // The empty object: the daemon would never answer the second time.
        let empty = device.write("empty", b"");
        for _ in 0..2 {
            assert_eq!(device.ok(&["objects", "put", &empty, &sha(b"")]), "\n", "{defect}");
        }

        let json = device.write("json", state(&id).as_bytes());
        let message = "it's \"new\"\n\\ \u{e9}";
        assert_eq!(device.ok(&["-m", message, "steps", "put", &json, "locals/a"]), "\n", "{defect}");
        assert_eq!(device.ok(&["steps", "get", "locals/a"]), format!("{}\n", state(&id)), "{defect}");
        let progress = device.ok(&["steps", "show-progress", "locals/a"]);
        assert!(progress.contains("\"status\":\"NEW\""), "{defect}: {progress}");
        let steps: serde_json::Value = serde_json::from_str(&device.ok(&["steps", "ls"])).unwrap();
        assert_eq!(steps[1]["commitmsg"], message, "{defect}");
    }
}

#[test]
fn what_is_refused_has_its_code_and_leaves_nothing() {
    for (defect, defects) in every_defect() {
        let device = Device::new(defects);
        let (good, other) = (sha(b"good"), device.write("other", b"other"));
        assert!(device.refused(60, &["objects", "put", &other, &good]).contains("bad checksum"), "{defect}");
        assert!(device.refused(255, &["objects", "get", &good]).contains(&good), "{defect}");
        // One that comes to an end before its time: of the daemon's debris there is none left.
        let short = device.fed(&["objects", "put", "-500", &good], b"good");
        assert_eq!(short.status.code(), Some(255), "{defect}: {}", both(&short));
        // The daemon may see only now that nothing more comes.
        let deadline = Instant::now() + Duration::from_secs(20);
        while device.ok(&["objects", "ls"]) != "[]\n" {
            assert!(Instant::now() < deadline, "{defect}: {}", device.ok(&["objects", "ls"]));
        }

        let junk = device.write("junk", b"junk");
        assert_eq!(
            device.refused(255, &["steps", "put", &junk, "locals/j"]),
            "{\"Error\":\"Parser: State JSON has bad format\"}\n",
            "{defect}"
        );
        for name in ["5", "0", "current", "locals/..", "locals/progress", "locals/a/b", "locals/a b"] {
            device.refused(255, &["steps", "put", &junk, name]);
        }
        let missing = device.refused(255, &["steps", "get", "locals/none"]);
        assert_eq!(missing, "{\"Error\":\"Resource does not exist\"}\n", "{defect}");
        // Nothing that the daemon would hang on, or answer twice, is sent.
        let long = "x".repeat(4097);
        for words in [
            &["usrmeta", "save", "k", ""][..],
            &["usrmeta", "save", "k", &long],
            &["usrmeta", "save", "a/b", "v"],
            &["usrmeta", "save", "a b", "v"],
            &["usrmeta", "delete", "none"],
            &["usrmeta", "delete", &"k".repeat(3000)],
            &["cmd", "reboot", &long],
            &["containers", "stop", ""],
            &["containers", "stop", "none"],
            &["containers", "stop", "mg"],
            &["daemons", "stop", "none"],
            &["cmd", "unclaim"],
            &["cmd", "go-remote"],
            &["cmd", "make-factory", "locals/none"],
            &["signal", "alive"],
        ] {
            device.refused(255, words);
        }
        assert_eq!(device.daemon.commands(), [], "{defect}");
        device.ok(&["steps", "get", "0"]);
    }
}

#[test]
fn a_full_disk_was_taken_for_success() {
    for (defect, defects) in every_defect() {
        let mut config = Config { defects, ..Config::default() };
        config.facts.total = 3_000_000;
        let device = Device::with(config);
        let bytes = vec![1; 4_000_000];
        let file = device.write("object", &bytes);
        let full = "{\"Error\":\"Not enough disk space available\"}\n";
        assert!(device.refused(48, &["objects", "put", &file, &sha(&bytes)]).starts_with(full), "{defect}");
        // Small enough to be sent whole before the first answer is read.
        device.daemon.configure(|config| config.facts.total = 5000);
        let small = device.write("small", &[2; 60_000]);
        let refused = device.refused(48, &["objects", "put", &small, &sha(&[2; 60_000])]);
        assert!(refused.starts_with(full), "{defect}: {refused}");
        device.daemon.configure(|config| config.facts.total = 9_000_000);
        assert_eq!(device.ok(&["objects", "put", &file, &sha(&bytes)]), "\n", "{defect}: with room");
    }
}

#[test]
fn the_running_revision_was_lost_to_a_put_of_junk() {
    for (defect, defects) in every_defect() {
        let device = Device::new(defects);
        let factory = FACTORY.trim_end().strip_suffix('}').unwrap();
        let json = device.write("json", format!("{factory},\"nb/x.json\":{{\"v\":1}}}}").as_bytes());
        device.ok(&["steps", "put", &json, "locals/run"]);
        device.daemon.configure(|config| config.pace = Pace::Every(Duration::from_millis(20)));
        device.ok(&["cmd", "run", "locals/run", "--wait=60"]);
        assert_eq!(device.daemon.current(), "locals/run", "{defect}");
        let junk = device.write("junk", b"junk");
        assert!(device.refused(255, &["steps", "put", &junk, "locals/run"]).contains("in use"), "{defect}");
        device.ok(&["steps", "get", "current"]);
    }
}

#[test]
fn wait_says_how_an_update_ended() {
    for (defect, defects) in every_defect() {
        let device = Device::new(defects);
        let object = device.write("object", b"object");
        device.ok(&["objects", "put", &object, &sha(b"object")]);
        let good = device.write("good", state(&sha(b"object")).as_bytes());
        let bad = device.write("bad", state(&sha(b"nobody has it")).as_bytes());
        for (name, file) in [("locals/good", &good), ("locals/bad", &bad), ("locals/commit", &good)] {
            device.ok(&["steps", "put", file, name]);
        }
        for (verb, name, code, last) in [
            ("run", "locals/good", 0, "UPDATED"),
            ("run-commit", "locals/commit", 0, "DONE"),
            ("run", "locals/none", 30, "WONTGO"),
            ("run", "locals/bad", 31, "ERROR"),
        ] {
            let output = device.run(&["cmd", verb, name, "--wait=60"]);
            assert_eq!(output.status.code(), Some(code), "{defect} {name}: {}", both(&output));
            let said = text(&output.stdout);
            assert!(said.lines().last().unwrap().starts_with(last), "{defect} {name}: {said}");
        }
        assert_eq!(device.daemon.current(), "locals/commit", "{defect}");
    }
}

#[test]
fn wait_gives_up_in_time() {
    let device = Device::with(Config { pace: Pace::ByHand, ..Config::default() });
    let json = device.write("json", FACTORY.as_bytes());
    device.ok(&["steps", "put", &json, "locals/a"]);
    let output = device.run(&["cmd", "run", "locals/a", "--wait=1", "--json"]);
    assert_eq!(output.status.code(), Some(32), "{}", both(&output));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(line.is_null() || line["status"] == "NEW", "{}", both(&output));
    // Nothing was done yet, so another command has to wait.
    let busy = device.refused(75, &["cmd", "run-gc"]);
    assert_eq!(busy, "{\"Error\":\"A command is already in progress. Try again\"}\n");
}

#[test]
fn wait_says_that_nobody_answers_any_more() {
    let device = Device::with(Config { pace: Pace::ByHand, ..Config::default() });
    let json = device.write("json", FACTORY.as_bytes());
    device.ok(&["steps", "put", &json, "locals/a"]);
    let mut command = program::command();
    command.arg("pvcontrol").arg("-s").arg(device.daemon.socket()).args(["cmd", "run", "locals/a", "--wait=3"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + program::patience(Duration::from_secs(20));
    while device.daemon.commands().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no command came");
        std::thread::sleep(Duration::from_millis(5));
    }
    let Device { dir, daemon } = device;
    drop(daemon);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(33), "{}", both(&output));
    assert!(text(&output.stderr).contains("does not answer any more"), "{}", both(&output));
    drop(dir);
}

#[test]
fn an_export_is_installed_as_it_comes() {
    for (defect, defects) in every_defect() {
        let device = Device::new(defects);
        let (one, two) = (vec![3; 300_000], b"two".to_vec());
        let json = state(&sha(&one)).replace("nb/root.bin", "nb/one.bin");
        let json = format!("{},\"nb/two.bin\":\"{}\"}}", json.strip_suffix('}').unwrap(), sha(&two));
        let tgz = archive(&device, "export.tgz", &json, &[&one, &two]);
        let name = format!("locals/{}", sha(&fs::read(&tgz).unwrap()));
        for _ in 0..2 {
            assert_eq!(device.ok(&["-m", "new", "steps", "install", &tgz]), format!("{{\"revision\":\"{name}\"}}\n"));
        }
        assert_eq!(device.ok(&["steps", "install", &tgz, "locals/x"]), "{\"revision\":\"locals/x\"}\n", "{defect}");
        assert_eq!(device.run(&["objects", "get", &sha(&one)]).stdout, one, "{defect}");
        device.ok(&["cmd", "run", "locals/x", "--wait=60"]);

        // Cut short, or without an object that it names: the revision is not there.
        let whole = fs::read(&tgz).unwrap();
        let cut = device.write("cut.tgz", &whole[..whole.len() - 40]);
        let lacking = archive(&device, "lacking.tgz", &json.replace(&sha(&two), &sha(b"three")), &[&one]);
        for file in [&cut, &lacking] {
            let output = device.run(&["steps", "install", file, "locals/y"]);
            assert_eq!(output.status.code(), Some(255), "{defect}: {}", both(&output));
            assert!(!both(&output).contains("revision\":"), "{defect}: {}", both(&output));
            device.refused(255, &["steps", "get", "locals/y"]);
        }
        assert_eq!(device.refused(1, &["steps", "install", "x.tar"]), "ERROR: 'x.tar' is not called *.tgz\n");
    }
}

fn archive(device: &Device, name: &str, json: &str, objects: &[&[u8]]) -> String {
    let mut tar = Vec::new();
    let mut member = |name: &str, bytes: &[u8]| {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    member("json", json.as_bytes());
    for object in objects {
        member(&format!("objects/{}", sha(object)), object);
    }
    tar.resize(tar.len() + 1024, 0);
    device.write(name, &tar::gzip(&tar))
}

#[test]
fn what_is_said_is_said_as_it_is() {
    let device = Device::new(Defects::ALL);
    for (words, body) in [
        (&["ls"][..], "\"name\":\"mg\""),
        (&["containers", "ls"], "\"name\":\"nb\""),
        (&["groups", "ls"], "\"auto_recovery\""),
        (&["graph", "ls"], "[]\n"),
        (&["buildinfo"], "\n"),
        (&["config", "ls"], "log.level"),
        (&["conf", "ls"], "PV_LOG_LEVEL"),
        (&["configuration", "ls"], "PV_LOG_LEVEL"),
        (&["daemons", "ls"], "hwrngd"),
        (&["devmeta", "ls"], "pantavisor.revision"),
        (&["usrmeta", "ls"], "{}\n"),
        (&["daemons", "restart", "hwrngd"], "\n"),
        (&["containers", "stop", "nb"], "\n"),
        (&["usrmeta", "save", "a.b", "va\"l\n"], "\n"),
        (&["usrmeta", "ls"], "{\"a.b\":\"va\\u0022l\\u000A\"}\n"),
        (&["usrmeta", "delete", "a.b"], "\n"),
        (&["devmeta", "upload", "k", "v"], "\n"),
        (&["storage", "gc"], "{\"reclaimed\": 0}\n"),
        (&["--json", "cmd", "enable-ssh"], "{\"ok\":true}\n"),
    ] {
        let said = device.ok(words);
        assert!(said.contains(body), "{words:?}: {said}");
    }
    // A quote in a message broke the request.
    let quoted = "now \"please\" \\ \u{e9}";
    for attempt in 0..100 {
        let output = device.run(&["cmd", "reboot", quoted]);
        if output.status.code() == Some(0) {
            break;
        }
        assert_eq!((output.status.code(), attempt < 99), (Some(75), true), "{}", both(&output));
    }
    assert!(device.daemon.commands().contains(&("REBOOT_DEVICE".to_owned(), quoted.to_owned())));
}

/// It is text, and was printed as such.
#[test]
fn json_was_asked_for_and_a_text_was_printed() {
    let facts = Facts { buildinfo: "meta-a: \"b\"\nmeta-c\n".into(), ..Facts::default() };
    let device = Device::with(Config { facts, ..Config::default() });
    assert_eq!(device.ok(&["buildinfo"]), "meta-a: \"b\"\nmeta-c\n");
    assert_eq!(device.ok(&["--json", "buildinfo"]), "\"meta-a: \\\"b\\\"\\nmeta-c\\n\"\n");
    let device = Device::new(Defects::ALL);
    assert_eq!(device.ok(&["--json", "buildinfo"]), "\"\"\n");
}

#[test]
fn usage_and_sockets() {
    let device = Device::new(Defects::ALL);
    for words in [&["-h"][..], &["steps", "--help"], &["cmd", "--help"]] {
        assert!(device.ok(words).starts_with("Usage: pvcontrol"), "{words:?}");
    }
    for words in [&[][..], &["nope"], &["steps"], &["steps", "put"], &["-x"], &["objects", "get"], &["ls", "--wait"]] {
        let output = device.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(text(&output.stdout).contains("Usage: pvcontrol"), "{words:?}");
    }
    let none = device.path("none");
    let run = |socket: &Path| program::command().arg("pvcontrol").arg("-s").arg(socket).arg("ls").output().unwrap();
    let output = run(&none);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), format!("ERROR: {} not found\n", none.display()));
    // Somebody left it behind.
    drop(std::os::unix::net::UnixListener::bind(&none).unwrap());
    let output = run(&none);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ERROR: got no response\n"), "{}", both(&output));
    // By its own name.
    let link = device.path("pvcontrol");
    std::os::unix::fs::symlink(program::path(), &link).unwrap();
    let output = program::called(&link).arg("-s").arg(device.daemon.socket()).args(["objects", "ls"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "[]\n"), "{}", both(&output));
}

#[test]
fn callers_without_the_role_are_told() {
    let device = Device::with(Config { caller: Caller::Container("nb".into()), ..Config::default() });
    let refused = device.refused(255, &["objects", "ls"]);
    assert_eq!(refused, "{\"Error\":\"Request not sent from a mgmt platform\"}\n");
    let file = device.write("object", b"x");
    let refused = device.refused(255, &["objects", "put", &file, &sha(b"x")]);
    assert_eq!(refused, "{\"Error\":\"Request not sent from mgmt platform\"}\n");
}
