//! Pools in places with rules of their own: the objects of a storage, a medium that is read-only, a disk that is full.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod black_box;
#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use black_box::agent::Server;
use black_box::seed::{self, File, Seed};
use device::{Device, sha};
use pvr::Home;

/// Pantavisor's: objects with one link go.
fn collect(storage: &Path) -> usize {
    let objects = fs::read_dir(storage.join("objects")).unwrap().map(|entry| entry.unwrap().path());
    let single = objects.filter(|path| path.is_file() && fs::metadata(path).unwrap().nlink() == 1);
    single.map(|path| fs::remove_file(path).unwrap()).count()
}

/// `get`, `merge`, `import` and `commit` into the objects of a storage made no second link, and Pantavisor's collector took
/// what they had brought.
#[test]
fn the_collector_took_what_a_get_had_brought() {
    let home = Home::new();
    home.repo(&[("a/one", b"one"), ("b/two", b"two")]);
    home.pvr("r", &["export", "../x.tgz"]).code(0);
    let device = Device::plain(&[("a/one", b"one"), ("b/two", b"two")]);
    let remote = device.reference();
    for args in [
        &["get", "../x.tgz"][..],
        &["get", "../r/.pvr"],
        &["get", &remote],
        &["merge", "../x.tgz#a"],
        &["import", "../x.tgz"],
        &["commit"],
    ] {
        // One object is there already, with a single link.
        let storage = home.at("s");
        fs::remove_dir_all(&storage).ok();
        fs::remove_dir_all(home.at("t")).ok();
        fs::create_dir_all(storage.join("trails/0")).unwrap();
        fs::create_dir(storage.join("objects")).unwrap();
        fs::write(storage.join("objects").join(sha(b"one")), "one").unwrap();
        fs::create_dir(home.at("t")).unwrap();
        home.pvr("t", &["init", "-o", "../s/objects"]).code(0);
        home.write("t/c", "one");
        home.write("t/d", "three");
        home.pvr("t", &["add"]).code(0);
        home.pvr("t", args).code(0);
        assert_eq!(collect(&storage), 0, "{args:?}");
        let staged = fs::read_dir(storage.join(".pvr-agent/staged")).unwrap().count();
        assert_eq!(staged, if args[0] == "merge" { 1 } else { 2 }, "{args:?}");
        home.pvr("t", &["checkout"]).code(0);
        let fsck = home.pvr("t", &["fsck"]);
        assert_eq!(fsck.code, Some(0), "{args:?}: {fsck:?}");
    }
    // Other pools are collected by nobody: there is one link.
    assert_eq!(fs::metadata(home.object(&sha(b"one"))).unwrap().nlink(), 1);
}

struct Mount(PathBuf);

impl Mount {
    fn tmpfs(test: &str, at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        black_box::skip(test, "nothing can be mounted");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Opening a pool sweeps it, so commands that only read one failed on a medium that is mounted read-only.
#[test]
fn a_pool_on_a_read_only_medium_could_not_be_read() {
    let home = Home::new();
    let Some(mount) = Mount::tmpfs("a_pool_on_a_read_only_medium", home.at("m"), "size=8m") else { return };
    for with_agent in [true, false] {
        fs::remove_dir_all(home.at("m/r")).ok();
        fs::create_dir(home.at("m/r")).unwrap();
        home.write("m/r/x", "bytes");
        home.pvr("m/r", &["init", "-o", "pool"]).code(0);
        home.pvr("m/r", &["add"]).code(0);
        home.pvr("m/r", &["commit"]).code(0);
        if !with_agent {
            fs::remove_dir_all(home.at("m/r/pool/.pvr-agent")).unwrap();
        }
        mount.remount("ro");
        let device = Device::plain(&[]);
        for args in [
            &["status"][..],
            &["diff"],
            &["json"],
            &["inspect"],
            &["fsck"],
            &["export", "../../x.tgz"],
            &["export", "-"],
            &["commit", "--dry-run"],
            &["import", "--dry-run", "../../x.tgz"],
            &["get", "--dry-run", "../../x.tgz"],
            &["put", "--dry-run", &device.reference()],
            &["post", "--dry-run", &device.reference()],
            &["putobjects", &format!("http://{}/cgi-bin/pvr/objects", device.reference())],
            &["put", "../../other/.pvr"],
        ] {
            if args[0] == "put" && args.len() == 2 {
                fs::remove_dir_all(home.at("other")).ok();
                fs::create_dir(home.at("other")).unwrap();
                home.pvr("other", &["init", "-o", "pool"]).code(0);
            }
            let ran = home.pvr("m/r", args);
            assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        }
        // What is posted is posted; only the address is not remembered.
        home.pvr("m/r", &["post", &device.reference()]).code(0).says("the address is not remembered");
        fs::remove_dir_all(home.at("c")).ok();
        home.pvr("", &["clone", "m/r/.pvr", "c"]).code(0);
        home.pvr("", &["deploy", "d", "m/r/.pvr"]).code(0);
        home.pvr("m/r", &["commit"]).code(1).says("Read-only file system");
        home.pvr("m/r", &["import", "../../x.tgz"]).code(3).says("Read-only file system");
        mount.remount("rw");
    }
}

/// A deploy built first, and found out when the disk was full.
#[test]
fn a_deploy_sets_its_room_aside_before_it_builds() {
    let home = Home::new();
    let Some(_mount) = Mount::tmpfs("a_deploy_sets_its_room_aside", home.at("m"), "size=4m") else { return };
    let big = format!("\"{}\"", "x".repeat(700_000));
    home.repo(&[("app/run.json", big.as_bytes()), ("app/w.bind", &[7; 300_000]), ("app/r", b"root")]);
    let at = |more: &[&str]| {
        let config = home.at("m/config").to_str().unwrap().to_owned();
        let args: Vec<&str> = ["-c", &config, "deploy"].iter().chain(more).copied().collect();
        home.pvr("", &args)
    };
    // State and file: 1.4 MB; the object and its copy: 0.6 MB.
    fs::write(home.at("m/ballast"), vec![0; 2_300_000]).unwrap();
    let ran = at(&["m/t", "r/.pvr"]).code(8).says("no space for ");
    assert!(!home.at("m/t").exists(), "{ran:?}");
    let left: Vec<_> = fs::read_dir(home.at("m")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    fs::write(home.at("m/ballast"), vec![0; 1_000_000]).unwrap();
    at(&["m/t", "r/.pvr"]).code(0);
    assert_eq!(home.read("m/t/app/r"), "root");
}

/// On a device with less room than what is left to others, no revision could be posted at all, not even one without a
/// container, which is what would help.
#[test]
fn a_device_without_room_could_not_be_helped() {
    let home = Home::new();
    let Some(mount) = Mount::tmpfs("a_device_without_room", home.at("m"), "size=32m") else { return };
    let storage = home.at("m/storage");
    Seed::new(&storage).revision(
        "0",
        &[
            ("bsp/run.json", File::Json("{}")),
            ("app/root", File::Object(&[1; 20_000])),
            ("app/run.json", File::Json(r#"{"group":"app"}"#)),
            ("big/root", File::Object(&[2; 1_000_000])),
            ("big/run.json", File::Json(r#"{"group":"app"}"#)),
        ],
    );
    let server = Server::start(&storage);
    home.pvr("", &["clone", &server.base, "r"]).code(0);
    let free = || {
        let fs = rustix::fs::statvfs(&mount.0).unwrap();
        fs.f_bavail * fs.f_frsize
    };
    fs::write(home.at("m/ballast"), vec![0; free() as usize - 400_000]).unwrap();
    home.write("r/app/new", "new");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    let before = seed::visible(&storage);
    // Objects are not taken; the plan says so.
    let ran = home.pvr("r", &["post", "--dry-run"]).code(0);
    assert!(ran.out.contains("It does not fit: "), "{ran:?}");
    home.pvr("r", &["post"]).code(3);
    assert_eq!(seed::visible(&storage), before);
    fs::remove_file(home.at("r/app/new")).unwrap();
    fs::remove_dir_all(home.at("r/big")).unwrap();
    home.write("r/app/run.json", r#"{"group":"app","x":1}"#);
    home.pvr("r", &["commit"]).code(0);
    let ran = home.pvr("r", &["post", "--dry-run"]).code(0);
    assert!(ran.out.contains("It fits: "), "{ran:?}");
    home.pvr("r", &["post"]).code(0);
    black_box::agent::assert_clean(&storage, "a revision of JSON");
    // As long as it really fits.
    fs::write(home.at("m/more"), vec![0; free() as usize - 8_192]).unwrap();
    home.write("r/app/run.json", r#"{"group":"app","x":2}"#);
    home.pvr("r", &["commit"]).code(0);
    assert!(home.pvr("r", &["post", "--dry-run"]).code(0).out.contains("It does not fit: "));
    let before = seed::visible(&storage);
    home.pvr("r", &["post"]).code(3).says("507");
    assert_eq!(seed::visible(&storage), before);
    black_box::agent::assert_clean(&storage, "one that does not fit");
}
