//! dm-verity on the command line: `dm-convert`, `dm-apply`, `dm-verify`, `dm-info`, and what a deploy makes of it.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod deploying;
#[path = "client/pvr.rs"]
mod pvr;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use black_box::{Dice, rounds, sha256};
use deploying::tree;
use pvr::Home;
use serde_json::Value;
use sha2::{Digest, Sha256};

const UUID: &str = "--uuid=4c15a854-eacc-4283-8e91-0a04504a2d5c";
const RUN: &[u8] = br#"{"name":"app","root-volume":"root.squashfs","volumes":["data.squashfs"]}"#;
const SRC: &[u8] = br##"{"#spec":"service-manifest-src@1","ours":{"kept":[1]},"template":"t"}"##;

/// Blocks of 4096 bytes that differ.
fn blocks(count: u64) -> Vec<u8> {
    (0..count).flat_map(|block| Sha256::digest(block.to_le_bytes()).repeat(128)).collect()
}

/// A committed repository `r` with a container `app` of two volumes.
fn container() -> Home {
    let home = Home::new();
    home.repo(&[
        ("app/root.squashfs", &blocks(129)),
        ("app/data.squashfs", &blocks(3)),
        ("app/run.json", RUN),
        ("app/src.json", SRC),
    ]);
    home
}

fn json(home: &Home, path: &str) -> Value {
    serde_json::from_str(&home.read(path)).unwrap()
}

fn spoil(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The files of the working copy, without what locks and indexes leave.
fn files(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let all = tree(&home.at("r")).into_iter().filter(|(_, (mode, ..))| mode & 0o170000 == 0o100000);
    let all = all.filter(|(name, _)| !name.starts_with(".pvr/index") && !name.contains("/tmp/"));
    all.map(|(name, (.., bytes))| (name, bytes)).collect()
}

#[test]
fn trees_are_the_same_bytes_on_every_processor() {
    for (flags, root, sha) in [
        (
            &["--salt=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"][..],
            "2cc5b80a7b3dd84a30c873191479a57b1b9b22982a90939c73b52ad71bee80c9",
            "8279a27e588f8f403aa5d307e666d1b232a5c15eb0c71bbc07957c52863362c9",
        ),
        (
            &["--hash=sha512", "--data-block-size=512", "--hash-block-size=1024", "--salt=5a"],
            "42d0d3e9f896442d918f005496ce3d6bd54b0538b0514f57bf9e3ffcd559dc6af1cc45653e503a61378d16144b27d997e5485a65b9e97bc00afb3fe530d75328",
            "89b6a10cac4d76c746be6fb720fa4552fbd656b457322690f5b3aacf63af0406",
        ),
        (
            &["--hash=sha1", "--format=0", "--salt=0102030405", "--data-block-size=1024", "--hash-block-size=512"],
            "733b18facc39a317ac9c59097066f0df685f6874",
            "1c6301b34ea792cb759ce1c8d577d14a67ecde334522b68d358ac20669a6da0a",
        ),
        (
            &["--salt=-"],
            "15af6b6b1c7ccf9ca4d553ec973ce72e3b9130b42ae3a3634b75eda4d7daa5f1",
            "0001a844abb0a4dbc1b9432bb9c6ed7eaf97715c7951f4797f398285f3f1f48c",
        ),
        (
            &["--data-block-size=8192", "--hash-block-size=65536", "--salt=00"],
            "7ecc610dcbed0a8b8291d29a12f99faaeb541df2f6a172719860c3f85731763c",
            "fd84ec7297af9a4b0bcdc9bb5ab1f06c178bfbc3596b74190bbe5ffbdaae10bc",
        ),
    ] {
        let home = container();
        home.pvr("r", &[&["dm-convert", UUID], flags, &["app/root.squashfs"]].concat()).code(0);
        assert_eq!(json(&home, "r/app/_dm/root.squashfs.json")["root_hash"], root, "{flags:?}");
        assert_eq!(sha256(&fs::read(home.at("r/app/root.squashfs.hash")).unwrap()), sha, "{flags:?}");
        home.pvr("r", &["dm-verify"]).code(0);
        // What is made again is made with the same.
        fs::OpenOptions::new()
            .append(true)
            .open(home.at("r/app/root.squashfs"))
            .unwrap()
            .write_all(&[1; 8192])
            .unwrap();
        home.pvr("r", &["dm-apply"]).code(0);
        fs::write(home.at("r/app/root.squashfs"), blocks(129)).unwrap();
        home.pvr("r", &["dm-apply"]).code(0);
        assert_eq!(sha256(&fs::read(home.at("r/app/root.squashfs.hash")).unwrap()), sha, "{flags:?}");
    }
}

#[test]
fn reproducible_trees_are_those_of_the_volume() {
    let home = container();
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    let drawn = json(&home, "r/app/_dm/root.squashfs.json");
    home.pvr("r", &["dm-convert", "--reproducible", "app", "root.squashfs"]).code(0);
    let derived = json(&home, "r/app/_dm/root.squashfs.json");
    assert_ne!(drawn["salt"], derived["salt"]);
    // Fixed for ever: images that are built again have to be those that were built before.
    assert_eq!(derived["salt"], "7014b4e69a9ff3f69a658bf794b36691ef352254574215b95d42e9ebe5681259");
    assert_eq!(derived["uuid"], "0ab47491-52c6-8d62-8129-21e539d37a4b");
    let other = container();
    other.pvr("r", &["dm-convert", "--reproducible", "app/root.squashfs"]).code(0);
    assert_eq!(json(&other, "r/app/_dm/root.squashfs.json"), derived);
    fs::write(other.at("r/app/root.squashfs"), blocks(5)).unwrap();
    other.pvr("r", &["dm-apply", "--reproducible"]).code(0);
    assert_ne!(json(&other, "r/app/_dm/root.squashfs.json")["salt"], derived["salt"]);
    other.pvr("r", &["dm-verify"]).code(0);
}

/// sig-dm.md §10.18: a new salt and a new uuid, so new objects for nothing.
#[test]
fn converting_again_made_another_tree() {
    let home = container();
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    let other = container();
    other.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    let salt = |home| json(home, "r/app/_dm/root.squashfs.json")["salt"].clone();
    assert_ne!(salt(&home), salt(&other), "a salt is random");
}

#[test]
fn members_that_nobody_knows_stay() {
    let home = container();
    home.write("r/app/_dm/root.squashfs.json", r#"{"extra":{"a":1},"type":"x"}"#);
    let ran = home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    let root = home.at("r");
    let said =
        ["app/_dm/root.squashfs.json", "app/run.json"].map(|path| format!("- Updated {}\n", root.join(path).display()));
    assert_eq!(ran.out, format!("container=app volume=root.squashfs\n{}", said.concat()));
    let manifest = json(&home, "r/app/_dm/root.squashfs.json");
    assert_eq!((&manifest["extra"]["a"], &manifest["type"]), (&Value::from(1), &Value::from("dm-verity")));
    assert_eq!(
        home.read("r/app/run.json"),
        r#"{"name":"app","root-volume":"dm:root.squashfs","volumes":["data.squashfs"]}"#
    );
    let src = json(&home, "r/app/src.json");
    assert_eq!((&src["ours"]["kept"][0], &src["dm_enabled"]["root.squashfs"]), (&Value::from(1), &Value::from(true)));
    let status = home.pvr("r", &["status"]).code(0).out;
    assert_eq!(status, "A app/_dm/root.squashfs.json\nA app/root.squashfs.hash\nC app/run.json\nC app/src.json\n");
}

/// sig-dm.md §10.14, §10.15: half a conversion, with exit code 0 or an empty manifest.
#[test]
fn a_conversion_that_failed_left_half_of_it() {
    type Change = fn(&Home);
    let changes: &[(Change, &[&str], i32, &str)] = &[
        (|_| (), &["app", "none.squashfs"], 4, "none.squashfs"),
        (|_| (), &["none", "root.squashfs"], 4, "none/root.squashfs"),
        (|_| (), &["..", "root.squashfs"], 4, ".."),
        (|_| (), &["app", "../r/app/root.squashfs"], 4, ".."),
        (|_| (), &[".pvr", "json"], 4, "reserved"),
        (|_| (), &[], 2, "missing arguments, see --help"),
        (|_| (), &["app"], 3, "ERROR: volume could not be found; see --help"),
        (|_| (), &["app/"], 3, "ERROR: volume could not be found; see --help"),
        (|_| (), &["--salt=zz", "app/root.squashfs"], 2, "salt"),
        (|_| (), &["--uuid=1", "app/root.squashfs"], 2, "uuid"),
        (|_| (), &["--hash=md5", "app/root.squashfs"], 2, "md5"),
        (|_| (), &["--format=0", "--salt=-", "app/root.squashfs"], 4, "hash type"),
        (|_| (), &["--format=2", "app/root.squashfs"], 2, "hash type"),
        (|_| (), &["--data-block-size=1000", "app/root.squashfs"], 2, "1000"),
        (|_| (), &["--hash-block-size=x", "app/root.squashfs"], 2, "block size"),
        (|home| home.write("r/app/root.squashfs", [1; 4095]), &["app/root.squashfs"], 4, "4095 bytes"),
        (|home| home.write("r/app/root.squashfs", ""), &["app/root.squashfs"], 4, "0 bytes"),
        (|home| home.write("r/app/run.json", "{"), &["app/root.squashfs"], 4, "run.json cannot be changed"),
        (|home| home.write("r/app/run.json", "[]"), &["app/root.squashfs"], 4, "it is an array"),
        (|home| home.write("r/app/src.json", r#"{"dm_enabled":7}"#), &["app/root.squashfs"], 4, "dm_enabled"),
        (|home| home.write("r/app/_dm/root.squashfs.json", "7"), &["app/root.squashfs"], 4, "it is a number"),
        (|home| home.write("r/app/_dm", "a file"), &["app/root.squashfs"], 4, "_dm"),
        (
            |home| fs::create_dir(home.at("r/app/root.squashfs.hash")).unwrap(),
            &["app/root.squashfs"],
            4,
            "not a regular file",
        ),
        (|home| symlink("..", home.at("r/app/_dm")).unwrap(), &["app/root.squashfs"], 4, "symbolic link"),
    ];
    for (change, args, code, says) in changes {
        let home = container();
        change(&home);
        let before = tree(&home.at("r"));
        home.pvr("r", &[&["dm-convert"][..], args].concat()).code(*code).says(says);
        let mut after = tree(&home.at("r"));
        after.retain(|name, _| !name.starts_with(".pvr/index"));
        let before: BTreeMap<_, _> = before.into_iter().filter(|(name, _)| !name.starts_with(".pvr/index")).collect();
        assert!(before == after, "{args:?}: {:?}", after.keys());
    }
    Home::new().pvr("", &["dm-convert", "app", "root.squashfs"]).code(4).says("not a pvr repository");
}

#[test]
fn what_is_not_all_that_was_meant_is_said() {
    let home = container();
    home.write("r/app/other.squashfs", blocks(2));
    home.pvr("r", &["dm-convert", "app", "other.squashfs"]).code(0).says("is not tracked").says("does not name");
    home.write("r/app/root.squashfs", [7; 5000]);
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0).says("the last 904 bytes of app/root.squashfs");
    let ran = home.pvr("r", &["dm-verify", "app/root.squashfs"]).code(0);
    assert!(ran.out.contains("bytes at the end that no tree covers: 904"), "{ran:?}");
}

/// sig-dm.md §10.16, §10.17: the first volume that could not be made ended it, with exit code 0; a prefix had no boundary;
/// a manifest chose files outside of its container.
#[test]
fn applying_stopped_and_wrote_anywhere() {
    let home = container();
    home.write("r/app2/root.squashfs", blocks(2));
    for (name, data, hash) in [
        ("a", "none.squashfs", "none.hash"),
        ("b", "../app2/root.squashfs", "b.hash"),
        ("c", "root.squashfs", "../../outside"),
        ("d", "root.squashfs", "run.json"),
        ("e", "root.squashfs", "root.squashfs"),
        ("f", "-root.squashfs", "--help"),
    ] {
        let manifest = format!(r#"{{"data_device":"{data}","hash_device":"{hash}"}}"#);
        home.write(&format!("r/app/_dm/{name}.json"), manifest);
    }
    home.write("r/app/_dm/g.json", "{}");
    home.write("r/app/_dm/h.json", "[]");
    home.write("r/app/_dm/i.json", r#"{"data_device":"root.squashfs","hash_device":"x.hash"}"#);
    home.write("r/app/_dm/j.json", r#"{"data_device":"data.squashfs","hash_device":"x.hash"}"#);
    home.write("r/app/_dm/z.json", r#"{"data_device":"data.squashfs","hash_device":"data.squashfs.hash"}"#);
    home.write(
        "r/app2/_dm/root.squashfs.json",
        r#"{"data_device":"root.squashfs","hash_device":"root.squashfs.hash"}"#,
    );
    home.pvr("r", &["add"]).code(0);
    let before = files(&home);
    let ran = home.pvr("r", &["dm-apply", "app"]).code(3).says("9 volumes were left as they were");
    let updated = |name: &str| format!("- Updated {}\n", home.at("r/app/_dm").join(name).display());
    assert_eq!(ran.out, updated("i.json") + &updated("z.json"));
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "j"] {
        assert!(ran.err.contains(&format!("/app/_dm/{name}.json: ")), "{name}: {}", ran.err);
    }
    let after = files(&home);
    let changed: Vec<_> =
        after.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(changed, [".pvr/new", "app/_dm/i.json", "app/_dm/z.json", "app/data.squashfs.hash", "app/x.hash"]);
    home.pvr("r", &["dm-verify", "app/z"]).code(0);
    home.pvr("r", &["dm-apply", "app2/"]).code(0);
    home.pvr("r", &["dm-verify", "app2"]).code(0);
    assert_eq!(home.pvr("r", &["dm-apply", "ap"]).code(0).out, "");
}

#[test]
fn what_is_bad_is_named_with_its_place() {
    let home = container();
    assert_eq!(home.pvr("r", &["dm-verify"]).code(0).out, "");
    for volume in ["root.squashfs", "data.squashfs"] {
        home.pvr("r", &["dm-convert", "app", volume]).code(0);
    }
    let ok = "app/data.squashfs: ok, 3 blocks of 4096 bytes\n";
    assert_eq!(
        home.pvr("r", &["dm-verify"]).code(0).out,
        format!("{ok}app/root.squashfs: ok, 129 blocks of 4096 bytes\n")
    );
    spoil(&home.at("r/app/root.squashfs"), 7 * 4096 + 5);
    spoil(&home.at("r/app/root.squashfs"), 128 * 4096);
    let ran = home.pvr("r", &["dm-verify", "app"]).code(1).says("1 of 2 volumes");
    assert_eq!(ran.out, format!("{ok}app/root.squashfs: bad blocks of data: 2, the first is 7 at offset 28672\n"));
    let ran = home.pvr("r", &["dm-verify", "--json", "app/root.squashfs"]).code(1);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(found[0]["data"], serde_json::json!({"block":7,"offset":28672,"count":2}));
    assert_eq!((&found[0]["ok"], &found[0]["blocks"]), (&Value::from(false), &Value::from(129)));
    home.pvr("r", &["dm-verify", "app/data.squashfs/"]).code(0);
    for none in ["ap", "app/root", "app/root.squashfs/x", "none"] {
        home.pvr("r", &["dm-verify", none]).code(2).says("no dm-verity volume");
    }

    fs::write(home.at("r/app/root.squashfs"), blocks(129)).unwrap();
    let hash = home.at("r/app/root.squashfs.hash");
    let right = fs::read(&hash).unwrap();
    for (at, says) in [
        (0, "superblock"),
        (16, "uuid"),
        (72, "covers"),
        (88, "salt"),
        (600, "has to be zero"),
        (4096, "blocks of data below bad ones of the hash file: 129"),
        (3 * 4096, "bad blocks of the hash file: 1, the first is 3 at offset 12288"),
    ] {
        spoil(&hash, at);
        let ran = home.pvr("r", &["dm-verify", "app/root.squashfs"]).code(1);
        assert!(ran.out.contains(says), "{at}: {ran:?}");
        fs::write(&hash, &right).unwrap();
    }
    fs::remove_file(&hash).unwrap();
    home.pvr("r", &["dm-verify", "app/root.squashfs"]).code(1);
    home.pvr("r", &["dm-info", "app/root.squashfs"]).code(2);
    home.pvr("r", &["dm-apply"]).code(0);
    home.pvr("r", &["dm-verify"]).code(0);
    Home::new().pvr("", &["dm-verify"]).code(2);
}

#[test]
fn what_a_tree_is_made_with_is_shown() {
    let home = container();
    home.pvr("r", &["dm-convert", UUID, "--salt=00ff", "--hash=sha512", "app/root.squashfs"]).code(0);
    let info: Value = serde_json::from_str(&home.pvr("r", &["dm-info", "--json"]).code(0).out).unwrap();
    let root = json(&home, "r/app/_dm/root.squashfs.json")["root_hash"].clone();
    let want = serde_json::json!([{
        "container": "app", "volume": "root.squashfs", "data-device": "root.squashfs",
        "hash-device": "root.squashfs.hash", "root-hash": root, "uuid": UUID.split_once('=').unwrap().1, "hash-type": 1,
        "algorithm": "sha512", "data-blocks": 129, "data-block-size": 4096, "hash-blocks": 4, "hash-block-size": 4096,
        "salt": "00ff",
    }]);
    assert_eq!(info, want);
    let text = home.pvr("r", &["dm-info", "app"]).code(0).out;
    assert!(text.contains("\n  Hash algorithm:  sha512\n") && text.starts_with("app/root.squashfs\n"), "{text}");
}

#[test]
fn a_deploy_checks_volumes_when_it_is_told_to() {
    let home = container();
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("", &["deploy", "--verity-check", "good", "r/.pvr"]).code(0);
    home.pvr("good", &["dm-verify"]).code(0);

    // Committed as it is: every object is what its name says, and the volume is not what its manifest says.
    spoil(&home.at("r/app/root.squashfs"), 5 * 4096);
    home.pvr("r", &["commit"]).code(0);
    let before = tree(&home.at("good"));
    for target in ["bad", "good"] {
        for dry in [&[][..], &["--dry-run"]] {
            let args = [&["deploy", "--verity-check"], dry, &[target, "r/.pvr"]].concat();
            home.pvr("", &args).code(6).says("app/_dm/root.squashfs.json").says("the first is 5 at offset 20480");
        }
    }
    assert!(!home.at("bad").exists());
    assert_eq!(tree(&home.at("good")), before);
    home.pvr("", &["deploy", "bad", "r/.pvr"]).code(0);
    home.pvr("bad", &["dm-verify"]).code(1);
}

#[test]
fn a_squashfs_goes_all_the_way() {
    let usual = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    if !usual.split(':').any(|place| Path::new(place).join("mksquashfs").exists()) {
        return black_box::skip("a_squashfs_goes_all_the_way", "there is no mksquashfs (squashfs-tools)");
    }
    let home = Home::new();
    home.write("root/etc/os-release", "NAME=x\n");
    home.write("root/bin/blob", Dice::new("a_squashfs_goes_all_the_way").bytes(300_000));
    fs::create_dir_all(home.at("r/app")).unwrap();
    let mut made = Command::new("mksquashfs");
    made.args(["root", "r/app/root.squashfs", "-all-root", "-no-progress", "-quiet"]).env("PATH", usual);
    let made = made.current_dir(home.at("")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    home.write("r/app/run.json", RUN);
    home.pvr("r", &["init"]).code(0);
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["dm-convert", "app", "root.squashfs"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["export", "../x.tgz"]).code(0);
    fs::create_dir(home.at("i")).unwrap();
    home.pvr("i", &["init", "--objects=../pool"]).code(0);
    home.pvr("i", &["import", "../x.tgz"]).code(0);
    home.pvr("i", &["checkout"]).code(0);
    home.pvr("i", &["dm-verify"]).code(0);
    home.pvr("", &["deploy", "--verity-check", "d", "i/.pvr"]).code(0);
    let ran = home.pvr("d", &["dm-verify", "app/root.squashfs"]).code(0);
    assert!(ran.out.starts_with("app/root.squashfs: ok, "), "{ran:?}");
    for path in ["app/root.squashfs", "app/root.squashfs.hash"] {
        assert_eq!(fs::read(home.at("r").join(path)).unwrap(), fs::read(home.at("d").join(path)).unwrap());
    }
}

#[test]
fn two_at_once_lose_nothing() {
    for _ in 0..rounds(100, 3) {
        let home = container();
        std::thread::scope(|scope| {
            for volume in ["root.squashfs", "data.squashfs"] {
                let home = &home;
                scope.spawn(move || home.pvr("r", &["dm-convert", "app", volume]).code(0));
            }
        });
        assert_eq!(
            home.read("r/app/run.json"),
            r#"{"name":"app","root-volume":"dm:root.squashfs","volumes":["dm:data.squashfs"]}"#
        );
        assert_eq!(home.pvr("r", &["dm-verify"]).code(0).out.lines().count(), 2);
        home.pvr("r", &["commit"]).code(0);
        assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    }
}

#[test]
fn killed_at_any_moment_it_is_done_or_not() {
    let mut dice = Dice::new("killed_at_any_moment_it_is_done_or_not");
    let home = container();
    let salt = "--salt=00";
    let convert = ["dm-convert", UUID, salt, "app", "root.squashfs"];
    let original = files(&home);
    let put_back = |files: &BTreeMap<String, Vec<u8>>| {
        fs::remove_dir_all(home.at("r/app")).unwrap();
        fs::remove_file(home.at("r/.pvr/new")).ok();
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("app/") || *name == ".pvr/new") {
            home.write(&format!("r/{name}"), bytes);
        }
    };
    let begun = Instant::now();
    home.pvr("r", &convert).code(0);
    let mut cycle = begun.elapsed();
    let converted = files(&home);
    fs::write(home.at("r/app/root.squashfs"), blocks(200)).unwrap();
    home.pvr("r", &["dm-convert", UUID, salt, "app", "data.squashfs"]).code(0);
    fs::write(home.at("r/app/data.squashfs"), blocks(9)).unwrap();
    let stale = files(&home);
    home.pvr("r", &["dm-apply"]).code(0);
    let applied = files(&home);
    assert!(original != converted && stale != applied);

    let (mut killed, mut done, mut ended) = (0, 0, 0);
    let rounds = rounds(200, 12);
    for round in 0..rounds {
        let (args, before, after): (&[&str], _, _) = match round % 2 {
            0 => (&convert, &original, &converted),
            _ => (&["dm-apply"], &stale, &applied),
        };
        put_back(before);
        let begun = Instant::now();
        let mut child = home.command(&home.at("r"), args, &[]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(cycle.as_micros() as u64 + 1)));
        let late = child.try_wait().unwrap().is_some();
        if late {
            cycle = cycle.min(begun.elapsed());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += usize::from(!late);
        ended += usize::from(home.at("r/.pvr/batch").exists());
        home.pvr("r", &["status"]).code(0);
        let now = files(&home);
        assert!(now == *before || now == *after, "round {round}: {args:?}: {:?}", now.keys());
        assert!(!home.at("r/.pvr/batch").exists());
        done += usize::from(now == *after);
        home.pvr("r", args).code(0);
        assert_eq!(files(&home), *after, "round {round}");
    }
    println!(
        "{killed} of {rounds} killed, {done} done, {ended} ended by the command that came next; a cycle takes {cycle:?}"
    );
    assert!(killed > 0, "no moment fell into the work");
}
