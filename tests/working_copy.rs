//! The working copy: what `pvr` tracks, commits, checks out and takes from elsewhere. The real binary.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use device::{BASE, Device, SPEC, answer, sha};
use pvr::Home;

/// Commits that had not been posted were gone after a get, without a word.
#[test]
fn a_get_lost_what_had_not_been_posted() {
    let home = Home::new();
    home.repo(&[("mine", b"mine"), ("x.json", b"{\"a\":1}")]);
    let mine = home.read("r/.pvr/json");
    fs::create_dir(home.at("o")).unwrap();
    home.pvr("o", &["init"]).code(0);
    home.pvr("o", &["export", "../o.tar"]).code(0);
    for args in [&["get", "../o/.pvr"][..], &["import", "../o.tar"]] {
        home.pvr("r", args).code(0);
        assert_eq!(home.read("r/.pvr/replaced"), mine, "{args:?}");
        // Once more changes nothing, and keeps what is kept.
        home.pvr("r", args).code(0);
        assert_eq!(home.read("r/.pvr/replaced"), mine, "{args:?}");
        fs::rename(home.at("r/.pvr/replaced"), home.at("r/.pvr/json")).unwrap();
        home.pvr("r", &["checkout"]).code(0);
        assert_eq!(home.read("r/mine"), "mine");
    }
    home.pvr("r", &["merge", "../o/.pvr"]).code(0);
    assert!(!home.at("r/.pvr/replaced").exists(), "nothing of it went");
}

/// What was noted of a state that could not be written made the next get keep something else in its place.
#[test]
fn a_merge_that_was_refused_cost_what_a_get_had_kept() {
    let home = Home::new();
    home.repo(&[("mine", b"mine")]);
    let mine = home.read("r/.pvr/json");
    for name in ["o", "p"] {
        home.write(&format!("{name}/{name}.json"), format!("\"{}\"", "x".repeat(300)));
        home.pvr(name, &["init"]).code(0);
        home.pvr(name, &["add"]).code(0);
        home.pvr(name, &["commit"]).code(0);
    }
    home.pvr("r", &["get", "../o/.pvr"]).code(0).says("never posted");
    let both = home.run("r", &["merge", "../p/.pvr"], &[("PVR_AGENT_MAX_STATE_BYTES", "500")]);
    assert!(both.code != Some(0) && both.err.contains("could not be read again"), "{both:?}");
    let ran = home.pvr("r", &["get", "../p/.pvr"]).code(0);
    assert!(!ran.err.contains("never posted"), "{ran:?}");
    assert_eq!(home.read("r/.pvr/replaced"), mine);
}

/// What a get replaced was kept in one place, where the next get put what the first had brought.
#[test]
fn a_second_get_lost_what_the_first_had_kept() {
    const LOST: &str = "WARNING: commits that were never posted are replaced; .pvr/replaced keeps what they were\n";
    let home = Home::new();
    home.repo(&[("mine", b"mine"), ("x.json", b"{\"a\":1}")]);
    let mine = home.read("r/.pvr/json");
    for name in ["o", "p"] {
        home.write(&format!("{name}/x.json"), format!("\"{name}\""));
        home.pvr(name, &["init"]).code(0);
        home.pvr(name, &["add"]).code(0);
        home.pvr(name, &["commit"]).code(0);
        home.pvr(name, &["export", &format!("../{name}.tar")]).code(0);
    }
    let warned = |args: &[&str]| home.pvr("r", args).code(0).err.contains(LOST);
    assert!(warned(&["get", "--dry-run", "../o/.pvr"]) && !home.at("r/.pvr/replaced").exists());
    assert!(warned(&["get", "../o/.pvr"]));
    for args in [&["get", "../p/.pvr"][..], &["import", "../o.tar"], &["merge", "../p/.pvr"], &["get", "../o.tar"]] {
        assert!(!warned(args), "{args:?}: nothing was lost");
        assert_eq!(home.read("r/.pvr/replaced"), mine, "{args:?}");
    }
    // A commit, even a merge of one: nobody has it.
    home.write("r/x.json", "\"new\"");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    let new = home.read("r/.pvr/json");
    assert!(warned(&["merge", "../p/.pvr"]) && !warned(&["get", "../o/.pvr"]));
    assert_eq!(home.read("r/.pvr/replaced"), new);
    // What only grew is not kept, and is not elsewhere either.
    fs::remove_file(home.at("r/.pvr/replaced")).unwrap();
    home.write("r/.pvr/json", format!("{{\"#spec\":\"{SPEC}\",\"mine\":\"{}\"}}", sha(b"mine")));
    assert!(!warned(&["merge", "../o/.pvr"]) && !home.at("r/.pvr/replaced").exists());
    assert!(warned(&["get", "../p/.pvr"]) && home.read("r/.pvr/replaced").contains(&sha(b"mine")));
    // What was put elsewhere is there.
    home.write("r/x.json", "\"newer\"");
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["put", "../o/.pvr"]).code(0);
    assert!(!warned(&["get", "../p/.pvr"]));
}

/// Objects that today's program has made are 0644: whoever wrote to a hardlink of one changed every other tree as well.
#[test]
fn a_hardlink_of_an_object_of_todays_program_could_be_written_to() {
    let home = Home::new();
    home.repo(&[("x", b"x"), ("y", b"y")]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let writable = |content: &[u8]| {
        let object = home.object(&sha(content));
        fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
        object
    };
    let x = writable(b"x");
    for args in [&["fsck"][..], &["import", "--dry-run", "../x.tgz"]] {
        home.pvr("r", &["export", "../x.tgz"]).code(0);
        writable(b"x");
        home.pvr("r", args).code(0);
        assert_eq!(mode(&x), 0o644, "{args:?} only looks");
    }
    home.pvr("r", &["checkout", "--hardlink"]).code(0);
    assert_eq!((mode(&home.at("r/x")), mode(&x), mode(&home.at("r/y"))), (0o444, 0o444, 0o444));
    // One that has been hashed before, and is remembered.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(&x).unwrap().set_modified(old).unwrap();
    home.pvr("r", &["checkout", "--hardlink"]).code(0);
    writable(b"x");
    home.pvr("r", &["checkout", "--hardlink"]).code(0);
    assert_eq!(mode(&x), 0o444);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
}

/// What root had made in the repository of somebody else was root's: the lock, the pool, and what works in it.
#[test]
fn one_command_of_root_locked_the_owner_out() {
    const NOBODY: u32 = 65534;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: one_command_of_root_locked_the_owner_out: needs root");
        return;
    }
    let home = Home::new();
    home.repo(&[("a/x", b"x")]);
    home.pvr("r", &["export", "../x.tar"]).code(0);
    fs::create_dir(home.at("u")).unwrap();
    chown(home.at("u"), Some(NOBODY), Some(NOBODY)).unwrap();
    home.pvr("u", &["init", "-o", "pools/pool"]).code(0);
    home.pvr("u", &["import", "../x.tar"]).code(0);
    home.pvr("u", &["checkout"]).code(0);
    home.pvr("u", &["commit", "--checkpoint"]).code(0);
    let object = format!("pools/pool/{}", sha(b"x"));
    let agent = ["", "/lock", "/tmp", "/staged", "/replaced"].map(|name| format!("pools/pool/.pvr-agent{name}"));
    let others = ["pools", "pools/pool", &object, ".pvr", ".pvr/lock", ".pvr/json", ".pvr/config", "checkpoint.json"];
    for path in agent.iter().map(String::as_str).chain(others) {
        let meta = fs::metadata(home.at("u").join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{path}");
    }
    // So is the folder of settings, with the pool of those who choose none.
    fs::create_dir(home.at("h")).unwrap();
    chown(home.at("h"), Some(NOBODY), Some(NOBODY)).unwrap();
    home.run("u", &["clone", "../x.tar", "c"], &[("HOME", home.at("h").to_str().unwrap())]).code(0);
    for path in ["", "/objects", "/objects/.pvr-agent/lock"] {
        assert_eq!(fs::metadata(home.at(&format!("h/.pvr{path}"))).unwrap().uid(), NOBODY, "{path}");
    }
    // A link that the owner has laid there gives nothing away.
    home.write("mine", "root's");
    fs::remove_file(home.at("u/.pvr/lock")).unwrap();
    symlink("../../mine", home.at("u/.pvr/lock")).unwrap();
    home.pvr("u", &["add"]).code(3).says(".pvr/lock");
    assert_eq!(fs::metadata(home.at("mine")).unwrap().uid(), 0);
}

#[test]
fn a_hostile_committed_state_is_not_checked_out() {
    let home = Home::new();
    home.repo(&[("a/x", b"x")]);
    let id = sha(b"x");
    for key in ["../x", ".pvr/config", "a/../../x"] {
        home.write("r/.pvr/json", format!("{{\"#spec\":\"{SPEC}\",\"{key}\":\"{id}\"}}"));
        home.pvr("r", &["checkout"]).code(3).says("is not a state");
        home.pvr("r", &["checkout", "--hardlink"]).code(3);
        assert!(!home.at("x").exists());
    }
}

#[test]
fn nothing_is_checked_out_through_a_link() {
    let home = Home::new();
    home.repo(&[("a/x", b"x")]);
    fs::remove_dir_all(home.at("r/a")).unwrap();
    fs::create_dir(home.at("outside")).unwrap();
    symlink("../outside", home.at("r/a")).unwrap();
    for flag in ["-c", "--hardlink", "--canonical=false"] {
        home.pvr("r", &["checkout", flag]).code(3).says("symbolic link");
        assert!(!home.at("outside/x").exists());
    }
}

#[test]
fn commit_keeps_big_integers_and_nulls() {
    let text = "{\"a\":[null,{\"n\":null}],\"big\":10000000000000000001,\"exp\":1e2,\"f\":1.50}";
    let home = Home::new();
    home.repo(&[
        ("x.json", text.as_bytes()),
        ("null.json", b"null"),
        ("id.json", format!("\"{}\"", sha(b"")).as_bytes()),
    ]);
    let file = sha(format!("\"{}\"", sha(b"")).as_bytes());
    assert_eq!(
        home.read("r/.pvr/json"),
        format!(
            "{{\"#spec\":\"{SPEC}\",\"id.json\":\"{file}\",\"null.json\":null,\
             \"x.json\":{{\"a\":[null,{{\"n\":null}}],\"big\":10000000000000000001,\"exp\":100,\"f\":1.5E0}}}}"
        )
    );
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    assert_eq!(home.pvr("r", &["diff"]).code(0).out, "{}\n");
    home.pvr("r", &["checkout"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
}

/// The canonical text of a state was read again with one value allowed for every 16 bytes of that text, not of the limit.
#[test]
fn a_curve_of_2000_short_numbers_could_not_be_committed() {
    let home = Home::new();
    home.repo(&[("curve.json", format!("[0{}]", ",0".repeat(1999)).as_bytes())]);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    home.write("r/curve.json", "[1]");
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C curve.json\n");
}

#[test]
fn lenient_files_are_warned_about() {
    let home = Home::new();
    home.repo(&[("x.json", b"{\"a\":1,\"a\":2} trailing")]);
    let ran = home.pvr("r", &["status"]).code(0).says("WARNING: x.json: member \"a\" occurs twice");
    assert!(ran.err.contains("WARNING: x.json: text after the first value is ignored"), "{ran:?}");
    assert_eq!(home.read("r/.pvr/json"), format!("{{\"#spec\":\"{SPEC}\",\"x.json\":{{\"a\":2}}}}"));
    home.write("r/x.json", "{bad");
    home.pvr("r", &["status"]).code(3).says("JSON Unmarshal (x.json): ");
    home.pvr("r", &["commit"]).code(1).says("ERROR: JSON Unmarshal (x.json): ");
}

#[test]
fn a_file_that_no_state_can_hold_left_no_way_out() {
    let home = Home::new();
    home.repo(&[("x.json", b"{}")]);
    let big = format!("[{}]", "1,".repeat(1_500_000));
    for (content, texts) in [
        (big.as_str(), ["has 3000002 bytes; the limit is 2097152\n", "PVR_AGENT_MAX_STATE_BYTES"]),
        (&"[".repeat(600), ["deeper than 512 levels", "PVR_AGENT_MAX_JSON_DEPTH"]),
        ("{bad", ["a member name was expected at byte 1\n", "\npvr add --raw tracks a file as it is\n"]),
    ] {
        home.write("r/x.json", content);
        texts.into_iter().fold(home.pvr("r", &["commit"]).code(1), |ran, text| ran.says(text)).says("pvr add --raw");
    }
    home.pvr("r", &["add", "--raw", "x.json"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "C x.json\n");
}

#[test]
fn names_of_any_kind() {
    let home = Home::new();
    let names = ["50%s%d", "esc\u{1b}[2J", "new\nline", "quote\"s", "back\\slash", "ü 文"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    home.repo(&files);
    fs::remove_file(home.at("r/new\nline")).unwrap();
    home.write("r/esc\u{1b}[2J", "changed");
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "D new\\nline\nC esc\\u{1b}[2J\n");
    let ran = home.pvr("r", &["commit"]).code(0);
    assert!(ran.err.contains("Removing new\\nline\n") && !ran.err.contains('\u{1b}'), "{ran:?}");
    // Not UTF-8: shown, never added.
    use std::os::unix::ffi::OsStrExt;
    fs::write(home.at("r").join(std::ffi::OsStr::from_bytes(b"n\xff")), "x").unwrap();
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "? n\u{fffd}\n");
    home.pvr("r", &["add"]).code(3).says("the name is not UTF-8");
    home.pvr("r", &["add", "50*"]).code(0);
}

#[test]
fn links_in_the_tree() {
    let home = Home::new();
    fs::create_dir_all(home.at("r/t")).unwrap();
    fs::create_dir_all(home.at("outside")).unwrap();
    home.write("r/t/a", "a");
    home.write("outside/secret", "s");
    symlink("t/a", home.at("r/file")).unwrap();
    symlink("../outside", home.at("r/folder")).unwrap();
    symlink("nowhere", home.at("r/dangling")).unwrap();
    home.pvr("r", &["init"]).code(0);
    home.pvr("r", &["add"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "A file\nA t/a\n? dangling\n? folder\n");
}

#[test]
fn parts() {
    let files: &[(&str, &[u8])] = &[("app/x", b"x"), ("app2/y", b"y"), ("bsp/k", b"k"), ("_sigs/app.json", b"{}")];
    // selection, objects downloaded, keys afterwards (the repository has app/old and app2/mine)
    let table: &[(&str, usize, &[&str])] = &[
        ("#app", 1, &["app/x", "app2/mine"]),
        ("#app,_sigs/app.json", 1, &["_sigs/app.json", "app/x", "app2/mine"]),
        ("#-app", 2, &["_sigs/app.json", "app2/y", "bsp/k"]),
        ("#bsp,-app", 1, &["app2/mine", "bsp/k"]),
        ("", 3, &["_sigs/app.json", "app/x", "app2/y", "bsp/k"]),
    ];
    for (selection, downloaded, keys) in table {
        let device = Device::plain(files);
        let home = Home::new();
        home.repo(&[("app/old", b"old"), ("app2/mine", b"mine")]);
        let reference = format!("{}{selection}", device.reference());
        let ran = home.pvr("r", &["get", &reference]).code(0);
        let pool = home.object("");
        let pool = pool.display().to_string();
        let tail = format!(
            "\nImported {downloaded} objects to {}\n\n\nRun pvr checkout to checkout the changed files into the workspace.\n",
            pool.trim_end_matches('/')
        );
        assert!(ran.out.ends_with(&tail), "{ran:?}");
        let state: serde_json::Value = serde_json::from_str(&home.read("r/.pvr/json")).unwrap();
        let got: Vec<&String> = state.as_object().unwrap().keys().filter(|key| *key != "#spec").collect();
        assert_eq!(got, *keys, "{selection}");
        assert_eq!(home.read("r/app/old"), "old", "the working tree stays");
        let config: serde_json::Value = serde_json::from_str(&home.read("r/.pvr/config")).unwrap();
        let url = format!("http://{}{BASE}{selection}", device.reference());
        for name in ["DefaultGetUrl", "DefaultPutUrl", "DefaultPostUrl"] {
            assert_eq!(config[name], url, "{name}");
        }
    }
}

#[test]
fn a_local_repository_is_a_source() {
    let home = Home::new();
    home.repo(&[("app/x", b"x"), ("app/c", b"x"), ("b/y", b"y")]);
    fs::create_dir(home.at("o")).unwrap();
    home.run("o", &["init", "-o", "pool"], &[]).code(0);
    let ran = home.pvr("o", &["get", "../r/.pvr#app"]).code(0);
    assert_eq!(ran.err, "app/c [OK]\napp/x [OK cache]\n");
    home.pvr("o", &["checkout"]).code(0);
    assert_eq!(home.read("o/app/x"), "x");
    assert!(home.at(&format!("o/pool/{}", sha(b"x"))).exists());
    // Damaged in the source: refused. Not there: named.
    fs::remove_file(home.object(&sha(b"y"))).unwrap();
    fs::write(home.object(&sha(b"y")), "not y").unwrap();
    home.pvr("o", &["get", "../r/.pvr"]).code(3).says("(b/y)");
    assert!(!home.at(&format!("o/pool/{}", sha(b"y"))).exists());
    home.pvr("o", &["get", "../r"]).code(3).says("there is one in its .pvr");
    home.pvr("o", &["get", "../nosuch/.pvr"]).code(1).says("there is no file or folder ../nosuch/.pvr");
}

#[test]
fn references_are_expanded_with_the_base_that_is_given() {
    let device = Device::new(&[("x", b"x")], |request, holds| {
        let mut request = request.clone();
        request.target = request.target.replace("/base/user/dev", BASE);
        Some(answer(&request, holds))
    });
    let home = Home::new();
    let base = format!("http://{}/base/", device.reference());
    home.pvr("", &["-r", &base, "clone", "user/dev"]).code(0);
    assert_eq!(home.read("dev/x"), "x");
    assert_eq!(device.server.requests()[0].target, "/base/user/dev/.pvrremote");
    home.write("dev/y", "y");
    home.run("dev", &["add"], &[]).code(0);
    home.pvr("dev", &["commit"]).code(0);
    home.run("dev", &["post", "user/dev"], &[("PVR_REPO_BASEURL", &base)]).code(0);
    home.pvr("dev", &["post", "word"]).code(2).says("Device nick is missing.");
    home.pvr("dev", &["get", "word"]).code(1).says("device nick is missing.");
    home.pvr("dev", &["get", "a", "b"]).code(1).says("ERROR: Get can have at most 1 argument. See --help.\n");
    home.pvr("", &["clone"]).code(2).says("clone needs need repository argument. See --help\n");
    home.pvr("", &["clone", "https://127.0.0.1:1/x/y"]).code(7).says("Get \"https://127.0.0.1:1/x/y/.pvrremote\": ");
    home.pvr("", &["frobnicate"]).code(3).says("No help topic for 'frobnicate'\n");
}

#[test]
fn a_clone_never_replaces_anything() {
    let device = Device::plain(&[("x", b"x")]);
    let home = Home::new();
    fs::create_dir(home.at("c")).unwrap();
    home.pvr("", &["clone", &device.reference(), "c"]).code(9).says("file exists\nremove it, or give");
    assert!(device.server.requests().is_empty(), "nothing is fetched in vain");
    // What a clone that died has left is removed by the next; what only looks like it stays.
    home.write("pvr-clone-0123456789abcdef/.pvr/cloning", "");
    home.write("pvr-clone-fedcba9876543210/mine", "");
    home.pvr("", &["clone", &device.reference(), "d"]).code(0);
    assert!(!home.at("pvr-clone-0123456789abcdef").exists());
    assert!(home.at("pvr-clone-fedcba9876543210/mine").exists());
    assert!(!home.at("d/.pvr/cloning").exists() && !home.at("d/.pvr/tmp").exists());
}

#[test]
fn commands_at_the_same_time_do_not_lose_each_others_work() {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.pvr("r", &["init"]).code(0);
    let count = 12;
    for n in 0..count {
        home.write(&format!("r/f{n}"), format!("{n}"));
    }
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..count {
            let (home, failed) = (&home, &failed);
            scope.spawn(move || {
                let ran = home.pvr("r", &["add", &format!("f{n}")]);
                if ran.code != Some(0) {
                    failed.lock().unwrap().push(ran);
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "{failed:?}");
    assert_eq!(home.pvr("r", &["status"]).code(0).out.lines().filter(|line| line.starts_with("A ")).count(), count);
    home.pvr("r", &["commit", "--checkpoint"]).code(0);
    assert!(home.read("r/.pvr/json").contains("\"checkpoint.json\":{\"major\":\"20"));
    assert!(!home.at("r/.pvr/new").exists());
}

#[test]
fn hardlinks_are_the_objects_of_the_pool() {
    let home = Home::new();
    home.repo(&[("a/x", b"x"), ("a/run.json", b"{ \"b\": 1 }")]);
    home.pvr("r", &["checkout", "-hl"]).code(0);
    let (file, object) = (fs::metadata(home.at("r/a/x")).unwrap(), fs::metadata(home.object(&sha(b"x"))).unwrap());
    assert_eq!((file.ino(), file.mode() & 0o777), (object.ino(), 0o444));
    assert_eq!(home.read("r/a/run.json"), "{\"b\":1}");
    // Copies again: the object is left as it is.
    home.pvr("r", &["reset"]).code(0);
    home.write("r/a/x", "changed");
    assert_eq!(fs::read(home.object(&sha(b"x"))).unwrap(), b"x");
    // A damaged object is noticed before anything is touched.
    fs::remove_file(home.object(&sha(b"x"))).unwrap();
    fs::write(home.object(&sha(b"x")), "bad").unwrap();
    for flag in ["--hardlink", "-c"] {
        home.pvr("r", &["checkout", flag]).code(3).says("(a/x)");
        assert_eq!(home.read("r/a/x"), "changed");
    }
}

#[test]
fn an_interrupted_init_can_be_repeated() {
    let home = Home::new();
    home.write("r/.pvr/lock", "");
    home.pvr("r", &["status"]).code(3).says("not a pvr repository");
    home.pvr("r", &["init", "--spec", "x@1"]).code(0);
    assert_eq!(home.read("r/.pvr/json"), "{ \"#spec\": \"x@1\" }");
    home.pvr("r", &["init"]).code(3).says("Cannot initialize an existing repository.");
    home.write("f/.pvr", "a file");
    home.pvr("f", &["init"]).code(3).says("Cannot initialize an existing repository.");
}
