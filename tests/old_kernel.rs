//! The program where the kernel lacks what newer ones have, and where the clock is wrong.
//!
//! A filter takes system calls away as an old kernel would: `ENOSYS` for calls, `EOPNOTSUPP` for `O_TMPFILE`. What uses
//! them has to find another way, in the program and in everything that is linked into it.
//!
//!     cargo test --test old_kernel                          every world of the table
//!     PVR_AGENT_RUNNER="<this binary> in-4.4" cargo test    any black-box test on a kernel of 2016
//!
//! It has a `main` of its own, because it is also the program that stands before the program: `in-<world>` sets the filter
//! and becomes what follows. Called `scenario`, it is the test within one world.
#[cfg(target_arch = "x86_64")]
mod black_box;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("old_kernel: SKIPPED, its table of system calls is that of x86-64");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("scenario") => scenario::run(),
        Some("probe") => println!("{}", worlds::probe().join(" ")),
        Some(word) if word.starts_with("in-") => worlds::enter(&word[3..], &args[1..]),
        // What cargo hands to every test binary is meant for others.
        _ => worlds::all(),
    }
}

/// What is missing where.
#[cfg(target_arch = "x86_64")]
mod worlds {
    use super::black_box;
    use pvr_agent::state::clock;
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, StatxFlags};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch, apply_filter,
    };
    use std::collections::BTreeMap;
    use std::io::{IoSlice, IoSliceMut, Seek};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    const OPEN: i64 = 2;
    const OPENAT: i64 = 257;
    const RENAMEAT2: i64 = 316;
    const COPY_FILE_RANGE: i64 = 326;
    const PREADV2: i64 = 327;
    const STATX: i64 = 332;
    const OPENAT2: i64 = 437;
    /// The first call that Linux 4.4 didn't have, and one that none has.
    const AFTER_4_4: std::ops::Range<i64> = COPY_FILE_RANGE..1024;
    const TMPFILE: u64 = 0o20_000_000;
    const ENOSYS: u32 = 38;
    const EOPNOTSUPP: u32 = 95;
    const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

    /// Tells a program that its kernel is 2.6.
    const OLD: &[&str] = &["setarch", "x86_64", "--uname-2.6"];
    /// What a device with 64 MB may spare for one process: of everything that memory may have to stand behind, so with all
    /// stacks at their full size. One heap, as the C library of the devices has it; glibc has one for every few threads.
    const SMALL: &[&str] = &["env", "MALLOC_ARENA_MAX=1", "prlimit", "--data=50000000"];

    /// The time comes from the C library of whoever asks the kernel. The program asks by itself, so it is emulated, and the
    /// emulator is the one that is lied to. Debian 12's knows neither openat2 nor preadv2.
    const ASKING: &[&str] = &["qemu-x86_64", "-U", "LD_PRELOAD"];

    /// Name, calls that are missing, whether `O_TMPFILE` is, what has to stand before the program, the time.
    type World = (&'static str, &'static [i64], bool, &'static [&'static str], Option<&'static str>);
    const WORLDS: &[World] = &[
        ("no-openat2", &[OPENAT2], false, &[], None),
        ("no-tmpfile", &[], true, &[], None),
        ("no-statx", &[STATX], false, &[], None),
        ("no-copy-file-range", &[COPY_FILE_RANGE], false, &[], None),
        ("no-renameat2", &[RENAMEAT2], false, &[], None),
        ("no-preadv2", &[PREADV2], false, &[], None),
        // The release says that syncfs keeps errors to itself.
        ("mute-syncfs", &[], false, OLD, None),
        ("4.4", &[RENAMEAT2], true, OLD, None),
        ("64-mb", &[], false, SMALL, None),
        ("1970", &[OPENAT2, PREADV2], false, ASKING, Some("@1970-01-01 00:00:05")),
        ("2106", &[OPENAT2, PREADV2], false, ASKING, Some("@2106-02-08 00:00:00")),
    ];

    fn find(name: &str) -> &'static World {
        WORLDS.iter().find(|world| world.0 == name).unwrap_or_else(|| panic!("no world is called {name}"))
    }

    /// Every world after the other; fails with the first in which something does.
    pub fn all() {
        let own = std::env::current_exe().expect("this program");
        for (name, calls, tmpfile, before, time) in WORLDS {
            let (runner, probed) = (format!("{} in-{name}", own.display()), format!("in-{name}"));
            let qemu =
                || Command::new("qemu-x86_64").arg("-version").output().is_ok_and(|output| output.status.success());
            if time.is_some() && !(std::path::Path::new(LIBFAKETIME).exists() && qemu()) {
                black_box::skip(&format!("old_kernel in {name}"), "libfaketime or qemu-user is not installed");
                continue;
            }
            // That something is missing is seen from within: a filter that filters nothing would show nothing.
            let seen = Command::new(&own).arg(&probed).arg(&own).arg("probe").output().expect("probe");
            let seen = String::from_utf8_lossy(&seen.stdout).trim().to_string();
            let missing = |call: i64| calls.contains(&call) || *name == "4.4" && AFTER_4_4.contains(&call);
            let mut want = Vec::new();
            for (word, is_missing) in [
                ("openat2", missing(OPENAT2)),
                ("tmpfile", *tmpfile),
                ("statx", missing(STATX)),
                ("copy_file_range", missing(COPY_FILE_RANGE)),
                ("renameat2", missing(RENAMEAT2)),
                ("preadv2", missing(PREADV2)),
                ("release", *before == OLD),
                ("memory", *before == SMALL),
                ("time", time.is_some()),
            ] {
                want.extend(is_missing.then_some(word));
            }
            assert_eq!(seen, want.join(" "), "what is missing in {name}");
            let status = Command::new(&own).arg("scenario").env("PVR_AGENT_RUNNER", runner).status().expect("run");
            assert!(status.success(), "old_kernel in {name}: {status}");
            println!("old_kernel in {name}, without [{seen}] ... ok");
        }
    }

    /// Becomes `command` in a world.
    pub fn enter(name: &str, command: &[String]) {
        let (_, calls, tmpfile, before, time) = find(name);
        let mut missing: Vec<i64> = calls.to_vec();
        if name == "4.4" {
            missing.extend(AFTER_4_4);
        }
        let rules = missing.into_iter().map(|call| (call, Vec::new())).collect();
        apply(rules, ENOSYS);
        if *tmpfile {
            let rule = |flags: u8| {
                let asked = SeccompCmpOp::MaskedEq(TMPFILE);
                let asked = SeccompCondition::new(flags, SeccompCmpArgLen::Dword, asked, TMPFILE).expect("a condition");
                vec![SeccompRule::new(vec![asked]).expect("a rule")]
            };
            apply(BTreeMap::from([(OPEN, rule(1)), (OPENAT, rule(2))]), EOPNOTSUPP);
        }
        let words: Vec<&str> = before.iter().copied().chain(command.iter().map(String::as_str)).collect();
        let mut run = Command::new(words[0]);
        run.args(&words[1..]);
        if let Some(time) = time {
            run.env("LD_PRELOAD", LIBFAKETIME).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        panic!("cannot run {words:?}: {}", run.exec());
    }

    fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, error: u32) {
        if rules.is_empty() {
            return;
        }
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), TargetArch::x86_64);
        let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
        apply_filter(&program).expect("apply the filter");
    }

    /// What is missing here.
    pub fn probe() -> Vec<&'static str> {
        let file = tempfile::tempfile().expect("a file");
        let (mut other, dir) = (tempfile::tempfile().expect("a file"), tempfile::tempdir().expect("a folder"));
        rustix::io::pwritev(&other, &[IoSlice::new(b"x")], 0).expect("write");
        other.rewind().expect("rewind");
        std::fs::write(dir.path().join("a"), "").expect("write");
        let mut byte = [0];
        let unnamed = OFlags::TMPFILE | OFlags::RDWR;
        let renamed =
            rustix::fs::renameat_with(CWD, dir.path().join("a"), CWD, dir.path().join("b"), RenameFlags::NOREPLACE);
        let opened = rustix::fs::openat2(CWD, ".", OFlags::PATH, Mode::empty(), rustix::fs::ResolveFlags::empty());
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let years = clock::seconds(clock::now()) / (365 * 86_400);
        let read =
            rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, rustix::io::ReadWriteFlags::empty());
        [
            ("openat2", opened.is_err()),
            ("tmpfile", rustix::fs::open(dir.path(), unnamed, Mode::RUSR).is_err()),
            ("statx", rustix::fs::statx(CWD, ".", AtFlags::empty(), StatxFlags::BASIC_STATS).is_err()),
            ("copy_file_range", rustix::fs::copy_file_range(&other, None, &file, None, 1).is_err()),
            ("renameat2", renamed.is_err()),
            ("preadv2", read.is_err()),
            ("release", release.starts_with("2.6")),
            ("memory", rustix::process::getrlimit(rustix::process::Resource::Data).current.is_some()),
            ("time", !(50..100).contains(&years)),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect()
    }
}

/// One day of a device: uploads, a post, a clone, a change, a crash, a collection.
#[cfg(target_arch = "x86_64")]
mod scenario {
    use super::black_box::agent::{self, Server};
    use super::black_box::seed::{self, Seed};
    use super::black_box::{http, sha256};
    use std::fs;
    use std::path::Path;

    fn pvr(home: &Path, folder: &Path, args: &[&str]) {
        let mut command = agent::command();
        let output = command.arg("pvr").args(args).current_dir(folder).env("HOME", home).output().expect("run pvr");
        assert!(output.status.success(), "pvr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn state(objects: &[&[u8]], json: u32) -> String {
        let members: Vec<_> =
            objects.iter().enumerate().map(|(at, bytes)| format!(r#""app/o{at}":"{}","#, sha256(bytes))).collect();
        format!(r##"{{"#spec":"pantavisor-service-system@1",{}"app/run.json":{json}}}"##, members.concat())
    }

    pub fn run() {
        let all = tempfile::tempdir().expect("a folder");
        let storage = all.path().join("storage");
        Seed::factory(&storage);
        let large: Vec<u8> = (0..1_500_001_u32).map(|at| (at % 253) as u8).collect();
        let objects: [&[u8]; 4] = [b"one", b"", &large, b"four"];

        let mut server = Server::start(&storage);
        for bytes in objects {
            assert!(server.upload(bytes).expect("an upload"), "it was there before");
        }
        assert!(!server.upload(&large).expect("an upload"), "it is not there");
        for (rev, json) in [("locals/a", 1), ("locals/a", 1), ("locals/b", 2)] {
            let posted = server.post(&state(&objects, json), Some(rev)).expect("an answer");
            assert_eq!(posted.status, 200, "{posted}");
        }
        // As large as a state may be, what takes the most memory for its length, and what took more than there is.
        let members: Vec<_> = (0..130_000).map(|at| format!(r#""{at:x}":0"#)).collect();
        let padding = "x".repeat(500_000);
        let members = format!(r#"{{{},"padding":"{padding}"}}"#, members.join(","));
        let objects_of_one = |count: usize| format!("[{}]", vec![r#"{"":0}"#; count].join(","));
        for (json, status) in [
            (members, 200),
            (format!("[0{}]", ",0".repeat(1_000_000)), 400),
            (objects_of_one(21_000), 200),
            (objects_of_one(65_000), 400),
        ] {
            let state = format!(r##"{{"#spec":"pantavisor-service-system@1","a.json":{json}}}"##);
            let posted = server.post(&state, Some(&format!("locals/large-{}", state.len()))).expect("an answer");
            assert_eq!(posted.status, status, "{posted}");
        }
        assert_eq!(http::get(&format!("{}/json", server.base)).status, 200);
        let posted = server.post(&state(&objects, 2), Some("locals/b")).expect("an answer");
        assert_eq!(posted.status, 200, "{posted}");
        let refused = server.post(&state(&[b"absent"], 1), Some("locals/c")).expect("an answer");
        assert_eq!(refused.status, 422, "{refused}");
        let taken = server.post(&state(&objects[..2], 1), Some("locals/b")).expect("an answer");
        assert_eq!(taken.status, 409, "{taken}");
        let blob = format!("{}/objects/{}/blob", server.base, sha256(&large));
        assert!(http::get(&blob).body == large, "a download");
        let part = http::ask(&blob, "GET", &[("Range", "bytes=1000000-1000099")], b"").expect("an answer");
        assert!(part.status == 206 && part.body == large[1_000_000..1_000_100], "{part}");

        let (home, one, two) = (all.path().join("home"), all.path().join("one"), all.path().join("two"));
        fs::create_dir(&home).expect("a home");
        pvr(&home, all.path(), &["clone", &server.base, "one"]);
        fs::write(one.join("app/new"), &large[..700_000]).expect("a file");
        fs::remove_file(one.join("app/o0")).expect("remove a file");
        pvr(&home, &one, &["add", "."]);
        pvr(&home, &one, &["commit"]);
        pvr(&home, &one, &["post", "-m", "a change"]);
        server.kill();
        let server = Server::start(&storage);
        pvr(&home, all.path(), &["clone", &server.base, "two"]);
        assert_eq!(fs::read(two.join("app/new")).expect("read"), &large[..700_000]);
        assert!(!two.join("app/o0").exists() && two.join("app/o2").exists());
        drop(server);

        let collected = agent::command().arg("gc").arg("--storage").arg(&storage).args(["--rollbacks", "0"]).output();
        assert!(collected.expect("run gc").status.success());
        assert!(!storage.join("trails/locals/a").exists());
        agent::assert_clean(&storage, "all that");
        let debris: Vec<_> =
            seed::tree(&storage).into_keys().filter(|name| name.starts_with(".pvr-agent/tmp/")).collect();
        assert!(debris.is_empty(), "{debris:?}");
    }
}
