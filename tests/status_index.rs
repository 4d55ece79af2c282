//! `status` and `diff` don't read again what has not changed, and miss nothing that has. The real binary.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use device::sha;
use pvr::Home;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

const INDEX: &str = "r/.pvr/index";
/// A file is too fresh for the index until its file system's clock has gone on by two seconds.
const SETTLE: Duration = Duration::from_millis(2300);

/// A repository with one committed file, and an index that knows it.
fn settled() -> Home {
    let home = Home::new();
    let begun = Instant::now();
    home.repo(&[("big", b"content"), ("x.json", b"{}")]);
    let fresh = begun.elapsed() < Duration::from_secs(2);
    assert!(!fresh || !home.at(INDEX).exists(), "a file that was made just now");
    thread::sleep(SETTLE);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    assert!(home.read(INDEX).starts_with(&sha(b"content")), "{}", home.read(INDEX));
    home
}

/// Has the index say something else about `big`.
fn forge(home: &Home, valid: bool) {
    let text = home.read(INDEX).replace(&sha(b"content"), &sha(b"forged"));
    let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
    let lines = format!("{lines}\n");
    let sum = if valid { sha(lines.as_bytes()) } else { sha(b"") };
    home.write(INDEX, format!("{lines}{sum}\n"));
}

#[test]
fn unchanged_files_are_not_read() {
    let home = settled();
    forge(&home, true);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C big\n", "it was read");
    assert!(home.pvr("r", &["diff"]).code(0).out.contains(&sha(b"forged")), "it was read");
    // Switched off, one way and the other; the index stays as it is.
    for (args, variables) in [
        (&["--no-index", "status"][..], &[][..]),
        (&["status"], &[("PVR_NO_INDEX", "1")]),
        (&["-no-index", "diff"], &[]),
    ] {
        let out = home.run("r", args, variables).code(0).out;
        assert!(out.is_empty() || out == "{}\n", "{args:?}: {out}");
    }
    // What is committed is read.
    home.pvr("r", &["commit"]).code(0);
    assert!(!home.read("r/.pvr/json").contains(&sha(b"forged")));
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let home = settled();
    forge(&home, false);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    assert!(home.read(INDEX).starts_with(&sha(b"content")));
    for damage in ["", "x", "\u{0}\u{0}\u{0}"] {
        home.write(INDEX, damage);
        assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
        assert!(home.read(INDEX).starts_with(&sha(b"content")));
    }
    fs::remove_file(home.at(INDEX)).unwrap();
    fs::create_dir(home.at(INDEX)).unwrap();
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
}

#[test]
fn a_change_of_the_same_size_and_time_is_seen() {
    let home = settled();
    let big = home.at("r/big");
    let metadata = fs::metadata(&big).unwrap();
    let dated = |name: &str, later: i64| {
        let time = Timespec { tv_sec: metadata.mtime() + later, tv_nsec: metadata.mtime_nsec() };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, home.at(name), &times, AtFlags::empty()).unwrap();
    };
    home.write("r/big", "CONTENT");
    dated("r/big", 0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C big\n");
    // Another file in its place.
    home.write("r/other", "conTENT");
    dated("r/other", 0);
    fs::rename(home.at("r/other"), &big).unwrap();
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C big\n");
    // A file from the future is never sure.
    dated("r/big", 999);
    thread::sleep(SETTLE);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C big\n");
    assert!(!home.read(INDEX).contains("\"big\""));
}

#[test]
fn changes_in_quick_succession_are_all_seen() {
    let home = Home::new();
    home.repo(&[("f", b"0")]);
    for round in 1..40 {
        home.write("r/f", (round % 10).to_string());
        let wanted = if round % 10 == 0 { "" } else { "C f\n" };
        assert_eq!(home.pvr("r", &["status"]).code(0).out, wanted, "{round}");
    }
}

/// A look at a repository that only somebody else may change must work, and leave nothing behind.
#[test]
fn whoever_only_looks_makes_no_lock() {
    let home = settled();
    fs::remove_file(home.at(INDEX)).unwrap();
    fs::remove_file(home.at("r/.pvr/lock")).unwrap();
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    assert!(!home.at("r/.pvr/lock").exists() && !home.at(INDEX).exists());
}
