//! A post of a state with dm-verity volumes: checked before the revision appears, or taken as it is where that is wanted.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::io::Write;
use std::path::Path;

use black_box::agent::Server;
use black_box::seed::{File, Seed};
use black_box::{hex, http};
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
