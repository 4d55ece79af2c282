//! Clone, change, add, remove, commit, post, clone again: with our own command line, against our own endpoint in every shape.
mod black_box;
mod shape;

use black_box::agent::{self, Server};
use black_box::seed::{self, File, Seed};
use black_box::{Dice, program, sha256};
use serde_json::Value;
use shape::Shape;
use shape::device::{Back, Device};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

/// One `pvr` command in `folder`, which has to succeed; its output.
fn pvr(home: &Path, folder: &Path, args: &[&str]) -> String {
    let output = agent::command()
        .arg("pvr")
        .args(args)
        .current_dir(folder)
        .env("HOME", home)
        .output()
        .unwrap_or_else(|err| panic!("pvr {args:?}: {err}"));
    succeeded(&format!("pvr {args:?}"), &output)
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{text}", output.status);
    text
}

/// What a working copy holds besides `.pvr`: path → sha256 of the content.
fn content(folder: &Path) -> std::collections::BTreeMap<String, String> {
    let all = seed::tree(folder).into_iter().filter(|(name, _)| !name.starts_with(".pvr/"));
    all.map(|(name, entry)| (name, entry.sha)).collect()
}

/// In the current revision every object file is its object, and every JSON file its canonical bytes.
fn assert_hardlinks(storage: &Path) -> usize {
    let current = storage.join("trails/current");
    let state: Value = serde_json::from_slice(&fs::read(current.join(".pvr/json")).expect("the state")).expect("JSON");
    let mut objects = 0;
    for (key, value) in state.as_object().expect("a state") {
        let file = current.join(key);
        match value.as_str() {
            _ if key == "#spec" => {}
            Some(sha) => {
                let object = fs::metadata(storage.join("objects").join(sha)).expect("an object");
                let linked = fs::metadata(&file).unwrap_or_else(|err| panic!("{key}: {err}"));
                assert_eq!(object.ino(), linked.ino(), "{key} is not its object");
                assert_eq!(object.mode() & 0o777, 0o444, "{key} can be written");
                objects += 1;
            }
            None => assert_eq!(&serde_json::from_slice::<Value>(&fs::read(&file).expect("JSON")).expect("JSON"), value),
        }
    }
    objects
}

#[test]
fn what_is_posted_is_what_is_cloned() {
    for shape in Shape::all("what_is_posted_is_what_is_cloned") {
        for back in Back::BOTH {
            // The large file is for the device as it usually is.
            let usual = shape == Shape::Serve && back == Back::Storage;
            let others = if program::emulated() { 1 } else { 16 };
            round_trip(shape, back, if usual { black_box::rounds(300, 16) } else { others });
        }
    }
}

fn factory(seed: &Seed) -> String {
    seed.revision(
        "0",
        &[
            ("bsp/kernel.img", File::Object(b"a kernel\n")),
            ("bsp/pantavisor", File::Object(b"an initial ram disk\n")),
            ("bsp/run.json", File::Json(r#"{"initrd":"pantavisor","linux":"kernel.img"}"#)),
            ("app/root.squashfs", File::Object(&[1; 200_000])),
            ("app/same.squashfs", File::Object(&[1; 200_000])),
            ("app/empty", File::Object(b"")),
            ("app/gone", File::Object(b"to be removed")),
            ("app/deep/er/file with a blank", File::Object("é".as_bytes())),
            ("app/run.json", File::Json(r#"{"big":9007199254740993,"f":1.5E0,"name":"app","nul":null}"#)),
        ],
    )
}

fn round_trip(shape: Shape, back: Back, megabytes: usize) {
    let device = Device::holding(shape, back, factory);
    let (all, storage, server) = (tempfile::tempdir().expect("a folder"), device.store(), &device.server);
    let (home, one, two) = (all.path().join("home"), all.path().join("one"), all.path().join("two"));
    fs::create_dir(&home).expect("a home");
    pvr(&home, all.path(), &["clone", &server.base, "one"]);
    assert_eq!(content(&one).len(), 9);

    fs::write(
        one.join("app/run.json"),
        "{\n  \"name\": \"app\", \"big\": 9007199254740993, \"new\": [1.50, null]\n}\n",
    )
    .expect("change JSON");
    // A file that was checked out may be its object: it is replaced, not written into.
    fs::remove_file(one.join("app/root.squashfs")).expect("remove");
    fs::write(one.join("app/root.squashfs"), vec![2; 200_001]).expect("change a file");
    let mut dice = Dice::new("round_trip");
    let block = dice.bytes(1 << 20);
    let mut large = fs::File::create(one.join("app/large.bin")).expect("a file");
    for number in 0..megabytes {
        use std::io::Write;
        large.write_all(&(number as u64).to_le_bytes()).expect("write");
        large.write_all(&block).expect("write");
    }
    drop(large);
    fs::remove_file(one.join("app/gone")).expect("remove a file");

    pvr(&home, &one, &["add", "."]);
    let status = pvr(&home, &one, &["status"]);
    for line in ["C app/run.json", "C app/root.squashfs", "A app/large.bin", "D app/gone"] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    pvr(&home, &one, &["commit"]);
    assert_eq!(pvr(&home, &one, &["status"]), "", "committed");
    let said = pvr(&home, &one, &["post", "-m", "a round trip"]);
    assert!(said.contains("Successfully posted Revision locals/"), "{said}");

    let committed = fs::read_to_string(one.join(".pvr/json")).expect("state");
    device.wait_until_it_runs(&committed);

    // Another user, with nothing cached.
    let other = all.path().join("other");
    fs::create_dir(&other).expect("a home");
    pvr(&other, all.path(), &["clone", &server.base, "two"]);
    let (first, second) = (content(&one), content(&two));
    let names = |content: &std::collections::BTreeMap<String, String>| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
    for (name, sha) in &first {
        // The working copy's JSON is as it was typed, the clone's is what was committed.
        if !name.ends_with(".json") {
            assert_eq!(sha, &second[name], "{name}");
        }
    }
    for json in ["app/run.json", "bsp/run.json"] {
        let read = |folder: &Path| -> Value {
            serde_json::from_slice(&fs::read(folder.join(json)).expect("JSON")).expect("JSON")
        };
        assert_eq!(read(&one), read(&two), "{json}");
    }
    assert_eq!(fs::read(one.join(".pvr/json")).expect("state"), fs::read(two.join(".pvr/json")).expect("state"));
    assert_eq!(pvr(&other, &two, &["status"]), "", "a fresh clone");
    if device.is_on_storage() {
        assert_eq!(assert_hardlinks(&storage), 7);
    }
    assert_eq!(sha256(&fs::read(storage.join("trails/current/app/large.bin")).expect("read")), first["app/large.bin"]);
    device.assert_clean("a round trip");
    println!("{}: a round trip with a file of {megabytes} MB", device.name());
}

/// `serve` without a storage: it makes one and prints how to clone it, and that line works as it stands; so does the
/// walk-through.
#[test]
fn the_first_command_of_the_readme() {
    if Path::new("/storage").exists() {
        eprintln!("the_first_command_of_the_readme: SKIPPED, this machine has a /storage");
        return;
    }
    let all = tempfile::tempdir().expect("a folder");
    let mut command = agent::command();
    command.args(["serve", "--port", "0"]).current_dir(all.path());
    let server = Server::spawn(command);
    let deadline = std::time::Instant::now() + program::patience(std::time::Duration::from_secs(5));
    let line = loop {
        let log = server.log();
        if let Some(line) = log.lines().find(|line| line.contains("pvr clone http://")) {
            break line.to_string();
        }
        assert!(std::time::Instant::now() < deadline, "no command for cloning: {log}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let path = program::path();
    let path = path.to_str().expect("a path that can be printed");
    let start = line.find(path).unwrap_or_else(|| panic!("{path} is not in {line:?}"));
    let output = Command::new("sh")
        .args(["-c", &format!("{}{} copy", program::shell(), &line[start + path.len()..])])
        .current_dir(all.path())
        .env("HOME", all.path())
        .output();
    succeeded(&line, &output.expect("run a shell"));
    let storage = all.path().join("pvroot");
    assert!(assert_hardlinks(&storage) > 0);
    let copy = content(&all.path().join("copy"));
    assert!(copy.keys().any(|key| key.starts_with("bsp/")), "{copy:?}");
    assert!(copy.keys().any(|key| key.ends_with("/run.json") && !key.starts_with("bsp/")), "{copy:?}");
    walk_through(all.path(), &server);
    agent::assert_clean(&storage, "the first start and the walk-through");
}

/// The second block of the README's walk-through, line by line, with this server's port and this build's program.
fn walk_through(folder: &Path, server: &Server) {
    let readme = include_str!("../README.md");
    let start = readme.find("    alias pvr=").expect("the walk-through");
    let block = readme[start..].split("\n\n").next().expect("a block");
    let mut lines = block.lines().map(str::trim_start);
    let alias = lines.next().expect("the alias");
    assert_eq!(alias, r#"alias pvr="$PWD/target/release/pvr-agent pvr""#);
    let script = lines.collect::<Vec<_>>().join("\n").replace("127.0.0.1:12368", &server.host());
    assert!(script.contains("pvr post") && script.contains("diff -r"), "{script}");
    let script = format!("set -eu\npvr() {{ {} pvr \"$@\"; }}\n{script}\n", program::shell());
    assert!(script.contains("cd \"$(mktemp -d)\""), "not in the repository: {script}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script]).current_dir(folder).env("HOME", folder).env("TMPDIR", folder).output();
    let said = succeeded(&script, &output.expect("run a shell"));
    assert!(said.contains("A hello.txt"), "{said}");
}
