//! A state with dm-verity volumes, posted to a storage or to a control socket, or deployed by `pvtx`: checked before there is
//! anything of it, or taken as it is where that is wanted.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
mod control;
#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Output;

use black_box::agent::{self, Server};
use black_box::seed::{File, Seed};
use black_box::{hex, http, sha256};
use control::{Config, Daemon};
use pvr::Home;
use serde_json::Value;

/// How many revisions there are.
fn revisions(storage: &Path) -> usize {
    fs::read_dir(storage.join("trails/locals")).map_or(0, Iterator::count)
}

/// A server, and a committed repository of a container with a volume.
fn device(home: &Home) -> Server {
    let storage = home.at("storage");
    let seed = Seed::new(&storage);
    seed.revision("0", &[("bsp/run.json", File::Json("{}"))]);
    let server = Server::start(&storage);
    home.pvr("", &["clone", &server.base, "r"]).code(0);
    home.write("r/app/root.squashfs", vec![7; 5 * 4096]);
    home.write("r/app/run.json", r#"{"name":"app","root-volume":"root.squashfs"}"#);
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    server
}

#[test]
fn a_volume_that_is_not_what_its_manifest_says_never_becomes_a_revision() {
    let home = Home::new();
    let server = device(&home);
    let storage = home.at("storage");
    home.pvr("r", &["post"]).code(0);
    assert_eq!(revisions(&storage), 1);

    let mut file = fs::OpenOptions::new().write(true).open(home.at("r/app/root.squashfs")).unwrap();
    file.write_all(b"changed").unwrap();
    home.pvr("r", &["commit"]).code(0);
    let current = fs::read_link(storage.join("trails/current")).unwrap();
    let ran = home.pvr("r", &["post"]).code(3);
    assert!(ran.err.contains("not what their manifests say"), "{ran:?}");
    assert_eq!((revisions(&storage), fs::read_link(storage.join("trails/current")).unwrap()), (1, current));

    // By hand, for all of the answer.
    let state = home.read("r/.pvr/json");
    let answer = server.post(&state, None).unwrap();
    assert_eq!(answer.status, 422, "{answer}");
    let answer = answer.json();
    assert_eq!(answer["reason"], "bad-verity");
    assert_eq!(answer["findings"][0]["key"], "app/_dm/root.squashfs.json");
    let why = answer["findings"][0]["why"].as_str().unwrap();
    assert!(why.contains("1 bad blocks of data, the first is 0 at offset 0"), "{why}");
    let put = http::ask(&format!("{}/json", server.base), "PUT", &[], state.as_bytes()).unwrap();
    assert_eq!(put.status, 422, "{put}");
    let odd = format!(r#"{{"verity-check":"no","state":{state}}}"#);
    let odd = http::ask(&format!("{}/steps", server.base), "POST", &[], odd.as_bytes()).unwrap();
    assert_eq!((odd.status, odd.json()["reason"].as_str()), (422, Some("bad-state")), "{odd}");
    assert_eq!(revisions(&storage), 1);

    home.pvr("r", &["post", "--no-verity-check"]).code(0);
    assert_eq!(revisions(&storage), 2);
    home.pvr("r", &["dm-apply"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["post"]).code(0);
    assert_eq!(revisions(&storage), 3);
}

#[test]
fn a_manifest_that_lies_is_refused_whatever_it_says() {
    let home = Home::new();
    let server = device(&home);
    home.pvr("r", &["putobjects", &format!("{}/objects", server.base)]).code(0);
    let state: Value = serde_json::from_str(&home.read("r/.pvr/json")).unwrap();
    let key = "app/_dm/root.squashfs.json";
    let zeros = hex(&[0; 32]);
    for (member, value, says) in [
        ("type", Value::from("dm-crypt"), "not of type"),
        ("type", Value::Null, "null"),
        ("data_device", Value::from("../bsp/x"), "data_device"),
        ("data_device", Value::from("other.squashfs"), "the state has no"),
        ("data_device", Value::from("run.json"), "is JSON"),
        ("hash_device", Value::from("root.squashfs"), "one file"),
        ("root_hash", Value::from(zeros.clone()), "bad blocks of the tree"),
        ("root_hash", Value::from(zeros.to_uppercase() + "A"), "root hash"),
        ("root_hash", Value::from("00"), "root hash"),
        ("salt", Value::from("-"), "salt"),
        ("uuid", Value::from("00000000-0000-0000-0000-000000000000"), "uuid"),
    ] {
        let mut lie = state.clone();
        lie[key][member] = value.clone();
        let answer = server.post(&lie.to_string(), None).unwrap();
        assert_eq!(answer.status, 422, "{member} {value}: {answer}");
        let why = answer.json()["findings"][0]["why"].as_str().unwrap().to_owned();
        assert!(why.contains(says), "{member} {value}: {why}");
    }
    let mut lie = state.clone();
    lie[key] = Value::from(vec![1]);
    assert_eq!(server.post(&lie.to_string(), None).unwrap().status, 422);
    // Objects that are not here are missing first.
    let mut lacks = state.clone();
    lacks["app/root.squashfs"] = Value::from(zeros);
    let answer = server.post(&lacks.to_string(), None).unwrap();
    assert_eq!(answer.json()["reason"], "missing-objects", "{answer}");
    assert_eq!(server.post(&state.to_string(), None).unwrap().status, 200);
}

/// A manifest that was added as an object (`pvr add --raw`) is one all the same.
#[test]
fn a_manifest_that_is_an_object_is_read() {
    let home = Home::new();
    let _server = device(&home);
    let manifest = home.read("r/app/_dm/root.squashfs.json");
    fs::remove_file(home.at("r/app/_dm/root.squashfs.json")).unwrap();
    home.pvr("r", &["commit"]).code(0);
    home.write("r/app/_dm/root.squashfs.json", manifest.replace("dm-verity", "dm-verify"));
    home.pvr("r", &["add", "--raw", "app/_dm/root.squashfs.json"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["post"]).code(3).says("not what their manifests say");
    home.write("r/app/_dm/root.squashfs.json", &manifest);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["post"]).code(0);
}

/// What a device by its control socket says of a state, which is installed and not run.
fn posted(server: &Server, state: &Value, more: &str) -> http::Response {
    let envelope = format!(r#"{{"on-post":"install"{more},"state":{state}}}"#);
    http::ask(&format!("{}/steps", server.base), "POST", agent::TEXT, envelope.as_bytes()).unwrap()
}

/// The daemon looks at no volume, so this is asked of the objects as it sends them; where its storage is mounted as well, of
/// the files.
#[test]
fn a_volume_was_taken_unseen_by_a_control_socket() {
    for mounted in [false, true] {
        let home = Home::new();
        let (store, socket) = (home.at("store"), home.at("pv-ctrl"));
        let daemon = Daemon::start(&store, &socket, Config::default());
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--socket"]).arg(&socket);
        if mounted {
            command.arg("--storage").arg(&store);
        }
        let server = Server::spawn(command);
        // Two levels: three blocks and the one above them.
        let volume: Vec<u8> = (0..300u32).flat_map(|block| block.to_le_bytes().repeat(1024)).collect();
        fs::create_dir(home.at("r")).unwrap();
        home.pvr("r", &["init"]).code(0);
        home.write("r/app/root.squashfs", &volume);
        home.write("r/app/run.json", r#"{"name":"app","root-volume":"root.squashfs"}"#);
        home.pvr("r", &["add"]).code(0);
        home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
        home.pvr("r", &["commit"]).code(0);
        let state: Value = serde_json::from_str(&home.read("r/.pvr/json")).unwrap();
        let tree = fs::read(home.at("r/app/root.squashfs.hash")).unwrap();
        for bytes in [&volume, &tree] {
            assert!(server.upload(bytes).unwrap());
        }
        let steps = || fs::read_dir(store.join("trails/locals")).map_or(0, Iterator::count);
        let refused = |key: &str, bytes: &[u8], [streamed, read]: [&str; 2]| {
            assert!(server.upload(bytes).unwrap(), "{key}");
            let mut bad = state.clone();
            bad[key] = Value::from(sha256(bytes));
            let before = steps();
            let answer = posted(&server, &bad, "");
            assert_eq!((answer.status, steps()), (422, before), "{mounted} {key}: {answer}");
            let answer = answer.json();
            assert_eq!(answer["reason"], "bad-verity");
            assert_eq!(answer["findings"][0]["key"], "app/_dm/root.squashfs.json");
            let why = answer["findings"][0]["why"].as_str().unwrap();
            assert!(why.contains(if mounted { read } else { streamed }), "{mounted} {key}: {why}");
            bad
        };
        let with = |bytes: &[u8], at: usize| {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            other
        };
        let root = ["the root hash of the volume is", "1 bad blocks of data, the first is 200 at offset 819200"];
        let bad = refused("app/root.squashfs", &with(&volume, 200 * 4096 + 5), root);
        let short = ["covers 300 blocks of 4096 bytes; the volume has 1228799"; 2];
        refused("app/root.squashfs", &volume[..volume.len() - 1], short);
        let hash = "app/root.squashfs.hash";
        for (at, says) in [
            (0, ["does not begin with a superblock"; 2]),
            (16, ["uuid"; 2]),
            (512, ["a byte at 512 that has to be zero"; 2]),
            (4096, ["the tree in the hash file is not that of the volume", "bad blocks of the tree"]),
            (4 * 4096, ["the tree in the hash file is not that of the volume", "bad blocks of the tree"]),
            (tree.len() - 1, ["the tree in the hash file is not that of the volume", "bad blocks of the tree"]),
        ] {
            refused(hash, &with(&tree, at), says);
        }
        refused(hash, &tree[..tree.len() - 1], ["that of this tree has"; 2]);
        let mut lie = state.clone();
        lie["app/_dm/root.squashfs.json"]["root_hash"] = Value::from(hex(&[0; 32]));
        assert_eq!(posted(&server, &lie, "").status, 422);
        assert_eq!(steps(), 0);
        assert_eq!(posted(&server, &bad, r#","verity-check":false"#).status, 200);
        assert_eq!(posted(&server, &state, "").status, 200);
        assert_eq!(steps(), 2);

        // What is listed and has other bytes than its name says.
        let path = store.join("objects").join(sha256(&volume));
        let mut lost = fs::read(&path).unwrap();
        lost[1 << 20] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, lost).unwrap();
        let mut other = state.clone();
        other["app/run.json"]["name"] = Value::from("other");
        assert_eq!(posted(&server, &other, "").status, 422);
        // Objects that are not here are missing first.
        fs::remove_file(&path).unwrap();
        assert_eq!(posted(&server, &other, "").json()["reason"], "missing-objects");
        assert_eq!(steps(), 2);
        drop(server);
        drop(daemon);
    }
}

fn pvtx(home: &Home, words: &[&str]) -> Output {
    let mut command = pvr::program::command();
    command.arg("pvtx").args(words).current_dir(home.at("")).env("PVTXDIR", home.at("d")).output().unwrap()
}

#[test]
fn a_volume_was_deployed_unseen_by_a_transaction() {
    let home = Home::new();
    let _server = device(&home);
    for folder in ["o", "t"] {
        fs::create_dir(home.at(folder)).unwrap();
    }
    home.write("t/old", "stays");
    home.pvr("r", &["export", "../good.tgz"]).code(0);
    let mut file = fs::OpenOptions::new().write(true).open(home.at("r/app/root.squashfs")).unwrap();
    file.write_all(b"changed").unwrap();
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["export", "../bad.tgz"]).code(0);
    let ok = |words: &[&str]| {
        let output = pvtx(&home, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    };
    ok(&["begin", "empty", "o"]);
    ok(&["add", "bad.tgz"]);
    let refused = pvtx(&home, &["deploy", "t"]);
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("app/_dm/root.squashfs.json") && said.contains("1 bad blocks of data"), "{said}");
    assert_eq!(home.read("t/old"), "stays");
    let beside: Vec<_> = fs::read_dir(home.at("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("deploy")), "{beside:?}");
    // The transaction goes on.
    ok(&["add", "good.tgz"]);
    ok(&["deploy", "t"]);
    assert_eq!(fs::read(home.at("t/app/root.squashfs")).unwrap(), [7; 5 * 4096]);
    ok(&["begin", "empty", "o"]);
    ok(&["add", "bad.tgz"]);
    ok(&["--no-verity-check", "deploy", "t"]);
    assert!(fs::read(home.at("t/app/root.squashfs")).unwrap().starts_with(b"changed"));
}
